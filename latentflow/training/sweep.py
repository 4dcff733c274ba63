"""The same training with several values of one option, and a plot of the rate and the distortion of each."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from latentflow.base.errors import InputError
from latentflow.base.files import WrittenFiles, manifest_path, write_file
from latentflow.base.session import Session
from latentflow.pictures.figure import new_figure, save_figure
from latentflow.runs.report import versions
from latentflow.sinks.manifest import write_manifest
from latentflow.training.config import TrainConfig
from latentflow.training.plan import FILES, check_output_folder, data_folder, make_train_plan, output_folder
from latentflow.training.report import TrainReport
from latentflow.training.run import train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE, TABLE = "sweep.png", "sweep.md"


def sweep(config: TrainConfig, option: str, values: Sequence[float], session: Session) -> list[TrainReport]:
    """Train once for each value of `option`, each time in a folder of its own in the output folder, and draw sweep.png.

    A training that is stopped or diverges is the last one; its report holds the error. Raises what `train` raises.
    """
    check_values(option, values)
    data = data_folder(config.data)
    folder = output_folder(config, data, (FIGURE, TABLE), "sweep")
    configs = [
        replace(config, output_dir=str(folder / f"{option}={value:g}"), **{option: value})  # type: ignore[arg-type]
        for value in values
    ]
    for each in configs:
        check_output_folder(each, data, FILES, "training")
    manifest, written = manifest_path(folder / "sweep"), WrittenFiles([folder / FIGURE, folder / TABLE])
    reports = []
    for value, each in zip(values, configs):
        session.say(f"Training with `{option}` {value:g}.")
        report = train(make_train_plan(each), session)
        if report is None:
            continue
        reports.append(report)
        if report.error is not None:
            break
    if len(reports) > 1:
        result = [each.summary() for each in reports]
        content = {"options": asdict(config) | {option: list(values)}, "versions": versions(), "result": result}
        with session.held():
            save_figure(draw(option, reports), folder / FIGURE, "`output_dir`")
            write_file(folder / TABLE, table(option, reports).encode(), "`output_dir`")
            write_manifest(manifest, content, written, "`output_dir`")
    return reports


def check_values(option: str, values: Sequence[float]) -> None:
    """Raise `InputError` for two values that are written alike: their folders would be the same."""
    written = [f"{value:g}" for value in values]
    twice = next((each for each in written if written.count(each) > 1), None)
    if twice is not None:
        raise InputError(f"`{option}` has {twice} twice.", "A sweep trains once for each value.")


def table(option: str, reports: Sequence[TrainReport]) -> str:
    """Rate and distortion of each training, Markdown."""
    lines = [
        f"| {option} | bits per pixel | PSNR dB | PSNR dB of the mean | channel std |",
        "|---|---|---|---|---|",
    ]
    for report in reports:
        found = report.compression
        stds = ", ".join(f"{value:.3g}" for value in found.channel_std)
        value = getattr(report.plan.config, option)
        lines.append(
            f"| {value:g} | {found.bits_per_pixel:.4g} | {found.psnr_at_rate:.2f} | {found.psnr:.2f} | {stds} |"
        )
    return "\n".join(lines) + "\n"


def draw(option: str, reports: Sequence[TrainReport]) -> "Figure":
    """A plot with one point a training: x is the rate in bits per pixel, y the PSNR in dB at that rate."""
    figure = new_figure(7, 4.8)
    axes = figure.subplots()
    found = sorted((report.compression for report in reports), key=lambda each: each.bits_per_pixel)
    axes.plot(
        [each.bits_per_pixel for each in found], [each.psnr_at_rate for each in found], color="tab:blue", zorder=1
    )
    for report in reports:
        point = (report.compression.bits_per_pixel, report.compression.psnr_at_rate)
        axes.scatter(*point, color="tab:blue", zorder=2)
        label = f"{option} {getattr(report.plan.config, option):g}"
        axes.annotate(label, point, xytext=(6, -12), textcoords="offset points", fontsize=9)
    posterior = option == "kl_weight" or reports[0].model == "AutoencoderKL"
    rate = "KL divergence" if posterior else "8-bit latents"
    axes.set(xlabel=f"rate in bits per pixel ({rate})", ylabel="PSNR in dB on validation images", xscale="log")
    axes.grid(alpha=0.3)
    return figure
