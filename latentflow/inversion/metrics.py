"""Distances of a picture from its target, in well-known figures such as PSNR."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from latentflow import losses
from latentflow.base.surroundings import undisturbed
from latentflow.models.autoencoder import Autoencoder


class Metrics(dict[str, float]):
    """Figures of a picture by name: psnr, ssim, lpips. `network` says which network LPIPS was measured with, as in
    lpips[bundled]; it is empty without LPIPS."""

    def __init__(self, figures: Mapping[str, float] = {}, network: str = "") -> None:
        super().__init__(figures)
        self.network = network

    def labeled(self) -> dict[str, float]:
        """The same figures with the network's label in place of lpips, as tables and reports show them."""
        return {self.network if name == "lpips" else name: value for name, value in self.items()}

    @staticmethod
    def mean(each: "Sequence[Metrics]") -> "Metrics":
        """The mean of the figures of several pictures."""
        return Metrics({name: sum(one[name] for one in each) / len(each) for name in each[0]}, each[0].network)


def psnr(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """PSNR in dB, (n,), of (n, 3, h, w) pictures for peak 1, the image clamped to [0, 1]; infinite at equality.

    With a `mask` m (n, 1, h, w) in [0, 1] it is −10 log10(Σ m·d² / Σ m): a pixel counts by its gray.
    """
    if mask is not None:
        losses.check_mask(mask, target)
    errors = (losses.composed(image.clamp(0, 1), target, mask) - target).square()
    return -10 * losses.weighted_mean(errors, mask).log10()


@undisturbed
@torch.no_grad()
def image_metrics(
    image: Tensor, target: Tensor, load: Callable[[str], Any] | None = None, mask: Tensor | None = None
) -> Metrics:
    """PSNR (dB), SSIM and LPIPS of the first image of (n, 3, h, w) against its target, the image clamped; with a `mask`
    (n, 1, h, w) in [0, 1] they are weighted means, as the losses of these names take them.

    LPIPS is left out without `load`, and so is every figure that needs a larger picture for its window.
    """
    image = image.clamp(0, 1)
    figures = Metrics({"psnr": float(psnr(image, target, mask)[0])})
    smallest = min(image.shape[-2:])
    ssim = losses.find("ssim")
    if smallest >= ssim.declaration.min_size:  # type: ignore[attr-defined]
        figures["ssim"] = 1 - float(ssim()(image, target, mask)[0])
    lpips = losses.find("lpips")
    if load and smallest >= lpips.declaration.min_size:  # type: ignore[attr-defined]
        metric = lpips(load)
        figures["lpips"], figures.network = float(metric(image, target, mask)[0]), metric.label
    return figures


@undisturbed
@torch.no_grad()
def encoder_metrics(
    autoencoder: Autoencoder,
    target: Tensor,
    load: Callable[[str], Any] | None = None,
    mask: Tensor | None = None,
) -> Metrics:
    """The `image_metrics` of the encoder's own reconstruction of a target (1, 3, h, w), the quality most people
    know."""
    return image_metrics(autoencoder(target), target, load, mask)


def metric_rows(metrics: dict[str, dict[str, float]]) -> tuple[list[str], dict[str, list[str]]]:
    """Metrics of several pictures as text: the headings, and a row for each name; PSNR with two digits, others with
    four."""
    keys = list(next(iter(metrics.values())))
    headings = [{"psnr": "PSNR dB", "ssim": "SSIM"}.get(key, key) for key in keys]
    rows = {name: [f"{values[key]:.{2 if key == 'psnr' else 4}f}" for key in keys] for name, values in metrics.items()}
    return headings, rows
