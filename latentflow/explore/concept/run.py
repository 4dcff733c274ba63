"""Concepts: a direction from two folders of images, its score on held-out images, and an image moved along it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.files import check_writable
from latentflow.base.options import counted
from latentflow.base.pixels import to_uint8
from latentflow.base.records import Frame, Labeled
from latentflow.base.session import NOTHING_WRITTEN, Session
from latentflow.base.surroundings import undisturbed
from latentflow.explore.concept.directions import (
    HeldOutScore,
    cross_validate,
    decision_border,
    direction_between,
    position_along,
)
from latentflow.explore.concept.figure import draw_concept
from latentflow.explore.config import ConceptConfig
from latentflow.latents.decode import decode_frames
from latentflow.latents.files import load_latent, save_latent, saved_notes, saved_size
from latentflow.latents.index import check_folder, read_latents
from latentflow.latents.sources import LATENT_SUFFIX, Anchors, check_anchors, read_anchors
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.figure import save_figure
from latentflow.runs.job import Files, Job, Report, Stages, beside, frames_beside, moving, run_job
from latentflow.sinks.frames import check_frames_path, frame_options

SCORE_KEYS = {"balanced_accuracy", "std_over_folds", "interval_95", "chance", "folds", "right", "of", "tells_apart"}
MIN_IMAGES = 4  # in each folder: fewer leave nothing to hold out
UNKNOWN_STRENGTHS = (-3.0, -1.5, 0.0, 1.5, 3.0)  # of a direction saved by a version that didn't note the range
MAX_PANELS = 16  # pictures in the strip


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """A direction (1, c, rows, columns) for pictures of `size` (height, width), from the second of two groups of images
    to the first, by their `names`; its `kind` in words, and its score on `held_out` images as plain values."""

    direction: Tensor
    size: tuple[int, int]
    names: tuple[str, str]
    kind: str
    held_out: dict[str, Any]

    @property
    def name(self) -> str:
        """The direction in words."""
        return f"{self.names[1]} to {self.names[0]}"

    @property
    def length(self) -> float:
        """The RMS of its values."""
        return float(self.direction.square().mean().sqrt())

    @property
    def range(self) -> tuple[float, float] | None:
        """The lowest and highest position of the held-out images along the direction, relative to the decision border;
        None if no range was saved."""
        found = self.held_out.get("range")
        return None if found is None else (float(found[0]), float(found[1]))

    def position(self, latent: Tensor) -> float:
        """Return the position of a latent (1, c, rows, columns) along the direction, relative to the decision
        border."""
        return position_along(latent, self.direction) - float(self.held_out.get("border", 0.0))

    def strengths(self) -> tuple[float, ...]:
        """As far both ways as held-out images lie from the decision border."""
        if self.range is None:
            return UNKNOWN_STRENGTHS
        reach = float(f"{max(map(abs, self.range)):.2g}")
        return (-reach, -reach / 2, 0.0, reach / 2, reach)

    def warning(self) -> str:
        """A sentence if it doesn't separate its two groups, else an empty text."""
        if self.held_out["tells_apart"]:
            return ""
        return f"This direction does not separate the two groups on held-out images: {score_in_words(self.held_out)}."


def score_in_words(score: Mapping[str, Any]) -> str:
    """The figures of a `HeldOutScore` in words."""
    low, high = score["interval_95"]
    return (
        f"balanced accuracy {score['balanced_accuracy']:.0%} ± {score['std_over_folds']:.0%} over "
        f"{score['folds']} folds, 95% interval {low:.1%} to {high:.1%}, chance is {score['chance']:.0%}"
    )


@undisturbed
def move_along(
    autoencoder: Autoencoder, latent: Tensor, concept: Concept, strengths: Sequence[float]
) -> Iterator[Frame]:
    """The pictures of latent + strength · direction, decoded as they are asked for; `latent` is (1, c, rows,
    columns)."""
    latents = (latent + strength * concept.direction for strength in strengths)
    return decode_frames(autoencoder, latents, concept.size, total=len(strengths) - 1)


def there_and_back(low: float, high: float, frames: int) -> np.ndarray:
    """The strengths of a sweep's frames: from low to high and back, slow at both ends, in a closed loop."""
    return (low + high) / 2 - (high - low) / 2 * np.cos(2 * np.pi * np.arange(frames) / frames)


def write_concept(path: Path, concept: Concept, autoencoder: Autoencoder) -> None:
    """Save a direction in the format of latents, with its name and its score; raises `OutputError`."""
    held_out = json.dumps(concept.held_out, sort_keys=True)
    notes = {"positive": concept.names[0], "negative": concept.names[1], "kind": concept.kind, "held_out": held_out}
    save_latent(path, concept.direction, autoencoder, concept.size, notes, label="`output_path`")


