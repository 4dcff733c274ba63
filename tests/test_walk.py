"""`walk`: even steps, timing, captions, loops, refined ends, and what is refused."""

import json
import os
import re
import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder, picture

from latentflow import walk
from latentflow.base.errors import InputError, Interrupted
from latentflow.base.pixels import to_uint8
from latentflow.base.session import Session
from latentflow.explore.config import WalkConfig
from latentflow.explore.evening import even_out, picture_distance
from latentflow.explore.walk import decode_path, run_walk, where
from latentflow.inversion.refine import refine
from latentflow.latents.files import save_latent
from latentflow.latents.paths import TIMINGS, LatentPath, frame_times, step_sizes
from latentflow.latents.sources import check_anchors, initial_latent, read_anchors
from latentflow.models.autoencoder import Autoencoder, LatentGeometry
from latentflow.pictures.folders import captured
from latentflow.pictures.text import captioned, line_count

BUNDLED = ("--weights", "bundled", "--size", 48, "--dtype", "float32", "--quiet")


def cubic_autoencoder():
    """A decoder under which a straight walk is anything but even: the picture is the cube of the latent's mean."""

    def decode(values):
        return SimpleNamespace(sample=2 * (values.mean((1, 2, 3), keepdim=True) ** 3).expand(-1, 3, 8, 8) - 1)

    one = torch.ones(1, 1, 1, 1)
    geometry = LatentGeometry(channels=1, stride=8, scale=one, shift=0 * one)
    return Autoencoder(SimpleNamespace(decode=decode), geometry, "cubic")


def measured_steps(anchors):
    """A function that measures the steps between positions on a line through two values, and a list of how many
    positions it was asked for each time."""
    path = LatentPath(torch.tensor(anchors).reshape(2, 1, 1, 1), "lerp")
    autoencoder, (_, distance), calls = cubic_autoencoder(), picture_distance("mse"), []

    def measure(positions):
        calls.append(len(positions))
        return step_sizes(decode_path(autoencoder, path, list(positions), (8, 8)), distance)

    return measure, calls


def evened(frames, ease="linear", **budget):
    measure, calls = measured_steps([0.0, 1.0])
    fractions = TIMINGS[ease](frame_times(frames), 1)
    return *even_out(measure, fractions, fractions, **budget), calls


def test_an_evened_walk_changes_the_picture_by_the_same_amount_each_step():
    before, after, _ = evened(20)
    assert before.ratio > 100 and after.ratio < 1.2
    pictures = after.positions**3  # what the decoder makes of them
    assert np.diff(pictures) == pytest.approx(1 / 19, rel=0.2)


def test_an_eased_walk_is_evened_to_what_its_timing_wants():
    before, after, _ = evened(24, "in_out")
    assert before.ratio > 10 and after.ratio < 1.3
    fractions = TIMINGS["in_out"](frame_times(24), 1)
    assert np.abs(after.positions**3 - fractions).max() < 0.02


def test_a_budget_of_pictures_or_of_seconds_is_kept():
    *_, calls = evened(20, decodings=45)
    assert sum(calls) == 40
    before, after, calls = evened(20, seconds=1e-9)
    assert calls == [20] and after is before


def test_a_walk_where_nothing_changes_is_even():
    measure, _ = measured_steps([1.0, 1.0])
    before, after = even_out(measure, frame_times(5), frame_times(5))
    assert before.ratio == after.ratio == 1.0


def test_refining_comes_nearer_than_the_encoder():
    autoencoder, target = linear_autoencoder(), picture()
    latent = initial_latent("encode", autoencoder, target) + 0.3
    found, before, after = refine(autoencoder, latent, target, 30)
    assert after > before + 1.5 and found.shape == latent.shape


