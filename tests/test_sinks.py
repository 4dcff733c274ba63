"""Sinks: every output is right, streams, and is left valid whatever happens."""

import json
import os
import re
import resource
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from toys import step, steps

from latentflow.base.errors import DivergedError, InputError, MissingPackageError, OutputError
from latentflow.base.files import WrittenFiles
from latentflow.pictures.draw import Drawing
from latentflow.sinks import EveryNth, Sink, run_sinks
from latentflow.sinks.advice import Advice
from latentflow.sinks.frames import draw_image, open_frames
from latentflow.sinks.manifest import Manifest, read_manifest
from latentflow.sinks.metrics import Metrics
from latentflow.sinks.plot import Plot
from latentflow.sinks.png_folder import PngFolder
from latentflow.sinks.save_best import SaveBest, save_image

ROOT = Path(__file__).parent.parent


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def gif_frames(path):
    with Image.open(path) as image:
        return [(np.asarray(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(image)]


@pytest.mark.parametrize(("fps", "hold"), [(20, 1.5), (30, 0), (12.5, 2), (50, 0.5), (3, 1)])
def test_a_gif_lasts_as_long_as_it_should(tmp_path, fps, hold):
    run_sinks(steps(), [open_frames(tmp_path / "x.gif", fps=fps, hold=hold)])
    durations = [duration for _, duration in gif_frames(tmp_path / "x.gif")]
    # delays are whole centiseconds; the last frame stays `hold` seconds, or one frame's time
    assert sum(durations[:-1]) == pytest.approx(9 / fps * 1000, abs=10)
    assert durations[-1] == pytest.approx(max(hold, 1 / fps) * 1000, abs=10)
    assert Image.open(tmp_path / "x.gif").info["loop"] == 0
    assert left(tmp_path) == ["x.gif"]


def test_gif_frames_have_good_colors_of_their_own(tmp_path):
    pictures = steps(4, height=96, width=128)
    run_sinks(pictures, [open_frames(tmp_path / "x.gif")])
    frames = gif_frames(tmp_path / "x.gif")
    assert len(frames) == 4
    for record, (frame, _) in zip(pictures, frames, strict=True):
        wanted = record.image[0].permute(1, 2, 0).numpy() * 255
        assert np.abs(frame - wanted).mean() < 4
    palettes = [{tuple(color) for color in frame.reshape(-1, 3)} for frame, _ in frames]
    assert all(one != other for one, other in pairwise(palettes))


def peak_memory(tmp_path, frames):
    """The peak memory in kB of a process that writes a GIF, and of its ffmpeg."""
    code = (
        "import sys, resource, numpy as np; from pathlib import Path; from types import SimpleNamespace as Record\n"
        "from latentflow.sinks.frames import open_frames\n"
        "rng = np.random.default_rng(0)\n"
        "draw = lambda record: rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)\n"
        "sink = open_frames(Path(sys.argv[1]), draw=draw)\n"
        "with sink:\n    for index in range(int(sys.argv[2])): sink.write(Record(index=index))\n"
        "who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)\n"
        "print(*(resource.getrusage(each).ru_maxrss for each in who))"
    )
    line = [sys.executable, "-c", code, str(tmp_path / f"{frames}.gif"), str(frames)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"}
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=environment)
    return [int(value) for value in done.stdout.split()]


@pytest.mark.slow
def test_many_frames_take_no_more_memory_than_few(tmp_path):
    few, many = peak_memory(tmp_path, 40), peak_memory(tmp_path, 240)
    assert (tmp_path / "240.gif").stat().st_size > 4_000_000  # noise doesn't compress: all the frames are there
    # 200 more raw frames would be 10 MB, and 4 MB compressed
    assert many[0] < few[0] + 2_500 and many[1] < few[1] + 3_500, (few, many)


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_videos_play_with_every_frame_and_true_colors(tmp_path, suffix):
    pictures = steps(10, height=33, width=47)
    run_sinks(pictures, [open_frames(tmp_path / f"x.{suffix}", fps=10, hold=1)])
    frames = [np.asarray(frame) for frame in imageio.get_reader(tmp_path / f"x.{suffix}")]
    assert len(frames) == 9 + 10 and frames[0].shape[:2] == (34, 48)
    assert left(tmp_path) == [f"x.{suffix}"]


@pytest.mark.parametrize("suffix", ["mp4", "webm", "webp", "gif"])
@pytest.mark.parametrize("color", [(200, 40, 40), (30, 160, 60), (20, 40, 220), (128, 128, 128)])
def test_flat_colors_come_back(tmp_path, suffix, color):
    path = tmp_path / f"x.{suffix}"
    flat = np.full((64, 64, 3), color, np.uint8)
    run_sinks(steps(3), [open_frames(path, draw=lambda record: flat)])
    if suffix in ("mp4", "webm"):
        frame = np.asarray(imageio.get_reader(path).get_data(0))
    else:
        frame = np.asarray(Image.open(path).convert("RGB"))
    assert np.abs(frame[32, 32].astype(int) - color).max() <= 6


def test_videos_say_which_colors_they_hold(tmp_path):
    import imageio_ffmpeg

    run_sinks(steps(3), [open_frames(tmp_path / "x.mp4")])
    shown = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", tmp_path / "x.mp4"], capture_output=True, text=True)
    assert re.search(r"Video: h264.*yuv420p\(tv, bt709", shown.stderr)


def test_an_animated_webp_lasts_as_long_as_it_should(tmp_path):
    run_sinks(steps(), [open_frames(tmp_path / "x.webp", fps=10, hold=1)])
    with Image.open(tmp_path / "x.webp") as image:
        durations = []
        for frame in ImageSequence.Iterator(image):
            frame.load()
            durations.append(frame.info["duration"])
    assert sum(durations) == pytest.approx(900 + 1000, abs=20)


def test_a_folder_of_pngs_is_lossless_and_named_by_step(tmp_path):
    pictures = steps(4)
    run_sinks(pictures, [open_frames(tmp_path / "frames")])
    assert left(tmp_path / "frames") == ["00000.png", "00001.png", "00002.png", "00003.png"]
    for record in pictures:
        found = np.asarray(Image.open(tmp_path / "frames" / f"{record.index:05d}.png"))
        assert np.array_equal(found, (record.image[0].permute(1, 2, 0) * 255).round().byte().numpy())


def test_frames_that_come_twice_are_numbered_as_they_come(tmp_path):
    first, second = steps(2)
    run_sinks([first, second, first], [PngFolder(tmp_path / "frames", draw_image, by_frame=True)])
    assert left(tmp_path / "frames") == ["00000.png", "00001.png", "00002.png"]
    contents = [(tmp_path / "frames" / f"0000{number}.png").read_bytes() for number in range(3)]
    assert contents[0] == contents[2] != contents[1]


class Recorder(Sink):
    """A sink that remembers what it saw."""

    def __init__(self, fail_at=None):
        self.seen, self.closed, self.fail_at = [], False, fail_at

    def write(self, record):
        if record.index == self.fail_at:
            raise OutputError("full")
        self.seen.append(record.index)

    def close(self, error):
        self.closed = True


@pytest.mark.parametrize(("count", "step_size", "kept"), [(10, 4, [0, 4, 8, 9]), (9, 4, [0, 4, 8]), (3, 50, [0, 2])])
def test_every_keeps_the_first_and_the_last(count, step_size, kept):
    recorder = Recorder()
    run_sinks(steps(count), [EveryNth(step_size, recorder)])
    assert recorder.seen == kept


def broken_off(records, at):
    for record in records:
        if record.index == at:
            raise DivergedError("diverged")
        yield record


def test_every_keeps_the_last_record_before_a_break():
    recorder = Recorder()
    with pytest.raises(DivergedError):
        run_sinks(broken_off(steps(), at=7), [EveryNth(4, recorder)])
    assert recorder.seen == [0, 4, 6] and recorder.closed


def test_one_failing_sink_leaves_the_others_valid(tmp_path):
    recorder = Recorder(fail_at=5)
    sinks = [open_frames(tmp_path / "x.gif"), Metrics(tmp_path / "m.jsonl"), recorder]
    with pytest.raises(OutputError, match="full"):
        run_sinks(steps(), sinks)
    assert recorder.closed and len(gif_frames(tmp_path / "x.gif")) == 6
    assert len((tmp_path / "m.jsonl").read_text().splitlines()) == 6
    assert left(tmp_path) == ["m.jsonl", "x.gif"]


@pytest.mark.parametrize("name", ["x.gif", "x.mp4", "m.jsonl", "p.png"])
def test_a_run_that_breaks_before_its_first_record_leaves_earlier_files_alone(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    make = {".jsonl": Metrics, ".png": lambda path: Plot(path, "mse")}.get(Path(name).suffix, open_frames)
    with pytest.raises(DivergedError):
        run_sinks(broken_off(steps(), at=0), [make(tmp_path / name)])
    assert (tmp_path / name).read_bytes() == b"precious" and left(tmp_path) == [name]


def test_no_records_is_an_error():
    with pytest.raises(ValueError, match="no records"):
        run_sinks([], [Recorder()])


def test_a_dead_ffmpeg_is_an_output_error_and_keeps_the_earlier_file(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"precious")
    sink = open_frames(tmp_path / "x.mp4")

    def records():
        yield step(0, height=200, width=200)
        yield step(1, height=200, width=200)
        sink.encoder.process.kill()
        sink.encoder.process.wait()
        for index in range(2, 500):
            yield step(index, height=200, width=200)

    with pytest.raises(OutputError, match="ffmpeg") as caught:
        run_sinks(records(), [sink])
    assert caught.value.exit_code == 6
    assert (tmp_path / "x.mp4").read_bytes() == b"precious" and left(tmp_path) == ["x.mp4"]


def test_a_missing_ffmpeg_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingPackageError, match="pip install imageio-ffmpeg"):
        run_sinks(steps(2), [open_frames(tmp_path / "x.mp4")])
    assert left(tmp_path) == []
    run_sinks(steps(2), [open_frames(tmp_path / "x.gif")])  # GIFs don't need it


def test_a_missing_matplotlib_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackageError, match="pip install matplotlib"):
        run_sinks(steps(2), [Plot(tmp_path / "p.png", "mse")])


@pytest.mark.parametrize("name", ["x.gif", "x.mp4", "frames", "m.jsonl", "i.png"])
@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(command, small, name):
    """A limit on the size of files stands in for the disk: the system answers a write with an error in both cases."""
    option = {"m.jsonl": "--metrics", "i.png": "--save_image"}.get(name, "--output_path")
    other = [] if option == "--output_path" else ["--output_path", "frames"]
    (small.parent / "earlier.gif").write_bytes(b"precious" * 1000)
    size, count = (16, 40) if name == "m.jsonl" else (300, 9)
    done = command(
        *(
            "--image_path",
            small,
            "--weights",
            "bundled",
            "--size",
            size,
            "--steps",
            count,
            "--skip_step",
            count - 1,
            option,
            name,
        ),
        *other,
        limits={resource.RLIMIT_FSIZE: 2500},
    )
    assert done.returncode == 6, done.stderr
    assert done.stderr.splitlines()[-1].startswith("latentflow: --") and "Traceback" not in done.stderr
    assert not [path for path in small.parent.rglob("*") if ".part" in path.name]
    assert not [path for path in small.parent.rglob("*.png") if path != small and not is_whole(path)]
    assert not (small.parent / name).is_file() or name == "m.jsonl"
    assert (small.parent / "earlier.gif").read_bytes() == b"precious" * 1000


def is_whole(path):
    with Image.open(path) as image:
        image.load()
    return True


def test_metrics_are_one_line_a_step_with_null_for_what_is_no_number(tmp_path):
    run_sinks([step(0), step(1, loss=float("inf"))], [Metrics(tmp_path / "m.jsonl")])
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1] and lines[1]["loss"] is None
    assert lines[0] | {"seconds": 0} == {
        **{
            "step": 0,
            "loss": 1.0,
            "parts": {"mse": 1.0},
            "psnr": 10.0,
            "grad_norm": 0.5,
            "lr": 0.1,
            "passes": 3,
            "seconds": 0,
        }
    }


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_plot_has_the_same_bytes_twice(tmp_path, suffix):
    contents = []
    for _ in range(2):
        run_sinks(steps(), [Plot(tmp_path / f"p.{suffix}", "mse", encoder_psnr=25.0)])
        contents.append((tmp_path / f"p.{suffix}").read_bytes())
    assert contents[0] == contents[1] and len(contents[0]) > 5000


