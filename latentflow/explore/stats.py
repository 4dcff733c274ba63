"""The statistics of a folder's latents."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from latentflow.explore.config import StatsConfig
from latentflow.explore.report import ViewReport, beside, check_outputs, write_view_manifest
from latentflow.files import check_writable, write_whole
from latentflow.interrupts import Interrupts, Say
from latentflow.latents.index import Latents, check_folder, check_index, read_latents
from latentflow.latents.statistics import EFFECTS, LatentStatistics, latent_statistics
from latentflow.pictures.figure import check_figure_path, new_figure, save_figure
from latentflow.runs.report import table
from latentflow.runs.run import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAD = ("channel", "mean", "sd", "skew", "kurtosis", "D N(0,1)", "D shape", "W1", "from N(0,1)")


def run_stats(folder: str, config: StatsConfig, interrupts: Interrupts, say: Say, *, quiet: bool = False) -> ViewReport:
    """Measure a folder's latents and draw them; raises `LatentflowError` as the parts do."""
    path, output = Path(folder).expanduser(), Path(config.output_path).expanduser()
    rows = beside(output, ".csv")
    check_folder(path)
    check_figure_path(output)
    check_writable(rows, "--output_path")
    check_outputs([output, rows], [path])
    index = check_index(config.index)
    loaded = load(config, say)
    latents = read_latents(path, loaded.autoencoder, config.size, interrupts, say, path=index, quiet=quiet)
    found = latent_statistics(latents.latents, None if latents.kl is None else latents.kl.mean(0))
    save_figure(_drawn(found, latents, loaded.autoencoder.name), output)
    lines = _rows(found)
    head = [*HEAD, "KL nats"] if found.kl is not None else list(HEAD)
    write_whole(rows, "".join(",".join(line) + "\n" for line in [head, *lines]).encode(), "--output_path")
    report = ViewReport(written=[output, rows, latents.index])
    report.figures = {"images": len(latents.names), "values_a_channel": found.count, **_plain(found)}
    limits = ", ".join(f"{word} up to {limit:g}" for limit, word in EFFECTS[:-1])
    report.lines = [
        f"latents  {len(latents.names)} images, {latents.encoded} newly encoded; {found.count} values a channel",
        *table(head, lines),
        f"D: largest gap between distribution functions ({limits}); W1: mean distance from N(0, 1), in sd.",
        *(
            []
            if found.kl is not None
            else ["KL       this autoencoder has no posterior, so no divergence from a prior."]
        ),
    ]
    write_view_manifest(output, config, {"folder": folder}, loaded, report)
    return report


def _rows(found: LatentStatistics) -> list[list[str]]:
    rows = []
    for number, channel in enumerate(found.channels):
        row = [str(number), f"{channel.mean:+.3f}", f"{channel.std:.3f}", f"{channel.skew:+.2f}"]
        row += [f"{channel.kurtosis:+.2f}", f"{channel.d_standard:.3f}", f"{channel.d_shape:.3f}"]
        row += [f"{channel.wasserstein:.3f}", channel.effect]
        rows.append(row if found.kl is None else [*row, f"{found.kl[number]:.2f}"])
    return rows


def _plain(found: LatentStatistics) -> dict[str, Any]:
    """The statistics as plain values."""
    return {
        "channels": [asdict(channel) | {"effect": channel.effect} for channel in found.channels],
        "correlation": np.round(found.correlation, 6).tolist(),
        "autocorrelation": np.round(found.along, 6).tolist(),
        "kl_nats_a_value": None if found.kl is None else found.kl.tolist(),
    }


def _drawn(found: LatentStatistics, latents: Latents, name: str) -> "Figure":
    """Four panels: densities, quantiles, correlations, and how far a value tells of its neighbours."""
    figure = new_figure(12, 9)
    ((densities, quantiles), (correlations, along)) = figure.subplots(2, 2)
    _densities(densities, found, latents.latents)
    _quantiles(quantiles, found)
    drawn = correlations.imshow(found.correlation, cmap="RdBu_r", vmin=-1, vmax=1)
    figure.colorbar(drawn, ax=correlations, label="Pearson's correlation")
    count = len(found.channels)
    correlations.set(title="channels against each other, cell by cell", xlabel="channel", ylabel="channel")
    correlations.set(xticks=range(count), yticks=range(count))
    if count <= 8:
        for row in range(count):
            for column in range(count):
                value = found.correlation[row, column]
                color = "white" if abs(value) > 0.6 else "black"
                correlations.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)
    for number, values in enumerate(found.along):
        along.plot(range(len(values)), values, "o-", markersize=4, label=_label(number, count))
    along.axhline(0, color="0.6", linewidth=1)
    along.set(title="values apart in space", xlabel="latent cells apart, across and down", ylabel="correlation")
    along.grid(alpha=0.3)
    figure.suptitle(f"Latents of {len(latents.names)} images of {latents.folder.name}, by {name}", fontsize=14)
    return figure


def _densities(axes: "Axes", found: LatentStatistics, latents: Tensor) -> None:
    values = latents.transpose(0, 1).flatten(1).numpy()
    low, high = np.quantile(values, [0.0005, 0.9995])
    reach = float(max(abs(low), abs(high), 3.0))
    edges = np.linspace(-reach, reach, 121)
    middles = (edges[1:] + edges[:-1]) / 2
    for number, channel in enumerate(values):
        density, _ = np.histogram(channel, edges, density=True)
        axes.plot(middles, density, label=_label(number, len(values)))
    axes.plot(middles, np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi), "k--", label="N(0, 1)")
    axes.set(title="how values are distributed", xlabel="latent value, in standard deviations", ylabel="density")
    axes.legend(fontsize=9, ncols=1 + len(values) // 12)


def _quantiles(axes: "Axes", found: LatentStatistics) -> None:
    for number, values in enumerate(found.quantiles):
        axes.plot(found.normal_quantiles, values, label=_label(number, len(found.quantiles)))
    ends = found.normal_quantiles[[0, -1]]
    axes.plot(ends, ends, "k--")
    axes.set(title="Q-Q: against the normal", xlabel="quantile of N(0, 1)", ylabel="quantile of the channel")
    axes.grid(alpha=0.3)


def _label(number: int, count: int) -> str | None:
    return f"channel {number}" if count <= 16 else f"{number}"