def test_a_refined_walk_begins_and_ends_with_the_refined_pictures(invoke, small, photo, tmp_path):
    line = ("walk", small, photo, "--refine", 8, "--frames", 2, "--output_path", "out", "--json", *BUNDLED)
    code, out, err = invoke(*line)
    assert code == 0, err
    refined = json.loads(out)["refined"]["small"]
    shown = np.asarray(Image.open(tmp_path / "out" / "00000.png"), float)
    off = np.square(shown - np.asarray(Image.open(small), float)).mean()
    assert refined["psnr_after"] > refined["psnr_before"] + 0.5
    assert 10 * np.log10(255**2 / off) == pytest.approx(refined["psnr_after"], abs=0.1)


def test_where_is_said_in_words():
    assert where(0.25, ["a", "b", "c"]) == "a to b  25%"
    assert where(1.0, ["a", "b", "c"]) == "b to c   0%"
    assert where(2.0, ["a", "b", "c"]) == "b to c 100%"


def test_anchors_share_one_size_of_picture(tmp_path):
    autoencoder = linear_autoencoder()
    Image.new("RGB", (40, 20), "red").save(tmp_path / "wide.png")
    Image.new("RGB", (10, 30), "blue").save(tmp_path / "tall.png")
    found = read_anchors([str(tmp_path / "wide.png"), "random:3", str(tmp_path / "tall.png")], autoencoder, 16)
    assert found.size == (8, 16) and found.latents.shape == (3, 4, 4, 8)
    assert found.names == ["wide", "random:3", "tall"] and found.targets[1] is None
    again = read_anchors(["random:3"], autoencoder, 16)
    assert again.size == (16, 16) and torch.equal(again.latents, read_anchors(["random:3"], autoencoder, 16).latents)


def test_a_saved_latent_is_an_anchor_of_its_own_size(tmp_path):
    autoencoder = linear_autoencoder()
    path = tmp_path / "saved.safetensors"
    save_latent(path, torch.ones(1, 4, 3, 5), autoencoder, (6, 10))
    found = read_anchors([str(path), "random:0"], autoencoder, 16)
    assert found.size == (6, 10) and torch.equal(found.latents[:1], torch.ones(1, 4, 3, 5))
    Image.new("RGB", (40, 20)).save(tmp_path / "other.png")
    with pytest.raises(InputError, match=r"has shape \(1, 4, 3, 5\); \(1, 4, 4, 8\) is needed here"):
        read_anchors([str(tmp_path / "other.png"), str(path)], autoencoder, 16)


def test_the_command_walks_evenly_and_closes_its_loop(invoke, small, photo, tmp_path):
    code, out, err = invoke(
        *("walk", small, photo, "random:4", "--even", "--loop", "--frames", 18, "--output_path", "frames"),
        *("--method", "spline", "--refine", 2, "--json", *BUNDLED),
    )
    assert code == 0, err
    report = json.loads(out)
    assert report["frames"] == 18 and report["steps"]["ratio_after"] < report["steps"]["ratio_before"]
    assert set(report["refined"]) == {"small", "spheres"}
    frames = [np.asarray(Image.open(path), dtype=float) for path in sorted((tmp_path / "frames").glob("*.png"))]
    assert len(frames) == 18 and frames[0].shape == (40, 48, 3)
    steps = [np.sqrt(((one - two) ** 2).mean()) for one, two in zip(frames, [*frames[1:], frames[0]])]
    assert steps[-1] <= max(steps[:-1]) * 1.2  # the jump back to the first is a step like the others
    manifest = json.loads((tmp_path / "frames.manifest.json").read_text())
    assert manifest["inputs"]["anchors"] == [str(small), str(photo), "random:4"]
    assert manifest["options"]["method"] == "spline" and manifest["weights"]["sha256"]


