"""The networks behind perceptual losses and figures: LPIPS's own where it is cached, the bundled encoder elsewhere."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow import weights
from latentflow.autoencoder import load_autoencoder
from latentflow.errors import MissingPackageError, WeightsError


class PretrainedLPIPS:
    """The lpips package's VGG trunk and learned heads, as `losses._features.Features`."""

    label = "lpips"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        try:
            import lpips
        except ImportError as error:
            raise MissingPackageError(f"lpips can't be imported: {error}.", "pip install lpips") from error
        weights.verify_vgg16()
        # pnet_rand: the package would otherwise fetch its trunk itself, printing to stdout and checking no hash
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it asks torchvision in a way that is deprecated
            model = lpips.LPIPS(net="vgg", pnet_rand=True, pretrained=False, verbose=False)
        trunk = torch.load(weights.vgg16_path(), map_location="cpu", weights_only=True)
        heads = torch.load(Path(lpips.__file__).parent / "weights/v0.1/vgg.pth", map_location="cpu", weights_only=True)
        renamed = {}
        for slice_name, layers in model.net.named_children():
            for index, _ in layers.named_children():
                for kind in ("weight", "bias"):
                    if f"features.{index}.{kind}" in trunk:
                        renamed[f"{slice_name}.{index}.{kind}"] = trunk[f"features.{index}.{kind}"]
        model.net.load_state_dict(renamed)
        model.load_state_dict(heads, strict=False)
        self.model = model.eval().requires_grad_(False).to(device)
        self.heads: Sequence[Tensor] | None = [head.model[-1].weight.flatten() for head in model.lins]

    def stages(self, image: Tensor) -> list[Tensor]:
        """Five stages, relu1_2 to relu5_3, of a picture (n, 3, h, w) in [-1, 1]."""
        return list(self.model.net(self.model.scaling_layer(image)))


class BundledFeatures:
    """The bundled encoder's stages, as `losses._features.Features`; no published LPIPS threshold applies to them."""

    heads: Sequence[Tensor] | None = None

    def __init__(self, name: str, device: torch.device | str = "cpu") -> None:
        self.label = f"{name}[bundled]"
        self.autoencoder = load_autoencoder(weights.bundled(), device)

    def stages(self, image: Tensor) -> list[Tensor]:
        """The input stage and what each resolution ends with, of a picture (n, 3, h, w) in [-1, 1]."""
        encoder = self.autoencoder.model.encoder
        stages = [encoder.conv_in(self.autoencoder.pad(image))]
        for block in encoder.down_blocks:
            if len(block):
                stages.append(block(stages[-1]))
        return stages


def loader(policy: str = "auto", device: torch.device | str = "cpu") -> Callable[[str], Any]:
    """The `load(name)` that hands losses their networks under a weights policy; it never downloads.

    Under auto the pretrained network is used when it is cached, else the bundled stand-in. Raises `WeightsError`
    under pretrained when it isn't cached.
    """
    made: dict[str, Any] = {}

    def load(name: str) -> Any:
        if name not in made:
            made[name] = _load(name, policy, device)
        return made[name]

    return load


def _load(name: str, policy: str, device: torch.device | str) -> Any:
    if name != "lpips":
        raise WeightsError(f"There is no network named {name}.")
    if policy != "bundled" and weights.vgg16_path().exists():
        return PretrainedLPIPS(device)
    if policy == "pretrained":
        raise WeightsError(
            f"The VGG16 behind lpips is not in the cache ({weights.vgg16_path()}).",
            "Use --weights bundled, or with a network: "
            """python -c "import torchvision; torchvision.models.vgg16(weights='IMAGENET1K_V1')\".""",
        )
    return BundledFeatures(name, device)
