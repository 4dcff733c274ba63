"""What reconstructions are measured with: figures of pixels, and networks that are on this machine."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentflow import losses
from latentflow.explore.evaluate import fidelity
from latentflow.explore.evaluate.scorebook import Score
from latentflow.explore.evaluate.scores import JUDGED
from latentflow.inversion.metrics import image_metrics
from latentflow.models.networks import Networks, PretrainedAlexLPIPS
from latentflow.models.weights import ALEXNET

PERFECT = 100.0  # dB, in the place of infinity, which has no mean
ALEXNET_MISSING = "AlexNet is not in the cache: latentflow weights fetch --alexnet"
LPIPS_NOTES = {
    "vgg": f"VGG trunk; the thresholds are for AlexNet's, so no verdict. {ALEXNET_MISSING}",
    "bundled stand-in": f"a stand-in, the bundled encoder, that no threshold applies to. {ALEXNET_MISSING}",
}
NETWORKS = {"lpips[alex]": JUDGED, "lpips": "vgg", "lpips[bundled]": "bundled stand-in"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionMetrics:
    """What pictures are measured with: the network of LPIPS, and the features of rFID or why there are none."""

    lpips: Any
    extract: fidelity.Extract | None
    missing: str = ""

    @property
    def network(self) -> str:
        """What LPIPS is measured with: alex, vgg, or the bundled stand-in."""
        return NETWORKS[self.lpips.label]

    @torch.no_grad()
    def score(self, image: Tensor, target: Tensor) -> Score:
        """The figures of a picture (1, 3, h, w) against its target; those are left out whose window is larger."""
        figures = image_metrics(image, target, lambda name: self.lpips)
        figures["psnr"] = min(figures["psnr"], PERFECT)
        if self.lpips.label in figures:
            figures["lpips"] = figures.pop(self.lpips.label)
        ms_ssim = losses.find("ms_ssim")
        if min(target.shape[-2:]) >= ms_ssim.declaration.min_size:  # type: ignore[attr-defined]
            figures["ms_ssim"] = 1 - float(ms_ssim()(image.clamp(0, 1), target)[0])
        features = None if self.extract is None else torch.cat([self.extract(target), self.extract(image)])
        return Score(figures, features)

    def notes(self, count: int) -> dict[str, str]:
        """What is to be known of LPIPS and of the rFID of `count` images, by these names; nothing where all is well."""
        rfid = ""
        if self.missing:
            rfid = f"empty; {self.missing}"
        elif count < 2:
            rfid = "empty; it takes two images"
        elif count < fidelity.ENOUGH:
            rfid = f"of {count} images, and so too high: under {fidelity.ENOUGH} its covariances are short of rank"
        notes = {"LPIPS": LPIPS_NOTES.get(self.network, ""), "rFID": rfid}
        return {title: note for title, note in notes.items() if note}


def find_metrics(device: torch.device | str = "cpu") -> ReconstructionMetrics:
    """The networks that are on this machine: nothing is downloaded for a figure. LPIPS has the AlexNet trunk where it
    is in the cache, else VGG16's, else the bundled encoder; raises `WeightsError` for files that are corrupt."""
    lpips = PretrainedAlexLPIPS(device) if ALEXNET.path.exists() else Networks("auto", device)("lpips")
    missing = fidelity.unavailable()
    return ReconstructionMetrics(
        lpips=lpips, extract=None if missing else fidelity.load_inception(device), missing=missing
    )
