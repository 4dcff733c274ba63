"""Concepts: a direction from two folders of images, what held-out images say of it, and an image moved along it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentflow.errors import InputError
from latentflow.explore.concept.directions import HeldOutScore, cross_validate, direction_between
from latentflow.explore.concept.figure import draw_concept
from latentflow.explore.config import ConceptConfig
from latentflow.explore.moving import write_moving
from latentflow.explore.report import ViewReport, beside, check_outputs, sweep_path, write_view_manifest
from latentflow.files import check_writable
from latentflow.interrupts import NOTHING, Interrupts, Say
from latentflow.latents.files import load_latent, save_latent, saved_notes, saved_size
from latentflow.latents.index import check_folder, read_latents
from latentflow.latents.sources import LATENT, Anchors, check_anchors, read_anchors
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.draw import captioned
from latentflow.pictures.figure import save_figure
from latentflow.pictures.files import to_uint8
from latentflow.records import Frame
from latentflow.runs.run import Loaded, load
from latentflow.sinks.frames import check_frames_path, open_frames

JUDGED = {"balanced_accuracy", "std_over_folds", "interval_95", "chance", "folds", "right", "of", "tells_apart"}
LEAST = 4  # images a folder: fewer leave nothing to hold out
PANELS = 16  # pictures in the strip


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """A direction (1, c, rows, columns) of pictures of `size` (height, width), its `names`, of the group it leads to
    and the one it comes from, and what was `found` when it was judged, as plain values."""

    direction: Tensor
    size: tuple[int, int]
    names: tuple[str, str]
    kind: str
    found: dict[str, Any]

    @property
    def name(self) -> str:
        """The direction in words."""
        return f"{self.names[1]} to {self.names[0]}"

    @property
    def length(self) -> float:
        """The RMS of its values."""
        return float(self.direction.square().mean().sqrt())

    def warning(self) -> str:
        """One sentence when it doesn't tell its two groups apart, else nothing."""
        if self.found["tells_apart"]:
            return ""
        return f"this direction does not tell the two apart on held-out images: {in_words(self.found)}."


def in_words(found: dict[str, Any]) -> str:
    """A judgement's figures in words."""
    low, high = found["interval_95"]
    return (
        f"balanced accuracy {found['balanced_accuracy']:.0%} ± {found['std_over_folds']:.0%} over "
        f"{found['folds']} folds, 95% interval {low:.1%} to {high:.1%}, chance is {found['chance']:.0%}"
    )


def move_along(
    autoencoder: Autoencoder, latent: Tensor, concept: Concept, strengths: Sequence[float]
) -> Iterator[Frame]:
    """The pictures of latent + strength · direction, decoded as they are asked for."""
    for index, strength in enumerate(strengths):
        moved = latent + strength * concept.direction
        with torch.no_grad():
            image = autoencoder.decode(moved, concept.size)
        yield Frame(index=index, total=len(strengths) - 1, latent=moved, image=image)


def there_and_back(low: float, high: float, frames: int) -> np.ndarray:
    """The strengths of a sweep's frames: from low to high and back, slow at both ends, closed to a loop."""
    return (low + high) / 2 - (high - low) / 2 * np.cos(2 * np.pi * np.arange(frames) / frames)


def write_concept(path: Path, concept: Concept, autoencoder: Autoencoder) -> None:
    """Save a direction in the format of latents, with its name and its judgement; raises `OutputError`."""
    held_out = json.dumps(concept.found, sort_keys=True)
    notes = {"positive": concept.names[0], "negative": concept.names[1], "kind": concept.kind, "held_out": held_out}
    save_latent(path, concept.direction, autoencoder, concept.size, notes, option="--output_path")


def read_concept(path: Path, autoencoder: Autoencoder) -> Concept:
    """Read a direction that was saved for this autoencoder; raises `InputError` for what is none and as `load_latent`
    does."""
    size, names, kind, found = check_concept(path)
    direction = load_latent(path, autoencoder)
    if tuple(direction.shape) != (1, *autoencoder.geometry.latent_shape(*size)):
        raise InputError(f"--direction {path} has not the shape of a picture of {size[1]} × {size[0]} pixels.")
    return Concept(direction=direction, size=size, names=names, kind=kind, found=found)


