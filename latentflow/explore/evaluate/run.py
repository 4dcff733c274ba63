"""Evaluations: how much of a folder's images is left behind encoder and decoder."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentflow import losses
from latentflow.errors import InputError, Interrupted
from latentflow.explore.config import EvaluateConfig
from latentflow.explore.evaluate import fidelity
from latentflow.explore.evaluate.metrics import ReconstructionMetrics, find_metrics
from latentflow.explore.evaluate.scorebook import Evaluated, Score, Scorebook
from latentflow.explore.evaluate.scores import FIGURES, Row, cells, markdown, summarize
from latentflow.explore.evaluate.worst import AMPLIFIED, Strip, difference, draw_worst
from latentflow.explore.report import ViewReport, beside, check_outputs
from latentflow.explore.walk import refine
from latentflow.files import check_writable, write_whole
from latentflow.interrupts import Interrupts, Say
from latentflow.latents.index import check_folder
from latentflow.models.autoencoder import Autoencoder, load_autoencoder
from latentflow.models.device import pick_device, pick_dtype
from latentflow.models.weights import FoundWeights, find_weights
from latentflow.pictures.figure import check_figure_path, save_figure
from latentflow.pictures.files import fit as fitted
from latentflow.pictures.files import read_image, to_tensor, to_uint8
from latentflow.runs.report import circumstances, table
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.manifest import manifest_path
from latentflow.sinks.progress import Progress


def evaluate(
    autoencoder: Autoencoder,
    paths: Sequence[Path],
    *,
    size: int = 256,
    fit: str = "contain",
    steps: int = 0,
    judges: ReconstructionMetrics | None = None,
    interrupts: Interrupts | None = None,
) -> Iterator[Evaluated]:
    """Encode and decode images, one after the other, and measure what came back; a record each, from 1 on.

    Each is fitted to `size` pixels as `images.fit` does. With `steps` it is measured again after so many steps of
    optimization of its latent, which `interrupts` may stop. An image that can't be read has a record that says so.
    """
    judges = judges or find_metrics(autoencoder.device)
    for index, path in enumerate(paths, 1):
        record = Evaluated(
            index=index, total=len(paths), path=path, autoencoder=autoencoder.name, sha256=autoencoder.sha256
        )
        try:
            target = read_target(path, size, fit).to(autoencoder.device)
        except InputError as error:
            yield replace(record, problem=str(error))
            continue
        pictures = reconstruct(autoencoder, target, steps, interrupts)
        yield replace(record, scores={count: judges.score(picture, target) for count, picture in pictures.items()})


def read_target(path: Path, size: int, fit: str) -> Tensor:
    """An image as (1, 3, height, width) in [0, 1], fitted to `size` pixels; raises `InputError` when it can't be."""
    return to_tensor(fitted(read_image(path, "The image").image, size, fit))


def reconstruct(
    autoencoder: Autoencoder, target: Tensor, steps: int = 0, interrupts: Interrupts | None = None
) -> dict[int, Tensor]:
    """The picture of the encoder's latent of a target (1, 3, h, w), and that after `steps` steps, by these numbers."""
    shape = (target.shape[-2], target.shape[-1])
    with torch.no_grad():
        latent = autoencoder.encode(target)
        pictures = {0: autoencoder.decode(latent, shape)}
    if steps:
        better, _, _ = refine(autoencoder, latent, target, steps, interrupts)
        with torch.no_grad():
            pictures[steps] = autoencoder.decode(better, shape)
    return pictures


