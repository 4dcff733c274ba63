"""The nodes for ComfyUI, on a stub of what they use of it."""

import ast
import importlib.util
import inspect
import math
import re
import sys
import types

import diffusers
import numpy as np
import pytest
import tiny_classes
import torch
from test_architecture import ROOT, tomllib

import latentflow
import latentflow.latents
from latentflow import InputError

FOLDER = ROOT / "integrations" / "comfyui"
KINDS = {"IMAGE", "LATENT", "MASK", "VAE", "INT", "FLOAT", "STRING"}
SIZE, STRIDE = 48, 8


class Canceled(Exception):
    """The error that ComfyUI's progress raises when the user cancels."""


class ProgressBar:
    """The bars that were made, with their totals and updates."""

    made: list = []  # noqa: RUF012
    cancel_at = None

    def __init__(self, total):
        self.total, self.current = total, 0
        ProgressBar.made.append(self)

    def update(self, value):
        self.current += value
        if self.current == ProgressBar.cancel_at:
            raise Canceled


class VAE:
    """ComfyUI's interface of a VAE, on functions of pictures (n, 3, h, w): it crops around the center, counts its
    calls, works in inference mode alone, and may run out of memory."""

    def __init__(self, encode, decode, stride):
        self.functions, self.stride = (encode, decode), stride
        self.calls, self.fail_at = [], None

    def _called(self, name):
        assert torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
        self.calls.append(name)
        if len(self.calls) == self.fail_at:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    def crop(self, pixels):
        for dim in (1, 2):
            rest = pixels.shape[dim] % self.stride
            pixels = pixels.narrow(dim, rest // 2, pixels.shape[dim] - rest)
        return pixels

    def encode(self, pixels):
        self._called("encode")
        assert pixels.ndim == 4 and pixels.shape[-1] == 3
        return self.functions[0](self.crop(pixels).permute(0, 3, 1, 2)).clone()

    def decode(self, samples):
        self._called("decode")
        return self.functions[1](samples).clamp(0, 1).movedim(1, -1)


@pytest.fixture
def nodes(monkeypatch):
    """The nodes by name, imported as ComfyUI imports a folder, and their names in its menu."""
    comfy, utils = types.ModuleType("comfy"), types.ModuleType("comfy.utils")
    comfy.utils, utils.ProgressBar = utils, ProgressBar
    monkeypatch.setitem(sys.modules, "comfy", comfy)
    monkeypatch.setitem(sys.modules, "comfy.utils", utils)
    monkeypatch.setattr(ProgressBar, "made", [])
    monkeypatch.setattr(ProgressBar, "cancel_at", None)
    name = "custom_nodes_latentflow"
    spec = importlib.util.spec_from_file_location(
        name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    package = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, package)
    spec.loader.exec_module(package)
    yield package
    for each in [each for each in sys.modules if each.startswith(f"{name}.")]:
        del sys.modules[each]


@pytest.fixture
def run(nodes):
    """Run a node as a graph does, in inference mode: run("VAE Encode (faithful)", pixels=…) → its outputs."""
    by_title = {title: nodes.NODE_CLASS_MAPPINGS[key] for key, title in nodes.NODE_DISPLAY_NAME_MAPPINGS.items()}

    @torch.inference_mode()
    def call(title, **inputs):
        node = by_title[title]
        types_ = node.INPUT_TYPES()
        assert set(types_["required"]) <= set(inputs) <= set(types_["required"]) | set(types_.get("optional", {}))
        outputs = getattr(node(), node.FUNCTION)(**inputs)
        assert isinstance(outputs, tuple) and len(outputs) == len(node.RETURN_TYPES)
        for kind, value in zip(node.RETURN_TYPES, outputs):
            check(kind, value)
        return outputs

    return call


def check(kind, value):
    if kind == "LATENT":
        assert isinstance(value, dict) and value["samples"].dtype == torch.float32
    elif kind == "IMAGE":
        assert value.ndim == 4 and value.shape[-1] == 3 and 0 <= float(value.min()) <= float(value.max()) <= 1
    else:
        assert type(value) is {"FLOAT": float, "STRING": str}[kind]


@pytest.fixture
def vae(autoencoder):
    return VAE(autoencoder.encode, autoencoder.decode, STRIDE)


@pytest.fixture
def video_vae():
    """A Qwen-Image VAE of random weights, which takes a batch of pictures for the frames of one video."""
    torch.manual_seed(0)
    model = diffusers.AutoencoderKLQwenImage(**tiny_classes.CLASSES["AutoencoderKLQwenImage"]).eval()
    return VAE(
        lambda frames: model.encode(frames.movedim(0, 1)[None] * 2 - 1).latent_dist.mode(),
        lambda samples: model.decode(samples).sample / 2 + 0.5,
        2,
    )


def pixels(count=2, height=SIZE, width=SIZE):
    """Pictures (n, h, w, 3) of waves of two colors."""
    y, x = torch.meshgrid(torch.arange(height) / 9, torch.arange(width) / 7, indexing="ij")
    waves = [torch.stack([(x + n).sin(), (y * (n + 1)).cos(), (x - y).sin()], dim=-1) for n in range(count)]
    return torch.stack(waves) / 2 + 0.5


def disc(soft=False):
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    distance = ((x - 12) ** 2 + (y - 14) ** 2).float().sqrt()
    return ((12 - distance) / 6).clamp(0, 1)[None] if soft else (distance < 9).float()[None]


def touched(mask, stride=STRIDE):
    """Cells with a pixel in them, or in one of the eight cells around, that is gray or differs from a pixel beside."""
    values = mask.numpy()
    around = np.pad(values, 1, mode="edge")
    edge = (values > 0) & (values < 1)
    for row in range(3):
        for column in range(3):
            edge |= around[row : row + SIZE, column : column + SIZE] != values
    count = SIZE // stride
    cells = np.pad(edge.reshape(count, stride, count, stride).any((1, 3)), 1)
    near = [cells[row : row + count, column : column + count] for row in range(3) for column in range(3)]
    return torch.from_numpy(np.any(near, axis=0))


def psnr(one, two):
    return -10 * math.log10(float((one - two).double().square().mean()))


def test_every_node_says_what_it_takes_and_gives(nodes):
    classes, titles = nodes.NODE_CLASS_MAPPINGS, nodes.NODE_DISPLAY_NAME_MAPPINGS
    assert set(classes) == set(titles) and len(set(titles.values())) == 5
    for node in classes.values():
        inputs = {name: kind for group in node.INPUT_TYPES().values() for name, kind in group.items()}
        assert set(node.INPUT_TYPES()) <= {"required", "optional"}
        assert all(isinstance(kind[0], list) or kind[0] in KINDS for kind in inputs.values())
        assert isinstance(node.RETURN_TYPES, tuple) and set(node.RETURN_TYPES) <= KINDS
        assert len(getattr(node, "RETURN_NAMES", node.RETURN_TYPES)) == len(node.RETURN_TYPES)
        assert node.CATEGORY == "latentflow" and node.DESCRIPTION
        assert list(inspect.signature(getattr(node, node.FUNCTION)).parameters) == ["self", *inputs]


def test_the_nodes_use_what_is_public():
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("latentflow"):
                public = {"latentflow": latentflow.__all__, "latentflow.latents": latentflow.latents.__all__}
                assert {each.name for each in node.names} <= set(public[node.module]), path
            elif isinstance(node, ast.Import):
                assert not [each for each in node.names if each.name.startswith("latentflow.")], path


def test_the_folder_is_described_as_comfyui_wants_it():
    described = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))
    project, comfy = described["project"], described["tool"]["comfy"]
    assert re.fullmatch(r"[A-Za-z](?:[._-]?[A-Za-z0-9])*", project["name"]) and len(project["name"]) < 100
    assert project["version"] == latentflow.__version__ and re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["dependencies"] == [f"latentflow>={latentflow.__version__}"]
    assert set(comfy) == {"PublisherId", "DisplayName", "Icon"}
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", page):
        assert (FOLDER / link).exists(), link