def test_a_walk_lasts_as_long_as_asked_and_begins_and_ends_at_its_anchors(invoke, small, photo, tmp_path):
    code, _, err = invoke(
        *("walk", small, photo, "--seconds", 0.75, "--fps", 12.5, "--output_path", "walk.gif", "--caption", *BUNDLED)
    )
    assert code == 0, err
    frames = imageio.mimread(tmp_path / "walk.gif")
    assert len(frames) == 9 and frames[0].shape[0] > 40  # the caption below the picture
    original = np.asarray(Image.open(small), dtype=float)
    assert np.abs(frames[0][:40, :48, :3] - original).mean() < 25 < np.abs(frames[-1][:40, :48, :3] - original).mean()


def written_frames(folder):
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("*.png"))]


def expected_frames(autoencoder, sources, positions):
    """The pictures at positions on the arcs between sources, each decoded alone."""
    anchors = read_anchors([str(each) for each in sources], autoencoder, 48)
    path = LatentPath(anchors.latents)
    with torch.no_grad():
        return [to_uint8(autoencoder.decode(path(position), anchors.size)).astype(int) for position in positions]


@pytest.mark.parametrize(
    ("ease", "positions", "percents"),
    [
        ("linear", [0, 0.5, 1, 1.5, 2], [0, 50, 0, 50, 100]),
        ("in_out", [0, 0.3125, 1, 1.6875, 2], [0, 31, 0, 69, 100]),
        ("stops", [0, 0.5, 1, 1.5, 2], [0, 50, 0, 50, 100]),
    ],
)
def test_each_frame_shows_its_place_on_the_path_and_says_so(
    invoke, autoencoder, small, photo, tmp_path, ease, positions, percents
):
    sources = (small, photo, "random:4")
    line = ("walk", *sources, "--frames", 5, "--ease", ease, "--output_path", "frames", "--caption", *BUNDLED)
    code, _, err = invoke(*line)
    assert code == 0, err
    frames, expected = written_frames(tmp_path / "frames"), expected_frames(autoencoder, sources, positions)
    legs = ["small to spheres"] * 2 + ["spheres to random:4"] * 3
    assert len(frames) == 5
    for frame, wanted, leg, percent in zip(frames, expected, legs, percents):
        shown = frame[: wanted.shape[0]]
        assert np.abs(shown - wanted).max() <= 1
        assert np.array_equal(frame, captioned(shown.astype(np.uint8), f"{leg} {percent:3d}%"))


def test_stops_are_slow_at_every_anchor(invoke, autoencoder, small, photo, tmp_path):
    line = ("walk", small, photo, "random:4", "--frames", 9, "--ease", "stops", "--output_path", "frames", *BUNDLED)
    assert invoke(*line)[0] == 0
    positions = [0, 0.15625, 0.5, 0.84375, 1, 1.15625, 1.5, 1.84375, 2]
    for frame, wanted in zip(
        written_frames(tmp_path / "frames"), expected_frames(autoencoder, (small, photo, "random:4"), positions)
    ):
        assert np.abs(frame - wanted).max() <= 1


def test_an_even_walk_is_written_with_even_steps(invoke, small, photo, tmp_path):
    ratios = {}
    for name, even in {"plain": (), "even": ("--even",)}.items():
        line = ("walk", small, photo, "random:4", *even, "--frames", 16, "--output_path", name, "--json", *BUNDLED)
        code, out, err = invoke(*line)
        assert code == 0, err
        frames = [frame / 255 for frame in written_frames(tmp_path / name)]
        steps = [np.sqrt(np.square(one - two).mean()) for one, two in pairwise(frames)]
        ratios[name] = max(steps) / min(steps)
    reported = json.loads(out)["steps"]
    assert ratios["plain"] == pytest.approx(reported["ratio_before"], rel=0.05) and ratios["plain"] > 1.5
    assert ratios["even"] == pytest.approx(reported["ratio_after"], rel=0.05) and ratios["even"] < 1.25
    assert reported["measure"] == "RMSE"


