"""How the values of latents are distributed: channel by channel, against the normal, against each other, in space."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

QUANTILES = 201
LAGS = 8  # latent cells
# The largest gap between two distribution functions, and what it is called here.
EFFECTS = ((0.02, "negligible"), (0.05, "small"), (0.1, "medium"), (1.0, "large"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """One channel's values: `mean`, `std`, `skew` and excess `kurtosis` (both 0 for a normal).

    `d_standard` and `d_shape` are Kolmogorov and Smirnov's D, the largest gap between distribution functions, against
    N(0, 1) and against the normal of the same mean and spread; `wasserstein` is the mean distance that values would
    have to move to be N(0, 1). All three are sizes of an effect, which more values don't make larger. `p_value` is that
    of `d_standard` were every value independent of the next, which in pictures none is: it says next to nothing.
    """

    mean: float
    std: float
    skew: float
    kurtosis: float
    d_standard: float
    d_shape: float
    wasserstein: float
    p_value: float

    @property
    def effect(self) -> str:
        """How far from N(0, 1), in a word."""
        return next(word for limit, word in EFFECTS if self.d_standard <= limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentStatistics:
    """The statistics of latents, one entry a channel.

    `correlation` (c, c) is of values in the same cell; `along` (c, lags + 1) of values so many cells apart, the mean of
    across and down; `quantiles` are (c, q) at the `normal_quantiles` (q,); `kl` (c,) is the mean KL divergence of the
    posterior from N(0, 1) in nats a value, or None. `count` is the number of values of a channel.
    """

    channels: list[ChannelStatistics]
    correlation: np.ndarray
    along: np.ndarray
    normal_quantiles: np.ndarray
    quantiles: np.ndarray
    count: int
    kl: np.ndarray | None = None


def latent_statistics(latents: Tensor, kl: Tensor | None = None) -> LatentStatistics:
    """The statistics of latents (n, c, rows, columns); `kl` (c,) is passed on."""
    from scipy.special import ndtri

    values = latents.detach().cpu().double().transpose(0, 1).flatten(1).numpy()
    probabilities = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return LatentStatistics(
        channels=[channel_statistics(channel) for channel in values],
        correlation=_correlation(values),
        along=autocorrelation(latents, LAGS),
        normal_quantiles=ndtri(probabilities),
        quantiles=np.quantile(values, probabilities, axis=1).T,
        count=values.shape[1],
        kl=None if kl is None else kl.cpu().double().numpy(),
    )


def divergence(posterior: Any) -> Tensor:
    """The KL divergence (n, c) of a posterior from N(0, 1) in nats a value: ½ (μ² + σ² − 1 − log σ²), after Kingma and
    Welling (2013), appendix B."""
    mean, logarithm = posterior.mean.float(), posterior.logvar.float()
    return 0.5 * (mean.square() + logarithm.exp() - 1 - logarithm).mean((2, 3))


def channel_statistics(values: np.ndarray) -> ChannelStatistics:
    """The figures of one channel's values (n,); of one that never varies, shape and skew are 0."""
    from scipy import stats

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
        d_standard=float(standard.statistic),
        d_shape=float(stats.kstest((values - mean) / std, "norm").statistic) if varies else 0.0,
        wasserstein=float(np.abs(ordered - normal).mean()),
        p_value=float(standard.pvalue),
    )


def _correlation(values: np.ndarray) -> np.ndarray:
    """Pearson's of channels (c, n); 0 with one that never varies, 1 with itself."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.nan_to_num(np.atleast_2d(np.corrcoef(values)))
    np.fill_diagonal(found, 1.0)
    return found


def autocorrelation(latents: Tensor, lags: int) -> np.ndarray:
    """Pearson's correlation (c, lags + 1) of the values of a channel that lie 0 to `lags` cells apart, the mean of
    across and down, over all latents (n, c, rows, columns); fewer lags where there are fewer cells."""
    values = latents.detach().cpu().double()
    lags = min(lags, *(side - 1 for side in values.shape[-2:]))
    found = np.ones((values.shape[1], lags + 1))
    for lag in range(1, lags + 1):
        pairs = [(values[..., :-lag], values[..., lag:]), (values[..., :-lag, :], values[..., lag:, :])]
        found[:, lag] = np.mean([_pearson(*pair) for pair in pairs], axis=0)
    return found


def _pearson(one: Tensor, two: Tensor) -> np.ndarray:
    """The correlation (c,) of two (n, c, rows, columns) of one shape; 0 where one of them never varies."""
    first, second = (each - each.mean((0, 2, 3), keepdim=True) for each in (one, two))
    spread = (first.square().mean((0, 2, 3)) * second.square().mean((0, 2, 3))).sqrt()
    product = (first * second).mean((0, 2, 3))
    return torch.where(spread > 0, product / spread.clamp(min=1e-300), torch.zeros_like(product)).numpy()