def read_concept(path: Path, autoencoder: Autoencoder) -> Concept:
    """Read a direction that was saved for this autoencoder; raises `InputError` as `check_concept` and `load_latent`
    do."""
    size, names, kind, held_out = check_concept(path)
    direction = load_latent(path, autoencoder)
    if tuple(direction.shape) != (1, *autoencoder.geometry.latent_shape(*size)):
        raise InputError(f"`direction` {path} doesn't have the shape for pictures of {size[1]} × {size[0]} pixels.")
    return Concept(direction=direction, size=size, names=names, kind=kind, held_out=held_out)


def check_concept(path: Path) -> tuple[tuple[int, int], tuple[str, str], str, dict[str, Any]]:
    """Size, names, kind and score of a saved direction; raises `InputError` when the file holds no direction."""
    if not path.is_file():
        raise InputError(f"`direction` {path} does not exist.")
    notes = saved_notes(path)
    try:
        size = saved_size(path)
        names, kind, held_out = (notes["positive"], notes["negative"]), notes["kind"], json.loads(notes["held_out"])
        if size is None or min(size) < 1 or not isinstance(held_out, dict) or SCORE_KEYS - set(held_out):
            raise ValueError
        score_in_words(held_out)
        _sides(held_out, names)
    except (InputError, KeyError, ValueError, TypeError, IndexError, RecursionError) as error:
        raise InputError(f"`direction` {path} is not a direction saved by concept.") from error
    return size, names, kind, held_out


def run_concept(sources: Sequence[str], config: ConceptConfig, session: Session) -> Report:
    """Compute, score and save a direction, or read a saved one, and apply it; raises `LatentflowError` as the parts do.

    There are no `sources`: the inputs are options.
    """
    return run_job(Stages(check=_check, make=_make), sources, config, session)


def _check(sources: Sequence[str], config: ConceptConfig) -> Files:
    if sources:
        raise InputError("concept takes no sources.", "Give `positive` and `negative`, or `direction`, and `apply`.")
    output = Path(config.output_path).expanduser()
    strip, frames = beside(output, ".png"), frames_beside(output, config.sweep)
    if config.direction is not None:
        inputs, outputs = _check_saved(config), [strip]
        if output.suffix not in (LATENT_SUFFIX, ".png"):
            raise InputError(f"`output_path` {output}: with `direction`, the figure is written as .png.")
    else:
        inputs, outputs = _check_folders(config), [output, strip]
        if output.suffix != LATENT_SUFFIX:
            raise InputError(f"`output_path` {output}: a direction is written as {LATENT_SUFFIX}.")
    for path in outputs:
        check_writable(path, "`output_path`")
    if config.apply is not None:
        check_anchors([config.apply], 1, 1, latent_of=config.latent_of, max_pixels=config.max_pixels)
        check_frames_path(frames, **frame_options(config))
        outputs += moving(frames)
        inputs.append(config.apply)
    if config.strengths is not None:
        _sorted(config.strengths)
    shown = {name: getattr(config, name) for name in ("positive", "negative", "direction", "apply")}
    return Files(outputs=outputs, inputs=inputs, shown=shown)


def _make(job: Job[ConceptConfig]) -> None:
    config, report = job.config, job.report
    score: HeldOutScore | None = None
    if config.direction is None:
        concept, score = _find(job)
    else:
        concept = read_concept(Path(config.direction).expanduser(), job.autoencoder)
    report.figures = {"concept": concept.name, "kind": concept.kind, "rms": concept.length}
    report.figures["held_out"] = concept.held_out
    report.lines = _lines(concept)
    anchors, pictures, positions = None, dict[float, np.ndarray](), dict[float, float]()
    strengths = _sorted(concept.strengths() if config.strengths is None else config.strengths)
    if config.apply is not None:
        anchors = _applied(config.apply, concept, job)
        frames = job.session.watch(move_along(job.autoencoder, anchors.latents, concept, strengths), NOTHING_WRITTEN)
        pictures = {strength: to_uint8(frame.image) for strength, frame in zip(strengths, frames)}
        report.figures["strengths"] = strengths
        if concept.range is not None:
            start = concept.position(anchors.latents)
            positions = {strength: start + strength for strength in strengths}
            report.figures["positions"] = list(positions.values())
            report.lines.append(_places(start, concept.range, strengths))
    if concept.warning():
        job.session.say(concept.warning())
    if score is not None:
        write_concept(job.output, concept, job.autoencoder)
    figure_path = job.outputs[0 if score is None else 1]
    drawn = draw_concept(
        *(concept.name, concept.names, pictures, score, job.autoencoder.name),
        positions=positions,
        images=concept.range,
    )
    save_figure(drawn, figure_path)
    if anchors is not None:
        _write_sweep(job, concept, anchors, strengths)


def _check_saved(config: ConceptConfig) -> list[str | Path]:
    assert config.direction is not None
    if config.positive is not None or config.negative is not None or config.whiten:
        raise InputError("`direction` is a finished direction; `positive`, `negative` and `whiten` compute a new one.")
    if config.apply is None:
        raise InputError("`direction` needs something to `apply` it to, such as an image.")
    path = Path(config.direction).expanduser()
    size = check_concept(path)[0]
    if config.size not in (ConceptConfig().size, *size):
        raise InputError(f"`size` {config.size}: the direction is for pictures of {size[1]} × {size[0]} pixels.")
    return [path]