def test_faithful_latents_are_those_of_the_library(run, vae, autoencoder):
    image = pixels(2, SIZE + 6, SIZE + 3)
    latent, mean, report = run("VAE Encode (faithful)", pixels=image, vae=vae, steps=3)
    cropped = image[:, 3 : 3 + SIZE, 1 : 1 + SIZE].permute(0, 3, 1, 2)  # 54 and 51: six and three pixels are too many
    expected = autoencoder.encode(cropped, refine=3)
    torch.testing.assert_close(latent["samples"], expected, atol=1e-5, rtol=1e-5)
    assert vae.calls.count("encode") == vae.calls.count("decode") == 4  # one pass each more than steps
    assert [(bar.total, bar.current) for bar in ProgressBar.made] == [(3, 3)]
    after = [psnr(autoencoder.decode(each[None]).detach().clamp(0, 1), x[None]) for each, x in zip(expected, cropped)]
    own = autoencoder.encode(cropped)
    before = [psnr(autoencoder.decode(each[None]).detach().clamp(0, 1), x[None]) for each, x in zip(own, cropped)]
    assert mean == pytest.approx(sum(after) / 2, abs=1e-3)
    lines = re.findall(r"^(\d): ([\d.]+) dB → ([\d.]+) dB$", report, re.MULTILINE)
    assert [line[0] for line in lines] == ["1", "2"]
    assert [float(line[1]) for line in lines] == pytest.approx(before, abs=0.011)
    assert [float(line[2]) for line in lines] == pytest.approx(after, abs=0.011)
    assert min(new - old for new, old in zip(after, before)) > 0.05


