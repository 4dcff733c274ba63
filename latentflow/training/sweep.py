"""The same training over several values of one option, and the figure of rate against distortion they make."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentflow.files import write_whole
from latentflow.interrupts import Interrupts, Say
from latentflow.pictures.figure import new_figure, save_figure
from latentflow.training.config import TrainConfig
from latentflow.training.plan import make_train_plan
from latentflow.training.report import TrainReport
from latentflow.training.run import train


def sweep(
    config: TrainConfig,
    option: str,
    values: Sequence[float],
    interrupts: Interrupts,
    say: Say,
    *,
    quiet: bool = False,
) -> list[TrainReport]:
    """Train once for each value of `option`, each in a folder of its own below the output folder, and draw sweep.png.

    Raises what a training raises; one that was stopped ends the sweep, with its error in the last report.
    """
    folder = make_train_plan(replace(config, overwrite=not config.resume)).folder
    reports = []
    for value in values:
        say(f"--{option} {value:g}")
        changed: dict[str, Any] = {option: value, "output_dir": str(folder / f"{option}={value:g}")}
        plan = make_train_plan(replace(config, **changed))
        report = train(plan, interrupts, say, quiet=quiet)
        if report is None:
            continue
        reports.append(report)
        if report.error is not None:
            break
    if len(reports) > 1:
        draw(folder / "sweep.png", option, reports)
        write_whole(folder / "sweep.md", table(option, reports).encode(), "--output_dir")
    return reports


def table(option: str, reports: Sequence[TrainReport]) -> str:
    """Rate and distortion of every training, Markdown."""
    lines = [f"| {option} | bits a pixel | PSNR dB | PSNR dB of the mean | spread |", "|---|---|---|---|---|"]
    for report in reports:
        found = report.compression
        spread = ", ".join(f"{value:.3g}" for value in found.channel_std)
        value = getattr(report.plan.config, option)
        lines.append(
            f"| {value:g} | {found.bits_per_pixel:.4g} | {found.psnr_at_rate:.2f} | {found.psnr:.2f} | {spread} |"
        )
    return "\n".join(lines) + "\n"


def draw(path: Path, option: str, reports: Sequence[TrainReport]) -> None:
    """One point a training: bits a pixel across, PSNR up."""
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
    rate = "KL divergence" if posterior else "latents of 8 bits"
    axes.set(xlabel=f"rate: bits a pixel ({rate})", ylabel="PSNR in dB on held-back pictures", xscale="log")
    axes.grid(alpha=0.3)
    save_figure(figure, path, "--output_dir")
