"""Views as functions of Python: the options, files and figures of the commands, and walks and evaluations in memory."""

import inspect
import json
import math
import wave
from typing import Literal, get_args, get_origin

import click
import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder

import latentflow
import latentflow.views
from latentflow.base.errors import InputError
from latentflow.cli import find_command
from latentflow.explore.config import WalkConfig
from latentflow.explore.views import VIEWS
from latentflow.models.autoencoder import Autoencoder, LatentGeometry
from latentflow.sinks.trajectory import read_trajectory, trajectory_path

FLOAT = ("--weights", "bundled", "--dtype", "float32")
QUIET = ("quiet", "as_json", "help")
FILES = {"output_path", "overwrite", "caption", "hold", "bounce", "palette", "tones"}  # what walk() has no file for


def options_of(command):
    found = {each.name: each for each in command.params if isinstance(each, click.Option)}
    return {name: each for name, each in found.items() if name not in QUIET}


def parameters_of(function):
    found = inspect.signature(function).parameters
    return {name: each for name, each in found.items() if each.kind is inspect.Parameter.KEYWORD_ONLY}


def choices(annotation):
    kinds = get_args(annotation) if get_origin(annotation) is not Literal else (annotation,)
    return next((get_args(each) for each in kinds if get_origin(each) is Literal), ())


@pytest.mark.parametrize("name", VIEWS)
def test_a_function_has_the_options_of_its_command_with_their_defaults_and_choices(name):
    options, parameters = options_of(find_command(name)), parameters_of(getattr(latentflow.views, name))
    assert set(parameters) == set(options) | {"session"}
    for option, each in options.items():
        assert parameters[option].default == each.default, option
        if each.metavar and "|" in each.metavar:
            assert "|".join(choices(parameters[option].annotation)) == each.metavar
    assert inspect.getdoc(getattr(latentflow.views, name)).startswith(inspect.cleandoc(VIEWS[name].help)[:40])


def test_walk_and_evaluate_in_memory_lack_no_option_but_those_of_files():
    assert set(options_of(find_command("walk"))) - set(parameters_of(latentflow.walk)) == FILES
    assert set(options_of(find_command("evaluate"))) == set(parameters_of(latentflow.evaluate)) - {"session"}


def test_a_view_from_python_writes_the_files_of_the_command(invoke, tmp_path, autoencoder):
    line = ("grid", "random:1", "random:2", "random:3", "--resolution", 2, "--size", 16, *FLOAT)
    assert invoke(*line, "--output_path", "command.png", "--quiet")[0] == 0
    output = tmp_path / "python.png"
    report = latentflow.views.grid(
        *("random:1", "random:2", "random:3"), resolution=2, size=16, vae=autoencoder, output_path=output
    )
    assert np.array_equal(np.asarray(Image.open(output)), np.asarray(Image.open(tmp_path / "command.png")))
    assert output in report.written.paths and report.error is None and report.figures
    of_python, of_command = (
        json.loads((tmp_path / f"{name}.png.manifest.json").read_text()) for name in ("python", "command")
    )
    assert of_python["options"]["vae"] == "bundled" and of_python["weights"]["source"] == "object"
    assert of_python["weights"]["sha256"] == of_command["weights"]["sha256"]
    assert {**of_python["options"], "output_path": ""} == {
        **of_command["options"],
        "output_path": "",
        "weights": "auto",
    }


