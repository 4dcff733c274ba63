"""Moving pictures as a viewer decodes them: true and still colors, repetitions, order, edges."""

import json
import re
import struct
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from toys import picture, steps

from latentflow.base.errors import InputError
from latentflow.pictures.draw import GAP, Drawing
from latentflow.pictures.palette import EXACT, ColorSample, choose_palette, dithered, exact_pixels, sample_colors
from latentflow.sinks import run_sinks
from latentflow.sinks.frames import check_frames_path, open_frames

SIDE = 128
LAMPS = {(20, 30): (255, 30, 20), (70, 90): (20, 220, 40), (100, 24): (40, 60, 255)}


def lamps() -> torch.Tensor:
    """A black picture with three spots of six pixels."""
    image = torch.zeros(1, 3, SIDE, SIDE)
    for (row, column), color in LAMPS.items():
        image[0, :, row : row + 6, column : column + 6] = torch.tensor(color)[:, None, None] / 255
    return image


def smooth(seed: int) -> torch.Tensor:
    """A random picture with soft edges and muted colors."""
    coarse = 0.3 * picture(6, 6, seed=seed) + 0.7 * picture(6, 6, seed=seed + 100).mean(1, keepdim=True)
    return torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic").clamp(0, 1)


def flow(count: int = 4) -> list:
    """Records whose pictures all differ."""
    pictures = [smooth(seed) for seed in range(count)]
    return [type(each)(**vars(each) | {"image": image}) for each, image in zip(steps(count), pictures, strict=True)]


def written(path: Path, records: list, **options) -> list[np.ndarray]:
    """The frames of a GIF as they are shown."""
    run_sinks(records, [open_frames(path, **options)])
    with Image.open(path) as image:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]


def images(path: Path) -> list[tuple[int, int]]:
    """The width and height of every image of a GIF that has colors of its own, or zeros where it has none."""
    content, found = path.read_bytes(), []
    at = 13 + (3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0)
    while content[at : at + 1] != b";":
        if content[at : at + 1] == b",":
            width, height, flags = struct.unpack("<HHB", content[at + 5 : at + 10])
            found.append((width, height) if flags & 0x80 else (0, 0))
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        else:
            at += 2
        while content[at]:
            at += content[at] + 1
        at += 1
    return found


def flat(levels: list[int]):
    """A `draw` of gray frames of 16 × 16 pixels, and its records."""
    return {"draw": lambda record: np.full((16, 16, 3), levels[record.index], np.uint8)}, steps(len(levels))


@pytest.mark.parametrize("palette", ["frame", "global"])
def test_gap_and_caption_have_exactly_their_colors(tmp_path, palette):
    records, draw = flow(), Drawing(smooth(9), side_by_side=True, caption=True)
    for record, frame in zip(records, written(tmp_path / "x.gif", records, draw=draw, palette=palette), strict=True):
        wanted = draw(record)
        assert (frame[:SIDE, SIDE : SIDE + GAP] == 255).all()
        assert np.array_equal(frame[SIDE:], wanted[SIDE:]) and len(np.unique(frame[SIDE:])) > 3
        assert np.square(frame.astype(float) - wanted).mean() < 40  # 32 dB


def test_small_lamps_keep_their_colors(tmp_path):
    frames = written(tmp_path / "x.gif", flow(), draw=Drawing(lamps(), side_by_side=True))
    for frame in frames:
        for (row, column), color in LAMPS.items():
            spot = frame[row + 1 : row + 5, column + 1 : column + 5].reshape(-1, 3).mean(0)
            assert np.abs(spot - color).max() < 12, (spot, color)