def test_no_steps_are_vae_encode(run, vae):
    image = torch.cat([pixels(2), torch.ones(2, SIZE, SIZE, 1)], dim=-1)  # with an alpha channel
    latent, _, report = run("VAE Encode (faithful)", pixels=image, vae=vae, steps=0)
    with torch.inference_mode():
        assert torch.equal(latent["samples"], vae.encode(image[..., :3]))
    assert "after 0 steps" in report and sum(bar.current for bar in ProgressBar.made) == 0


@pytest.mark.parametrize("soft", [False, True])
def test_a_composite_moves_what_the_edge_touches(run, vae, autoencoder, soft):
    top, bottom = (autoencoder.encode(each[None].permute(0, 3, 1, 2)) for each in pixels(2))
    mask = disc(soft)
    noise = torch.rand(1, 1, SIZE, SIZE)
    given = {"samples": bottom, "noise_mask": noise, "batch_index": [7], "kept": "yes"}
    (made,) = run("Latent Composite (exact)", top={"samples": top}, bottom=given, mask=mask, vae=vae, steps=4)
    moved = touched(mask[0])
    inside = mask[0].reshape(6, STRIDE, 6, STRIDE).mean((1, 3)) > 0.5
    fixed = torch.where(inside, top, bottom)
    assert 0 < int(moved.sum()) < 36
    assert torch.equal(made["samples"][..., ~moved], fixed[..., ~moved])
    assert not torch.equal(made["samples"][..., moved], fixed[..., moved])
    assert made["noise_mask"] is noise and made["batch_index"] == [7] and made["kept"] == "yes"
    assert set(given) == {"samples", "noise_mask", "batch_index", "kept"} and given["samples"] is bottom
    assert [(bar.total, bar.current) for bar in ProgressBar.made] == [(4, 4)]
    shown = [autoencoder.decode(each).detach().clamp(0, 1) for each in (top, bottom, made["samples"], fixed)]
    mixture = mask * shown[0] + (1 - mask) * shown[1]
    share = mask[0].reshape(6, STRIDE, 6, STRIDE).mean((1, 3))
    interpolated = autoencoder.decode(share * top + (1 - share) * bottom).detach().clamp(0, 1)
    assert psnr(shown[2], mixture) > psnr(interpolated, mixture) + 1
    assert psnr(shown[2], mixture) > psnr(shown[3], mixture) + 1


def test_masks_without_edges_choose_and_batches_are_repeated(run, vae):
    one, two = torch.randn(1, 4, 6, 6), torch.randn(3, 4, 6, 6)
    one, two = ({"samples": each, "batch_index": list(range(len(each)))} for each in (one, two))
    white = torch.ones(1, 20, 20)  # of another size than the pictures
    (made,) = run("Latent Composite (exact)", top=one, bottom=two, mask=white, vae=vae, steps=3)
    assert torch.equal(made["samples"], one["samples"].repeat(3, 1, 1, 1)) and made["batch_index"] == [0, 1, 2]
    (made,) = run("Latent Composite (exact)", top=two, bottom=one, mask=0 * white, vae=vae, steps=3)
    assert torch.equal(made["samples"], one["samples"].repeat(3, 1, 1, 1)) and made["batch_index"] == [0, 0, 0]
    assert vae.calls.count("encode") == 0
    masks = torch.stack([torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE), disc()[0]])
    (made,) = run("Latent Composite (exact)", top=one, bottom=two, mask=masks, vae=vae, steps=1)
    assert torch.equal(made["samples"][:2], torch.cat([two["samples"][:1], one["samples"]]))
    assert torch.isfinite(made["samples"]).all()


