"""Masks: what is white counts, in the loss, in the figures that are shown and in those that are written."""

import json
from math import log10

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import latentflow
from latentflow.base.errors import InputError
from latentflow.models.autoencoder import Autoencoder

QUICK = ("--weights", "bundled", "--size", 64, "--steps", 12, "--seed", 1, "--quiet")
BOX = (16, 8, 39, 31)  # of a picture of 64 × 48, columns and rows inclusive


@pytest.fixture
def files(tmp_path, photo):
    """A picture of 128 × 96, a mask for it, and the same picture with other colors outside of the mask."""
    picture = Image.open(photo).convert("RGB").resize((128, 96))
    mask = Image.new("L", (128, 96), 0)
    ImageDraw.Draw(mask).rectangle([2 * BOX[0], 2 * BOX[1], 2 * BOX[2] + 1, 2 * BOX[3] + 1], fill=255)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))
    picture.save(tmp_path / "cat.png")
    mask.save(tmp_path / "mask.png")
    Image.composite(picture, noise, mask).save(tmp_path / "other.png")
    return tmp_path


def psnr_within(path, target):
    """PSNR of the box of a saved picture."""
    box = (BOX[0], BOX[1], BOX[2] + 1, BOX[3] + 1)
    pictures = [
        Image.open(each).convert("RGB").resize((64, 48), Image.Resampling.LANCZOS).crop(box) for each in (path, target)
    ]
    one, two = (np.asarray(each, dtype=float) / 255 for each in pictures)
    return -10 * log10(((one - two) ** 2).mean())


@pytest.mark.parametrize("method", ["gradient", "hybrid"])
def test_the_picture_within_the_mask_comes_nearer_and_the_figures_are_of_it(invoke, files, method):
    reports = {}
    for name, option in (("plain", ()), ("masked", ("--mask", "mask.png"))):
        outputs = ("--output_path", f"{name}.gif", "--save_image", f"{name}.png", "--json", "--method", method)
        code, out, err = invoke("--image_path", "cat.png", *QUICK, *outputs, *option)
        assert code == 0, err
        reports[name] = json.loads(out)
    within = {name: psnr_within(files / f"{name}.png", files / "cat.png") for name in reports}
    assert within["masked"] > within["plain"] + 0.5
    # as near as gray along the edges leaves it
    assert reports["masked"]["metrics"]["psnr"] == pytest.approx(within["masked"], abs=0.25)
    assert reports["masked"]["mask_share"] == pytest.approx(24 * 24 / (64 * 48), rel=0.02)
    written = json.loads((files / "masked.gif.manifest.json").read_text())
    assert written["options"]["mask"] == str(files / "mask.png") and len(written["mask"]["sha256"]) == 64
    assert written["result"]["metrics"] == reports["masked"]["metrics"]


def test_the_summary_says_what_the_figures_are_of(invoke, files):
    code, out, err = invoke("--image_path", "cat.png", *QUICK, "--mask", "mask.png")
    assert code == 0 and "mask     mask.png: loss and figures are of 18.8% of the picture" in out, err


@pytest.mark.parametrize("method", ["gradient", "hybrid"])
def test_a_loss_of_pixels_does_not_see_the_target_outside_of_the_mask(files, method):
    """At the size of the files, so that no pixel is mixed of both sides; the way to the gradient is gradient-free in
    hybrid, which encodes the target's outside too, and ends as near."""
    options = {"size": 128, "steps": 6, "seed": 1, "method": method, "mask": files / "mask.png", "vae": "bundled"}
    one, two = (latentflow.invert(files / name, **options).result() for name in ("cat.png", "other.png"))
    if method == "gradient":
        assert torch.equal(one.image, two.image) and one.metrics["psnr"] == two.metrics["psnr"]
    assert one.metrics["psnr"] == pytest.approx(two.metrics["psnr"], abs=1)


def test_gradient_free_does_not_move_for_what_is_outside(autoencoder: Autoencoder):
    """Where the picture is the target within the mask, there is nothing left to do."""
    with torch.no_grad():
        inside, outside = (autoencoder.decode(torch.randn(1, 4, 8, 8)).clamp(0, 1) for _ in range(2))
        mask = torch.zeros(1, 1, 64, 64)
        mask[..., :32] = 1
        latent = autoencoder.encode(inside)
        target = mask * autoencoder.decode(latent) + (1 - mask) * outside
        objective = latentflow.Objective("mse", target, mask=mask)
        *_, last = latentflow.optimize(autoencoder, objective, latent, steps=2, method="gradient_free", lr=1)
    assert float((last.latent - latent).abs().max()) < 1e-4
    assert float(last.psnr[0]) > 60


def test_a_mask_lies_on_the_picture_as_it_is_fitted(files):
    """Cropped, distorted and scaled as the picture is, whatever its own size."""
    Image.open(files / "mask.png").resize((64, 48), Image.Resampling.NEAREST).save(files / "small.png")
    marked = Image.composite(
        Image.new("RGB", (128, 96), "white"), Image.new("RGB", (128, 96)), Image.open(files / "mask.png")
    )
    for fit in ("contain", "cover", "stretch"):
        for name in ("mask.png", "small.png"):
            run = latentflow.invert(marked, size=80, fit=fit, steps=1, mask=files / name, vae="bundled")
            assert run.target.mask.shape[-2:] == run.target.image.shape[-2:]
            far = (run.target.mask - run.target.image[:, :1]).abs() > 0.5
            assert not far.any(), (fit, name)
            assert float(run.target.mask[0, 0, 0, 0]) == 0, "no ringing beyond the edge"