def test_what_does_not_change_is_still_and_takes_no_room(tmp_path):
    records, draw = flow(6), Drawing(smooth(9), side_by_side=True)
    frames = written(tmp_path / "x.gif", records, draw=draw)
    assert len(frames) == 6
    for record, frame in zip(records, frames, strict=True):
        assert np.array_equal(frame[:, : SIDE + GAP], frames[0][:, : SIDE + GAP])
        wanted = draw(record)[:, SIDE + GAP :]
        assert np.abs(frame[:, SIDE + GAP :].astype(int) - wanted).mean() < 6  # nothing of the frame before is left
    assert images(tmp_path / "x.gif") == [(2 * SIDE + GAP, SIDE)] + [(SIDE, SIDE)] * 5


def test_equal_frames_take_their_time(tmp_path):
    options, records = flat([10, 10, 10, 200])
    run_sinks(records, [open_frames(tmp_path / "x.gif", fps=30, hold=1, **options)])
    with Image.open(tmp_path / "x.gif") as image:
        shown = [
            (frame.convert("L").getpixel((8, 8)), frame.info["duration"]) for frame in ImageSequence.Iterator(image)
        ]
    assert sum(duration for level, duration in shown if level == 10) == 100
    assert shown[-1] == (200, 1000)


def test_errors_are_not_diffused_from_one_panel_into_the_next():
    left, right = np.full((SIDE, SIDE, 3), 7, np.uint8), (smooth(1)[0].permute(1, 2, 0) * 255).byte().numpy()
    white, text = np.full((SIDE, GAP, 3), 255, np.uint8), np.full((14, 2 * SIDE + GAP, 3), 24, np.uint8)
    drawn = []
    for other in (left, 255 - left):
        rows = [np.concatenate([panel, white, right], 1) for panel in (other, right)]
        whole = np.concatenate([text, rows[0], text, rows[1]])
        exact = exact_pixels(whole)
        palette = choose_palette(*sample_colors(right, np.ones((SIDE, SIDE), bool)), 255)
        drawn.append(palette[dithered(whole, palette, exact, np.ones_like(exact))])
    assert np.array_equal(drawn[0][:, SIDE:], drawn[1][:, SIDE:]) and not np.array_equal(*drawn)
    assert np.array_equal(drawn[0][14:][:SIDE, SIDE + GAP :], drawn[0][-SIDE:, :SIDE])
    assert np.array_equal(drawn[0][-SIDE:, SIDE + GAP :], drawn[0][-SIDE:, :SIDE])


def test_a_color_of_its_own_has_a_place_in_the_palette_however_rare():
    colors = np.repeat(np.linspace(60, 190, 3000).round().astype(np.uint8)[:, None], 3, 1)
    colors[1234] = 250, 10, 20
    palette = choose_palette(colors, np.ones(len(colors)), 64).astype(int)
    assert np.abs(palette - (250, 10, 20)).sum(1).min() == 0


