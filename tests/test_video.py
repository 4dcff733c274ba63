"""Moving pictures as a viewer decodes them: true and still colors, repetitions, order, edges."""

import re
import struct
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from toys import picture, steps

from latentflow.errors import InputError
from latentflow.pictures.draw import GAP, Drawing
from latentflow.pictures.palette import EXACT, choose_palette, dithered, exact_pixels, sample_colors
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
