"""composite: one latent of several pictures under masks."""

import json

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import load_file

import latentflow
from latentflow import InputError, load_autoencoder, to_tensor
from latentflow.explore.composite import make_composite
from latentflow.explore.config import RefineOptions

BUNDLED = ("--weights", "bundled", "--dtype", "float32", "--size", 96, "--fit", "cover")
SIZE, STRIDE = 96, 8


@pytest.fixture(scope="module")
def bundled():
    return load_autoencoder("bundled")


@pytest.fixture(scope="module")
def layers(bundled):
    pictures = [Image.open(ROOT / "examples" / f"{name}.png").convert("RGB") for name in ("cat", "spheres")]
    squares = torch.cat([to_tensor(latentflow.fit(each, SIZE, "cover")) for each in pictures])
    return bundled.encode(squares, refine=2)


def disc(blur=4, inside=255, outside=0):
    mask = Image.new("L", (SIZE, SIZE), outside)
    ImageDraw.Draw(mask).ellipse((24, 16, 64, 60), fill=inside)
    return mask.filter(ImageFilter.GaussianBlur(blur)) if blur else mask


def weights(mask):
    return to_tensor(mask.convert("RGB"))[:, :1]


def mixed(bundled, layers, mask):
    """The pictures, mixed by hand."""
    top, below = (bundled.decode(each, (SIZE, SIZE)).detach().clamp(0, 1) for each in layers.split(1))
    return mask * top + (1 - mask) * below


def touched(mask):
    """Cells with a pixel in them, or in one of the eight cells around, that is gray or differs from a pixel beside."""
    values = mask[0, 0].numpy()
    around = np.pad(values, 1, mode="edge")
    shifted = [around[r : r + SIZE, c : c + SIZE] for r in range(3) for c in range(3)]
    edge = np.any([each != values for each in shifted], axis=0) | ((values > 0) & (values < 1))
    count = SIZE // STRIDE
    cells = np.pad(edge.reshape(count, STRIDE, count, STRIDE).any((1, 3)), 1)
    return sum(cells[r : r + count, c : c + count].astype(int) for r in range(3) for c in range(3)) > 0


@pytest.mark.parametrize("blur", [0, 4])
def test_cells_that_no_edge_touches_keep_every_bit(bundled, layers, blur):
    mask = weights(disc(blur))
    made = make_composite(bundled, layers, mask, RefineOptions(refine="gradient:2"))
    moved = torch.from_numpy(touched(mask))
    center = mask[0, 0, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE] > 0.5
    fixed = torch.where(center, layers[0], layers[1])
    assert 0 < made.moved == int(moved.sum()) < moved.numel()
    assert torch.equal(made.latent[0][:, ~moved], fixed[:, ~moved])
    assert not torch.equal(made.latent[0][:, moved], fixed[:, moved])
    torch.testing.assert_close(made.picture, bundled.decode(made.latent, (SIZE, SIZE)).detach())


@pytest.mark.parametrize("blur", [0, 4])
def test_the_band_is_nearer_than_interpolated_and_encoded(bundled, layers, blur):
    mask = weights(disc(blur))
    made = make_composite(bundled, layers, mask, RefineOptions(refine="gradient:10"))
    target = mixed(bundled, layers, mask)
    assert made.error < made.encoded < made.interpolated
    assert made.error < 0.85 * made.interpolated
    between = (mask > 0) & (mask < 1) if blur else None
    if between is not None:  # and the pixels beside it, which differ from their neighbors
        error = (255 * (made.picture.clamp(0, 1) - target))[between.expand_as(target)].square().mean().sqrt()
        assert made.error == pytest.approx(float(error), rel=0.1)


def test_a_mask_of_one_gray_leaves_no_cell_alone(bundled, layers):
    made = make_composite(bundled, layers, torch.full((1, 1, SIZE, SIZE), 0.5), RefineOptions(refine="gradient:3"))
    assert made.moved == made.latent[0, 0].numel()
    assert made.error < made.encoded < made.interpolated


