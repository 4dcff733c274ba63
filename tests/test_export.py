"""Autoencoders as ONNX: the graphs compute what torch does, at any size, and what doesn't is refused."""

import pytest
import torch
from standins import TINY, random_model
from torch.nn import functional

from latentflow.base.errors import Interrupted, WeightsError
from latentflow.base.session import Session
from latentflow.inversion.objective import Objective
from latentflow.models.autoencoder import Autoencoder, read_geometry
from latentflow.page.export import run as export_run
from latentflow.page.export.check import open_graph, require_equal
from latentflow.page.export.decompositions import convolution_backward
from latentflow.page.export.graphs import GRAPHS, LOSSES, functions
from latentflow.page.export.plain import plain_copy
from latentflow.page.export.run import CHECKED, export_onnx
from latentflow.page.export.weights_file import FILE, WeightsFile

pytest.importorskip("onnxruntime")


def random_autoencoder(name):
    """An autoencoder of a class that is served, with random weights."""
    model = random_model(TINY[name]).requires_grad_(False)
    return Autoencoder(model, read_geometry(type(model).__name__, model.config), name)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups", "shape"),
    [
        (1, 1, 1, 1, (6, 4, 3, 3)),
        (1, 0, 1, 1, (2, 4, 1, 1)),
        (1, 5, 1, 4, (4, 1, 1, 11)),
        (1, 2, 2, 2, (6, 2, 3, 3)),
        (2, 1, 1, 1, (6, 4, 3, 3)),
        (2, 0, 1, 1, (5, 4, 3, 3)),
    ],
)
def test_the_gradient_of_a_convolution_is_one(stride, padding, dilation, groups, shape):
    image = torch.randn(1, 4, 12, 15, requires_grad=True)
    weight = torch.randn(shape)
    across = (0, padding) if shape[2] == 1 else (padding, padding)
    output = functional.conv2d(image, weight, None, stride, across, dilation, groups)
    gradient = torch.randn_like(output)
    (expected,) = torch.autograd.grad(output, image, gradient)
    found, *rest = convolution_backward(
        gradient,
        image,
        weight,
        None,
        (stride,) * 2,
        across,
        (dilation,) * 2,
        False,
        (0, 0),
        groups,
        (True, False, False),
    )
    assert torch.allclose(found, expected, atol=1e-4) and rest == [None, None]


def test_the_step_that_is_exported_is_the_objective(autoencoder):
    plain = plain_copy(autoencoder)
    step = functions(plain, (4, 6), seed=1)[2]
    latent, target, weights = step.inputs.values()
    gradient, loss, image, parts = step.call(latent, target, weights)
    text = " + ".join(f"{weight}*{name}" for weight, name in zip(weights.tolist(), LOSSES))
    objective = Objective(text, target)
    moved = latent.clone().requires_grad_()
    picture = plain.decode(moved)
    total, values = objective(picture)
    total.sum().backward()
    assert torch.allclose(image, picture, atol=1e-6) and float(loss) == pytest.approx(float(total), rel=1e-5)
    assert parts.tolist() == pytest.approx([float(values[name]) for name in LOSSES], rel=1e-5)
    assert torch.allclose(gradient, moved.grad, atol=1e-5)


def test_a_plain_copy_computes_the_same_with_rounded_weights(autoencoder):
    latent = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    plain = plain_copy(autoencoder)
    assert torch.allclose(
        plain.decode(latent), autoencoder.decode(latent), atol=1e-4
    )  # its weights are float16 already
    assert all(torch.equal(value, value.half().float()) for value in plain.model.parameters())
    assert (plain.name, plain.sha256) == (autoencoder.name, autoencoder.sha256)


@pytest.mark.parametrize("name", sorted(TINY))
def test_plain_copies_of_all_classes_decode_and_encode_alike(name):
    own = random_autoencoder(name)
    with torch.no_grad():
        for value in own.parameters():
            value.data = value.data.half().float()
    plain = plain_copy(own)
    latent = torch.randn(1, own.channels, 6, 8)
    image = torch.rand(1, 3, 6 * own.stride, 8 * own.stride)
    with torch.no_grad():
        assert torch.allclose(plain.decode(latent), own.decode(latent), atol=1e-4)
        assert torch.allclose(plain.encode(image), own.encode(image), atol=1e-4)


@pytest.fixture(scope="module")
def export():
    """An autoencoder with attention and normalization over groups, what it is exported to, and what was said."""
    own, said = random_autoencoder("kl"), []
    return own, export_onnx(own, Session(say=said.append)), said


