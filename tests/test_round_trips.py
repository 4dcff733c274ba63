"""encode, decode and cycles: files in, files out, and what round trips do to a picture."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import latentflow
from latentflow import InputError, Interrupted, load_autoencoder, read_image, to_tensor
from latentflow.base.session import Session
from latentflow.explore import to_latents
from latentflow.explore.config import CyclesConfig, EncodeConfig
from latentflow.explore.cycles import ALONE, REFINED, draw_cycle, round_trips

BUNDLED = ("--weights", "bundled", "--dtype", "float32")


@pytest.fixture(scope="module")
def bundled():
    return load_autoencoder("bundled")


@pytest.fixture
def folder(tmp_path):
    """Three pictures of 48 pixels, one of them in a folder of its own, and a file that is none."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, source in (("a.png", "cat"), ("b.jpg", "spheres"), ("deep/a.png", "spheres")):
        Image.open(ROOT / "examples" / f"{source}.png").convert("RGB").resize((48, 40)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "broken.png").write_bytes(b"not a picture")
    return tmp_path


def psnr(shown, picture):
    return float(-10 * torch.log10((shown.clamp(0, 1) - picture).square().mean()))


def pixels(path):
    return to_tensor(Image.open(path))


def items(out):
    return {each["source"]: each for each in json.loads(out)["items"]}


def test_a_folder_is_encoded_and_decoded_past_what_is_broken(invoke, folder, bundled):
    line = ("encode", "in", "--refine", 2, "--output_path", "z/{stem}.safetensors", *BUNDLED)
    code, out, err = invoke(*line, "--json")
    assert code == 1, err
    report = json.loads(out)
    assert (report["done"], report["skipped"], report["left"]) == (3, 0, 0)
    assert list(report["failed"]) == ["broken.png"] and "not an image" in report["failed"]["broken.png"]
    for name, place in (("a.png", "a"), ("b.jpg", "b"), ("deep/a.png", "deep/a")):
        picture, path = pixels(folder / "in" / name), folder / "z" / f"{place}.safetensors"
        latent = load_file(path)["latent"]
        torch.testing.assert_close(latent, bundled.encode(picture, refine=2))
        assert items(out)[name]["psnr"] == pytest.approx(psnr(bundled.decode(latent, (40, 48)), picture), abs=1e-3)
        own = psnr(bundled.decode(bundled.encode(picture), (40, 48)), picture)
        assert items(out)[name]["encoder_psnr"] == pytest.approx(own, abs=1e-3)
    code, _, err = invoke("decode", "z", "--output_path", "p/{stem}.png", *BUNDLED)
    assert code == 0, err
    decoded = bundled.decode(load_file(folder / "z" / "deep" / "a.safetensors")["latent"], (40, 48))
    assert float((pixels(folder / "p" / "deep" / "a.png") - decoded.clamp(0, 1)).abs().max()) <= 0.51 / 255


def test_what_was_made_from_the_same_bytes_is_not_made_again(invoke, folder):
    line = ("encode", "in/a.png", "in/b.jpg", "--output_path", "z/{stem}.npy", *BUNDLED, "--json")
    assert invoke(*line, "--refine", 1)[0] == 0
    first = {path: path.read_bytes() for path in (folder / "z").glob("*.npy")}
    assert len(first) == 2
    report = json.loads(invoke(*line, "--refine", 1)[1])
    assert (report["done"], report["skipped"]) == (0, 2)
    Image.new("RGB", (48, 40), "red").save(folder / "in" / "a.png")
    again = items(invoke(*line, "--refine", 1)[1])
    assert list(again) == ["a.png"]
    assert (folder / "z" / "b.npy").read_bytes() == first[folder / "z" / "b.npy"]
    assert (folder / "z" / "a.npy").read_bytes() != first[folder / "z" / "a.npy"]
    assert len(items(invoke(*line, "--refine", 2)[1])) == 2  # other options are other latents
    (folder / "z" / "b.npy").unlink()
    assert list(items(invoke(*line, "--refine", 2)[1])) == ["b.jpg"]
    assert len(items(invoke(*line, "--refine", 2, "--overwrite")[1])) == 2


