"""Evaluations: how well autoencoders reconstruct the images of a folder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from latentflow import losses
from latentflow.errors import InputError, Interrupted
from latentflow.explore.config import EvaluateConfig
from latentflow.explore.evaluate import fidelity
from latentflow.explore.evaluate.metrics import ReconstructionMetrics, find_metrics
from latentflow.explore.evaluate.reconstruction import evaluate, read_target, reconstruct
from latentflow.explore.evaluate.score_table import ScoreTable
from latentflow.explore.evaluate.scores import METRICS, Row, Score, markdown, summarize, table_cells
from latentflow.explore.evaluate.worst import AMPLIFICATION, PictureRow, difference, draw_worst
from latentflow.explore.view import ViewReport, add_notes, beside
from latentflow.files import WrittenFiles, check_outputs, check_writable, manifest_path, write_file
from latentflow.latents.index import check_folder
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.device import pick_device, pick_dtype
from latentflow.models.weights import FoundWeights, find_weights
from latentflow.pictures.figure import check_figure_path, save_figure
from latentflow.pictures.files import to_uint8
from latentflow.pictures.reader import Reader
from latentflow.runs.report import circumstances, table
from latentflow.session import Session, ignore
from latentflow.sinks import run_sinks
from latentflow.sinks.manifest import write_manifest
from latentflow.sinks.progress import Progress

LARGER = "Rank by psnr, or ask for a larger `size`."


def run_evaluate(sources: Sequence[str], config: EvaluateConfig, session: Session) -> ViewReport:
    """Evaluate autoencoders over a folder, the one source, and write table, worst images and manifest.

    Raises `LatentflowError` as its parts do. What is measured when it is stopped is in the table, and is not measured
    again.
    """
    folder, output = Path(sources[0]).expanduser(), Path(config.output_path).expanduser()
    names = split_names(config.vae)
    if config.vae_config is not None and len(names) > 1:
        raise InputError("`vae_config` goes with one autoencoder, and `vae` names several.")
    _check_ranking(config)
    reader = Reader(config, ignore if session.quiet else session.say)
    images = _check(folder, output, reader, overwrite=config.overwrite)
    device = pick_device(config.device)
    metrics = find_metrics(device)
    settings = {"size": str(config.size), "fit": config.fit, "background": config.background}
    settings["lpips_network"] = metrics.network
    settings["dtype"] = str(pick_dtype(config.dtype, device)).removeprefix("torch.")
    features = beside(output, ".features.safetensors") if metrics.extract else None
    scores = ScoreTable(beside(output, ".csv"), folder, images, settings, features)
    found = [find_weights(name, config.weights) for name in names]
    steps = [0, config.optimize] if config.optimize else [0]
    scores.claim({each.name: each.sha256 for each in found}, steps, overwrite=config.overwrite)
    files = [output, scores.path, beside(output, ".md"), *([features] if features else []), manifest_path(output)]
    report = ViewReport(written=WrittenFiles(files))
    loaded = [session.load(name, config.weights, config.device, config.dtype, config.vae_config) for name in names]
    autoencoders = {weights.name: each.autoencoder for weights, each in zip(found, loaded)}
    evaluation = _Evaluation(config, folder, images, autoencoders, steps, metrics, scores, session, reader)
    try:
        for name in autoencoders:
            evaluation.measure(name)
        for problem in scores.problems.values():
            session.say(f"{problem} It is left out.")
        scores.finish({each.name: each.sha256 for each in found}, steps)
        evaluation.report(output, report)
        reader.say_notes()
        add_notes(report, reader)
    except Interrupted as error:
        error.remedy = f"The same command goes on from {scores.path}."
        raise
    _write_manifest(evaluation, found, output, report)
    return report


def _check_ranking(config: EvaluateConfig) -> None:
    """Raise `InputError` when no image is large enough for the metric that ranks them."""
    least = losses.find(config.by).declaration.min_size if config.by in ("ssim", "ms_ssim", "lpips") else 0  # type: ignore[attr-defined]
    if config.size < least:
        raise InputError(
            f"`by` {config.by} takes sides of {least} pixels; `size` {config.size} has none of them.",
            LARGER,
        )


def _check(folder: Path, output: Path, reader: Reader, *, overwrite: bool) -> list[Path]:
    """The images of a folder, after all outputs were checked but the table, which is checked when it is read."""
    check_figure_path(output)
    for suffix in (".csv", ".md", ".features.safetensors"):
        check_writable(beside(output, suffix), "`output_path`")
    images = check_folder(folder, reader=reader)
    check_outputs([output, beside(output, ".md")], [folder], overwrite=overwrite)
    return images


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


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """What an evaluation works on; `autoencoders` are by the names of the rows, `steps` those of the scores."""

    config: EvaluateConfig
    folder: Path
    images: list[Path]
    autoencoders: dict[str, Autoencoder]
    steps: list[int]
    metrics: ReconstructionMetrics
    table: ScoreTable
    session: Session
    reader: Reader

    def measure(self, name: str) -> None:
        """Add to the table the images that it lacks for an autoencoder."""
        config, autoencoder = self.config, self.autoencoders[name]
        missing = [
            image
            for image in self.images
            if any(self.table.known(image, autoencoder.sha256, steps) is None for steps in self.steps)
        ]
        if not missing:
            return
        options: dict[str, Any] = {"size": config.size, "fit": config.fit, "steps": config.optimize}
        records = evaluate(
            autoencoder, missing, **options, metrics=self.metrics, session=self.session, reader=self.reader
        )
        progress = Progress(self.session, len(missing), lambda record: f"{name}: {record.path.name}", "image")
        run_sinks(self.session.watch(records), [self.table, progress])

    def scores(self, name: str, steps: int) -> dict[Path, Score]:
        """The scores of all images that could be read."""
        sha256 = self.autoencoders[name].sha256
        found = {image: self.table.known(image, sha256, steps) for image in self.images}
        return {image: score for image, score in found.items() if score is not None}

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
        """What a reader must know of the metrics, by their headings."""
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
        for name in self.autoencoders:
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
                title = Row(autoencoder=Path(name).name, steps=steps, metrics={}).title
                rows.append(PictureRow(title, pictures, [score_caption(scores[image]) for image in images]))
                apart = [difference(one, two) for one, two in zip(originals, pictures)]
                rows.append(PictureRow(f"difference × {AMPLIFICATION}", apart, no_captions))
        return rows

    def report(self, output: Path, report: ViewReport) -> None:
        """Write the table of means and the figure, and fill in the report."""
        rows = self.rows()
        notes = self.notes(rows)
        headings, lines = table_cells(rows, self.metrics.network)
        by, worst, count = self.config.by, self.worst(), rows[0].metrics["psnr"].count
        images = list(dict.fromkeys(image for same_rank in zip(*worst.values()) for image in same_rank))
        shown = {image: image.relative_to(self.folder).as_posix() for image in images}
        names = list(shown.values())
        of_each = {name: [shown[image] for image in found] for name, found in worst.items()}
        least = min(len(found) for found in worst.values())
        which = f"{least} of {count} images" if len(worst) == 1 else f"{least} of {count} images of each autoencoder"
        title = (
            f"The worst {which} by {METRICS[by].heading.removesuffix(' dB')}\n"
            f"encoder and decoder, longer side {self.config.size} pixels, LPIPS: {self.metrics.network}"
        )
        save_figure(draw_worst(title, names, self.picture_rows(images)), output)
        sentences = [f"{heading}: {note}" for heading, note in notes.items()]
        write_file(beside(output, ".md"), markdown(headings, lines, sentences).encode(), "`output_path`")
        report.figures = {
            "images": count,
            "rows": [row.as_dict() for row in rows],
            "lpips_network": self.metrics.network,
            "notes": sentences,
            "worst": {"by": by, "images": names, "of": of_each},
            "problems": list(self.table.problems.values()),
        }
        report.lines = [f"images   {count} of {self.folder}", *table(headings, lines)]
        report.lines += [f"{heading:<8} {note}" for heading, note in notes.items()]


def _has_verdict(row: Row, name: str) -> bool:
    return name in row.metrics and bool(row.metrics[name].verdict)


def score_caption(score: Score) -> str:
    """PSNR, SSIM and LPIPS of a reconstruction in one line."""
    parts = [f"{score.metrics['psnr']:.1f} dB"]
    parts += [
        f"{METRICS[name].heading} {score.metrics[name]:.3f}" for name in ("ssim", "lpips") if name in score.metrics
    ]
    return "  ".join(parts)


def _write_manifest(evaluation: _Evaluation, found: Sequence[FoundWeights], output: Path, report: ViewReport) -> None:
    """As other views have it, with the weights of every autoencoder."""
    config = evaluation.config
    options = asdict(config) | {"dtype": evaluation.table.settings["dtype"]}
    known = [circumstances(options, each, pick_device(config.device)) for each in found]
    content = {"inputs": {"folder": str(evaluation.folder.resolve())}, **known[0]}
    content["options"]["vae"] = ",".join(each["options"]["vae"] for each in known)
    content |= {"weights": [each["weights"] for each in known], "result": report.summary()}
    write_manifest(manifest_path(output), content, report.written.paths)
