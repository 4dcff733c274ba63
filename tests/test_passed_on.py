"""Options that reach what they are for, and figures of views against numbers worked out by hand."""

import json
import math

import numpy as np
import pytest
import torch
from standins import LONE_16, LONE_KL, ldm_names, shapes_of, write_header
from toys import picture

from latentflow import walk
from latentflow.base.errors import WeightsError
from latentflow.base.session import Session
from latentflow.explore import evening
from latentflow.explore import walk as walk_module
from latentflow.explore.atlas.placement import MAX_ASSIGNED, place
from latentflow.explore.concept.run import _places
from latentflow.explore.config import WalkConfig
from latentflow.explore.walk import run_walk
from latentflow.latents.statistics import effective_count
from latentflow.models.layouts import identify
from latentflow.page.export.check import TOLERANCE, require_equal
from latentflow.page.export.graphs import Function
from latentflow.pictures.palette import EXACT, exact_pixels
from latentflow.sound.config import SoundConfig
from latentflow.sound.follow import follow

SHORT = {"weights": "bundled", "size": 32, "frames": 6}
PLACES = ["random:1", "random:2"]


def spied(monkeypatch, name):
    """What a function that a walk uses is called with."""
    real, calls = getattr(walk_module, name), []

    def call(*args, **options):
        calls.append((args, options))
        return real(*args, **options)

    monkeypatch.setattr(walk_module, name, call)
    return calls


@pytest.mark.parametrize(
    ("options", "function", "seen"),
    [
        ({"even": True, "budget_frames": 30}, "even_out", lambda args, options: options["decodings"] == 30),
        ({"even": True, "budget_seconds": 0.5}, "even_out", lambda args, options: options["seconds"] == 0.5),
        ({"even": True}, "even_out", lambda args, options: options["decodings"] is options["seconds"] is None),
        ({"even": True, "measure": "lpips"}, "picture_distance", lambda args, options: args[0] == "lpips"),
        ({"method": "lerp"}, "LatentPath", lambda args, options: args[1] == "lerp"),
        ({"method": "slerp", "loop": True}, "LatentPath", lambda args, options: options["loop"] and args[1] == "slerp"),
        ({"fit": "cover", "latent_of": None}, "read_anchors", lambda args, options: args[3] == "cover"),
    ],
    ids=["budget_frames", "budget_seconds", "no budget", "measure", "method", "loop", "fit"],
)  # fmt: skip
def test_an_option_of_a_walk_reaches_what_it_is_for(monkeypatch, tmp_path, options, function, seen):
    calls = spied(monkeypatch, function)
    asked = SHORT | {"size": 48} if options.get("measure") == "lpips" else SHORT
    run_walk(PLACES, WalkConfig(output_path=str(tmp_path / "w.gif"), **asked, **options), Session(quiet=True))
    assert calls and all(seen(*call) for call in calls), calls[0]


@pytest.mark.parametrize("method", ["lerp", "slerp"])
def test_a_walk_in_python_goes_by_its_method(autoencoder, method):
    """Halfway between latents of RMS 1 a straight line is at 1/√2, and an arc at 1."""
    *_, middle, _, _ = walk(PLACES, vae=autoencoder, size=64, frames=5, method=method)
    rms = float(middle.latent.square().mean().sqrt())
    assert rms == pytest.approx(1 / math.sqrt(2) if method == "lerp" else 1, abs=0.08)


def test_a_budget_of_frames_limits_what_is_decoded_to_even_a_walk(monkeypatch, tmp_path):
    """For six frames, 18 are decoded to move them twice; within 17 they are moved once. No walk is even enough here."""
    monkeypatch.setattr(evening, "EVEN_RATIO", 0.0)
    decode, rounds = walk_module.decode_path, {}
    for budget in (17, 18):
        calls = spied(monkeypatch, "decode_path")
        config = WalkConfig(output_path=str(tmp_path / f"{budget}.gif"), even=True, budget_frames=budget, **SHORT)
        run_walk(PLACES, config, Session(quiet=True))
        rounds[budget] = sum(len(args[2]) for args, _ in calls[:-1])  # the last one is what is written
        monkeypatch.setattr(walk_module, "decode_path", decode)
    assert rounds == {17: 12, 18: 18}


def test_the_line_of_even_steps_has_the_larger_ratio_first(tmp_path):
    config = WalkConfig(output_path=str(tmp_path / "w.gif"), even=True, ease="linear", **SHORT)
    report = run_walk(PLACES, config, Session(quiet=True))
    found = report.figures["steps"]
    assert found["ratio_before"] > found["ratio_after"] >= 1
    line = next(line for line in report.lines if line.startswith("steps"))
    before, after = line.split(": ")[1].split(" → ")
    assert (float(before), float(after)) == pytest.approx((found["ratio_before"], found["ratio_after"]), abs=0.006)


def test_the_nearest_is_nearest_to_the_last_and_not_to_the_first():
    """Latents at angles of 0°, 50°, −60°, 110° and −130°, the last two so large that their mean is zero: from 50° it is
    60° to 110° and 110° to −60°, and from there 120° to −130°. By distance to the first they would be in this order."""
    angles = np.radians([0, 50, -60, 110, -130])
    places = np.stack([np.cos(angles), np.sin(angles)], 1)
    places[3:] *= np.linalg.solve(places[3:].T, -places[:3].sum(0))[:, None]
    latents = torch.from_numpy(places).float()[:, :, None, None].expand(5, 2, 4, 4)
    assert walk_module.tour(latents) == [0, 1, 3, 4, 2]


