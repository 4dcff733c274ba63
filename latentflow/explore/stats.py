"""The statistics of a folder's latents: measured, drawn, written as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentflow.base.files import check_writable, write_csv
from latentflow.base.options import counted
from latentflow.base.session import Session
from latentflow.base.surroundings import undisturbed
from latentflow.explore.config import StatsConfig
from latentflow.latents.index import check_folder, check_index, read_latents
from latentflow.latents.statistics import EFFECTS, LatentStatistics, latent_statistics
from latentflow.pictures.figure import check_figure_path, new_figure, save_figure, write_below
from latentflow.runs.job import Files, Job, Report, Stages, beside, run_job
from latentflow.runs.report import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = ("mean", "std", "skew", "kurtosis", "d_normal", "noise", "d_shape", "wasserstein", "effect")
CSV_COLUMNS = ("channel", *MEASURES, "kl_nats")
HEADINGS = ("channel", "mean", "sd", "skew", "kurtosis", "D N(0,1)", "chance", "D shape", "W1", "from N(0,1)")
CYCLE = 10  # colors of matplotlib's own
MAX_NAMED_CHANNELS = 16
MAX_LABELED_CELLS = 8  # channels, up to which the numbers fit into the cells of the correlation matrix


def run_stats(sources: Sequence[str], config: StatsConfig, session: Session) -> Report:
    """Measure the latents of a folder, the one source, and draw them; raises `LatentflowError` as its parts do."""
    return run_job(Stages(check=_check, make=_make), sources, config, session)


def _check(sources: Sequence[str], config: StatsConfig) -> Files:
    (folder,) = sources
    check_folder(Path(folder).expanduser())
    output = Path(config.output_path).expanduser()
    rows = beside(output, ".csv")
    check_figure_path(output)
    check_writable(rows, "`output_path`")
    check_index(config.index)
    return Files(outputs=[output, rows], inputs=sources, shown={"folder": folder})


def _make(job: Job[StatsConfig]) -> None:
    config, report = job.config, job.report
    folder, index = Path(job.sources[0]).expanduser(), check_index(config.index)
    found = read_latents(
        folder, job.autoencoder, config.size, job.session, job.reader, path=index, written=report.written
    )
    statistics = latent_statistics(found.latents, found.kl)
    title = f"Latents of {counted(len(found.names), 'image')} of {folder.name}, by {job.autoencoder.name}"
    finding = statistics_in_words(statistics)
    figure = draw_statistics(statistics, title)
    write_below(figure, finding)
    save_figure(figure, job.output)
    write_csv(job.outputs[1], CSV_COLUMNS, statistics_rows(statistics), "`output_path`")
    report.figures = {"images": len(found.names), "values_per_channel": statistics.count, "finding": finding}
    report.figures |= _plain(statistics)
    report.lines = [
        f"latents  {counted(len(found.names), 'image')}, {found.encoded} newly encoded; {statistics.count} values per "
        "channel",
        *_table(statistics),
        f"finding  {finding}",
    ]


def statistics_rows(statistics: LatentStatistics) -> list[dict[str, Any]]:
    """The statistics as rows of a table, one for each channel; `kl_nats` is None without a posterior."""
    kl: Sequence[float | None] = [None] * len(statistics.channels) if statistics.kl is None else statistics.kl.tolist()
    return [
        {"channel": number, **{name: getattr(channel, name) for name in MEASURES}, "kl_nats": nats}
        for number, (channel, nats) in enumerate(zip(statistics.channels, kl))
    ]


def _table(statistics: LatentStatistics) -> list[str]:
    """The statistics as lines for people, and what their headings mean."""
    headings, rows = list(HEADINGS), []
    for row in statistics_rows(statistics):
        texts = [f"{row['mean']:+.3f}", f"{row['std']:.3f}", f"{row['skew']:+.2f}", f"{row['kurtosis']:+.2f}"]
        texts += [f"{row[name]:.3f}" for name in ("d_normal", "noise", "d_shape", "wasserstein")] + [row["effect"]]
        nats = [] if row["kl_nats"] is None else [f"{row['kl_nats']:.2f}"]
        rows.append([str(row["channel"]), *texts, *nats])
    limits = ", ".join(f"{name} up to {limit:g}" for limit, name in EFFECTS[:-1])
    notes = [
        f"D: largest gap between distribution functions ({limits}); chance: what one in 20 samples of N(0, 1) exceeds "
        "that say as much as these images; W1: mean distance from N(0, 1), in sd."
    ]
    if statistics.kl is None:
        notes.append("KL       this autoencoder has no posterior, so no divergence from a prior.")
    else:
        headings.append("KL nats")
    return [*table(headings, rows), *notes]


def statistics_in_words(statistics: LatentStatistics) -> str:
    """Describe the statistics in one sentence."""
    channels = statistics.channels
    known = {number: channel for number, channel in enumerate(channels) if channel.is_known}
    if not known:
        noise = min(channel.noise for channel in channels)
        chance = f": by chance, N(0, 1) would show gaps up to {noise:.2f}" if noise < 1 else ""
        return f"Too few images to say how far the channels are from N(0, 1){chance}."
    others = [number for number, channel in known.items() if channel.effect != EFFECTS[0][1]]
    if not others:
        found = f"No channel is far from N(0, 1) (gaps of {EFFECTS[0][0]:g} at most)"
    else:
        number = max(others, key=lambda each: channels[each].d_normal)
        far = channels[number]
        found = (
            f"{len(others)} of {counted(len(channels), 'channel')} differ from N(0, 1), most of all channel {number} "
            f"({far.effect} gap, {far.d_normal:.2f}; mean {far.mean:+.2f}, sd {far.std:.2f})"
        )
    unknown = len(channels) - len(known)
    few = f"; too few images to say for {unknown}" if unknown else ""
    beside = float(statistics.autocorrelation[:, 1].mean()) if statistics.autocorrelation.shape[1] > 1 else 0.0
    beside = round(beside, 2) + 0.0  # no minus before zero
    return f"{found}{few}; neighboring cells are correlated by {beside:.2f}, those of N(0, 1) not at all."


def _plain(statistics: LatentStatistics) -> dict[str, Any]:
    """The statistics as plain values."""
    return {
        "channels": [asdict(channel) | {"effect": channel.effect} for channel in statistics.channels],
        "correlation": np.round(statistics.correlation, 6).tolist(),
        "autocorrelation": np.round(statistics.autocorrelation, 6).tolist(),
        "kl_nats_per_value": None if statistics.kl is None else statistics.kl.tolist(),
    }


@undisturbed
def draw_statistics(statistics: LatentStatistics, title: str = "") -> Figure:
    """The figure of latents' statistics, 12 × 9 inches in four panels: densities, quantiles against those of the
    normal, correlations of channels, autocorrelations in space. Raises `MissingPackageError` without matplotlib."""
    figure = new_figure(12, 9)
    ((densities, quantiles), (correlations, autocorrelations)) = figure.subplots(2, 2)
    _draw_densities(densities, statistics)
    _draw_quantiles(quantiles, statistics)
    _draw_correlations(correlations, statistics.correlation)
    _draw_autocorrelations(autocorrelations, statistics)
    if title:
        figure.suptitle(title, fontsize=14)
    return figure


def _draw_densities(axes: Axes, statistics: LatentStatistics) -> None:
    centers, count = statistics.bin_centers, len(statistics.channels)
    for number, density in enumerate(statistics.densities):
        axes.plot(centers, density, label=_label(number, count), color=_color(number, count))
    axes.plot(centers, np.exp(-(centers**2) / 2) / np.sqrt(2 * np.pi), "k--", label="N(0, 1)")
    axes.set(title="how values are distributed", xlabel="latent value, in standard deviations", ylabel="density")
    _legend(axes, count)


def _draw_quantiles(axes: Axes, statistics: LatentStatistics) -> None:
    count = len(statistics.quantiles)
    for number, values in enumerate(statistics.quantiles):
        axes.plot(statistics.normal_quantiles, values, label=_label(number, count), color=_color(number, count))
    ends = statistics.normal_quantiles[[0, -1]]
    axes.plot(ends, ends, "k--", label="N(0, 1)")
    _legend(axes, count)
    axes.set(title="Q-Q: against the normal", xlabel="quantile of N(0, 1)", ylabel="quantile of the channel")
    axes.grid(alpha=0.3)


def _draw_correlations(axes: Axes, correlation: np.ndarray) -> None:
    drawn, count = axes.imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1), len(correlation)
    axes.figure.colorbar(drawn, ax=axes, label="Pearson's correlation")
    axes.set(title="channels against each other, cell by cell", xlabel="channel", ylabel="channel")
    axes.set(xticks=range(count), yticks=range(count))
    if count > MAX_LABELED_CELLS:
        return
    for (row, column), value in np.ndenumerate(correlation):
        color = "white" if abs(value) > 0.6 else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)


def _draw_autocorrelations(axes: Axes, statistics: LatentStatistics) -> None:
    count = len(statistics.channels)
    for number, values in enumerate(statistics.autocorrelation):
        axes.plot(
            *(range(len(values)), values, "o-"),
            markersize=4,
            label=_label(number, count),
            color=_color(number, count),
        )
    _legend(axes, count)
    axes.axhline(0, color="0.6", linewidth=1)
    axes.set(title="values apart in space", xlabel="latent cells apart, across and down", ylabel="correlation")
    axes.grid(alpha=0.3)


def _label(number: int, count: int) -> str:
    return f"channel {number}" if count <= MAX_NAMED_CHANNELS else f"{number}"


def _color(number: int, count: int) -> str | tuple[float, ...]:
    """The color of a channel, its own in all panels."""
    import matplotlib

    if count <= CYCLE:
        return f"C{number}"
    return tuple(matplotlib.colormaps["turbo"](0.03 + 0.94 * number / (count - 1)))


def _legend(axes: Axes, count: int) -> None:
    columns = 1 if count <= CYCLE else 2 if count <= MAX_NAMED_CHANNELS else 4
    axes.legend(fontsize=9 if count <= CYCLE else 7, ncols=columns)