def _check_folders(config: ConceptConfig) -> list[str | Path]:
    if config.positive is None or config.negative is None:
        raise InputError(
            "A direction is computed from two folders.", "Give `positive` and `negative`, or `direction`, a saved one."
        )
    groups = [
        check_folder(Path(folder).expanduser(), option)
        for folder, option in ((config.positive, "`positive`"), (config.negative, "`negative`"))
    ]
    both = {path.resolve() for path in groups[0]} & {path.resolve() for path in groups[1]}
    if both:
        raise InputError(
            f"{counted(len(both), 'image', 'are')} in both `positive` and `negative`, for example {min(both).name}."
        )
    return [Path(config.positive), Path(config.negative)]


def _sorted(strengths: Sequence[float]) -> list[float]:
    """The strengths in ascending order, with 0 among them."""
    strengths = sorted({0.0, *strengths})
    if len(strengths) == 1:
        raise InputError("`strengths` is 0 alone, which changes nothing.")
    if len(strengths) > MAX_PANELS:
        raise InputError(
            f"`strengths`: a row has room for at most {MAX_PANELS} pictures; {len(strengths)} were given, 0 included."
        )
    return strengths


def _find(job: Job[ConceptConfig]) -> tuple[Concept, HeldOutScore]:
    """Compute a direction from the two folders, and score it."""
    config, session = job.config, job.session
    assert config.positive is not None and config.negative is not None
    folders = [Path(folder).expanduser() for folder in (config.positive, config.negative)]
    positive, negative = (
        read_latents(
            *(folder, job.autoencoder, config.size, session, job.reader), least=MIN_IMAGES, written=job.report.written
        ).latents
        for folder in folders
    )
    session.check()
    direction = direction_between(positive, negative, whiten=config.whiten)
    score = cross_validate(positive, negative, whiten=config.whiten, check=session.check)
    concept = Concept(
        direction=direction.to(job.autoencoder.device),
        size=(config.size, config.size),
        names=_names(folders),
        kind="whitened" if config.whiten else "difference of means",
        held_out=score.figures() | {"border": decision_border(positive, negative, direction, whiten=config.whiten)},
    )
    return concept, score


def _names(folders: Sequence[Path]) -> tuple[str, str]:
    """The names of two folders, with those of their parents where they are the same."""
    one, two = (folder.resolve() for folder in folders)
    if one.name != two.name:
        return one.name, two.name
    return f"{one.parent.name}/{one.name}", f"{two.parent.name}/{two.name}"


def _lines(concept: Concept) -> list[str]:
    return [
        f"concept  {concept.name}, {concept.kind}, RMS {concept.length:.3f} per latent value",
        f"held out {score_in_words(concept.held_out)}",
        f"         on the correct side: {_sides(concept.held_out, concept.names)}",
    ]


def _places(start: float, images: tuple[float, float], strengths: Sequence[float]) -> str:
    low, high = images
    beyond = [strength for strength in strengths if not low <= start + strength <= high]
    words = (
        f"strengths {', '.join(f'{each:+g}' for each in beyond)} lead beyond them"
        if beyond
        else "no strength leaves them"
    )
    return f"position {start:+.2f} of the image; held-out images lie from {low:+.2f} to {high:+.2f}: {words}"


def _sides(score: Mapping[str, Any], names: tuple[str, str]) -> str:
    return ", ".join(
        f"{right:d} of {of:d} of {name}" for right, of, name in zip(score["right"], score["of"], names, strict=True)
    )


def _applied(source: str, concept: Concept, job: Job[ConceptConfig]) -> Anchors:
    """The latent that is moved, for a picture of the direction's size."""
    size, latent_of = concept.size[0], job.config.latent_of
    anchors = read_anchors([source], job.autoencoder, size, "cover", job.reader, latent_of=latent_of)
    if anchors.latents.shape != concept.direction.shape:
        raise InputError(
            f"`apply` {source} is for a picture of {anchors.size[1]} × {anchors.size[0]} pixels, the direction for "
            f"{concept.size[1]} × {concept.size[0]}."
        )
    return anchors


def _write_sweep(job: Job[ConceptConfig], concept: Concept, anchors: Anchors, strengths: Sequence[float]) -> None:
    """Write the sweep from the least to the largest strength and back."""
    config = job.config
    positions = there_and_back(strengths[0], strengths[-1], config.frames)

    frames = move_along(job.autoencoder, anchors.latents, concept, positions.tolist())
    labeled = (
        Labeled(**vars(frame), caption=[f"strength {position:+.2f}", concept.name])
        for frame, position in zip(frames, positions.tolist())
    )
    job.write_labeled(
        *(job.outputs[-2], labeled, config.frames - 1),
        lambda frame: f"strength {positions[frame.index]:+.2f}",
        concept.size,
    )