def test_pictures_of_one_name_are_told_apart_when_they_are_refined(invoke, tmp_path, small):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(small.read_bytes())
    line = ("walk", "one/x.png", "two/x.png", "--size", 32, "--frames", 2, "--refine", 1, "--output_path", "w.gif")
    code, out, err = invoke(*line, "--weights", "bundled", "--json")
    assert code == 0 and list(json.loads(out)["refined"]) == ["x", "x (2)"], err


def test_marks_are_times_of_the_sound_and_not_of_the_part_that_is_played(tmp_path):
    """With `from_` 1, a mark at 3 s is 2 s after the first frame; the picture is at the middle image there."""
    import wave

    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        noise = np.random.default_rng(0).integers(-9000, 9000, 5 * 8000, dtype=np.int16)
        file.writeframes(noise.tobytes())
    for begin, at in ((None, 3.0), ("1", 2.0)):
        config = SoundConfig(audio=str(tmp_path / "x.wav"), from_=begin, marks=("3",))
        followed = follow(config, "energy", Session(quiet=True))
        assert followed.marks == [at] and float(followed.position(2)(np.array([at]))[0]) == pytest.approx(1, abs=0.02)


def test_many_points_are_placed_from_the_middle_outwards():
    """A crowd of more points than are assigned together: the one in its middle has the cell that is nearest to it, and
    those at the edge are moved."""
    points = np.random.default_rng(0).normal(size=(MAX_ASSIGNED + 100, 2))
    placement = place(points)
    away = np.linalg.norm(placement.wanted - np.median(placement.wanted, axis=0), axis=1)
    order = np.argsort(away)
    moved = placement.displacements
    assert moved[order[0]] <= math.sqrt(0.5)
    assert moved[order[:100]].mean() < 0.5 * moved[order[-500:-100]].mean()


def test_images_whose_values_are_all_one_count_as_one_value_less_than_there_are():
    """Five images, each of ten equal values. Where a share p of the images is below, the mean of independent values has
    the variance p(1 − p) / n, and that of the images is p(1 − p) · 5/4 / 5 = p(1 − p) / 4: four independent values."""
    values = np.repeat(np.arange(5.0)[:, None], 10, axis=1)
    assert effective_count(values) == pytest.approx(4)
    assert effective_count(values[:4]) == 0  # fewer than five images
    wider = np.repeat(np.arange(9.0)[:, None], 3, axis=1)
    assert effective_count(wider) == pytest.approx(8)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (0.8, "strengths +0.5 lead beyond them"),
        (-0.8, "strengths -0.5 lead beyond them"),
        (0.0, "no strength leaves them"),
        (3.0, "strengths -0.5, +0, +0.5 lead beyond them"),
    ],
)
def test_strengths_lead_beyond_the_images_from_where_the_image_is(start, words):
    assert _places(start, (-1.0, 1.0), [-0.5, 0.0, 0.5]).endswith(words)


def test_grays_of_captions_are_exact_and_colors_are_not():
    shade = int(EXACT[0])
    colors = [(shade, 255, 255), (255, shade, 255), (255, 255, shade), (shade, shade, 255), (255, shade, shade)]
    row = np.array([[*colors, (shade, shade, shade), (255, 255, 255)]], np.uint8)
    assert exact_pixels(row).tolist() == [[False] * 5 + [True, True]]


@pytest.mark.parametrize(
    ("config", "quant", "name", "words"),
    [
        (LONE_KL, False, "sd", "no quant_conv"),
        (LONE_KL, False, "sdxl", "no quant_conv"),
        (LONE_16, True, "sd3", "a quant_conv"),
        (LONE_16, True, "flux", "a quant_conv"),
        (LONE_KL, True, "sd", None),
        (LONE_16, False, "sd3", None),
    ],
)
def test_a_family_is_told_by_its_quant_conv_too(tmp_path, config, quant, name, words):
    shapes = shapes_of(config | {"use_quant_conv": quant, "use_post_quant_conv": quant})
    own = {key: value.shape for key, value in ldm_names(shapes, 4).items()}
    path = write_header(tmp_path / "x.safetensors", own)
    if words is None:
        assert identify(path, [path], vae_config=name).config["latent_channels"] == config["latent_channels"]
        return
    with pytest.raises(WeightsError, match=f"`vae_config` {name} doesn't fit .* which holds {words}"):
        identify(path, [path], vae_config=name)


class Graph:
    """A graph that gives prepared outputs."""

    def __init__(self, *outputs):
        self.outputs = outputs

    def run(self, names, inputs):
        return [each.numpy() for each in self.outputs]


@pytest.mark.parametrize(
    ("output", "limit"), [("gradient", 2e-2), ("loss", 1e-4), ("image", 1e-4), ("losses", 1e-4), ("latent", 1e-4)]
)
def test_each_output_of_an_export_has_its_limit(output, limit):
    """An output that is wrong by a fraction of its size: a little less than its limit, a little more, and a tenth."""
    right = picture(4, 4)
    function = Function(
        name="step",
        call=lambda latent: right,
        inputs={"latent": torch.zeros(1, 4, 2, 2)},
        sides=(1,),
        outputs=(output,),
    )
    assert set(TOLERANCE) == {"gradient", "loss", "image", "losses", "latent"}
    assert require_equal(Graph(right * (1 + 0.9 * limit)), function, "x")[output] == pytest.approx(
        0.9 * limit, rel=0.05
    )
    for fraction in (1.1 * limit, 0.1):
        with pytest.raises(WeightsError, match=f"its {output} differs from torch's"):
            require_equal(Graph(right * (1 + fraction)), function, "x")