def test_a_session_is_shared_and_stops_a_view(tmp_path):
    session = latentflow.Session()
    session.stop("enough")
    with pytest.raises(latentflow.Interrupted, match="enough"):
        latentflow.views.channels("random:1", size=16, vae="bundled", session=session, output_path=tmp_path / "c.png")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: latentflow.views.walk("random:1", "random:2", evenn=True), "no option `evenn`. Did you mean even?"),
        (lambda: latentflow.views.stats("a", "b"), "stats takes FOLDER; 2 given"),
        (lambda: latentflow.views.similar("random:1"), "1 given"),
        (lambda: latentflow.views.grid("random:1", vae=["bundled", "bundled"]), "grid takes one `vae`"),
        (lambda: latentflow.views.walk(torch.zeros(4, 2, 2), "random:1"), "latentflow.walk takes pictures and latents"),
        (lambda: latentflow.walk(["random:1", "random:2"], evenn=True), "no option `evenn`. Did you mean even?"),
        (lambda: latentflow.walk(["random:1", "random:2"], fps=5), "`fps` is about a file"),
        (lambda: latentflow.walk(["random:1", "random:2"], frames=3, positions=[0, 1]), "`positions` and `frames`"),
        (lambda: latentflow.walk(["random:1", "random:2"], budget_frames=9), "go with `even`"),
        (lambda: latentflow.walk(["random:1", object()]), "not object"),
        (lambda: latentflow.evaluate("examples", by="psnrr"), "psnr"),
        (lambda: latentflow.evaluate("examples", overwrite=True), "`overwrite` is about a file"),
        (lambda: latentflow.evaluate("examples", "more"), "one folder"),
    ],
)
def test_what_a_function_cannot_take_is_refused_in_words(call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        call()
    assert words in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", sorted(FILES))
def test_an_option_of_files_alone_is_refused_in_memory(option):
    value = {"output_path": "x.gif", "palette": "global", "hold": 1.0}.get(option, True)
    with pytest.raises(InputError, match=f"`{option}` is about a file.*latentflow.views.walk writes files"):
        latentflow.walk(["random:1", "random:2"], **{option: value})


def pulses(path, times, seconds=2.0, rate=22050):
    """A sound file of short bursts of noise at `times`."""
    sound = np.zeros(round(seconds * rate))
    burst = np.sign(np.random.default_rng(0).standard_normal(rate // 500)) * 0.8
    for time in times:
        sound[round(time * rate) :][: len(burst)] = burst[: len(sound) - round(time * rate)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"even": True, "frames": 7},
        {"even": True, "frames": 6, "loop": True, "method": "spline", "measure": "mse", "budget_frames": 40},
        {"seconds": 0.5, "fps": 10, "hold_anchors": 0.3, "ease": "stops"},
        {"audio": "song.wav", "motion": "beats", "bpm": 120, "first_beat": "0.0", "every": 2, "fps": 12},
        {"audio": "song.wav", "motion": "energy", "from_": "0.5", "to": "1.5", "sensitivity": 0.5, "fps": 8},
        {"audio": "song.wav", "motion": "constant", "marks": ("0:00.5",), "fps": 9},
    ],
    ids=lambda options: "-".join(options),
)
def test_frames_in_memory_are_those_that_the_command_writes(options, tmp_path, monkeypatch, autoencoder):
    monkeypatch.chdir(tmp_path)
    pulses(tmp_path / "song.wav", [0, 0.5, 1.0, 1.5])
    sources = ["random:1", "random:2", *(["random:3"] if "marks" in options or "hold_anchors" in options else [])]
    frames = list(latentflow.walk(sources, vae=autoencoder, size=16, **options))
    assert [frame.index for frame in frames] == list(range(len(frames))) and frames[0].total == len(frames) - 1
    report = latentflow.views.walk(*sources, vae=autoencoder, size=16, output_path="out", **options)
    assert report.figures["frames"] == len(frames) == len(list((tmp_path / "out").glob("*.png")))
    written = list(read_trajectory(trajectory_path(tmp_path / "out")).labeled(frames[0].image))
    for frame, again in zip(frames, written, strict=True):
        assert torch.equal(frame.latent.cpu(), again.latent) and frame.caption == again.caption


def test_a_walk_to_beats_is_at_an_image_on_each_of_them(tmp_path, autoencoder):
    """At 120 beats per minute and 12 frames per second a beat is six frames; every second beat has the next image."""
    song = pulses(tmp_path / "song.wav", [0, 0.5, 1.0, 1.5])
    beats = {"motion": "beats", "bpm": 120, "first_beat": "0", "every": 2, "fps": 12}
    frames = list(latentflow.walk(["random:1", "random:2"], vae=autoencoder, size=16, audio=song, **beats))
    ends = [next(latentflow.walk([f"random:{seed}", "random:9"], vae=autoencoder, size=16)).latent for seed in (1, 2)]
    assert len(frames) == 24
    assert torch.allclose(frames[0].latent, ends[0], atol=1e-5)
    assert torch.allclose(frames[12].latent, ends[1], atol=1e-5)


def test_latents_and_pictures_in_memory_are_anchors(tmp_path, autoencoder):
    stride = autoencoder.geometry.stride
    latents = torch.randn(2, autoencoder.geometry.channels, 2, 3, generator=torch.Generator().manual_seed(3))
    picture = Image.new("RGB", (40, 40), "teal")
    picture.save(tmp_path / "teal.png")
    sources = [latents[0].requires_grad_(), "random:3", latents[1:].numpy(), picture, tmp_path / "teal.png"]
    frames = list(latentflow.walk(sources, vae=autoencoder, positions=[0, 1, 2, 3, 4]))
    assert frames[0].image.shape == (1, 3, 2 * stride, 3 * stride)
    assert torch.equal(frames[0].latent, latents[:1]) and torch.equal(frames[2].latent, latents[1:])
    noise = torch.randn(1, autoencoder.geometry.channels, 2, 3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(frames[1].latent, noise)
    assert torch.equal(frames[3].latent, frames[4].latent)
    assert [frame.caption[0].split(" to ")[0] for frame in frames[:4]] == [
        *("latent 1", "random:3", "latent 3", "picture 4")
    ]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (torch.zeros(3, 2, 2), r"latent 2 has the shape \(3, 2, 2\); \(1, 4, 2, 2\) is needed here.*PIL pictures"),
        (torch.zeros(2, 4, 2, 2), r"latent 2 has the shape \(2, 4, 2, 2\); a latent is \(c, rows, columns\)"),
        (np.zeros((4, 2)), "latent 2 has the shape"),
        (torch.full((4, 2, 2), math.nan), "latent 2 has values that are not finite"),
    ],
)
def test_what_is_no_latent_is_refused(second, words):
    with pytest.raises(InputError, match=words):
        latentflow.walk([torch.zeros(4, 2, 2), second], vae=linear_autoencoder())