@pytest.mark.slow
def test_an_autoencoder_is_exported_and_proven(export, tmp_path):
    own, exported, said = export
    assert tuple(exported.graphs) == GRAPHS and len(said) == 3
    assert set(exported.differences) == {
        "decoder image",
        "encoder latent",
        "step gradient",
        "step loss",
        "step image",
        "step losses",
    }
    assert max(exported.differences.values()) < 1e-2
    count = sum(value.numel() for value in own.parameters())
    # float16; the exporter itself flips small tensors, which are then stored twice
    assert len(exported.weights) < 2 * (2.2 * count + 64 * len(list(own.parameters())))
    (tmp_path / FILE).write_bytes(exported.weights)
    for graph in exported.graphs:
        (tmp_path / f"{graph}.onnx").write_bytes(exported.graphs[graph])
    cells = max(16 // own.stride, 3)
    for function in functions(plain_copy(own), (cells, 5 * cells), seed=9):  # a size that the export didn't look at
        require_equal(open_graph(tmp_path / f"{function.name}.onnx"), function, own.name)


@pytest.mark.slow
def test_a_graph_that_computes_something_else_is_refused(export, tmp_path):
    own, exported, _ = export
    (decoder, *_) = functions(plain_copy(own), (6, 7))
    wrong = bytearray(exported.weights)  # those of the decoder come first
    wrong[1000:1400] = bytes(400)
    for content, refused in ((exported.weights, False), (bytes(wrong), True)):
        (tmp_path / FILE).write_bytes(content)
        (tmp_path / "decoder.onnx").write_bytes(exported.graphs["decoder"])
        graph = open_graph(tmp_path / "decoder.onnx")
        if refused:
            with pytest.raises(
                WeightsError, match=r"exported decoder of .* is wrong: for an input of 6 × 7, its image"
            ):
                require_equal(graph, decoder, own.name)
        else:
            assert require_equal(graph, decoder, own.name)["image"] < 1e-5


def test_a_result_that_is_no_number_is_refused(monkeypatch):
    class Broken:
        def run(self, names, inputs):
            return [float("nan") * functions(own, (6, 7))[0].call(*map(torch.from_numpy, inputs.values())).numpy()]

    own = plain_copy(random_autoencoder("kl"))
    with pytest.raises(WeightsError, match="differs from torch's by nan"):
        require_equal(Broken(), functions(own, (6, 7))[0], own.name)
    assert CHECKED[0] < CHECKED[1] < CHECKED[2]


def test_a_result_of_another_shape_is_refused():
    own = plain_copy(random_autoencoder("kl"))
    decoder = functions(own, (6, 7))[0]

    class Smaller:
        def run(self, names, inputs):
            return [decoder.call(*map(torch.from_numpy, inputs.values())).detach().numpy()[..., :-1]]

    with pytest.raises(WeightsError, match="differs from torch's by inf"):
        require_equal(Smaller(), decoder, own.name)


def test_what_cannot_be_traced_is_one_sentence(monkeypatch):
    own = random_autoencoder("kl")
    own.model.decode = lambda latent: (_ for _ in ()).throw(NotImplementedError("no such operation"))
    plain = plain_copy(random_autoencoder("kl"))
    plain.model.decode = own.model.decode
    monkeypatch.setattr(export_run, "plain_copy", lambda autoencoder: plain)
    with pytest.raises(
        WeightsError, match=r"decoder of this autoencoder can't be exported: NotImplementedError: no such"
    ):
        export_onnx(own)


def test_a_session_that_is_stopped_ends_the_export():
    session = Session()
    session.stop()
    with pytest.raises(Interrupted, match="Stopped"):
        export_onnx(random_autoencoder("kl"), session)


@pytest.mark.slow
def test_a_session_that_is_stopped_at_the_last_graph_does_not_check_them():
    session = Session(lambda line: session.stop() if line == "Exporting the step." else None)
    with pytest.raises(Interrupted, match="Stopped"):
        export_onnx(random_autoencoder("kl"), session)


def test_weights_of_several_graphs_are_stored_once():
    onnx = pytest.importorskip("onnx")
    values = torch.randn(10, 20).half().float().numpy()
    inexact = torch.randn(10, 20).numpy()

    def model(*tensors):
        constants = [onnx.numpy_helper.from_array(each, f"t{number}") for number, each in enumerate(tensors)]
        return onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], constants))

    file, first, second = WeightsFile(), model(values, inexact), model(values)
    file.move_weights(first)
    size = len(file.content)
    file.move_weights(second)
    assert len(file.content) == size == 2 * 200 + (-400 % 64) + 4 * 200
    half, whole = first.graph.initializer
    assert (half.data_type, whole.data_type) == (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT)
    assert [node.op_type for node in first.graph.node] == ["Cast"] and list(first.graph.node[0].output) == ["t0"]
    places = [{each.key: each.value for each in tensor.external_data} for tensor in (half, second.graph.initializer[0])]
    assert places[0] == places[1] == {"location": FILE, "offset": "0", "length": "400"}
