"""Measures of reconstruction quality: metrics of pixels, and of networks that are on this machine."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentflow import losses
from latentflow.explore.evaluate import fidelity
from latentflow.explore.evaluate.scores import VERDICT_NETWORK, Score
from latentflow.inversion.metrics import image_metrics
from latentflow.models.networks import Networks, PretrainedAlexLPIPS
from latentflow.models.weights import ALEXNET

MAX_PSNR = 100.0  # dB, instead of infinity, which has no mean
ALEXNET_MISSING = "AlexNet is not in the cache: latentflow weights fetch --alexnet"
LPIPS_NOTES = {
    "vgg": f"VGG trunk; the thresholds are for AlexNet's, so no verdict. {ALEXNET_MISSING}",
    "bundled stand-in": f"a stand-in, the bundled encoder, that no threshold applies to. {ALEXNET_MISSING}",
}
NETWORKS = {"lpips[alex]": VERDICT_NETWORK, "lpips": "vgg", "lpips[bundled]": "bundled stand-in"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionMetrics:
    """Measures of reconstruction quality: the network of LPIPS, and `extract`, which gives the features for rFID, or
    None; `missing` then says why."""

    lpips: Any
    extract: fidelity.Extract | None
    missing: str = ""

    @property
    def network(self) -> str:
        """The network that LPIPS is measured with: alex, vgg, or bundled stand-in."""
        return NETWORKS[self.lpips.label]

    @torch.no_grad()
    def score(self, image: Tensor, target: Tensor) -> Score:
        """The metrics of a reconstruction (1, 3, h, w) against its target, without the metrics that need a larger
        picture for their window: psnr in dB, at most 100, ssim, ms_ssim and lpips."""
        metrics = image_metrics(image, target, lambda name: self.lpips)
        metrics["psnr"] = min(metrics["psnr"], MAX_PSNR)
        ms_ssim = losses.find("ms_ssim")
        if min(target.shape[-2:]) >= ms_ssim.declaration.min_size:  # type: ignore[attr-defined]
            metrics["ms_ssim"] = 1 - float(ms_ssim()(image.clamp(0, 1), target)[0])
        features = None if self.extract is None else torch.cat([self.extract(target), self.extract(image)])
        return Score(metrics, features)

    def notes(self, count: int) -> dict[str, str]:
        """Return remarks on LPIPS and on the rFID of `count` images, by these headings; empty where there is nothing to
        say."""
        rfid = ""
        if self.missing:
            rfid = f"empty; {self.missing}"
        elif count < 2:
            rfid = "empty; it takes two images"
        elif count < fidelity.MIN_FID_IMAGES:
            limit = fidelity.MIN_FID_IMAGES
            rfid = f"of {count} images, and so too high: under {limit} its covariances don't have full rank"
        notes = {"LPIPS": LPIPS_NOTES.get(self.network, ""), "rFID": rfid}
        return {heading: note for heading, note in notes.items() if note}


def find_metrics(device: torch.device | str = "cpu") -> ReconstructionMetrics:
    """The metrics with the networks that are on this machine: nothing is downloaded for them.

    LPIPS has the AlexNet trunk where it is in the cache, else VGG16's, else the bundled encoder. Raises `WeightsError`
    for files that are corrupt.
    """
    lpips = PretrainedAlexLPIPS(device) if ALEXNET.path.exists() else Networks("auto", device)("lpips")
    missing = fidelity.unavailable()
    return ReconstructionMetrics(
        lpips=lpips, extract=None if missing else fidelity.load_inception(device), missing=missing
    )