def test_a_looped_walk_says_its_way_back(invoke, small, photo, tmp_path):
    line = ("walk", small, photo, "--loop", "--frames", 4, "--caption", "--output_path", "frames", *BUNDLED)
    code, out, err = invoke(*line)
    assert code == 0, err
    assert "walk     small → spheres → small, 4 frames" in out.splitlines()
    for frame, words in zip(
        written_frames(tmp_path / "frames"),
        ("small to spheres   0%", "small to spheres  50%", "spheres to small   0%", "spheres to small  50%"),
    ):
        shown = frame[: -line_count(words, frame.shape[1]) * 18].astype(np.uint8)
        assert np.array_equal(frame, captioned(shown, words))


def test_a_walk_in_python_is_the_commands_and_writes_nothing(autoencoder, small, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources, positions = (small, photo), [0, 0.15625 * 2, 1, 2 - 0.15625 * 2]
    before = sorted(tmp_path.iterdir())
    frames = list(walk(sources, vae=autoencoder, size=48, loop=True, frames=4, ease="in_out"))
    closed = expected_frames(autoencoder, (*sources, small), positions)
    assert [frame.index for frame in frames] == [0, 1, 2, 3] and sorted(tmp_path.iterdir()) == before
    for frame, wanted in zip(frames, closed, strict=True):
        assert np.abs(to_uint8(frame.image).astype(int) - wanted).max() <= 1


def test_a_stopped_session_ends_a_walk_in_python(autoencoder, small):
    session = Session()
    frames = walk([small, "random:1"], vae=autoencoder, size=32, frames=9, session=session)
    assert next(frames).index == 0
    session.stop()
    with pytest.raises(Interrupted, match="Stopped at step 0; no file is written"):
        next(frames)


def test_a_report_names_what_was_written_and_a_session_stops_a_walk(small, tmp_path):
    class StopAtThird(Session):
        def watch(self, records, *state):
            for record in super().watch(records, *state):
                if record.index == 2:
                    self.stop("enough")
                yield record

    config = WalkConfig(output_path=str(tmp_path / "w.gif"), frames=9, size=32, weights="bundled", dtype="float32")
    report = run_walk([str(small), "random:1"], config, StopAtThird())
    assert str(report.error) == "Stopped at step 2; outputs are complete up to that step (enough)."
    assert report.figures["frames"] == 3
    assert [path.name for path in report.written.paths] == ["w.gif", "w.gif.trajectory", "w.gif.manifest.json"]
    assert ", 3 of 9 frames)" in str(report).splitlines()[0] and "walk     small → random:1, 3 of 9 frames" in str(
        report
    )
    with Image.open(tmp_path / "w.gif") as gif:
        assert gif.n_frames == 3
    manifest = json.loads((tmp_path / "w.gif.manifest.json").read_text())
    assert manifest["result"]["outcome"] == str(report.error) and manifest["written"] == ["w.gif", "w.gif.trajectory"]


def test_the_same_walk_twice_is_the_same_file(invoke, small, tmp_path):
    for name in ("one.gif", "two.gif"):
        invoke("walk", small, "random:1", "--frames", 4, "--even", "--output_path", name, *BUNDLED)
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "two.gif").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{small}"], "2 or more"),
        (["{small}", "nothing.png"], "does not exist"),
        (["{small}", "random:x"], "random:SEED"),
        (["{small}", "nothing.safetensors"], "does not exist"),
        (["{small}", "random:1", "--frames", "9", "--seconds", "2"], "Give one"),
        (["{small}", "random:1", "--seconds", "0.01"], "a walk needs 2"),
        (["{small}", "random:1", "--budget_frames", "9"], "--even"),
        (["{small}", "random:1", "--measure", "lpips"], "--even"),
        (["{small}", "random:1", "--even", "--budget_frames", "9", "--budget_seconds", "2"], "one of them"),
        (["{small}", "random:1", "--method", "slurp"], "slerp"),
        (["{small}", "random:1", "--output_path", "x.txt"], ".gif"),
        (["{small}", "random:1", "--measure", "ssim"], "--measure"),
    ],
)
def test_bad_input_is_one_line(invoke, small, arguments, words):
    code, out, err = invoke("walk", *(each.format(small=small) for each in arguments), *BUNDLED)
    assert code == 2 and out == "" and err.count("\n") == 1 and words in err