@pytest.mark.parametrize(("keep", "index"), [("last", 2), ("best", 1)])
def test_the_last_or_the_best_step_is_kept(keep, index):
    kept = []
    run_sinks([step(0, loss=3.0), step(1, loss=1.0), step(2, loss=2.0)], [SaveBest(kept.append, keep)])
    assert [record.index for record in kept] == [index]


def test_a_saved_image_is_the_picture(tmp_path):
    save_image(tmp_path / "i.png", step(3).image)
    wanted = (step(3).image[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "i.png")), wanted)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (24, 32, 3)),
        ({"side_by_side": True}, (24, 68, 3)),
        ({"caption": True}, (24 + 6 * 18, 32, 3)),
        ({"side_by_side": True, "caption": True}, (24 + 4 * 18, 68, 3)),
    ],
)
def test_target_and_caption_have_their_place(options, shape):
    drawn = Drawing(torch.full((1, 3, 24, 32), 1 / 3), **options)(step(2))
    assert drawn.shape == shape and drawn.dtype == np.uint8
    picture = (step(2).image[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert np.array_equal(drawn[:24, -32:], picture)
    if "side_by_side" in options:
        assert (drawn[:24, :32] == 85).all()
    if "caption" in options:
        assert drawn[24:].max() > 100  # there is lettering


def test_the_manifest_is_written_whatever_happens(tmp_path):
    with pytest.raises(DivergedError):
        frames = open_frames(tmp_path / "x.gif")
        written = WrittenFiles([tmp_path / "x.gif"])
        manifest = Manifest(tmp_path / "x.json", {"options": {}}, lambda: {"steps": 3}, written)
        run_sinks(broken_off(steps(), at=3), [manifest, frames])
    content = read_manifest(tmp_path / "x.json")
    assert content["result"] == {"steps": 3} and content["outcome"].startswith("DivergedError")
    assert content["written"] == ["x.gif"] and content["format_version"] == 2


def test_a_file_that_is_no_manifest_is_an_input_error(tmp_path):
    for content in ("", "[]", "{}", '{"options": 3}', "\0"):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(InputError):
            read_manifest(tmp_path / "x.json")


def test_a_long_run_is_announced_with_what_would_shorten_it(tmp_path):
    said = []
    advice = Advice(said.append, 100, open_frames(tmp_path / "x.mp4"), ["`size` 256 takes about a quarter of it"])
    run_sinks([step(0, total=100, height=384, width=512, seconds=60.0)], [advice])
    assert said == ["This will take about 1.7 h (60 s per step); `size` 256 takes about a quarter of it."]


@pytest.mark.slow
def test_a_gif_that_will_be_large_is_announced(tmp_path):
    said, noise = [], np.random.default_rng(0)
    frames = open_frames(tmp_path / "x.gif", draw=lambda record: noise.integers(0, 256, (128, 128, 3), dtype=np.uint8))
    with frames, Advice(said.append, 5000, frames) as advice:
        for record in steps(140):
            frames.write(record)
            advice.write(record)
    assert len(said) == 1 and re.match(r"The GIF will have about \d+ MB; `skip_step`", said[0])