def run_evaluate(
    folder: Path, config: EvaluateConfig, interrupts: Interrupts, say: Say, *, quiet: bool = False
) -> ViewReport:
    """Evaluate autoencoders over a folder and write table, worst images and manifest; raises `LatentflowError` as the
    parts do. Stopped, the rows so far are in the table, and are not computed again."""
    names = split(config.vae)
    output = Path(config.output_path).expanduser()
    images = _checked(folder, output)
    device = pick_device(config.device)
    judges = find_metrics(device)
    shared = {"size": str(config.size), "fit": config.fit, "lpips_network": judges.network}
    shared["dtype"] = str(pick_dtype(config.dtype, device)).removeprefix("torch.")
    features = beside(output, ".features.safetensors") if judges.extract else None
    book = Scorebook(beside(output, ".csv"), folder, images, shared, features)
    found = [find_weights(name, config.weights) for name in names]
    for resolved in found:
        if resolved.notice:
            say(resolved.notice)
    load = lru_cache(1)(lambda resolved: load_autoencoder(resolved, device, config.dtype))
    evaluation = _Evaluation(config, images, found, judges, book, load)
    try:
        for resolved in found:
            evaluation.measure(resolved, interrupts, quiet=quiet)
    except Interrupted as error:
        error.remedy = f"The same command goes on from {book.path}."
        raise
    for problem in book.problems.values():
        say(f"{problem} It is left out.")
    book.keep({resolved.name: resolved.sha256 for resolved in found}, evaluation.counts)
    return evaluation.finish(folder, output, interrupts)