def test_a_size_that_contradicts_a_latent_is_refused():
    ends = [torch.zeros(4, 4, 4), torch.ones(4, 4, 4)]
    assert next(latentflow.walk(ends, vae=linear_autoencoder(), size=8)).image.shape[-2:] == (8, 8)
    with pytest.raises(InputError, match="`size` 48: latent 1 makes pictures of 8 × 8"):
        latentflow.walk(ends, vae=linear_autoencoder(), size=48)


class Gray(torch.nn.Module):
    """An autoencoder of which every picture is of one gray."""

    def __init__(self, level):
        super().__init__()
        self.level = level

    def encode(self, pictures):
        latent = torch.zeros(len(pictures), 1, pictures.shape[-2] // 8, pictures.shape[-1] // 8)
        return type(
            "Encoded", (), {"latent_dist": type("Mode", (), {"mode": lambda self: latent})(), "latents": latent}
        )()

    def decode(self, latent):
        shape = (len(latent), 3, latent.shape[-2] * 8, latent.shape[-1] * 8)
        return type("Decoded", (), {"sample": torch.full(shape, 2 * self.level - 1)})()


def gray(level):
    one = torch.ones(1, 1, 1, 1)
    return Autoencoder(Gray(level), LatentGeometry(channels=1, stride=8, scale=one, shift=0 * one), f"gray {level}")


@pytest.fixture
def black_and_white(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, color in (("black", 0), ("white", 255)):
        Image.new("RGB", (16, 16), (color,) * 3).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_an_evaluation_in_memory_has_a_row_for_each_autoencoder_and_writes_nothing(black_and_white, tmp_path):
    """Gray 0.5 is 0.5 off both pictures: 6.02 dB. Gray 0.1 is 0.1 off black, 20 dB, and 0.9 off white, 0.92 dB."""
    before = set(tmp_path.rglob("*"))
    card = latentflow.evaluate(black_and_white, vae=[gray(0.5), gray(0.1)], size=16, worst=1)
    assert set(tmp_path.rglob("*")) == before and card.written == []
    assert [row.autoencoder for row in card.rows] == ["gray 0.5", "gray 0.1"]
    means = [row.metrics["psnr"].mean for row in card.rows]
    assert means == pytest.approx([20 * math.log10(2), (20 - 20 * math.log10(0.9)) / 2], abs=1e-3)
    scores = {path.name: score.metrics["psnr"] for path, score in card.scores["gray 0.1"].items()}
    assert scores == pytest.approx({"black.png": 20.0, "white.png": -20 * math.log10(0.9)}, abs=1e-3)
    assert [path.name for path in card.worst["gray 0.1"]] == ["white.png"]
    assert card.count == 2 and len(card.problems) == 1 and "broken.png" in card.problems[0]
    assert "gray 0.5" in str(card) and "6.02" in str(card)


def test_an_evaluation_writes_its_files_where_an_output_is_named(black_and_white, tmp_path, autoencoder):
    given = {"size": 32, "vae": [autoencoder, gray(0.5)], "output_path": tmp_path / "card.png"}
    card = latentflow.evaluate(black_and_white, **given)
    assert {path.name for path in card.written} >= {"card.png", "card.csv", "card.md", "card.png.manifest.json"}
    manifest = json.loads((tmp_path / "card.png.manifest.json").read_text())
    assert manifest["options"]["vae"] == "bundled,gray 0.5"
    assert manifest["result"]["rows"] == [row.as_dict() for row in card.rows]
    report = latentflow.views.evaluate(black_and_white, vae=given["vae"], size=32, output_path=tmp_path / "card.png")
    assert report.figures["rows"] == manifest["result"]["rows"]


def test_two_autoencoders_of_one_name_are_told_apart_by_the_caller(black_and_white):
    with pytest.raises(InputError, match=r"`vae` names one autoencoder twice: an Autoencoder named gray 0\.5"):
        latentflow.evaluate(black_and_white, vae=[gray(0.5), gray(0.5)], size=16)


def test_the_old_form_of_evaluate_warns_and_works(black_and_white):
    paths = [black_and_white / "black.png"]
    with pytest.warns(DeprecationWarning, match=r"latentflow\.views\.evaluate_images") as caught:
        (record,) = latentflow.evaluate(gray(0.5), paths, size=16)
    assert caught[0].filename == __file__
    assert record.scores[0].metrics["psnr"] == pytest.approx(6.0206, abs=1e-3)


def test_options_of_a_walk_that_are_about_files_are_marked():
    from latentflow.base.options import options_that

    assert options_that(WalkConfig, affects="files") == FILES - {"overwrite"} | {"fps"}