def test_a_command_that_is_stopped_goes_on_after_the_last_file(folder, monkeypatch):
    session, made = Session(), []

    def stopping(*given, **options):
        made.append(given)
        if len(made) == 2:
            session.stop("SIGINT")
        return whole(*given, **options)

    whole = to_latents.latent_content
    monkeypatch.setattr(to_latents, "latent_content", stopping)
    monkeypatch.chdir(folder)
    config = EncodeConfig(output_path="z/{name}.npy", refine="0", weights="bundled", dtype="float32")
    sources = ["in/a.png", "in/b.jpg", "in/deep/c.png"]
    (folder / "in" / "deep" / "a.png").rename(folder / "in" / "deep" / "c.png")
    report = to_latents.run_encode(sources, config, session)
    assert "the same command makes the rest" in str(report.error)
    assert (report.figures["done"], report.figures["left"]) == (2, 1)
    report = to_latents.run_encode(sources, config, Session())
    assert report.error is None
    assert [each["output"] for each in report.figures["items"]] == ["z/c.png.npy"]
    assert len(made) == 3
    stopped = Session()
    stopped.stop("SIGINT")
    with pytest.raises(Interrupted):
        to_latents.run_encode(["in/a.png"], EncodeConfig(weights="bundled"), stopped)


def test_a_latent_that_another_command_saved_is_not_replaced(invoke, folder, bundled):
    (folder / "z").mkdir()
    latentflow.save_latent(folder / "z" / "b.safetensors", torch.zeros(1, 4, 5, 6), bundled, (40, 48))
    before = (folder / "z" / "b.safetensors").read_bytes()
    line = ("encode", "in/a.png", "in/b.jpg", "--refine", 0, "--output_path", "z/{stem}.safetensors", *BUNDLED)
    code, out, err = invoke(*line)
    assert code == 6 and out == "" and "b.safetensors would be overwritten" in err
    assert (folder / "z" / "b.safetensors").read_bytes() == before
    assert invoke(*line, "--overwrite")[0] == 0
    assert invoke(*line)[0] == 0  # what it wrote itself it may write again


@pytest.mark.parametrize("suffix", [".latent", ".npy"])
def test_other_programs_get_their_own_units(invoke, folder, bundled, suffix):
    assert invoke("encode", "in/a.png", "--output_path", f"z{suffix}", "--refine", 1, *BUNDLED)[0] == 0
    latent = bundled.encode(pixels(folder / "in" / "a.png"), refine=1)
    if suffix == ".npy":
        torch.testing.assert_close(torch.from_numpy(np.load(folder / "z.npy")), latent)
    else:  # ComfyUI: the encoder's own units, and an empty tensor that says so
        values = load_file(folder / "z.latent")
        assert set(values) == {"latent_tensor", "latent_format_version_0"}
        assert values["latent_format_version_0"].numel() == 0
        torch.testing.assert_close(values["latent_tensor"], latent / bundled.scale + bundled.shift)
    units = "bundled" if suffix == ".latent" else "bundled:scaled"
    assert invoke("decode", f"z{suffix}", "--latent_of", units, "--output_path", "p.png", *BUNDLED)[0] == 0
    shown = bundled.decode(latent, (40, 48)).clamp(0, 1)
    decoded = pixels(folder / "p.png")[..., :40, :48]  # such a file doesn't say that 40 rows were a part of 40
    assert float((decoded - shown).abs().max()) <= 0.51 / 255 + 1e-4