def test_a_walk_goes_from_one_latent_to_the_other(run):
    generator = torch.Generator().manual_seed(0)
    first, last = (torch.randn(2, 4, 3, 5, generator=generator) for _ in range(2))
    noise = torch.rand(2, 1, 24, 40)
    a = {"samples": first, "noise_mask": noise, "batch_index": [3, 5], "kept": 1}
    (made,) = run("Latent Walk", a=a, b={"samples": last}, frames=3, method="lerp")
    expected = [first[0], (first[0] + last[0]) / 2, last[0], first[1], (first[1] + last[1]) / 2, last[1]]
    torch.testing.assert_close(made["samples"], torch.stack(expected))
    assert torch.equal(made["noise_mask"], noise[[0, 0, 0, 1, 1, 1]])
    assert made["batch_index"] == [3, 3, 3, 5, 5, 5] and made["kept"] == 1
    (made,) = run("Latent Walk", a=a, b={"samples": last[:1]}, frames=5, method="slerp")
    samples = made["samples"]
    assert torch.equal(samples[[0, 5]], first) and torch.equal(samples[[4, 9]], last[[0, 0]])
    norms = samples.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms[:5], torch.lerp(norms[0], norms[4], torch.linspace(0, 1, 5)))


def test_channels_are_gray_pictures(run):
    ramp = torch.tensor([[-1.0, 1.0], [-1.0, 1.0]])  # mean 0, deviation 1: a sixth below and above the middle
    spike = torch.zeros(2, 2).index_put((torch.tensor(0), torch.tensor(0)), torch.tensor(4.0))  # mean 1, deviation √3
    (maps,) = run(
        "Latent Channels", latent={"samples": torch.stack([10 + 5 * ramp, torch.full((2, 2), 3.0), spike])[None]}
    )
    assert maps.shape == (3, 2, 2, 3) and torch.equal(maps[..., 0], maps[..., 2])
    torch.testing.assert_close(maps[0, ..., 0], 0.5 + ramp / 6)
    torch.testing.assert_close(maps[1, ..., 0], torch.full((2, 2), 0.5))
    low, high = 0.5 - 1 / (6 * 3**0.5), 0.5 + 3 / (6 * 3**0.5)
    torch.testing.assert_close(maps[2, ..., 0], torch.tensor([[high, low], [low, low]]))


@pytest.mark.parametrize("is_video", [False, True])
def test_factors_are_found_again(run, is_video):
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(2, 4, 6, 5, generator=generator)
    true = torch.randn(4, 3, generator=generator) / 20
    bias = torch.tensor([0.1, -0.2, 0.05])
    scale, shift = 0.5, 0.25
    colors = ((samples - shift) * scale).movedim(1, -1) @ true + bias  # in [-1, 1]
    image = (colors / 2 + 0.5).repeat_interleave(8, 1).repeat_interleave(8, 2)
    latent = {"samples": samples[:, :, None] if is_video else samples}
    preview, text = run("Latent → RGB factors", latent=latent, image=image, scale_factor=scale, shift_factor=shift)
    found: dict = {}
    exec(text, found)
    assert np.abs(np.array(found["latent_rgb_factors"]) - true.numpy()).max() < 1e-4
    assert np.abs(np.array(found["latent_rgb_factors_bias"]) - bias.numpy()).max() < 1e-4
    torch.testing.assert_close(preview, colors / 2 + 0.5, atol=1e-5, rtol=0)
    assert text.startswith("# RMS error: 0.0 gray levels\n")
    with pytest.raises(InputError, match="`latent` has 2 pictures, but `image` has 1"):
        run("Latent → RGB factors", latent=latent, image=image[:1])


def test_a_graph_runs(run, vae):
    one, two = (run("VAE Encode (faithful)", pixels=each[None], vae=vae, steps=1)[0] for each in pixels(2))
    (walk,) = run("Latent Walk", a=one, b=two, frames=4, method="slerp")
    (joined,) = run("Latent Composite (exact)", top=walk, bottom=two, mask=disc(), vae=vae, steps=2)
    (maps,) = run("Latent Channels", latent=joined)
    assert len(joined["samples"]) == 4 and len(maps) == 4 * joined["samples"].shape[1]
    with torch.inference_mode():
        shown = vae.decode(joined["samples"])
    preview, text = run("Latent → RGB factors", latent=joined, image=shown)
    assert preview.shape == (4, 6, 6, 3) and float(re.search(r"error: ([\d.]+)", text)[1]) < 40
    assert [(bar.total, bar.current) for bar in ProgressBar.made] == [(1, 1), (1, 1), (2, 2)]


