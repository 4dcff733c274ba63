"""Evaluations: how well autoencoders reconstruct the images of a folder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import torch

from latentflow import losses
from latentflow.base.errors import InputError, Interrupted
from latentflow.base.files import WrittenFiles, check_outputs, check_writable, manifest_path, write_file
from latentflow.base.pixels import to_uint8
from latentflow.base.session import OBJECT, Session, ignore
from latentflow.explore.config import EvaluateConfig
from latentflow.explore.evaluate import fidelity
from latentflow.explore.evaluate.metrics import ReconstructionMetrics, find_metrics
from latentflow.explore.evaluate.reconstruction import evaluate_images, read_target, reconstruct
from latentflow.explore.evaluate.score_table import ScoreTable
from latentflow.explore.evaluate.scores import METRICS, Row, Score, markdown, summarize, table_cells
from latentflow.explore.evaluate.worst import AMPLIFICATION, PictureRow, difference, draw_worst
from latentflow.latents.index import check_folder
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.device import pick_device
from latentflow.models.precision import pick_dtype
from latentflow.models.weights import FoundWeights
from latentflow.pictures.figure import check_figure_path, save_figure
from latentflow.pictures.reader import Reader
from latentflow.runs.job import Report, add_notes, beside
from latentflow.runs.report import circumstances, table
from latentflow.sinks import run_sinks
from latentflow.sinks.manifest import owning, write_manifest
from latentflow.sinks.progress import Progress

LARGER = "Rank by psnr, or ask for a larger `size`."


def run_evaluate(sources: Sequence[str], config: EvaluateConfig, session: Session) -> Report:
    """Evaluate autoencoders over a folder, the one source, and write table, worst images and manifest.

    Raises `LatentflowError` as its parts do. When it is stopped, finished measurements are in the table, and are not
    repeated.
    """
    return evaluate_to_files(sources[0], config, session)[1]


def evaluate_to_files(source: str, config: EvaluateConfig, session: Session) -> "tuple[Evaluation, Report]":
    """Evaluate as `run_evaluate` does; returns the evaluation too."""
    folder, output = Path(source).expanduser(), Path(config.output_path).expanduser()
    work, found = _prepare(folder, config, session, output)
    scores = work.table
    scores.claim(work.hashes, work.steps, overwrite=config.overwrite)
    features = [scores.features_path] if scores.features_path else []
    files = [output, beside(output, ".csv"), beside(output, ".md"), *features, manifest_path(output)]
    report = Report(written=WrittenFiles(files))
    work.load()
    try:
        with owning(session, report.written, lambda: _write_manifest(work, found, output, report), report):
            made = work.evaluation()
            scores.finish(work.hashes, work.steps)
            work.report(made, output, report)
            work.reader.say_notes()
            add_notes(report, work.reader)
    except Interrupted as error:
        error.remedy = f"The same command goes on from {scores.path}."
        raise
    session.check()
    return replace(made, written=list(report.written.paths)), report


def evaluate_in_memory(source: str, config: EvaluateConfig, session: Session) -> "Evaluation":
    """Measure as `run_evaluate` does, without writing a file; raises `LatentflowError` as its parts do."""
    work, _ = _prepare(Path(source).expanduser(), config, session, None)
    work.load()
    made = work.evaluation()
    work.reader.say_notes()
    session.check()
    return made


def _prepare(
    folder: Path, config: EvaluateConfig, session: Session, output: Path | None
) -> "tuple[_Evaluation, list[FoundWeights]]":
    """An evaluation with checked options, images and weights, into files beside `output` or in memory; the autoencoders
    are not loaded yet."""
    names = split_names(config.vae)
    if config.vae_config is not None and len(names) > 1:
        raise InputError("`vae_config` goes with one autoencoder, and `vae` names several.")
    _check_ranking(config)
    reader = Reader(config, ignore if session.quiet else session.say)
    if output is not None:
        _check_files(output)
    images = check_folder(folder, reader=reader)
    if output is not None:
        check_outputs([output, beside(output, ".md")], [folder], overwrite=config.overwrite)
    device = pick_device(config.device)
    metrics = find_metrics(device)
    settings = {"size": str(config.size), "fit": config.fit, "background": config.background}
    settings["lpips_network"] = metrics.network
    settings["dtype"] = str(pick_dtype(config.dtype, device)).removeprefix("torch.")
    features = beside(output, ".features.safetensors") if output is not None and metrics.extract else None
    table = ScoreTable(None if output is None else beside(output, ".csv"), folder, images, settings, features)
    found = [session.find(name, config.weights) for name in names]
    _check_different(names, found)
    hashes = {each.name: each.sha256 or f"unknown {token_hex(8)}" for each in found}  # is never found in a table again
    wanted = dict(zip(hashes, names))
    return _Evaluation(config, folder, images, wanted, hashes, metrics, table, session, reader), found


def _check_different(names: Sequence[str | None], found: Sequence[FoundWeights]) -> None:
    """Raise `InputError` when two names are of one autoencoder, which would have one row."""
    first: dict[str, str | None] = {}
    for name, weights in zip(names, found):
        name = f"an Autoencoder named {weights.name}" if name and name.startswith(OBJECT) else name
        if weights.name in first:
            raise InputError(f"`vae` names one autoencoder twice: {first[weights.name]} and {name} are {weights.name}.")
        first[weights.name] = name


def _check_ranking(config: EvaluateConfig) -> None:
    """Raise `InputError` when no image is large enough for the metric that ranks them."""
    least = losses.find(config.by).declaration.min_size if config.by in ("ssim", "ms_ssim", "lpips") else 0  # type: ignore[attr-defined]
    if config.size < least:
        raise InputError(
            f"`by` {config.by} takes sides of {least} pixels; `size` {config.size} has none of them.",
            LARGER,
        )


def _check_files(output: Path) -> None:
    """Check that all outputs can be written but the table, which is checked when it is read."""
    check_figure_path(output)
    for suffix in (".csv", ".md", ".features.safetensors"):
        check_writable(beside(output, suffix), "`output_path`")


def split_names(vae: str | None) -> list[str | None]:
    """The autoencoders that `vae` names, separated by commas; raises `InputError` for an empty name and for one that
    is given twice."""
    if vae is None:
        return [None]
    names = [name.strip() for name in vae.split(",")]
    if not all(names):
        raise InputError(f"`vae` {vae!r} has an empty name in it.", "Separate the names by single commas.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"`vae` names {twice} twice.")
    return list(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The quality of autoencoders on the images of a folder.

    `rows` has one row of figures per autoencoder, and one more for each with `optimize`; `scores` those of each image
    under the row's title. `worst` are the images that each autoencoder is worst at, by its name. `network` is the one
    that LPIPS was measured with, `notes` what a reader must know of the metrics, by their headings. `problems` say
    which images could not be read, `written` are the files, if there are any. `str()` gives the table.
    """

    rows: list[Row]
    scores: dict[str, dict[Path, Score]]
    worst: dict[str, list[Path]]
    network: str
    notes: dict[str, str]
    problems: list[str]
    written: list[Path] = field(default_factory=list)

    @property
    def count(self) -> int:
        """The number of images that were measured."""
        return self.rows[0].metrics["psnr"].count

    def __str__(self) -> str:
        return "\n".join([f"images   {self.count}", *self.table_lines()])

    def table_lines(self) -> list[str]:
        """The table and its notes, a line each."""
        headings, lines = table_cells(self.rows, self.network)
        return [*table(headings, lines), *(f"{heading:<8} {note}" for heading, note in self.notes.items())]


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """An evaluation at work: `names` are the autoencoders that `vae` names, `hashes` the hashes of their weights, both
    by the names of the rows."""

    config: EvaluateConfig
    folder: Path
    images: list[Path]
    names: dict[str, str | None]
    hashes: dict[str, str]
    metrics: ReconstructionMetrics
    table: ScoreTable
    session: Session
    reader: Reader
    autoencoders: dict[str, Autoencoder] = field(default_factory=dict)

    @property
    def steps(self) -> list[int]:
        """The steps of optimization of each image's latent that are measured."""
        return [0, self.config.optimize] if self.config.optimize else [0]

    def load(self) -> None:
        """Load the autoencoders."""
        config = self.config
        for name, text in self.names.items():
            loaded = self.session.load(text, config.weights, config.device, config.dtype, config.vae_config)
            self.autoencoders[name] = loaded.autoencoder

    def evaluation(self) -> Evaluation:
        """Measure missing rows, and collect all."""
        for name in self.autoencoders:
            self.measure(name)
        for problem in self.table.problems.values():
            self.session.say(f"{problem} It is left out.")
        rows = self.rows()
        return Evaluation(
            rows=rows,
            scores={row.title: self.scores(row.autoencoder, row.steps) for row in rows},
            worst=self.worst(),
            network=self.metrics.network,
            notes=self.notes(rows),
            problems=list(self.table.problems.values()),
        )

    def measure(self, name: str) -> None:
        """Add to the table the images that it lacks for an autoencoder."""
        config, autoencoder = self.config, self.autoencoders[name]
        missing = [
            image
            for image in self.images
            if any(self.table.known(image, self.hashes[name], steps) is None for steps in self.steps)
        ]
        if not missing:
            return
        options: dict[str, Any] = {"size": config.size, "fit": config.fit, "steps": config.optimize}
        measured = evaluate_images(
            autoencoder, missing, **options, metrics=self.metrics, session=self.session, reader=self.reader
        )
        records = (replace(record, autoencoder=name, sha256=self.hashes[name]) for record in measured)
        progress = Progress(self.session, len(missing), lambda record: f"{name}: {record.path.name}", "image")
        run_sinks(self.session.watch(records), [self.table, progress])

    def scores(self, name: str, steps: int) -> dict[Path, Score]:
        """The scores of all images that could be read."""
        found = {image: self.table.known(image, self.hashes[name], steps) for image in self.images}
        return {image: score for image, score in found.items() if score is not None}

    def _short(self, name: str) -> str:
        """The last part of an autoencoder's name, or all of it where two share that part."""
        last = [Path(each).name for each in self.autoencoders]
        return name if last.count(Path(name).name) > 1 else Path(name).name

    def rows(self) -> list[Row]:
        """The rows of the table of means."""
        rows = []
        for name in self.autoencoders:
            for steps in self.steps:
                scores = list(self.scores(name, steps).values())
                if not scores:
                    raise InputError("The folder holds no image that can be read.")
                features = [score.features for score in scores if score.features is not None]
                rfid = fidelity.frechet_distance(torch.stack(features)) if len(features) > 1 else None
                summary = summarize([score.metrics for score in scores], self.metrics.network, rfid)
                rows.append(Row(autoencoder=name, steps=steps, metrics=summary))
        return rows

    def notes(self, rows: Sequence[Row]) -> dict[str, str]:
        """Return remarks on the metrics, by their headings."""
        count = rows[0].metrics["psnr"].count
        notes = self.metrics.notes(count)
        for name in ("ssim", "ms_ssim", "lpips"):
            measured = rows[0].metrics[name].count if name in rows[0].metrics else 0
            if measured < count:
                least = losses.find(name).declaration.min_size  # type: ignore[attr-defined]
                note = f"of {measured} of {count} images; it takes sides of {least} pixels"
                heading = METRICS[name].heading
                notes[heading] = "; ".join(filter(None, [notes.get(heading), note]))
        if any(summary.std is not None for row in rows for summary in row.metrics.values()):
            notes["±"] = "standard deviation (sd) over the images"
        verdicts = [METRICS[name].limits for name in METRICS if any(_has_verdict(row, name) for row in rows)]
        if verdicts:
            notes["verdict"] = "; ".join(verdicts)
        return notes

    def worst(self) -> dict[str, list[Path]]:
        """The images that each autoencoder is worst at by the metric of the configuration, the worst first."""
        by, found = self.config.by, {}
        for name in self.names:
            scores = {image: each.metrics for image, each in self.scores(name, 0).items() if by in each.metrics}
            if not scores:
                raise InputError(f"`by` {by}: no image is large enough for it.", LARGER)
            badness = {image: METRICS[by].sign * metrics[by] for image, metrics in scores.items()}
            found[name] = sorted(badness, key=lambda image: (badness[image], image))[: self.config.worst]
        return found

    def picture_rows(self, images: Sequence[Path]) -> list[PictureRow]:
        """The pictures of the figure: the originals, then for each row of the table reconstructions and differences."""
        targets = [read_target(image, self.config.size, self.config.fit, self.reader) for image in images]
        originals, no_captions = [to_uint8(target) for target in targets], [""] * len(images)
        rows = [PictureRow("original", originals, no_captions)]
        for name, autoencoder in self.autoencoders.items():
            made = []
            for target in targets:
                self.session.check()
                on_device = target.to(autoencoder.device)
                made.append(reconstruct(autoencoder, on_device, self.config.optimize, self.session))
            for steps in self.steps:
                pictures = [to_uint8(each[steps]) for each in made]
                scores = self.scores(name, steps)
                title = Row(autoencoder=self._short(name), steps=steps, metrics={}).title
                rows.append(PictureRow(title, pictures, [score_caption(scores[image]) for image in images]))
                apart = [difference(one, two) for one, two in zip(originals, pictures)]
                rows.append(PictureRow(f"difference × {AMPLIFICATION}", apart, no_captions))
        return rows

    def report(self, made: Evaluation, output: Path, report: Report) -> None:
        """Write the table of means and the figure, and fill in the report."""
        by, worst, count = self.config.by, made.worst, made.count
        images = list(dict.fromkeys(image for same_rank in zip(*worst.values()) for image in same_rank))
        shown = {image: image.relative_to(self.folder).as_posix() for image in images}
        names = list(shown.values())
        of_each = {name: [shown[image] for image in found] for name, found in worst.items()}
        least = min(len(found) for found in worst.values())
        which = f"{least} of {count} images" if len(worst) == 1 else f"{least} of {count} images of each autoencoder"
        title = (
            f"The worst {which} by {METRICS[by].heading.removesuffix(' dB')}\n"
            f"encoder and decoder, longer side {self.config.size} pixels, LPIPS: {made.network}"
        )
        save_figure(draw_worst(title, names, self.picture_rows(images)), output)
        sentences = [f"{heading}: {note}" for heading, note in made.notes.items()]
        cells = table_cells(made.rows, made.network)
        write_file(beside(output, ".md"), markdown(*cells, sentences).encode(), "`output_path`")
        report.figures = {
            "images": count,
            "rows": [row.as_dict() for row in made.rows],
            "lpips_network": made.network,
            "notes": sentences,
            "worst": {"by": by, "images": names, "of": of_each},
            "problems": made.problems,
        }
        report.lines = [f"images   {count} of {self.folder}", *made.table_lines()]


def _has_verdict(row: Row, name: str) -> bool:
    return name in row.metrics and bool(row.metrics[name].verdict)


def score_caption(score: Score) -> str:
    """PSNR, SSIM and LPIPS of a reconstruction in one line."""
    parts = [f"{score.metrics['psnr']:.1f} dB"]
    parts += [
        f"{METRICS[name].heading} {score.metrics[name]:.3f}" for name in ("ssim", "lpips") if name in score.metrics
    ]
    return "  ".join(parts)


def _write_manifest(evaluation: _Evaluation, found: Sequence[FoundWeights], output: Path, report: Report) -> None:
    """As other views have it, with the weights of every autoencoder."""
    config = evaluation.config
    options = asdict(config) | {"dtype": evaluation.table.settings["dtype"]}
    known = [circumstances(options, each, pick_device(config.device)) for each in found]
    content = {"inputs": {"folder": str(evaluation.folder.resolve())}, **known[0]}
    content["options"]["vae"] = ",".join(each["options"]["vae"] for each in known)
    content |= {"weights": [each["weights"] for each in known], "result": report.summary()}
    with evaluation.session.held():
        write_manifest(manifest_path(output), content, report.written)