def test_they_are_piped_into_each_other(folder):
    tool = [sys.executable, "-m", "latentflow"]
    options = ["--weights", "bundled", "--dtype", "float32", "--output_path", "-"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"}
    given = {"cwd": folder, "env": environment, "capture_output": True, "check": True}
    source = (folder / "in" / "a.png").read_bytes()
    latent = subprocess.run([*tool, "encode", "-", "--refine", "1", *options], input=source, **given)
    picture = subprocess.run([*tool, "decode", "-", *options], input=latent.stdout, **given)
    assert b"psnr     stream: " in latent.stderr
    (folder / "z.safetensors").write_bytes(latent.stdout)
    with safe_open(folder / "z.safetensors", "pt") as file:
        assert file.metadata()["height"] == "40" and file.metadata()["refine"] == "1"
    (folder / "again.png").write_bytes(picture.stdout)
    assert Image.open(folder / "again.png").size == (48, 40)
    assert psnr(pixels(folder / "again.png"), pixels(folder / "in" / "a.png")) > 15
    assert sorted(path.name for path in folder.iterdir()) == ["again.png", "in", "z.safetensors"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("encode", "in/a.png", "in/b.jpg", "--output_path", "x.npy"), "with several images its name needs a {stem}"),
        (("encode", "in/a.png", "in/deep/a.png", "--output_path", "{stem}.npy"), "would both become a.npy"),
        (("encode", "in/a.png", "--output_path", "x.gif"), "images become .safetensors, .latent, .npy"),
        (("encode", "in/a.png", "--output_path", "{number}.npy"), "only {stem} and {name}"),
        (("encode", "in/a.png", "--refine", "lots"), "--refine 'lots'"),
        (("encode", "in/a.png", "--refine", "-1"), "--refine '-1'"),
        (("encode", "in/a.png", "--loss_type", "l1"), "--loss_type l1 would have no effect"),
        (("encode", "in/a.png", "--fit", "cover"), "--fit cover would have no effect without --size"),
        (("encode", "in/broken.png"), "not an image that can be read"),
        (("encode", "in/none.png"), "There is no folder, image or list in/none.png"),
        (("encode",), "There are no images to work on"),
        (("encode", "in/a.png", "--output_path", "no/such/{stem}.npy"), "the folder no does not exist. mkdir -p no"),
        (("decode", "in/a.png"), "is not a saved latent"),
        (("decode", "in/a.png", "--output_path", "x.npy"), "latents become .png"),
        (("cycles", "in/a.png", "--output_path", "c.png", "--fps", 3), "--fps would have no effect on a figure"),
        (("cycles", "in/a.png", "--output_path", "c.txt"), "a figure is written as .png or .svg"),
        (("cycles", "in/broken.png"), "not an image that can be read"),
    ],
)
def test_what_is_wrong_is_one_line(invoke, folder, line, words):
    code, out, err = invoke(*line, *BUNDLED)
    assert code in (2, 6) and out == ""
    assert words in err.replace("\n", " ") and err.startswith("latentflow: ")
    assert not list(folder.glob("*.npy"))


def test_the_gradient_brings_the_last_of_an_objective(invoke, folder, bundled):
    picture = pixels(folder / "in" / "a.png")
    found = {}
    for refine in ("auto", "gradient:8"):
        more = ("--loss_type", "l1") if refine != "auto" else ()
        line = ("encode", "in/a.png", "--refine", refine, "--output_path", f"{refine[:4]}.npy", *BUNDLED, *more)
        assert invoke(*line)[0] == 0
        latent = torch.from_numpy(np.load(folder / f"{refine[:4]}.npy"))
        found[refine] = float((bundled.decode(latent, (40, 48)).clamp(0, 1) - picture).abs().mean())
    assert found["gradient:8"] < found["auto"]


