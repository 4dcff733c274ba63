"""Export an autoencoder: three graphs, the weights they share, and the proof that they compute what torch does."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from latentflow.base.errors import MissingPackageError
from latentflow.base.session import Session
from latentflow.base.surroundings import undisturbed
from latentflow.models.autoencoder import Autoencoder
from latentflow.page.export.check import open_graph, require_equal
from latentflow.page.export.graphs import functions, to_onnx
from latentflow.page.export.plain import plain_copy
from latentflow.page.export.weights_file import FILE, WeightsFile

CHECKED = (64, 96, 128)  # pixels across, at which graphs are compared with torch
_MINIMUM = 16  # pixels a side; ssim needs 11


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An autoencoder as ONNX: `graphs` by name (decoder, encoder, step), which refer to `weights` as the file
    weights.bin beside them, and the largest difference of each output from torch's, relative to its RMS."""

    graphs: dict[str, bytes]
    weights: bytes
    differences: dict[str, float]


@undisturbed
def export_onnx(autoencoder: Autoencoder, session: Session | None = None) -> Exported:
    """Export an autoencoder as graphs for pictures of all sizes that are multiples of its stride.

    Its weights are rounded to float16. The graphs take and give what `Autoencoder.decode` and `Autoencoder.encode` do,
    in float32; step gives the gradient of a weighted sum of losses, see `latentflow.page.export.graphs.functions`.
    Each is run at three sizes and compared with torch.

    Raises `WeightsError` for an autoencoder that can't be exported, and where its graphs compute something else,
    `MissingPackageError` without the packages it takes.
    """
    session = session or Session()
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"To export an autoencoder takes a package: {error}.", "pip install 'latentflow[page]'"
        ) from error
    plain = plain_copy(autoencoder)
    file, graphs = WeightsFile(), {}
    smallest = -(-_MINIMUM // plain.stride)
    for function in functions(plain):
        session.check()
        session.say(f"Exporting the {function.name}.")
        model = to_onnx(function, smallest)
        file.move_weights(model)
        graphs[function.name] = model.SerializeToString()
    return Exported(
        graphs=graphs, weights=bytes(file.content), differences=_checked(plain, graphs, bytes(file.content), session)
    )


def _checked(plain: Autoencoder, graphs: dict[str, bytes], weights: bytes, session: Session) -> dict[str, float]:
    """The largest difference of each output, under names such as "step gradient"."""
    largest: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE).write_bytes(weights)
        opened = {}
        for name, content in graphs.items():
            (Path(folder) / f"{name}.onnx").write_bytes(content)
            opened[name] = open_graph(Path(folder) / f"{name}.onnx")
        for seed, across in enumerate(CHECKED):
            session.check()
            cells = -(-across // plain.stride)
            for function in functions(plain, (cells, cells + 3), seed):
                for output, value in require_equal(opened[function.name], function, plain.name).items():
                    key = f"{function.name} {output}"
                    largest[key] = max(value, largest.get(key, 0.0))
    return largest