def split(vae: str | None) -> list[str | None]:
    """The autoencoders that --vae names; raises `InputError` when one stands twice or has no name."""
    if vae is None:
        return [None]
    names = [name.strip() for name in vae.split(",")]
    if not all(names):
        raise InputError(f"--vae {vae!r} has an empty name in it.", "Part the names by single commas.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"--vae: {twice} stands twice.")
    return list(names)


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """What an evaluation works on, and what it came to once all is in the book."""

    config: EvaluateConfig
    images: list[Path]
    found: list[FoundWeights]
    judges: ReconstructionMetrics
    book: Scorebook
    load: Callable[[FoundWeights], Autoencoder]

    @property
    def counts(self) -> list[int]:
        return [0, self.config.optimize] if self.config.optimize else [0]

    def measure(self, resolved: FoundWeights, interrupts: Interrupts, *, quiet: bool) -> None:
        """Bring the images that aren't there yet into the book."""
        missing = [
            image
            for image in self.images
            if any(self.book.known(image, resolved.sha256, steps) is None for steps in self.counts)
        ]
        if not missing:
            return
        config = self.config
        sinks: list[Sink[Evaluated]] = [self.book]
        if not quiet:
            sinks.append(
                Progress(len(missing), describe=lambda record: f"{resolved.name}: {record.path.name}", unit="image")
            )
        records = evaluate(
            *(self.load(resolved), missing),
            size=config.size,
            fit=config.fit,
            steps=config.optimize,
            judges=self.judges,
            interrupts=interrupts,
        )
        run_sinks(interrupts.watch(records), sinks)

    def scores(self, resolved: FoundWeights, steps: int) -> dict[Path, Score]:
        found = {image: self.book.known(image, resolved.sha256, steps) for image in self.images}
        return {image: score for image, score in found.items() if score is not None}

    def rows(self) -> list[Row]:
        rows = []
        for resolved in self.found:
            for steps in self.counts:
                scores = list(self.scores(resolved, steps).values())
                if not scores:
                    raise InputError("The folder holds no image that can be read.")
                features = [score.features for score in scores if score.features is not None]
                rfid = fidelity.frechet_distance(torch.stack(features)) if len(features) > 1 else None
                summary = summarize([score.figures for score in scores], self.judges.network, rfid)
                rows.append(Row(autoencoder=resolved.name, steps=steps, figures=summary))
        return rows

    def notes(self, rows: Sequence[Row]) -> dict[str, str]:
        """What is to be known of the figures, by their titles."""
        count = rows[0].figures["psnr"].count
        notes = self.judges.notes(count)
        for name in ("ssim", "ms_ssim", "lpips"):
            measured = rows[0].figures[name].count if name in rows[0].figures else 0
            if measured < count:
                least = losses.find(name).declaration.min_size  # type: ignore[attr-defined]
                said = f"of {measured} of {count} images; it takes sides of {least} pixels"
                notes[FIGURES[name].title] = "; ".join(filter(None, [notes.get(FIGURES[name].title), said]))
        return {title: note for title, note in notes.items() if note}

    def worst(self) -> tuple[str, list[Path]]:
        """The images with the worst figure in the mean over autoencoders, the worst first, and which figure it is."""
        every = [self.scores(resolved, 0) for resolved in self.found]
        by = self.config.by if any(self.config.by in score.figures for score in every[0].values()) else "psnr"
        sign = FIGURES[by].sign
        means = {
            image: sign * float(np.mean([scores[image].figures[by] for scores in every]))
            for image in every[0]
            if all(image in scores and by in scores[image].figures for scores in every)
        }
        return by, sorted(means, key=lambda image: (means[image], image))[: self.config.worst]

    def strips(self, images: Sequence[Path], interrupts: Interrupts) -> list[Strip]:
        """The lines of the figure: the originals, then what each autoencoder makes of them, and what it gets wrong."""
        targets = [read_target(image, self.config.size, self.config.fit) for image in images]
        originals = [to_uint8(target) for target in targets]
        strips = [Strip("original", originals, [""] * len(images))]
        for resolved in self.found:
            autoencoder = self.load(resolved)
            made = []
            for target in targets:
                interrupts.check()
                made.append(reconstruct(autoencoder, target.to(autoencoder.device), self.config.optimize, interrupts))
            for steps in self.counts:
                pictures = [to_uint8(each[steps]) for each in made]
                scores = self.scores(resolved, steps)
                row = Row(autoencoder=Path(resolved.name).name, steps=steps, figures={})
                apart = [difference(one, two) for one, two in zip(originals, pictures)]
                strips.append(Strip(row.title, pictures, [_caption(scores[image]) for image in images]))
                strips.append(Strip(f"difference × {AMPLIFIED}", apart, [""] * len(images)))
        return strips

    def finish(self, folder: Path, output: Path, interrupts: Interrupts) -> ViewReport:
        """Write table, figure and manifest."""
        rows = self.rows()
        notes = self.notes(rows)
        head, lines = cells(rows, self.judges.network)
        by, images = self.worst()
        names = [image.relative_to(folder).as_posix() for image in images]
        count = rows[0].figures["psnr"].count
        title = (
            f"The worst {len(images)} of {count} images by {FIGURES[by].title.removesuffix(' dB')}\n"
            f"encoder and decoder, longer side {self.config.size} pixels, LPIPS: {self.judges.network}"
        )
        save_figure(draw_worst(title, names, self.strips(images, interrupts)), output)
        said = [f"{name}: {note}" for name, note in notes.items()]
        write_whole(beside(output, ".md"), markdown(head, lines, said).encode(), "--output_path")
        figures = {
            "images": count,
            "rows": [row.as_dict() for row in rows],
            "lpips_network": self.judges.network,
            "notes": said,
            "worst": {"by": by, "images": names},
            "problems": list(self.book.problems.values()),
        }
        written = [output, self.book.path, beside(output, ".md")]
        if self.book.features_path:
            written.append(self.book.features_path)
        report = ViewReport(written=written, figures=figures)
        report.lines = [f"images   {count} of {folder}", *table(head, lines)]
        report.lines += [f"{name:<8} {note}" for name, note in notes.items()]
        self._write_manifest(folder, output, report)
        return report

    def _write_manifest(self, folder: Path, output: Path, report: ViewReport) -> None:
        """As other views have it, with the weights of every autoencoder."""
        options = asdict(self.config) | {"dtype": self.book.shared["dtype"]}
        known = [circumstances(options, resolved, pick_device(self.config.device)) for resolved in self.found]
        names = ",".join(content["options"]["vae"] for content in known)
        content = known[0] | {
            "options": known[0]["options"] | {"vae": names},
            "weights": [content["weights"] for content in known],
        }
        content = {"inputs": {"folder": str(folder.resolve())}, **content, "result": report.summary()}
        path = manifest_path(output)
        write_whole(path, (json.dumps(content, indent=2) + "\n").encode(), "--output_path")
        report.written.append(path)


def _checked(folder: Path, output: Path) -> list[Path]:
    """The images of a folder, after all outputs were checked."""
    check_figure_path(output)
    for suffix in (".csv", ".md", ".features.safetensors"):
        check_writable(beside(output, suffix), "--output_path")
    images = check_folder(folder)
    begun = beside(output, ".csv").exists()  # which says itself whose it is
    check_outputs([output] if begun else [output, beside(output, ".md")], [folder])
    return images


def _caption(score: Score) -> str:
    figures = score.figures
    parts = [f"{figures['psnr']:.1f} dB"]
    parts += [f"{FIGURES[name].title} {figures[name]:.3f}" for name in ("ssim", "lpips") if name in figures]
    return "  ".join(parts)