def test_images_in_memory(bundled, folder):
    paths = [folder / "in" / "a.png", folder / "in" / "b.jpg"]
    latents = latentflow.encode(paths, vae=bundled, refine=1)
    pictures = torch.cat([to_tensor(read_image(path).image) for path in paths])
    torch.testing.assert_close(latents, bundled.encode(pictures, refine=1), atol=2e-3, rtol=0)
    torch.testing.assert_close(latentflow.encode(pictures, vae=bundled, refine=1), latents)
    assert torch.equal(latentflow.encode(Image.open(paths[0]), vae=bundled, refine=0), bundled.encode(pictures[:1]))
    assert latentflow.encode(paths[0], vae=bundled, refine=0, size=32, fit="cover").shape[-2:] == (4, 4)
    torch.testing.assert_close(latentflow.decode(latents, vae=bundled), bundled.decode(latents).detach())
    assert latentflow.decode(latents[0].numpy(), vae=bundled).shape == (1, 3, 40, 48)
    latentflow.save_latent(folder / "z.safetensors", latents[:1], bundled, (39, 47))
    assert latentflow.decode(folder / "z.safetensors", vae=bundled).shape == (1, 3, 39, 47)
    small = Image.open(paths[0]).resize((24, 24))
    with pytest.raises(InputError, match="of one size"):
        latentflow.encode([Image.open(paths[0]), small], vae=bundled)
    with pytest.raises(InputError, match="is about a file"):
        latentflow.encode(paths, vae=bundled, output_path="x.npy")
    with pytest.raises(InputError, match="`latents` are"):
        latentflow.decode(torch.zeros(3), vae=bundled)


def test_cycles_are_round_trips_by_the_encoder_and_refined(bundled, folder):
    picture = pixels(folder / "in" / "a.png")
    cycles = list(round_trips(bundled, picture, CyclesConfig(count=3, refine="2"), Session()))
    assert [each.index for each in cycles] == [0, 1, 2, 3]
    shown = {ALONE: picture, REFINED: picture}
    for cycle in cycles[1:]:
        for name, refine in ((ALONE, 0), (REFINED, 2)):
            decoded = bundled.decode(bundled.encode(shown[name], refine=refine), (40, 48)).detach()
            shown[name] = (decoded.clamp(0, 1) * 255).round() / 255
            torch.testing.assert_close(cycle.pictures[name], shown[name], atol=1.01 / 255, rtol=0)
            shown[name] = cycle.pictures[name]
            assert cycle.psnr[name][-1] == pytest.approx(psnr(shown[name], picture), abs=1e-3)
    figure = draw_cycle(cycles[-1], picture, "mine")
    assert figure.get_suptitle() == "autoencoder: mine"
    places = [axes for part in figure.subfigs for axes in part.axes]
    titles = ["original", "encoder alone, after 3 round trips", "refined, after 3 round trips"]
    assert [axes.get_title() for axes in places] == [*titles, ""]
    for axes, name in zip(places[1:], (ALONE, REFINED)):
        assert axes.get_xlabel() == f"{cycles[-1].psnr[name][-1]:.2f} dB"
        drawn = np.asarray(axes.images[0].get_array())
        assert np.array_equal(
            drawn, (cycles[-1].pictures[name][0].permute(1, 2, 0) * 255).round().numpy().astype("uint8")
        )
    for line, name in zip(places[3].lines, (ALONE, REFINED)):
        assert line.get_label() == name and list(line.get_ydata()) == cycles[-1].psnr[name]


def test_cycles_move_or_are_a_figure(invoke, folder):
    line = ("cycles", "in/a.png", "--count", 2, "--refine", 1, "--size", 32, *BUNDLED)
    code, out, err = invoke(*line, "--output_path", "c.gif", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["round_trips"] == 2 and len(report["psnr"]["refined"]) == 2
    with Image.open(folder / "c.gif") as image:
        assert image.n_frames == 3
    assert json.loads((folder / "c.gif.manifest.json").read_text())["written"] == ["c.gif"]
    code, out, err = invoke(*line, "--output_path", "c.png")
    assert code == 0, err
    assert "psnr     refined: " in out and "after 2" in out
    assert Image.open(folder / "c.png").width == 1440
    assert Path(folder / "c.png.manifest.json").exists()
