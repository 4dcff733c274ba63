"""The distribution of the values of latents: by channel, against the normal, against each other, in space."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.surroundings import undisturbed

QUANTILES = 201
BINS = 480
MAX_LAG = 8  # latent cells
# The largest gap between two distribution functions up to which an effect has this name.
EFFECTS = ((0.02, "negligible"), (0.05, "small"), (0.1, "medium"), (1.0, "large"))
UNKNOWN = "too few images to say"
MIN_IMAGES = 5  # from which on the spread over images says how large a sample is
CHANCE = 0.05  # of samples of N(0, 1): their gap is larger than `noise`
PLACES = 41  # at which distribution functions of single images are compared
BANDWIDTH = 0.9  # of densities, Silverman (1986), equation 3.31


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """The statistics of one channel's values: `mean`, `std`, `skew` and excess `kurtosis` (both 0 for a normal).

    `d_normal` and `d_shape` are the Kolmogorov-Smirnov statistic, the largest gap between distribution functions,
    against N(0, 1) and against the normal with the channel's own mean and std. `wasserstein` is the mean distance that
    values would have to move to be N(0, 1). All three are effect sizes: more values don't make them larger. `p_value`
    is that of `d_normal` if all values were independent; in pictures they are not, so it says next to nothing.

    `effective_count` is the number of independent values that say as much as these; within an image, values depend on
    each other. `noise` is the `d_normal` that one in 20 samples of N(0, 1) with this number of values exceeds.
    """

    mean: float
    std: float
    skew: float
    kurtosis: float
    d_normal: float
    d_shape: float
    wasserstein: float
    p_value: float
    effective_count: float
    noise: float

    @property
    def is_known(self) -> bool:
        """True if there are enough values to say how far the distribution is from N(0, 1)."""
        return self.d_normal > self.noise or self.noise <= EFFECTS[0][0]

    @property
    def effect(self) -> str:
        """The distance of the distribution from N(0, 1), in words: negligible, small, medium, large, or too few images
        to say."""
        return next(name for limit, name in EFFECTS if self.d_normal <= limit) if self.is_known else UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentStatistics:
    """The statistics of latents with c channels, each of which has `count` values.

    `densities` (c, b) are smooth estimates of the values' densities, at `bin_centers` (b,). `correlation` (c, c)
    compares values in the same cell; `autocorrelation` (c, lags + 1) compares values at a distance of 0 to `lags`
    cells, the mean of across and down. `quantiles` (c, q) belong to the `normal_quantiles` (q,) of N(0, 1). `kl` (c,)
    is the mean KL divergence of the posterior from N(0, 1) in nats per value, or None.
    """

    channels: list[ChannelStatistics]
    bin_centers: np.ndarray
    densities: np.ndarray
    correlation: np.ndarray
    autocorrelation: np.ndarray
    normal_quantiles: np.ndarray
    quantiles: np.ndarray
    count: int
    kl: np.ndarray | None = None


@undisturbed
def latent_statistics(latents: Tensor, kl: Tensor | None = None) -> LatentStatistics:
    """The statistics of latents (n, c, rows, columns); `kl` (n, c) are the divergences of their posteriors, if known.

    Raises `InputError` for another shape.
    """
    from scipy.special import ndtri

    if latents.ndim != 4:
        raise InputError(f"Latents are (n, c, rows, columns), not {tuple(latents.shape)}.")
    of_images = latents.detach().cpu().double().transpose(0, 1).flatten(2).numpy()
    values = of_images.reshape(len(of_images), -1)
    channels = [channel_statistics(channel) for channel in of_images]
    probabilities = (np.arange(QUANTILES) + 0.5) / QUANTILES
    bin_centers, densities = _densities(values, [channel.effective_count for channel in channels])
    return LatentStatistics(
        channels=channels,
        bin_centers=bin_centers,
        densities=densities,
        correlation=_correlation(values),
        autocorrelation=autocorrelation(latents, MAX_LAG),
        normal_quantiles=ndtri(probabilities),
        quantiles=np.quantile(values, probabilities, axis=1).T,
        count=values.shape[1],
        kl=None if kl is None else kl.cpu().double().mean(0).numpy(),
    )


def divergence(posterior: Any) -> Tensor:
    """The KL divergence (n, c) of a posterior from N(0, 1) in nats per value: ½ (μ² + σ² − 1 − log σ²), after Kingma
    and Welling (2013), appendix B."""
    mean, logarithm = posterior.mean.float(), posterior.logvar.float()
    return 0.5 * (mean.square() + logarithm.exp() - 1 - logarithm).mean((2, 3))


def channel_statistics(values: np.ndarray) -> ChannelStatistics:
    """The statistics of one channel's values: (n,) if they are independent, or (images, n of each).

    `skew`, `kurtosis` and `d_shape` of equal values are 0.
    """
    from scipy import stats

    effective = float(values.size) if values.ndim == 1 else effective_count(values)
    values = values.ravel()
    mean, std = float(values.mean()), float(values.std())
    varies = std > 1e-9 * max(1.0, abs(mean))
    standard = stats.kstest(values, "norm")
    ordered = np.sort(values)
    normal = stats.norm.ppf((np.arange(len(values)) + 0.5) / len(values))
    return ChannelStatistics(
        mean=mean,
        std=std,
        skew=float(stats.skew(values)) if varies else 0.0,
        kurtosis=float(stats.kurtosis(values)) if varies else 0.0,
        d_normal=float(standard.statistic),
        d_shape=float(stats.kstest((values - mean) / std, "norm").statistic) if varies else 0.0,
        wasserstein=float(np.abs(ordered - normal).mean()),
        p_value=float(standard.pvalue),
        effective_count=effective,
        noise=float(stats.kstwo.ppf(1 - CHANCE, round(effective))) if effective >= 1 else 1.0,
    )


def effective_count(values: np.ndarray) -> float:
    """The number of independent values that say as much about their distribution as `values` (images, n); 0 if there
    are fewer than 5 images.

    The variance that a mean over independent values would have is divided by the one that the means of whole images
    show, which is the design effect (Kish, 1965), for the distribution function at 41 quantiles together.
    """
    if len(values) < MIN_IMAGES:
        return 0.0
    quantiles = np.quantile(values, (np.arange(PLACES) + 0.5) / PLACES)
    below = np.stack([np.searchsorted(np.sort(image), quantiles, "right") for image in values]) / values.shape[1]
    share = below.mean(0)
    between_images = float(below.var(0, ddof=1).sum()) / len(values)
    independent = float((share * (1 - share)).sum())
    return float(values.size) if between_images * values.size <= independent else independent / between_images


def _densities(values: np.ndarray, counts: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """The centers of bins that hold 99.9 % of the values (c, n), and the density of each channel there: its histogram,
    smoothed by a normal kernel with a width for `counts` (c,) independent values."""
    from scipy.ndimage import gaussian_filter1d

    low, high = np.quantile(values, [0.0005, 0.9995])
    reach = float(max(abs(low), abs(high), 3.0))
    edges = np.linspace(-reach, reach, BINS + 1)
    densities = []
    for channel, count in zip(values, counts):
        quartiles = np.quantile(channel, [0.25, 0.75])
        spread = min(float(channel.std()), float(quartiles[1] - quartiles[0]) / 1.34)
        bandwidth = BANDWIDTH * spread * max(1.0, count) ** -0.2
        histogram = np.histogram(channel, edges, density=True)[0]
        if bandwidth > 0:
            histogram = gaussian_filter1d(histogram, bandwidth / (edges[1] - edges[0]), mode="constant")
        densities.append(histogram)
    return (edges[1:] + edges[:-1]) / 2, np.stack(densities)


def _correlation(values: np.ndarray) -> np.ndarray:
    """Pearson's correlation of channels (c, n): 0 with a constant channel, 1 of a channel with itself."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.nan_to_num(np.atleast_2d(np.corrcoef(values)))
    np.fill_diagonal(found, 1.0)
    return found


def autocorrelation(latents: Tensor, lags: int) -> np.ndarray:
    """Pearson's correlation (c, lags + 1) of the values of a channel that are 0 to `lags` cells apart, the mean of
    across and down, over all latents (n, c, rows, columns); fewer lags where there are fewer cells."""
    values = latents.detach().cpu().double()
    lags = min(lags, *(side - 1 for side in values.shape[-2:]))
    found = np.ones((values.shape[1], lags + 1))
    for lag in range(1, lags + 1):
        pairs = [(values[..., :-lag], values[..., lag:]), (values[..., :-lag, :], values[..., lag:, :])]
        found[:, lag] = np.mean([_pearson(*pair) for pair in pairs], axis=0)
    return found


def _pearson(one: Tensor, two: Tensor) -> np.ndarray:
    """The correlation (c,) of two tensors (n, c, rows, columns); 0 where all values of one are equal."""
    first, second = (each - each.mean((0, 2, 3), keepdim=True) for each in (one, two))
    spread = (first.square().mean((0, 2, 3)) * second.square().mean((0, 2, 3))).sqrt()
    product = (first * second).mean((0, 2, 3))
    return torch.where(spread > 0, product / spread.clamp(min=1e-300), torch.zeros_like(product)).numpy()
