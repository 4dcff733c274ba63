"""rFID: the distance of reconstructions from their originals as distributions, by torch-fidelity's InceptionV3."""

import io
from collections.abc import Callable

import torch
from torch import Tensor

from latentflow.models.weights import INCEPTION

FEATURES = "2048"  # the layer that FID is defined on
MIN_FID_IMAGES = 2048  # with fewer, the covariance of that many features does not have full rank

Extract = Callable[[Tensor], Tensor]


def unavailable() -> str:
    """Why there can be no rFID on this machine, in one line; empty where there can."""
    try:
        import torch_fidelity.feature_extractor_inceptionv3  # noqa: F401
    except ImportError as error:
        return f'torch-fidelity can\'t be imported ({error}): pip install "latentflow[rfid]"'
    if not INCEPTION.path.exists():
        return f"InceptionV3 is not in the cache ({INCEPTION.path}): latentflow weights fetch --inception"
    return ""


def load_inception(device: torch.device | str = "cpu") -> Extract:
    """A function that computes the features (n, 2048) of pictures (n, 3, h, w) in [0, 1], which it clamps and rounds to
    8 bits first.

    Raises `WeightsError` when the cached weights do not have the hash in their name.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    INCEPTION.verify()
    checked = io.BytesIO()  # torch-fidelity would open the file as a pickle that may run code
    torch.save(torch.load(INCEPTION.path, map_location="cpu", weights_only=True), checked)
    checked.seek(0)
    model = FeatureExtractorInceptionV3("inception", [FEATURES], feature_extractor_weights_path=checked).to(device)

    @torch.no_grad()
    def extract(image: Tensor) -> Tensor:
        return model((image.clamp(0, 1) * 255).round().to(torch.uint8))[0].cpu()

    return extract


def frechet_distance(features: Tensor) -> float:
    """The Fréchet distance between Gaussians fitted to features (n, 2, d) of originals and of reconstructions, n ≥ 2:
    |m₁ − m₂|² + tr(C₁ + C₂ − 2 √(C₁ C₂)). Heusel et al. 2017, arXiv:1706.08500, as torch-fidelity computes it."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    one, two = (fid_features_to_statistics(each.double()) for each in features.unbind(1))
    return float(fid_statistics_to_metric(one, two, verbose=False)[KEY_METRIC_FID])
