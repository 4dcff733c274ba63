"""The networks behind perceptual losses and figures: VGG16 where it can be had, the bundled encoder elsewhere."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow.errors import MissingPackageError, WeightsError
from latentflow.models import weights
from latentflow.models.autoencoder import load_autoencoder

# of the heads that lpips 0.1 carries, since the files are pickles
LPIPS_HEADS = {
    "vgg.pth": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "alex.pth": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
}
RELU3_3 = 16  # how many of VGG16's layers there are up to its third stage's third rectifier
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PretrainedLPIPS:
    """The lpips package's VGG trunk and learned heads, as `latentflow.losses._features.Features`."""

    label = "lpips"
    trunk = "vgg"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        try:
            import lpips
        except ImportError as error:
            raise MissingPackageError(f"lpips can't be imported: {error}.", "pip install lpips") from error
        path = self._verified()
        # pnet_rand: the package would otherwise fetch its trunk itself, printing to stdout and checking no hash
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it asks torchvision in a way that is deprecated
            model = lpips.LPIPS(net=self.trunk, pnet_rand=True, pretrained=False, verbose=False)
        trunk = torch.load(path, map_location="cpu", weights_only=True)
        saved = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{self.trunk}.pth"
        weights.verify(saved, LPIPS_HEADS, again="pip install --force-reinstall lpips")
        heads = torch.load(saved, map_location="cpu", weights_only=True)
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

    def _verified(self) -> Path:
        weights.VGG16.verify()
        return weights.VGG16.path

    def stages(self, image: Tensor) -> list[Tensor]:
        """Five stages, of VGG relu1_2 to relu5_3, of a picture (n, 3, h, w) in [-1, 1]."""
        return list(self.model.net(self.model.scaling_layer(image)))


class PretrainedAlexLPIPS(PretrainedLPIPS):
    """LPIPS with the AlexNet trunk, which its published thresholds are for."""

    label = "lpips[alex]"
    trunk = "alex"

    def _verified(self) -> Path:
        weights.ALEXNET.verify()
        return weights.ALEXNET.path


class PretrainedVGG:
    """VGG16 up to relu3_3, with ImageNet's normalization, as `latentflow.losses._features.Features`."""

    label = "vgg"
    heads: Sequence[Tensor] | None = None

    def __init__(self, device: torch.device | str = "cpu") -> None:
        from torchvision.models import vgg

        weights.VGG16.verify()
        trunk = vgg.make_layers(vgg.cfgs["D"], batch_norm=False)[:RELU3_3]
        saved = torch.load(weights.VGG16.path, map_location="cpu", weights_only=True)
        trunk.load_state_dict({name: saved[f"features.{name}"] for name in trunk.state_dict()})
        for layer in trunk:
            if isinstance(layer, torch.nn.ReLU):
                layer.inplace = False
        self.trunk = trunk.eval().requires_grad_(False).to(device)
        self.mean, self.std = (
            torch.tensor(values, device=device)[None, :, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD)
        )

    def stages(self, image: Tensor) -> list[Tensor]:
        """One stage, relu3_3, of a picture (n, 3, h, w) in [-1, 1]."""
        return [self.trunk(((image + 1) / 2 - self.mean) / self.std)]


class BundledFeatures:
    """The bundled encoder's stages, as `latentflow.losses._features.Features`; no published LPIPS threshold applies."""

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


class BundledStage(BundledFeatures):
    """One stage of the bundled encoder, at a quarter of the picture's side, in the place of VGG16's relu3_3."""

    def stages(self, image: Tensor) -> list[Tensor]:
        """What the blocks at a quarter of the side end with, before they hand on, of (n, 3, h, w) in [-1, 1]."""
        encoder = self.autoencoder.model.encoder
        values = encoder.conv_in(self.autoencoder.pad(image))
        for block in (*encoder.down_blocks[:2], encoder.down_blocks[2][:-1]):
            values = block(values)
        return [values]


class Networks:
    """The `load(name)` that hands losses their networks (vgg, lpips) under a weights policy.

    Under auto the pretrained network is used when it is cached or, with `download`, can be had; else the bundled
    encoder stands in for it, and `notices` says so. Without `download` the network is asked nothing. Raises
    `WeightsError` under pretrained when it can't be had.
    """

    def __init__(self, policy: str = "auto", device: torch.device | str = "cpu", *, download: bool = False) -> None:
        self.policy, self.device, self.download = policy, device, download
        self.notices: list[str] = []
        self._made: dict[str, Any] = {}

    def __call__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._load(name)
        return self._made[name]

    def _load(self, name: str) -> Any:
        if name not in PRETRAINED:
            raise WeightsError(f"There is no network named {name}.")
        if self.policy == "bundled":
            return BUNDLED[name](name, self.device)
        if not weights.VGG16.path.exists():
            problem = weights.VGG16.fetch() if self.download else "it is not downloaded for a figure"
            if problem and self.policy == "pretrained":
                raise WeightsError(
                    f"The VGG16 behind {name} is not in the cache ({weights.VGG16.path}) and can't be downloaded: "
                    f"{problem}.",
                    "Use --weights bundled, or with a network: latentflow weights fetch --vgg16",
                )
            if problem:
                self.notices.append(f"Using {name}[bundled] instead of {name}: VGG16 can't be downloaded: {problem}.")
                return BUNDLED[name](name, self.device)
        return PRETRAINED[name](self.device)


PRETRAINED: dict[str, Callable[[Any], Any]] = {"lpips": PretrainedLPIPS, "vgg": PretrainedVGG}
BUNDLED: dict[str, Callable[[str, Any], Any]] = {"lpips": BundledFeatures, "vgg": BundledStage}
