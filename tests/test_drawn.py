"""What people see of a run, a comparison, a batch and a rendering: pixels, drawn text, curves, printed numbers, files.

The expected values come from the same run in memory, and are computed again from its pictures where that is simple.
"""

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageSequence
from safetensors.torch import load_file
from toys import step, steps

import latentflow
from latentflow import cli, losses
from latentflow.base.records import Labeled
from latentflow.base.session import Session
from latentflow.models import loading
from latentflow.pictures.draw import LabeledDrawing
from latentflow.pictures.text import BACKGROUND, captioned, font_with, line_count, text_block, titled
from latentflow.sinks import run_sinks
from latentflow.sinks.contact_sheet import shown_steps
from latentflow.sinks.plot import Plot
from latentflow.sinks.progress import Progress

STEPS, SEED, LOSS = 4, 7, "l1 + 0.5*mse"
HEIGHT, WIDTH = 40, 48
GAP = 4  # white columns between the target and the frame
LINE = 18  # height of a line of text
QUICK = ("--weights", "bundled", "--size", WIDTH, "--dtype", "float32", "--seed", SEED, "--steps", STEPS)


def printed(*args: object) -> str:
    """What the command line prints on stdout."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.run([str(each) for each in args]) == 0
    return out.getvalue()


def write_picture(path: Path, seed: int = 0) -> Path:
    """A picture of HEIGHT × WIDTH pixels: the first colorful, others dark and gray."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    if seed:
        bands = [60 + 60 * np.sin(y / 3 + seed)] * 3
    else:
        bands = [128 + 100 * np.sin(x / 5), x * 5, y * 6]
    Image.fromarray(np.stack(bands, -1).astype(np.uint8)).save(path)
    return path


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def pixels(image: torch.Tensor) -> np.ndarray:
    return np.rint(image[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255).astype(np.uint8)


def target_of(path: Path) -> torch.Tensor:
    return torch.from_numpy(read(path).astype(np.float32) / 255).permute(2, 0, 1)[None]


def psnr(image: torch.Tensor, target: torch.Tensor) -> float:
    return float(-10 * np.log10(float((image.clamp(0, 1) - target).double().square().mean())))


def terms(image: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """The terms of LOSS."""
    difference = (image - target).double()
    return {"l1": float(difference.abs().mean()), "mse": float(difference.square().mean())}


def total_loss(image: torch.Tensor, target: torch.Tensor) -> float:
    return terms(image, target)["l1"] + 0.5 * terms(image, target)["mse"]


def records_of(path: Path, autoencoder: Any, loss: str = LOSS, **options: Any) -> list[latentflow.Step]:
    """The records of a run in memory."""
    options = {"size": WIDTH, "steps": STEPS, "seed": SEED, "dtype": "float32"} | options
    return list(latentflow.invert(path, loss, vae=autoencoder, **options))


def columns(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def shown_metrics(values: dict[str, float]) -> list[str]:
    return [f"{values['psnr']:.2f}", f"{values['ssim']:.4f}", f"{values['lpips']:.4f}"]


@contextlib.contextmanager
def recorded(owner: type, name: str) -> Iterator[list[tuple[Any, ...]]]:
    """The positional arguments of all calls of a method, the object first."""
    calls: list[tuple[Any, ...]] = []
    original = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, call)
        yield calls


@pytest.fixture(scope="module")
def the_run(tmp_path_factory: pytest.TempPathFactory, autoencoder: Any) -> SimpleNamespace:
    """A run of the main command with all outputs, and the same run in memory."""
    folder = tmp_path_factory.mktemp("run")
    image = write_picture(folder / "image.png")
    with recorded(ImageDraw.ImageDraw, "text") as drawn, recorded(Figure, "savefig") as saved:
        out = printed(
            *("--image_path", image, *QUICK, "--loss_type", LOSS, "--output_path", folder / "frames"),
            *("--caption", "--side_by_side", "--metrics", folder / "m.jsonl", "--plot", folder / "p.png"),
            *("--save_image", folder / "i.png", "--save_latent", folder / "l.safetensors", "--schedule", "cosine"),
        )
    figures, texts = [figure for figure, *_ in saved], [text for _, _, text, *_ in drawn]
    records = records_of(image, autoencoder, schedule="cosine")
    frames = [read(path) for path in sorted((folder / "frames").glob("*.png"))]
    manifest = json.loads((folder / "frames.manifest.json").read_text())
    return SimpleNamespace(**locals(), target=target_of(image))


# Frames of a run


def test_a_frame_shows_target_gap_and_picture_from_left_to_right(the_run):
    assert len(the_run.frames) == STEPS + 1
    for frame, record in zip(the_run.frames, the_run.records, strict=True):
        assert np.array_equal(frame[:HEIGHT, :WIDTH], pixels(the_run.target))
        assert (frame[:HEIGHT, WIDTH : WIDTH + GAP] == 255).all()
        assert np.array_equal(frame[:HEIGHT, WIDTH + GAP :], pixels(record.image))


def test_captions_say_step_every_term_of_the_loss_and_psnr(the_run):
    wanted = []
    for index, record in enumerate(the_run.records):
        parts = terms(record.image, the_run.target)
        wanted.append(
            [
                f"step {index}/{STEPS}",
                f"l1 {parts['l1']:.4f}",
                f"mse {parts['mse']:.4f}",
                f"{psnr(record.image, the_run.target):5.2f} dB",
            ]
        )
    texts = [part.strip() for text in wanted for part in text]
    assert [part for line in the_run.texts for part in line.split("  ")] == texts  # in lines that are wide enough
    for text, frame in zip(wanted, the_run.frames, strict=True):
        assert np.array_equal(frame, captioned(frame[:HEIGHT], text))


def test_a_caption_pads_its_numbers_so_that_they_keep_their_place():
    from latentflow.pictures.draw import describe_step

    assert describe_step(step(3, total=100)) == ["step   3/100", "mse 0.2500", "13.00 dB"]
    assert describe_step(step(100, total=100))[0] == "step 100/100"


def test_a_strip_shows_its_text_and_no_other():
    strip = text_block("step 3  12.50 dB", 200)
    assert strip.shape == (LINE, 200, 3) and strip.dtype == np.uint8
    assert np.array_equal(strip, text_block("step 3  12.50 dB", 200))
    for other in ("step 4  12.50 dB", "step 3  12.51 dB", ""):
        assert not np.array_equal(strip, text_block(other, 200))
    assert (text_block("", 200) == BACKGROUND).all()


@pytest.mark.parametrize("width", [48, 96, 256, 640])
def test_letters_have_their_size_on_a_picture_of_any_size(width):
    """A capital is 0.7 of the font's size, 14 pixels at least: on a small picture it is as large as on one twice as
    wide."""
    rows = np.flatnonzero((text_block("H", width) != BACKGROUND).any(axis=(1, 2)))
    assert len(rows) >= 10


@pytest.mark.parametrize("width", [64, 128, 300])
def test_text_stays_between_the_margins_in_as_many_lines_as_it_takes(width):
    words = [f"word{number}" for number in range(8)]
    with recorded(ImageDraw.ImageDraw, "text") as drawn:
        block = text_block(" ".join(words), width)
    lines = [text for _, _, text, *_ in drawn]
    assert " ".join(lines).split() == words and len(lines) == len(block) // LINE
    assert len(lines) == {64: 8, 128: 4, 300: 2}[width] == line_count(" ".join(words), width)
    lit = np.flatnonzero((block != BACKGROUND).any(axis=(0, 2)))
    assert lit[0] >= 3 and lit[-1] <= width - 4


def test_parts_of_a_text_stay_together_and_a_long_name_loses_its_middle():
    with recorded(ImageDraw.ImageDraw, "text") as drawn:
        text_block(["step 1/9", "mse 0.25", "12.50 dB"], 128)
        text_block("IMG_20260101_101500_portrait", 128)
        block = text_block("one two three four five six", 60, lines=2)
    lines = [text for _, _, text, *_ in drawn]
    assert lines[:2] == ["step 1/9  mse 0.25", "12.50 dB"]
    assert re.fullmatch(r"IMG_\w+…\w+trait", lines[2])
    assert lines[3:] == ["one two", "thre…six"] and block.shape == (2 * LINE, 60, 3)


def test_a_caption_takes_the_same_lines_whatever_its_digits_are():
    assert line_count("step 111/111 mse 0.1111", 100) == line_count("step 888/888 mse 0.8888", 100)


def labeled(caption: str, titles: tuple[str, ...] = ("a", "b")) -> Labeled:
    image = torch.rand(2, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    return Labeled(index=0, total=0, latent=image, image=image, titles=[[each] for each in titles], caption=[caption])


def test_pictures_side_by_side_have_the_size_together():
    drawn = LabeledDrawing(caption=False, columns=2, size=100)(labeled("", titles=()))
    assert abs(drawn.shape[1] - 100) <= 4 and abs(drawn.shape[0] - 100 * 40 / 124) <= 2
    assert LabeledDrawing(caption=False, columns=2)(labeled("", titles=())).shape == (40, 124, 3)


def test_all_frames_have_room_for_the_longest_caption_that_comes():
    long = "a caption of many words that takes more lines than one"
    short, roomy = (LabeledDrawing(columns=2, captions=captions)(labeled("short")) for captions in ([], [long]))
    lines = line_count(long, 124)
    assert lines > 2 and len(roomy) - len(short) == (lines - 1) * LINE
    assert len(LabeledDrawing(columns=2)(labeled(long))) == len(roomy)


def make_font(path: Path, character: str) -> Path:
    """A font whose only letter is a full square."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "square"])
    font.setupCharacterMap({ord(character): "square"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return path


def test_characters_that_the_font_lacks_are_drawn_in_one_of_the_system_that_has_them(tmp_path, monkeypatch):
    from matplotlib import font_manager

    from latentflow.pictures import text
    from latentflow.pictures.figure import new_figure, save_figure

    character = "\U0001f000"
    for function in (text.font_with, text._font):
        function.cache_clear()
    path = make_font(tmp_path / "squares.ttf", character)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])
    font_manager.fontManager.addfont(path)
    assert font_with(frozenset(character)).name == "Squares"
    strip = text_block(character, 60)
    square = np.argwhere((strip == strip.max()).all(axis=2))
    assert len(square) > 0.7 * (0.9 * 14) ** 2
    assert (strip[tuple(slice(*each) for each in zip(square.min(0), square.max(0) + 1))] > 200).all()  # filled
    assert font_with(frozenset("σ→")).name == "DejaVu Sans"
    figure = new_figure(2, 1)
    figure.text(0.1, 0.3, character, fontsize=30)
    save_figure(figure, tmp_path / "f.png")
    dark = (read(tmp_path / "f.png") < 60).all(axis=2)
    assert dark.sum() > 0.7 * (0.9 * 30 / 72 * 120) ** 2
    for function in (text.font_with, text._font):
        function.cache_clear()


def test_a_title_is_above_the_picture_and_a_caption_below_it():
    picture = np.random.default_rng(0).integers(0, 256, (40, 160, 3), dtype=np.uint8)
    above, below = titled(picture, "one"), captioned(picture, "one")
    assert np.array_equal(above, np.concatenate([text_block("one", 160), picture]))
    assert np.array_equal(below, np.concatenate([picture, text_block("one", 160)]))


# Files of a run


def test_metrics_have_the_figures_of_each_step_on_its_line(the_run):
    lines = [json.loads(line) for line in (the_run.folder / "m.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(STEPS + 1))
    for line, record in zip(lines, the_run.records, strict=True):
        assert line["loss"] == pytest.approx(total_loss(record.image, the_run.target), rel=1e-4)
        assert line["parts"] == pytest.approx(terms(record.image, the_run.target), rel=1e-4)
        assert line["psnr"] == pytest.approx(psnr(record.image, the_run.target), abs=1e-3)
    rates = [0.1 * (0.5 + 0.5 * np.cos(np.pi * index / STEPS)) for index in range(STEPS)]
    assert [line["lr"] for line in lines] == pytest.approx([*rates, 0.0])  # the last record makes no update
    assert [line["passes"] for line in lines] == [3] * STEPS + [1]
    assert [line["grad_norm"] is None for line in lines] == [False] * STEPS + [True]


def test_the_saved_image_and_latent_are_the_last(the_run):
    assert np.array_equal(read(the_run.folder / "i.png"), pixels(the_run.records[-1].image))
    saved = load_file(the_run.folder / "l.safetensors")["latent"]
    assert torch.equal(saved.reshape(the_run.records[-1].latent.shape), the_run.records[-1].latent)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_keep_chooses_between_the_best_and_the_last_step(invoke, tmp_path, autoencoder, keep):
    image = write_picture(tmp_path / "image.png")
    records = records_of(image, autoencoder, "mse", steps=5, lr=1.0, optimizer="sgd")
    found = [float(record.loss[0]) for record in records]
    best = found.index(min(found))
    assert 0 < best < 5  # the run overshoots: its best step is neither the first nor the last
    wanted = records[best if keep == "best" else 5]
    code, _, err = invoke(
        *("--image_path", image, *QUICK, "--steps", 5, "--lr", 1, "--optimizer", "sgd", "--keep", keep),
        *("--save_image", "i.png", "--save_latent", "l.safetensors", "--output_path", "x.gif"),
    )
    assert code == 0, err
    assert np.array_equal(read(tmp_path / "i.png"), pixels(wanted.image))
    latent = load_file(tmp_path / "l.safetensors")["latent"]
    assert torch.equal(latent.reshape(wanted.latent.shape), wanted.latent)


# The plot


def check_plot(figure: Figure, wanted: dict[str, Any]) -> None:
    left, right = figure.axes
    (loss,) = left.get_lines()
    assert list(loss.get_xdata()) == wanted["steps"] and left.get_xlabel() == "step"
    assert list(loss.get_ydata()) == pytest.approx(wanted["losses"], rel=1e-4) and left.get_ylabel() == wanted["label"]
    curve, line = right.get_lines()
    assert list(curve.get_xdata()) == wanted["steps"]
    assert list(curve.get_ydata()) == pytest.approx(wanted["psnrs"], abs=1e-3)
    assert right.get_ylabel() == "PSNR in dB"
    assert list(line.get_ydata()) == pytest.approx([wanted["encoder"]] * 2, abs=1e-3)
    assert line.get_label() == "the encoder's own" == right.get_legend().get_texts()[0].get_text()
    colors = [to_hex(artist.get_color()) for artist in (loss, left.yaxis.label, curve, line, right.yaxis.label)]
    assert colors == ["#1f77b4"] * 2 + ["#ff7f0e"] * 3  # each curve and its axis have one color


def test_the_plot_has_loss_and_psnr_over_the_steps_and_the_encoders_own(the_run, autoencoder):
    (figure,) = the_run.figures
    check_plot(
        figure,
        {
            "steps": list(range(STEPS + 1)),
            "losses": [total_loss(record.image, the_run.target) for record in the_run.records],
            "psnrs": [psnr(record.image, the_run.target) for record in the_run.records],
            "label": LOSS,
            "encoder": psnr(autoencoder(the_run.target), the_run.target),
        },
    )


def test_a_plot_of_records_and_its_scale(tmp_path):
    plot = Plot(tmp_path / "p.png", "mse", 25.0)
    for record in steps(3):
        plot.write(record)
    wanted = {"steps": [0, 1, 2], "losses": [1, 1 / 2, 1 / 3], "psnrs": [10, 11, 12], "label": "mse", "encoder": 25.0}
    check_plot(plot.draw(), wanted)
    assert plot.draw().axes[0].get_yscale() == "log"
    plot.write(step(3, loss=-1.0))
    assert plot.draw().axes[0].get_yscale() == "linear"


# The summary


def test_the_summary_says_what_the_run_came_to(the_run, autoencoder):
    first, last = the_run.records[0], the_run.records[-1]
    lines = the_run.out.splitlines()
    loss = f"{total_loss(first.image, the_run.target):.5g} → {total_loss(last.image, the_run.target):.5g}"
    (line,) = [line for line in lines if line.startswith("loss ")]
    assert line.startswith(f"loss     {LOSS}: {loss} in {STEPS} steps, ")
    assert f"seed     {SEED}" in lines and "weights  bundled (bundled)" in lines
    written = dict(line.removeprefix("wrote    ").split(" (") for line in lines if line.startswith("wrote"))
    names = ["frames", "m.jsonl", "p.png", "i.png", "l.safetensors", "frames.trajectory", "frames.manifest.json"]
    assert sorted(written) == sorted(str(the_run.folder / name) for name in names)
    assert written[str(the_run.folder / "frames")].endswith(f", {STEPS + 1} frames)")


def test_the_summary_has_the_metrics_of_the_run_and_of_the_encoder(the_run, autoencoder):
    last, load = the_run.records[-1], latentflow.models.networks.Networks("auto", torch.device("cpu"))
    run = latentflow.image_metrics(last.image, the_run.target, load)
    own = latentflow.encoder_metrics(autoencoder, the_run.target, load)
    assert run["psnr"] == pytest.approx(psnr(last.image, the_run.target), abs=1e-3)
    assert own["psnr"] == pytest.approx(psnr(autoencoder(the_run.target), the_run.target), abs=1e-3)
    lines = the_run.out.splitlines()
    (at,) = [index for index, line in enumerate(lines) if columns(line)[:1] == ["PSNR dB"]]
    head, first, second = lines[at : at + 3]
    assert columns(head) == ["PSNR dB", "SSIM", "lpips[bundled]"]
    for line, title, values in ((first, "this run", run), (second, "encoder's own", own)):
        assert columns(line) == [title, *shown_metrics(values)]
    result = the_run.manifest["result"]
    assert result["metrics"] == pytest.approx(run.labeled())
    assert result["encoder_metrics"] == pytest.approx(own.labeled())
    assert result["loss_first"] == pytest.approx(float(the_run.records[0].loss[0]))
    assert result["loss_last"] == pytest.approx(float(last.loss[0]))
    assert (result["steps"], result["loss"]) == (STEPS, LOSS)


def test_progress_shows_the_figures_of_the_record(monkeypatch):
    shown = []
    meter = SimpleNamespace(update=lambda done, text: shown.append((done, text)), close=lambda: None)
    monkeypatch.setattr("latentflow.sinks.progress.SHOW_EVERY", -1)
    run_sinks(steps(3), [Progress(Session(start_meter=lambda total, unit: meter), 2)])
    assert shown == [(0, "loss 1, 10.00 dB"), (1, "loss 0.5, 11.00 dB"), (2, "loss 0.3333, 12.00 dB")]


# Options of the frames


def test_skip_step_keeps_every_nth_frame(invoke, tmp_path, autoencoder):
    image = write_picture(tmp_path / "image.png")
    code, out, err = invoke("--image_path", image, *QUICK, "--skip_step", 3, "--output_path", "frames")
    assert code == 0 and "3 frames" in out, err
    records = records_of(image, autoencoder, "mse")
    found = {path.name: read(path) for path in (tmp_path / "frames").iterdir()}
    assert sorted(found) == ["00000.png", "00003.png", "00004.png"]
    assert all(np.array_equal(frame, pixels(records[int(name[:5])].image)) for name, frame in found.items())


@pytest.mark.parametrize(("fps", "hold"), [(10, 0.7), (5, 1.2)])
def test_fps_and_hold_are_the_durations_of_a_gif(invoke, tmp_path, fps, hold):
    image = write_picture(tmp_path / "image.png")
    code, _, err = invoke("--image_path", image, *QUICK, "--fps", fps, "--hold", hold, "--output_path", "x.gif")
    assert code == 0, err
    with Image.open(tmp_path / "x.gif") as gif:
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
    assert durations == [1000 / fps] * STEPS + [1000 * hold]


def by_change(images: list[np.ndarray], count: int) -> list[int]:
    """The indices of pictures between which the picture changes by nearly the same RMS distance."""
    changes = [float(np.sqrt(np.square(two - one).mean())) for one, two in pairwise(images)]
    lengths = np.concatenate([[0], np.cumsum(changes)])
    return sorted({int(np.abs(lengths - each).argmin()) for each in np.linspace(0, lengths[-1], count)})


def test_pace_change_spreads_the_frames_over_the_change_of_the_picture(invoke, tmp_path, autoencoder):
    image = write_picture(tmp_path / "image.png")
    options = ("--steps", 20, "--lr", 0.5, "--skip_step", 4)
    code, _, err = invoke("--image_path", image, *QUICK, *options, "--pace", "change", "--output_path", "frames")
    assert code == 0, err
    records = records_of(image, autoencoder, "mse", steps=20, lr=0.5)
    chosen = by_change([record.image.clamp(0, 1).double().numpy() for record in records], 6)
    assert chosen != [0, 4, 8, 12, 16, 20]
    for folder in ("frames", "again"):
        found = {int(path.stem): read(path) for path in (tmp_path / folder).iterdir()}
        assert sorted(found) == chosen
        assert all(np.array_equal(frame, pixels(records[index].image)) for index, frame in found.items())
        if folder == "frames":
            code, _, err = invoke(
                *("render", "frames.trajectory", "--pace", "change", "--skip_step", 4, "--output_path", "again")
            )
            assert code == 0, err


# Effects of options


@contextlib.contextmanager
def watched_autoencoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The autoencoders that are loaded, each with the number of calls of the first convolution of its decoder's first
    block, `calls`."""
    loaded: list[Any] = []
    original = loading.load_autoencoder

    def load(*args: Any, **kwargs: Any) -> Any:
        autoencoder = original(*args, **kwargs)
        block = next(each for each in autoencoder.model.decoder.modules() if type(each).__name__ == "ResBlock")
        watched = SimpleNamespace(autoencoder=autoencoder, calls=0)
        conv = next(each for each in block.modules() if isinstance(each, torch.nn.Conv2d))
        conv.register_forward_hook(lambda *_: setattr(watched, "calls", watched.calls + 1))
        loaded.append(watched)
        return autoencoder

    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_autoencoder", load)
        yield loaded


def test_checkpointing_computes_the_blocks_again_in_the_backward_pass(invoke, tmp_path, monkeypatch):
    image = write_picture(tmp_path / "image.png")
    with watched_autoencoders(monkeypatch) as loaded:
        for name in ("on", "off", "auto"):
            code, _, err = invoke(
                "--image_path", image, *QUICK, "--checkpointing", name, "--output_path", f"{name}.gif"
            )
            assert code == 0, err
    on, off, auto = (each.calls for each in loaded)
    assert on - off == STEPS  # once more in each backward pass; the last record has none
    assert auto == off
    assert (tmp_path / "on.gif").read_bytes() == (tmp_path / "off.gif").read_bytes()


def test_dtype_is_what_the_autoencoder_computes_in(invoke, tmp_path, monkeypatch):
    image = write_picture(tmp_path / "image.png")
    options = ("--weights", "bundled", "--size", WIDTH, "--seed", SEED, "--steps", 1, "--loss_type", "l1")
    with watched_autoencoders(monkeypatch) as loaded:
        for name in ("float32", "bfloat16"):
            outputs = ("--output_path", name, "--save_latent", f"{name}.safetensors", "--metrics", f"{name}.jsonl")
            code, _, err = invoke("--image_path", image, *options, "--dtype", name, *outputs)
            assert code == 0, err
            manifest = json.loads((tmp_path / f"{name}.manifest.json").read_text())
            assert manifest["options"]["dtype"] == name
    for each, dtype in zip(loaded, (torch.float32, torch.bfloat16), strict=True):
        assert each.autoencoder.dtype == dtype == next(each.autoencoder.model.parameters()).dtype
    one, two = (read(tmp_path / name / "00000.png").astype(int) for name in ("float32", "bfloat16"))
    assert 0 < np.abs(one - two).mean() < 3  # the same latent, decoded in another precision
    one, two = (
        [json.loads(line)["loss"] for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("float32", "bfloat16")
    )
    assert one != two and one == pytest.approx(two, rel=0.05)
    one, two = (load_file(tmp_path / f"{name}.safetensors")["latent"] for name in ("float32", "bfloat16"))
    assert one.dtype == two.dtype == torch.float32 and not torch.equal(one, two)


# Rendering


def within_a_level(one, two):
    """Whether two pictures are the same but for one gray level: `render` decodes several frames at once."""
    return np.abs(one.astype(int) - two).max() <= 1


def test_a_rendering_has_the_target_and_the_captions_of_the_run(the_run, tmp_path):
    trajectory = the_run.folder / "frames.trajectory"
    out = printed("render", trajectory, "--output_path", tmp_path / "all", "--caption", "--side_by_side")
    assert f"{STEPS + 1} frames" in out
    rendered = [read(path) for path in sorted((tmp_path / "all").iterdir())]
    assert len(rendered) == STEPS + 1
    for frame, again in zip(the_run.frames, rendered, strict=True):
        assert within_a_level(frame, again)


def test_captions_are_drawn_at_the_size_of_the_rendering(the_run, tmp_path):
    trajectory = the_run.folder / "frames.trajectory"
    printed("render", trajectory, "--output_path", tmp_path / "large", "--size", 192, "--caption")
    paths = sorted((tmp_path / "large").glob("*.png"))
    record, frame = the_run.records[-1], read(paths[-1])
    parts = terms(record.image, the_run.target)
    words = [f"step {STEPS}/{STEPS}", f"l1 {parts['l1']:.4f}", f"mse {parts['mse']:.4f}"]
    words.append(f"{psnr(record.image, the_run.target):5.2f} dB")
    assert frame.shape == (160 + 2 * LINE, 192, 3)
    assert np.array_equal(frame[160:], text_block(words, 192))


def test_a_rendering_without_options_is_the_pictures_alone_and_size_scales_them(the_run, tmp_path):
    trajectory = the_run.folder / "frames.trajectory"
    printed("render", trajectory, "--output_path", tmp_path / "plain")
    printed("render", trajectory, "--output_path", tmp_path / "large", "--size", 96, "--skip_step", 3)
    printed("render", trajectory, "--output_path", tmp_path / "x.gif", "--fps", 4, "--hold", 2)
    for index, record in enumerate(the_run.records):
        assert within_a_level(read(tmp_path / "plain" / f"{index:05d}.png"), pixels(record.image))
    assert sorted(path.name for path in (tmp_path / "large").iterdir()) == ["00000.png", "00003.png", "00004.png"]
    large = Image.fromarray(pixels(the_run.records[3].image)).resize((96, 80), Image.Resampling.LANCZOS)
    assert within_a_level(read(tmp_path / "large" / "00003.png"), np.asarray(large))
    with Image.open(tmp_path / "x.gif") as gif:
        assert [frame.info["duration"] for frame in ImageSequence.Iterator(gif)] == [250] * STEPS + [2000]


def test_a_video_has_the_frames_and_holds_the_last(the_run, tmp_path):
    printed(
        "render", the_run.folder / "frames.trajectory", "--output_path", tmp_path / "x.mp4", "--fps", 8, "--hold", 1
    )
    frames = [np.asarray(frame).astype(int) for frame in imageio.get_reader(tmp_path / "x.mp4")]
    assert len(frames) == STEPS + 8
    for shown, index in ((frames[0], 0), (frames[-1], STEPS)):
        assert np.abs(shown - pixels(the_run.records[index].image)).mean() < 6


# A comparison


NAMES = ("mse", "ssim", "l1")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, autoencoder: Any) -> SimpleNamespace:
    """A comparison of three losses, and each run in memory by itself."""
    folder = tmp_path_factory.mktemp("compare")
    image = write_picture(folder / "image.png")
    with recorded(ImageDraw.ImageDraw, "text") as drawn:
        out = printed(
            *("compare", "--image_path", image, "--losses", ",".join(NAMES), *QUICK, "--output_path", folder / "frames")
        )
    texts = [text for _, _, text, *_ in drawn]
    runs = {name: records_of(image, autoencoder, name) for name in NAMES}
    load = latentflow.models.networks.Networks("auto", torch.device("cpu"))
    return SimpleNamespace(**locals(), target=target_of(image))


def test_panels_have_the_name_the_picture_and_the_figures_of_their_run(comparison):
    lpips, below = losses.find("lpips")(comparison.load), 4 * LINE  # "12.34", "dB", "lpips", "1.234" on so narrow ones
    height = LINE + HEIGHT + below
    for index in range(STEPS + 1):
        frame = read(comparison.folder / "frames" / f"{index:05d}.png")
        across = (frame.shape[1] + GAP) // (WIDTH + GAP)
        panels = [
            frame[row * height :][:height, column * (WIDTH + GAP) :][:, :WIDTH]
            for row in range(frame.shape[0] // height)
            for column in range(across)
        ]
        wanted = [("target", comparison.target, [f"step {index}/{STEPS}"])]
        for name in NAMES:
            image = comparison.runs[name][index].image
            with torch.no_grad():
                distance = float(lpips(image.clamp(0, 1), comparison.target)[0])
            wanted.append((name, image, [f"{psnr(image, comparison.target):5.2f} dB", f"lpips {distance:.3f}"]))
        for panel, (title, image, figures) in zip(panels, wanted, strict=False):
            assert np.array_equal(panel[:LINE], text_block(title, WIDTH)), title
            assert np.array_equal(panel[LINE:-below], pixels(image)), title
            assert np.array_equal(panel[-below:], text_block(figures, WIDTH, 4)), (title, figures)
        assert all((panel == BACKGROUND).all() for panel in panels[len(wanted) :])


def test_the_contact_sheet_has_a_row_for_each_loss_and_a_column_for_each_step(comparison):
    sheet, margin, shown = read(comparison.folder / "frames.sheet.png"), 96, shown_steps(STEPS)
    below = 2 * LINE  # PSNR, on a picture as narrow as here
    width, row_height = margin + (GAP + WIDTH) * (1 + len(shown)), HEIGHT + below
    assert sheet.shape == (2 * LINE + row_height * len(NAMES), width, 3)
    title = "image.png: losses compared, autoencoder bundled"
    assert np.array_equal(sheet[:LINE], text_block(title, width))
    for column, heading in enumerate(["target", *(f"step {index}" for index in shown)]):
        left = margin + GAP + column * (WIDTH + GAP)
        assert np.array_equal(sheet[LINE : 2 * LINE, left:][:, :WIDTH], text_block(heading, WIDTH))
        for row, name in enumerate(NAMES):
            cell = sheet[2 * LINE + row * row_height :, left:][:row_height, :WIDTH]
            image = comparison.runs[name][shown[column - 1]].image if column else comparison.target
            words = f"{psnr(image, comparison.target):.2f} dB" if column else ""
            assert np.array_equal(cell[:HEIGHT], pixels(image)), (name, heading)
            assert np.array_equal(cell[HEIGHT:], text_block(words, WIDTH, 2)), (name, heading)
    for row, name in enumerate(NAMES):
        label = sheet[2 * LINE + row * row_height :, :margin][:row_height]
        assert np.array_equal(label[:LINE], text_block(name, margin))


def test_the_table_has_losses_and_metrics_of_each_run_and_of_the_encoder(comparison, autoencoder):
    lines = (comparison.folder / "frames.md").read_text().splitlines()
    head, rule, *rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    assert head == ["loss", "first", "last", "PSNR dB", "SSIM", "lpips[bundled]", "s per step"]
    assert set(rule) == {"---"}
    own = latentflow.encoder_metrics(autoencoder, comparison.target, comparison.load)
    assert own["psnr"] == pytest.approx(psnr(autoencoder(comparison.target), comparison.target), abs=1e-3)
    result = json.loads((comparison.folder / "frames.manifest.json").read_text())["result"]
    assert result["encoder_metrics"] == pytest.approx(own.labeled())
    wanted = []
    for name, records in comparison.runs.items():
        first, last = (float(records[index].loss[0]) for index in (0, -1))
        metrics = latentflow.image_metrics(records[-1].image, comparison.target, comparison.load)
        assert metrics["psnr"] == pytest.approx(psnr(records[-1].image, comparison.target), abs=1e-3)
        wanted.append([name, f"{first:.4g}", f"{last:.4g}", *shown_metrics(metrics)])
        assert result["runs"][name]["metrics"] == pytest.approx(metrics.labeled())
        assert (result["runs"][name]["loss_first"], result["runs"][name]["loss_last"]) == pytest.approx((first, last))
    assert [row[:6] for row in rows] == [*wanted, ["encoder's own", "", "", *shown_metrics(own)]]
    printed_head, *printed_rows = [line for line in comparison.out.splitlines() if not re.match("wrote|seed", line)]
    assert columns(printed_head) == head
    assert [columns(line)[:6] for line in printed_rows] == [*wanted, ["encoder's own", *shown_metrics(own)]]


# A batch


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory, autoencoder: Any) -> SimpleNamespace:
    """A batch of two images that are optimized together, and each in memory by itself."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "in").mkdir()
    images = {name: write_picture(folder / "in" / name, seed) for seed, name in enumerate(("a.png", "b.png"))}
    out = printed(
        *("batch", folder / "in", "--output_dir", folder / "out", *QUICK, "--suffix", "", "--batch_size", 2, "--quiet")
    )
    rows = {row["image"]: row for row in map(json.loads, (folder / "out" / "batch.jsonl").read_text().splitlines())}
    runs = {name: records_of(path, autoencoder, "mse", seed=rows[name]["seed"]) for name, path in images.items()}
    return SimpleNamespace(**locals())


def test_the_sheet_of_a_batch_has_each_image_beside_its_own_result(batch):
    sheet = read(batch.folder / "out" / "batch.png")
    assert sheet.shape == (256, 256, 3)
    for row, (name, path) in enumerate(batch.images.items()):
        last = Image.fromarray(pixels(batch.runs[name][-1].image))
        for column, image in enumerate((Image.open(path).convert("RGB"), last)):
            thumbnail = sheet[row * 128 :, column * 128 :][:128, :128].astype(int)
            scaled = np.asarray(image.resize((124, 103), Image.Resampling.LANCZOS)).astype(int)
            found = thumbnail[12:115, 2:126]
            assert np.abs(found - scaled).mean() < 1, (name, column)  # a batch differs from a run by rounding
            assert (np.delete(thumbnail, slice(12, 115), 0) == BACKGROUND).all()


def test_the_table_of_a_batch_has_the_figures_of_each_image(batch):
    with (batch.folder / "out" / "batch.csv").open(encoding="utf-8", newline="") as file:
        table = {row["image"]: row for row in csv.DictReader(file)}
    assert list(table) == list(batch.rows) == ["a.png", "b.png"]
    for name, path in batch.images.items():
        last = batch.runs[name][-1]
        wanted = psnr(last.image, target_of(path))
        row = batch.rows[name]
        assert row["psnr"] == pytest.approx(wanted, abs=0.02)
        assert row["loss"] == pytest.approx(float(last.loss[0]), rel=0.01)
        assert (row["steps"], row["status"]) == (STEPS, "done")
        assert row["output"] == str(batch.folder / "out" / path.name.replace(".", "_"))
        for column in ("psnr", "ssim", "loss", "seed", "steps"):
            assert float(table[name][column]) == row[column]
    psnrs = [row["psnr"] for row in batch.rows.values()]
    assert abs(psnrs[0] - psnrs[1]) > 0.1  # two images whose figures can't be mistaken for each other
    assert batch.out.startswith("done     2 images, ")