def check_concept(path: Path) -> tuple[tuple[int, int], tuple[str, str], str, dict[str, Any]]:
    """What a direction's file says of it: size, names, kind and judgement; raises `InputError` when it holds none."""
    if not path.is_file():
        raise InputError(f"--direction {path} does not exist.")
    notes, size = saved_notes(path), saved_size(path)
    try:
        names, kind, found = (notes["positive"], notes["negative"]), notes["kind"], json.loads(notes["held_out"])
        if size is None or min(size) < 1 or not isinstance(found, dict) or JUDGED - set(found):
            raise ValueError
        in_words(found)
        _on_their_side(found, names)
    except (KeyError, ValueError, TypeError, IndexError, RecursionError) as error:
        raise InputError(f"--direction {path} is no direction that concept has saved.") from error
    return size, names, kind, found


def run_concept(config: ConceptConfig, interrupts: Interrupts, say: Say, *, quiet: bool = False) -> ViewReport:
    """Make, judge and save a direction, or read an earlier one, and apply it; raises `LatentflowError` as the parts
    do."""
    output, strip, moving = _check(config)
    strengths = _strengths(config)
    loaded = load(config, say)
    judgement: HeldOutScore | None = None
    indexes: list[Path] = []
    if config.direction is None:
        concept, judgement, indexes = _find(config, loaded, interrupts, say, quiet)
        write_concept(output, concept, loaded.autoencoder)
    else:
        concept = read_concept(Path(config.direction).expanduser(), loaded.autoencoder)
    report = ViewReport(written=[strip] if config.direction else [output, strip], lines=_lines(concept))
    report.figures = {"concept": concept.name, "kind": concept.kind, "rms": concept.length, "held_out": concept.found}
    if concept.warning():
        say(concept.warning())
    anchors, pictures = None, {}
    if config.apply is not None:
        anchors = _applied(config.apply, concept, loaded.autoencoder)
        frames = interrupts.watch(move_along(loaded.autoencoder, anchors.latents, concept, strengths), NOTHING)
        pictures = {strength: to_uint8(frame.image) for strength, frame in zip(strengths, frames)}
        report.figures["strengths"] = strengths
    save_figure(draw_concept(concept.name, concept.names, pictures, judgement), strip)
    if anchors is not None:
        report.written.append(moving)
        _sweep(moving, config, loaded, anchors, concept, strengths, interrupts, report, quiet)
    report.written += indexes
    inputs = {key: getattr(config, key) for key in ("positive", "negative", "direction", "apply")}
    write_view_manifest(strip if config.direction else output, config, inputs, loaded, report)
    return report


def _check(config: ConceptConfig) -> tuple[Path, Path, Path]:
    """Where direction, figure and sweep go; raises what is wrong with the options."""
    output = Path(config.output_path).expanduser()
    strip, moving = beside(output, ".png"), sweep_path(output, config.sweep)
    if config.direction is not None:
        sources = _check_earlier(config)
        if output.suffix not in (LATENT, ".png"):
            raise InputError(f"--output_path {output}: with --direction, the figure is written as .png.")
    else:
        sources = _check_folders(config)
        if output.suffix != LATENT:
            raise InputError(f"--output_path {output}: a direction is written as {LATENT}.")
        check_writable(output, "--output_path")
    check_writable(strip, "--output_path")
    outputs = [strip] if config.direction is not None else [output, strip]
    if config.apply is not None:
        check_anchors([config.apply], 1, 1)
        check_frames_path(moving, config.fps, config.overwrite)
        outputs.append(moving)
        sources = [*sources, Path(config.apply)]
    check_outputs(outputs, sources)
    return output, strip, moving


def _check_earlier(config: ConceptConfig) -> list[Path]:
    assert config.direction is not None
    if config.positive is not None or config.negative is not None or config.whiten:
        raise InputError("--direction is made already: it takes no --positive, --negative or --whiten.")
    if config.apply is None:
        raise InputError("--direction needs something to --apply it to.", "For example: --apply examples/cat.png")
    path = Path(config.direction).expanduser()
    size = check_concept(path)[0]
    if config.size not in (ConceptConfig().size, *size):
        raise InputError(f"--size {config.size}: the direction is of pictures of {size[1]} × {size[0]} pixels.")
    return [path]