def test_what_dithering_can_not_make_up_for_leaves_no_specks():
    """Red that no color of the palette comes near adds up to errors that make 32 pixels of the black beside it red."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :32] = 250, 10, 10
    palette = np.concatenate([np.repeat(EXACT[:, None], 3, 1), np.uint8([[120, 10, 10], [0, 0, 0]])])
    nothing = np.zeros((64, 64), bool)
    found = palette[dithered(picture, palette, nothing, ~nothing)].astype(int)
    assert np.abs(found - picture)[:, 32:].max() <= 40
    assert (found[:, :32] == (120, 10, 10)).all()  # the nearest, far as it is


def test_a_long_video_has_the_colors_of_its_beginning_its_middle_and_its_end():
    sample, rng = ColorSample(), np.random.default_rng(0)
    middles = [(60, 60, 200)] * 11 + [(60, 200, 60)] * 10 + [(200, 60, 60)] * 24
    for middle in middles:
        sample.add((middle + rng.uniform(-55, 55, (128, 128, 3))).astype(np.uint8))
    assert len(sample.colors) <= 60_000
    assert sample.weights.sum() == pytest.approx(len(middles) * 128 * 128, rel=0.05)
    palette = sample.palette(255).astype(int)
    for middle, count in ((m, middles.count(m)) for m in dict.fromkeys(middles)):
        near = (np.abs(palette - middle).max(1) <= 55).sum()
        assert near >= 0.5 * 255 * count / len(middles), (middle, near)


def test_a_palette_has_the_colors_of_few_and_of_many_pixels():
    pixels = np.zeros((100, 100, 3), np.uint8)
    assert np.array_equal(choose_palette(*sample_colors(pixels, np.zeros((100, 100), bool)), 255)[:, 0], EXACT)
    pixels[50:] = (90, 120, 30)
    pixels[0, 0] = (250, 0, 130)
    palette = choose_palette(*sample_colors(pixels, np.ones((100, 100), bool)), 255)
    assert len(palette) <= 255
    for color in ((0, 0, 0), (90, 120, 30), (250, 0, 130)):
        assert np.abs(palette.astype(int) - color).sum(1).min() == 0


@pytest.mark.parametrize(("loop", "repetitions"), [(0, 0), (1, None), (2, 1), (7, 6)])
def test_a_gif_is_played_as_often_as_wanted(tmp_path, loop, repetitions):
    run_sinks(steps(3), [open_frames(tmp_path / "x.gif", loop=loop)])
    found = re.findall(rb"NETSCAPE2\.0\x03\x01(..)\x00", (tmp_path / "x.gif").read_bytes(), re.DOTALL)
    assert [struct.unpack("<H", each)[0] for each in found] == ([] if repetitions is None else [repetitions])


@pytest.mark.parametrize("loop", [0, 3])
def test_a_webp_is_played_as_often_as_wanted(tmp_path, loop):
    run_sinks(steps(3), [open_frames(tmp_path / "x.webp", loop=loop)])
    assert Image.open(tmp_path / "x.webp").info["loop"] == loop


@pytest.mark.parametrize("palette", ["frame", "global"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_bounce_goes_there_and_back_without_its_ends(tmp_path, count, palette):
    levels = [20, 90, 160, 230][:count]
    options, records = flat(levels)
    run_sinks(records, [open_frames(tmp_path / "x.gif", fps=10, hold=1, bounce=True, palette=palette, **options)])
    with Image.open(tmp_path / "x.gif") as image:
        shown = [
            (frame.convert("L").getpixel((8, 8)), frame.info["duration"]) for frame in ImageSequence.Iterator(image)
        ]
    wanted = [*levels, *levels[-2:0:-1]]
    assert [level for level, _ in shown] == pytest.approx(wanted, abs=2)
    assert [duration for _, duration in shown] == [1000 if level == levels[-1] else 100 for level in wanted]
    assert [path.name for path in tmp_path.iterdir()] == ["x.gif"]


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (3, 4), (6, 10)])
def test_a_bounce_counts_the_frames_that_are_in_the_file(tmp_path, count, expected):
    sink = open_frames(tmp_path / "x.gif", bounce=True)
    run_sinks(steps(count), [sink])
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == sink.frames == sink.in_file(count) == expected
    plain = open_frames(tmp_path / "y.gif")
    run_sinks(steps(count), [plain])
    assert plain.frames == plain.in_file(count) == count


BOUNCED = {  # a command with 4 frames, its option for them, and the file
    "run": ("--steps", 3, "--image_path"),
    "compare": ("compare", "--losses", "mse,l1", "--steps", 3, "--image_path"),
    "walk": ("walk", "random:1", "random:2", "--frames", 4),
    "grid": ("grid", "random:1", "--frames", 4, "--resolution", 2, "--tile", 500),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", BOUNCED)
def test_every_report_of_a_bounce_has_the_frames_of_its_file(invoke, small, tmp_path, command):
    """4 frames there and 2 back."""
    line = [*BOUNCED[command], *([small] if command in ("run", "compare") else [])]
    output = ("--output_path", "x.gif")
    options = ("--weights", "bundled", "--size", 48, "--bounce", "--quiet", "--fps", 10)
    code, out, err = invoke(*line, *options, *output, "--json")
    assert code == 0, err
    report = json.loads(out)
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == report["frames"] == 6
    if command == "walk":
        assert report["seconds"] == 0.6
    if command in ("walk", "grid"):
        manifest = json.loads((tmp_path / "x.gif.manifest.json").read_text())
        assert manifest["result"]["frames"] == 6
    code, out, err = invoke(*line, *options, *output, "--overwrite")
    assert code == 0 and "6 frames)" in out and "4 frames" not in out, err
    code, out, err = invoke("render", "x.gif", "--output_path", "y.gif", "--bounce", "--json")
    assert code == 0, err
    with Image.open(tmp_path / "y.gif") as gif:
        assert gif.n_frames == json.loads(out)["frames"]


def test_a_walk_that_is_broken_off_says_how_many_frames_of_how_many(tmp_path, monkeypatch):
    from latentflow.base.session import Session
    from latentflow.explore.config import WalkConfig
    from latentflow.explore.walk import run_walk

    class Stopping(Session):
        def watch(self, records, *args):
            for record in super().watch(records, *args):
                if record.index == 2:
                    self.stop()
                yield record

    monkeypatch.chdir(tmp_path)
    config = WalkConfig(output_path="w.gif", weights="bundled", size=32, frames=8, bounce=True)
    report = run_walk(["random:1", "random:2"], config, Stopping(quiet=True))
    with Image.open("w.gif") as gif:
        assert gif.n_frames == report.figures["frames"]
    assert report.error is not None and report.frames[2] == 14 and f"{report.frames[1]} of 14 frames" in str(report)


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_a_video_bounces_too(tmp_path, suffix):
    options, records = flat([20, 90, 160, 230])
    run_sinks(records, [open_frames(tmp_path / f"x.{suffix}", fps=10, hold=0.3, bounce=True, **options)])
    found = [int(frame[8, 8, 0]) for frame in imageio.get_reader(tmp_path / f"x.{suffix}")]
    assert found == pytest.approx([20, 90, 160, 230, 230, 230, 160, 90], abs=4)


def test_one_palette_for_the_file_has_the_colors_of_all_frames(tmp_path):
    records = flow(5)
    frames = written(tmp_path / "one.gif", records, palette="global")
    content = (tmp_path / "one.gif").read_bytes()
    assert content[10] & 0x87 == 0x87 and images(tmp_path / "one.gif") == [(0, 0)] * 5
    table = {tuple(color) for color in np.frombuffer(content[13 : 13 + 768], np.uint8).reshape(-1, 3).tolist()}
    for record, frame in zip(records, frames, strict=True):
        assert {tuple(color) for color in np.unique(frame.reshape(-1, 3), axis=0).tolist()} <= table
        assert np.abs(frame - (record.image[0].permute(1, 2, 0) * 255).numpy()).mean() < 10
    written(tmp_path / "each.gif", records)
    assert not (tmp_path / "each.gif").read_bytes()[10] & 0x80
    assert images(tmp_path / "each.gif") == [(SIDE, SIDE)] * 5


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_odd_sizes_repeat_their_edge(tmp_path, suffix):
    white = np.full((33, 51, 3), 255, np.uint8)
    run_sinks(steps(3), [open_frames(tmp_path / f"x.{suffix}", draw=lambda record: white)])
    frame = imageio.get_reader(tmp_path / f"x.{suffix}").get_data(0)
    assert frame.shape == (34, 52, 3) and frame.min() > 250


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("x.mp4", {"palette": "global"}, "`palette` global would have no effect on a .mp4"),
        ("x.webm", {"loop": 2}, "`loop` 2 would have no effect on a .webm"),
        ("frames", {"loop": 1}, "`loop` 1 would have no effect on a folder"),
        ("frames", {"bounce": True}, "`bounce` would have no effect on a folder"),
    ],
)
def test_options_that_a_format_does_not_have_are_refused(tmp_path, name, options, words):
    with pytest.raises(InputError, match=words):
        check_frames_path(tmp_path / name, **options)
    check_frames_path(tmp_path / "x.webp", loop=2, bounce=True)