def test_masks_in_memory(files):
    read = latentflow.read_image(files / "mask.png").image
    array = np.array(read.convert("L"))
    forms = [read, array, array > 127, torch.from_numpy(array > 127), torch.from_numpy(array)[None] / 255]
    masks = [latentflow.invert(files / "cat.png", size=64, mask=form, vae="bundled").target.mask for form in forms]
    assert all(torch.equal(each, masks[0]) for each in masks)


def test_what_is_transparent_does_not_count(files):
    mask = Image.open(files / "mask.png")
    white = Image.new("RGBA", mask.size, "white")
    white.putalpha(mask)
    white.save(files / "cutout.png")
    one, two = (
        latentflow.invert(files / "cat.png", size=64, mask=files / name, vae="bundled").target.mask
        for name in ("mask.png", "cutout.png")
    )
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: Image.new("L", (128, 96)).save(path), "is black everywhere: no pixel would count"),
        (lambda path: Image.new("L", (96, 128), 255).save(path), "is 96 × 128, but the image is 128 × 96"),
        (lambda path: path.write_bytes(b"no picture"), "is not an image that can be read"),
        (lambda path: None, "does not exist"),
    ],
)
def test_a_mask_that_is_none_is_one_line(invoke, files, make, message):
    make(files / "wrong.png")
    code, _, err = invoke("--image_path", "cat.png", *QUICK, "--mask", "wrong.png")
    assert code == 2 and err.startswith("latentflow: --mask wrong.png") and message in err and err.count("\n") == 1
    assert not list(files.glob("grad_result*"))


def test_compare_counts_what_the_mask_keeps(invoke, files):
    code, out, err = invoke(
        *("compare", "--image_path", "cat.png", "--losses", "mse,l1,ssim", *QUICK, "--mask", "{stem}.mask.png")
    )
    assert code == 2 and "cat.mask.png does not exist" in err
    (files / "mask.png").rename(files / "cat.mask.png")
    arguments = ("compare", "--image_path", "cat.png", "--losses", "mse,l1,ssim", *QUICK, "--mask", "{stem}.mask.png")
    code, out, err = invoke(*arguments, "--json")
    assert code == 0, err
    report = json.loads(out)
    mse, psnr = report["runs"]["mse"]["loss_last"], report["runs"]["mse"]["metrics"]["psnr"]
    assert psnr == pytest.approx(-10 * log10(mse), abs=0.2)  # the loss is of the region as the figure is
    assert report["mask_share"] == pytest.approx(24 * 24 / (64 * 48), rel=0.02)


def test_batch_takes_a_mask_for_each_image(invoke, files):
    (files / "in").mkdir()
    (files / "masks").mkdir()
    for name in ("one", "two"):
        (files / "in" / f"{name}.png").write_bytes((files / "cat.png").read_bytes())
    mask = Image.open(files / "mask.png")
    mask.save(files / "masks" / "one.png")
    arguments = ("batch", "in", "--output_dir", "out", *QUICK, "--mask", "masks/{stem}.png", "--json")
    code, out, err = invoke(*arguments)
    table = [json.loads(line) for line in (files / "out" / "batch.jsonl").read_text().splitlines()]
    assert code == 1 and [row["status"] for row in table] == ["done", "failed"]
    assert "masks/two.png does not exist" in table[1]["error"]
    mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(files / "masks" / "two.png")
    code, out, err = invoke(*arguments)
    assert code == 0 and json.loads(out)["skipped"] == 1, err
    runs = [json.loads((files / "out" / f"{name}.png.gif.manifest.json").read_text()) for name in ("one", "two")]
    assert [run["options"]["mask"] for run in runs] == [str(files / "masks" / f"{name}.png") for name in ("one", "two")]
    assert runs[0]["mask"] != runs[1]["mask"]
    mask.save(files / "masks" / "two.png")  # another mask under the same name: only that image is done again
    code, out, err = invoke(*arguments)
    assert code == 0 and (json.loads(out)["done"], json.loads(out)["skipped"]) == (1, 1), err


def test_images_together_have_the_result_of_each_alone(invoke, files):
    (files / "in").mkdir()
    for name in ("cat.png", "other.png"):
        (files / "in" / name).write_bytes((files / name).read_bytes())
    shared = ("batch", "in", *QUICK, "--mask", "mask.png")
    for count in (1, 2):
        code, _, err = invoke(*shared, "--output_dir", f"out{count}", "--batch_size", count)
        assert code == 0, err
    one, two = (
        [json.loads(line)["psnr"] for line in (files / f"out{count}" / "batch.jsonl").read_text().splitlines()]
        for count in (1, 2)
    )
    assert one == pytest.approx(two, abs=0.01)


def test_a_repeated_or_resumed_run_needs_the_same_mask(invoke, files):
    arguments = ("--image_path", "cat.png", *QUICK, "--output_path", "a.gif", "--mask", "mask.png")
    assert invoke(*arguments)[0] == 0
    code, _, err = invoke("--from_manifest", "a.gif.manifest.json", "--output_path", "b.gif", "--quiet")
    assert code == 0 and (files / "a.gif").read_bytes() == (files / "b.gif").read_bytes(), err
    Image.new("L", (128, 96), 255).save(files / "mask.png")
    code, _, err = invoke("--from_manifest", "a.gif.manifest.json", "--output_path", "c.gif", "--quiet")
    assert code == 2 and "is not the mask of the manifest" in err


def test_a_mask_in_python_is_checked(files):
    with pytest.raises(InputError, match="`mask` is a path, a PIL picture"):
        latentflow.invert(files / "cat.png", mask=3)
    with pytest.raises(InputError, match="`mask` is black everywhere"):
        latentflow.invert(files / "cat.png", size=64, mask=np.zeros((96, 128), dtype=bool), vae="bundled")