def test_an_output_never_takes_the_place_of_an_anchor(invoke, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.gif")
    code, _, err = invoke("walk", "a.gif", "random:1", "--output_path", "a.gif", *BUNDLED)
    assert code == 2 and "in the place" in err


def test_a_folder_is_no_anchor(tmp_path):
    with pytest.raises(InputError, match="folder"):
        check_anchors([str(tmp_path), "random:1"], 2)


def test_a_walk_from_python_has_the_frames_of_the_command_and_writes_nothing(small, tmp_path, invoke):
    sources = [str(small), "random:3"]
    before = set(tmp_path.iterdir())
    frames = list(walk(sources, size=24, frames=5, ease="in_out"))
    assert set(tmp_path.iterdir()) == before and [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    line = ("walk", *sources, "--weights", "bundled", "--size", 24, "--frames", 5, "--ease", "in_out", "--quiet")
    assert invoke(*line, "--output_path", "out")[0] == 0
    for frame in frames:
        written = np.asarray(Image.open(tmp_path / "out" / f"{frame.index:05d}.png")).astype(int)
        assert np.abs(written - to_uint8(frame.image)).max() <= 1


@pytest.mark.parametrize(
    ("option", "value"),
    [("fit", "cover"), ("fit", "stretch"), ("method", "lerp"), ("loop", True), ("ease", "in_out"), ("size", 16)],
)
def test_an_option_of_a_walk_in_python_has_an_effect(small, autoencoder, option, value):
    options = {"vae": autoencoder, "size": 24, "frames": 4}

    def shown(**more):
        return [to_uint8(frame.image) for frame in walk([str(small), "random:3"], **options | more)]

    usual, found = shown(), shown(**{option: value})
    assert len(found) == len(usual) == 4
    assert any(one.shape != two.shape or np.abs(one.astype(int) - two).max() > 1 for one, two in zip(usual, found))
    if option == "fit":
        assert found[0].shape == (24, 24, 3)


def test_a_walk_in_python_loads_what_it_was_told(small):
    class Told(Session):
        def load(self, *given):
            raise InputError(repr(given))

    told = {"vae": "sd", "weights": "pretrained", "device": "cuda", "dtype": "bfloat16", "vae_config": "sdxl"}
    with pytest.raises(InputError, match=re.escape(repr(tuple(told.values())))):
        walk([str(small), "random:3"], session=Told(), **told)


def test_a_walk_in_a_thread_is_stopped_from_another():
    session, seen, reached, stopped = Session(), [], threading.Event(), threading.Event()

    def work():
        try:
            for frame in walk(["random:1", "random:2"], size=16, frames=50, session=session):
                seen.append(frame.index)
                if frame.index == 3:
                    reached.set()
                    stopped.wait()
        except Interrupted as error:
            seen.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    reached.wait()
    session.stop()
    stopped.set()
    thread.join()
    assert seen == [0, 1, 2, 3, "Stopped at step 3; no file is written."]


@pytest.mark.parametrize(("loop", "frames", "at"), [(False, 97, [0, 48, 96]), (True, 144, [0, 48, 96])])
def test_a_walk_has_48_frames_a_segment_and_goes_through_its_anchors(autoencoder, loop, frames, at):
    sources = ["random:1", "random:2", "random:3"]
    found = list(walk(sources, vae=autoencoder, size=16, loop=loop))
    assert len(found) == frames and found[0].total == frames - 1
    for source, index in zip(sources, at):
        exact = next(iter(walk([source, "random:9"], vae=autoencoder, size=16))).latent
        assert torch.equal(found[index].latent, exact)


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--frames", 20), ("--ease", "in_out"), ("--even", "--frames", 25)])
def test_whatever_the_timing_every_image_is_a_frame_and_stays_for_as_long_as_asked(invoke, tmp_path, options):
    line = ("walk", "random:1", "random:2", "random:3", "--size", 16, "--fps", 10, "--output_path")
    assert invoke(*line, "anchors", "--frames", 3, *BUNDLED)[0] == 0
    anchors = written_frames(tmp_path / "anchors")
    assert invoke(*line, "plain", *options, *BUNDLED)[0] == 0
    code, out, err = invoke(*line, "held", *options, "--hold_anchors", 0.5, "--json", *BUNDLED)
    assert code == 0, err
    plain, held = written_frames(tmp_path / "plain"), written_frames(tmp_path / "held")
    assert len(held) == len(plain) + 3 * 5 == json.loads(out)["frames"]
    for anchor in anchors:
        assert sum(np.array_equal(frame, anchor) for frame in plain) == 1
        same = [index for index, frame in enumerate(held) if np.array_equal(frame, anchor)]
        assert same == list(range(same[0], same[0] + 6))


def test_too_few_frames_for_the_images_are_said(invoke):
    line = ("walk", *(f"random:{seed}" for seed in range(5)), "--size", 16, "--weights", "bundled", "--output_path")
    few = invoke(*line, "few.gif", "--frames", 4)[2]
    assert "4 frames can't show each of 5 images; 5 are needed, and 193 are usual." in few
    assert "9 frames are few for 5 images" in invoke(*line, "some.gif", "--frames", 9)[2]
    assert "frames" not in invoke(*line, "enough.gif", "--frames", 17)[2].partition("wrote")[0].replace("frame ", "")


def album(folder):
    """Four pictures that are near to each other as c, d, b, a is a chain, and were taken in the order d, b, a, c."""
    folder.mkdir()
    pictures = {"a": (10, "2021"), "b": (60, "2020"), "c": (250, "2022"), "d": (150, "2019")}
    for name, (split, year) in pictures.items():
        values = np.zeros((32, 32, 3), np.uint8)
        values[: split * 32 // 255] = 255
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"{year}:01:01 00:00:00"
        Image.fromarray(values).save(folder / f"{name}.jpg", exif=exif, quality=95)


@pytest.mark.parametrize(("order", "expected"), [("name", "abcd"), ("date", "dbac"), ("nearest", "abdc")])
def test_a_folder_is_walked_through_by_name_date_or_nearness(invoke, tmp_path, order, expected):
    album(tmp_path / "album")
    line = ("walk", "album", "--size", 32, "--frames", 13, "--order", order, "--output_path", "w.gif", *BUNDLED)
    code, out, err = invoke(*line)
    assert code == 0, err
    assert f"walk     {' → '.join(expected)}, 13 frames" in out.splitlines()


def test_the_order_is_that_of_a_folder_with_images(invoke, tmp_path):
    (tmp_path / "empty").mkdir()
    for sources, words in ((["random:1", "random:2"], "Name one folder"), (["empty"], "holds no images")):
        code, out, err = invoke("walk", *sources, "--order", "date", *BUNDLED)
        assert (code, out, err.count("\n")) == (2, "", 1) and words in err


def test_files_whose_dates_cannot_be_read_are_in_the_order_they_were_written(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # so that Pillow refuses a small picture for its size
    Image.new("RGB", (32, 32)).save(tmp_path / "large.png")
    (tmp_path / "text.jpg").write_bytes(b"no picture")
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe1\x00\x40Exif\x00\x00MM\x00*\xff\xff")
    for year, name in enumerate(("text.jpg", "large.png", "cut.jpg"), 2000):
        moment = time.mktime((year, 6, 1, 12, 0, 0, 0, 0, 0))
        os.utime(tmp_path / name, (moment, moment))
        assert captured(tmp_path / name) == f"{year}:06:01 12:00:00"