@pytest.mark.parametrize(("gray", "layer"), [(1.0, 0), (0.0, 1)])
def test_a_mask_without_an_edge_is_one_of_the_layers(bundled, layers, gray, layer):
    made = make_composite(bundled, layers, torch.full((1, 1, SIZE, SIZE), gray), RefineOptions())
    assert torch.equal(made.latent, layers[layer : layer + 1])
    assert (made.moved, made.error) == (0, None)


def test_the_first_layer_is_on_top(bundled, layers):
    other = torch.zeros_like(layers[:1])
    left, right = torch.zeros(2, 1, 1, SIZE, SIZE).unbind()
    left[..., : SIZE // 2] = 1
    right[..., SIZE // 4 :] = 1
    three = torch.cat([layers[:1], layers[1:], other])
    made = make_composite(bundled, three, torch.cat([left, right]), RefineOptions(refine="0"))
    columns = made.latent[0].unbind(-1)
    assert torch.equal(columns[0], layers[0, ..., 0])  # its edge, at SIZE / 4, is under the first layer
    assert torch.equal(columns[3], layers[0, ..., 3])
    assert torch.equal(columns[-1], layers[1, ..., -1])


def test_masks_of_another_number_or_size_are_refused(bundled, layers):
    for masks in (torch.zeros(2, 1, SIZE, SIZE), torch.zeros(1, 1, SIZE + STRIDE, SIZE)):
        with pytest.raises(InputError, match="2 layers take 1 masks"):
            make_composite(bundled, layers, masks, RefineOptions())


def test_the_command_writes_a_picture_or_a_latent(invoke, tmp_path, bundled):
    disc().save(tmp_path / "mask.png")
    sources = (ROOT / "examples" / "cat.png", ROOT / "examples" / "spheres.png")
    line = ("composite", *sources, "--mask", "mask.png", "--refine", 2, *BUNDLED)
    code, out, err = invoke(*line, "--output_path", "k.png", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert invoke(*line, "--output_path", "k.safetensors")[0] == 0
    latent = load_file(tmp_path / "k.safetensors")["latent"]
    shown = bundled.decode(latent, (SIZE, SIZE)).clamp(0, 1)
    assert float((to_tensor(Image.open(tmp_path / "k.png")) - shown).abs().max()) <= 0.51 / 255
    assert report["cells"] == 144 and 0 < report["moved"] < 144
    assert report["error"] <= report["encoded"]
    code, out, _ = invoke("composite", "k.safetensors", sources[1], "--mask", "mask.png", "--refine", 0, *BUNDLED)
    assert code == 0 and f"cells    {report['moved']} of 144 moved" in out
    mask = Image.open(tmp_path / "mask.png")
    made = latentflow.composite(sources, [mask], vae=bundled, size=SIZE, fit="cover", refine="2")
    torch.testing.assert_close(made.latent, latent)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cat.png",), "2 or more images, saved latents or random:SEED are wanted; 1"),
        (("cat.png", "cat.png"), "--mask: 2 layers take 1 of them, not 0"),
        (("cat.png", "cat.png", "--mask", "mask.png,mask.png"), "2 layers take 1 of them, not 2"),
        (("cat.png", "cat.png", "--mask", "broken.png"), "--mask broken.png is not an image"),
        (("cat.png", "cat.png", "--mask", "none.png"), "--mask none.png does not exist"),
        (("cat.png", "cat.png", "--mask", "wide.png", "--fit", "contain"), "they need one aspect ratio"),
        (("cat.png", "cat.png", "--mask", "mask.png", "--output_path", "k.gif"), "a picture, .png, or a latent"),
        (("cat.png", "cat.png", "--mask", "mask.png", "--refine", "much"), "--refine 'much'"),
        (("cat.png", "cat.png", "--mask", "mask.png", "--output_path", "mask.png"), "in the place of what it is made"),
    ],
)
def test_what_is_wrong_is_one_line(invoke, tmp_path, words, said):
    (tmp_path / "cat.png").write_bytes((ROOT / "examples" / "cat.png").read_bytes())
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    disc().save(tmp_path / "mask.png")
    Image.new("L", (96, 20), 255).save(tmp_path / "wide.png")
    code, out, err = invoke("composite", *BUNDLED, *words)
    assert code == 2 and out == ""
    assert said in err and err.startswith("latentflow: ")
