"""The weights of several graphs in one file, each once, in float16 where that is exact."""

import hashlib
from typing import Any

import numpy as np

FILE = "weights.bin"
_ALIGNMENT = 64  # bytes, so that a reader can map a tensor where it lies
_SMALL = 64  # values of a tensor that stays in its graph


class WeightsFile:
    """Collects the tensors of graphs; `content` is the file that they all refer to."""

    def __init__(self) -> None:
        self.content = bytearray()
        self._places: dict[str, int] = {}

    def move_weights(self, model: Any) -> None:
        """Move the large tensors of an `onnx.ModelProto` into the file, as float16 behind a Cast where nothing is lost.

        What a flipped or transposed weight is made of is shared with the weight itself, so it is stored once.
        """
        from onnx import TensorProto, helper, numpy_helper

        graph = model.graph
        casts, moved = [], []
        for tensor in list(graph.initializer):
            values = numpy_helper.to_array(tensor)
            if values.size <= _SMALL or tensor.data_type != TensorProto.FLOAT:
                continue
            half = values.astype(np.float16)
            exact = bool(np.array_equal(half.astype(np.float32), values))
            stored = TensorProto(name=f"{tensor.name}.half" if exact else tensor.name, dims=tensor.dims)
            stored.data_type = TensorProto.FLOAT16 if exact else TensorProto.FLOAT
            self._refer(stored, (half if exact else values).tobytes())
            graph.initializer.remove(tensor)
            moved.append(stored)
            if exact:
                casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT))
        graph.initializer.extend(moved)
        nodes = [*casts, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)

    def _refer(self, tensor: Any, data: bytes) -> None:
        from onnx import TensorProto

        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._places:
            self.content += bytes(-len(self.content) % _ALIGNMENT)
            self._places[digest] = len(self.content)
            self.content += data
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", FILE), ("offset", self._places[digest]), ("length", len(data))):
            tensor.external_data.add(key=key, value=str(value))