def test_latents_of_video_autoencoders(run, video_vae):
    image = pixels(1)
    plain, before, _ = run("VAE Encode (faithful)", pixels=image, vae=video_vae, steps=0)
    latent, after, _ = run("VAE Encode (faithful)", pixels=image, vae=video_vae, steps=3)
    assert plain["samples"].shape == latent["samples"].shape == (1, 4, 1, 24, 24) and after >= before
    with torch.inference_mode():
        assert torch.equal(plain["samples"], video_vae.encode(image))
        shown = video_vae.decode(latent["samples"])[:, 0]
    assert after == pytest.approx(psnr(shown, image), abs=1e-3)
    (walk,) = run("Latent Walk", a=latent, b={"samples": -latent["samples"]}, frames=3, method="lerp")
    assert walk["samples"].shape == (3, 4, 1, 24, 24)
    (made,) = run("Latent Composite (exact)", top=walk, bottom=plain, mask=disc(), vae=video_vae, steps=2)
    still = ~touched(disc()[0], 2)
    inside = disc()[0].reshape(24, 2, 24, 2).mean((1, 3)) > 0.5
    fixed = torch.where(inside, walk["samples"], plain["samples"])
    assert torch.equal(made["samples"][..., still], fixed[..., still])
    (maps,) = run("Latent Channels", latent=made)
    assert maps.shape == (12, 24, 24, 3)


def test_frames_of_a_video_are_refined_together(run, video_vae):
    frames = pixels(6)  # the sixth completes no group of four after the first
    latent, after, report = run("VAE Encode (faithful)", pixels=frames, vae=video_vae, steps=1)
    with torch.inference_mode():
        shown = video_vae.decode(latent["samples"])
    assert latent["samples"].shape[0] == 1 and shown.shape[1] == 5 and report.count("→") == 1
    assert after == pytest.approx(psnr(shown[0], frames[:5]), abs=1e-3)


@pytest.mark.parametrize("fail_at", [1, 2, 3, 4])
@pytest.mark.parametrize("title", ["VAE Encode (faithful)", "Latent Composite (exact)"])
def test_out_of_memory_reaches_comfyui(run, vae, title, fail_at):
    latents = [{"samples": torch.randn(1, 4, 6, 6)} for _ in range(2)]
    inputs = {"pixels": pixels(1), "vae": vae, "steps": 2}
    if title != "VAE Encode (faithful)":
        inputs = {"top": latents[0], "bottom": latents[1], "mask": disc(), "vae": vae, "steps": 2}
    copies = [each["samples"].clone() for each in latents]
    expected = run(title, **inputs)[0]["samples"]
    vae.calls, vae.fail_at = [], fail_at
    with pytest.raises(torch.cuda.OutOfMemoryError, match=r"^CUDA out of memory$"):
        run(title, **inputs)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert all(torch.equal(each["samples"], copy) for each, copy in zip(latents, copies))
    vae.fail_at = None
    assert torch.equal(run(title, **inputs)[0]["samples"], expected)


def test_cancel_ends_a_refinement(run, vae, monkeypatch):
    monkeypatch.setattr(ProgressBar, "cancel_at", 2)
    with pytest.raises(Canceled):
        run("VAE Encode (faithful)", pixels=pixels(1), vae=vae, steps=5)
    assert vae.calls.count("decode") == 3


def test_what_is_no_picture_or_does_not_fit_is_refused(run, vae):
    with pytest.raises(InputError, match="`latent` isn't a latent of pictures"):
        run("Latent Channels", latent={"samples": torch.zeros(1, 8, 100)})
    one, two = {"samples": torch.zeros(1, 4, 2, 2)}, {"samples": torch.zeros(1, 4, 3, 2)}
    with pytest.raises(InputError, match=r"`a` has the shape \(1, 4, 2, 2\), but `b` has \(1, 4, 3, 2\)\. Encode both"):
        run("Latent Walk", a=one, b=two, frames=3, method="slerp")
    with pytest.raises(InputError, match="`top` has the shape"):
        run("Latent Composite (exact)", top=one, bottom=two, mask=torch.ones(1, 8, 8), vae=vae, steps=1)