def _check_folders(config: ConceptConfig) -> list[Path]:
    if config.positive is None or config.negative is None:
        raise InputError(
            "A direction is made from two folders.", "Give --positive and --negative, or an earlier one by --direction."
        )
    groups = [
        check_folder(Path(folder).expanduser(), option)
        for folder, option in ((config.positive, "--positive"), (config.negative, "--negative"))
    ]
    both = {path.resolve() for path in groups[0]} & {path.resolve() for path in groups[1]}
    if both:
        raise InputError(f"{len(both)} of the images of --positive are those of --negative, as {min(both).name}.")
    return [Path(config.positive), Path(config.negative)]


def _strengths(config: ConceptConfig) -> list[float]:
    """Ascending, with the untouched picture among them."""
    strengths = sorted({0.0, *config.strengths})
    if len(strengths) == 1:
        raise InputError("--strengths: with 0 alone nothing moves.")
    if len(strengths) > PANELS:
        raise InputError(f"--strengths: {len(strengths)} pictures don't fit in a row; at most {PANELS} do.")
    return strengths


def _find(
    config: ConceptConfig, loaded: Loaded, interrupts: Interrupts, say: Say, quiet: bool
) -> tuple[Concept, HeldOutScore, list[Path]]:
    """Make a direction from the two folders and judge it; and where their latents are kept."""
    assert config.positive is not None and config.negative is not None
    folders = [Path(folder).expanduser() for folder in (config.positive, config.negative)]
    found = [
        read_latents(folder, loaded.autoencoder, config.size, interrupts, say, quiet=quiet, least=LEAST)
        for folder in folders
    ]
    positive, negative = (each.latents for each in found)
    interrupts.check()
    direction = direction_between(positive, negative, whiten=config.whiten)
    judgement = cross_validate(positive, negative, whiten=config.whiten, check=interrupts.check)
    concept = Concept(
        direction=direction.to(loaded.autoencoder.device),
        size=(config.size, config.size),
        names=_names(folders),
        kind="whitened" if config.whiten else "difference of means",
        found=judgement.figures(),
    )
    return concept, judgement, [each.index for each in found]


def _names(folders: Sequence[Path]) -> tuple[str, str]:
    """What tells two folders apart: their names, with those above them where they are the same."""
    one, two = (folder.resolve() for folder in folders)
    if one.name != two.name:
        return one.name, two.name
    return f"{one.parent.name}/{one.name}", f"{two.parent.name}/{two.name}"


def _lines(concept: Concept) -> list[str]:
    return [
        f"concept  {concept.name}, {concept.kind}, RMS {concept.length:.3f} a latent value",
        f"held out {in_words(concept.found)}",
        f"         on their side: {_on_their_side(concept.found, concept.names)}",
    ]


def _on_their_side(found: dict[str, Any], names: tuple[str, str]) -> str:
    return ", ".join(
        f"{right:d} of {of:d} of {name}" for right, of, name in zip(found["right"], found["of"], names, strict=True)
    )


def _applied(source: str, concept: Concept, autoencoder: Autoencoder) -> Anchors:
    """What is moved, as a picture of the direction's size."""
    anchors = read_anchors([source], autoencoder, concept.size[0], "cover")
    if anchors.latents.shape != concept.direction.shape:
        raise InputError(
            f"{source} is of a picture of {anchors.size[1]} × {anchors.size[0]} pixels, the direction of "
            f"{concept.size[1]} × {concept.size[0]}."
        )
    return anchors


def _sweep(
    path: Path,
    config: ConceptConfig,
    loaded: Loaded,
    anchors: Anchors,
    concept: Concept,
    strengths: Sequence[float],
    interrupts: Interrupts,
    report: ViewReport,
    quiet: bool,
) -> None:
    """Write the sweep from the least to the greatest strength and back; what broke it off is left in the report."""
    positions = there_and_back(strengths[0], strengths[-1], config.frames)

    def draw(frame: Frame) -> np.ndarray:
        return captioned(to_uint8(frame.image), f"strength {positions[frame.index]:+.2f}  {concept.name}")

    sink = open_frames(path, fps=config.fps, hold=0, overwrite=config.overwrite, draw=draw)
    records = move_along(loaded.autoencoder, anchors.latents, concept, positions.tolist())
    write_moving(
        *(sink, records, config.frames - 1, interrupts, report),
        quiet=quiet,
        describe=lambda frame: f"strength {positions[frame.index]:+.2f}",
    )
