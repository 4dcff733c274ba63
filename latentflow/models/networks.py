"""The networks of perceptual losses and metrics: VGG16 where it is available, else the bundled encoder."""

import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow.base.errors import MissingPackageError, WeightsError
from latentflow.base.surroundings import single_precision, undisturbed
from latentflow.losses import Features
from latentflow.models import weights
from latentflow.models.autoencoder import load_autoencoder

# SHA-256 of the files of learned weights in lpips 0.1, which are pickles
LPIPS_HEADS = {
    "vgg.pth": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "alex.pth": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
}
RELU3_3 = 16  # layers of VGG16 up to and including relu3_3
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PretrainedLPIPS:
    """The VGG trunk and the learned heads of the lpips package, as `Features`.

    Raises `MissingPackageError` without the package, `WeightsError` when a file is missing or has a wrong hash.
    """

    label = "lpips"
    trunk = "vgg"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        try:
            import lpips
        except ImportError as error:
            raise MissingPackageError(f"lpips can't be imported: {error}.", "pip install lpips") from error
        path = self._verified()
        # pnet_rand: otherwise the package downloads its trunk itself, prints to stdout and checks no hash
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it calls torchvision with deprecated arguments
            model = lpips.LPIPS(net=self.trunk, pnet_rand=True, pretrained=False, verbose=False)
        trunk = torch.load(path, map_location="cpu", weights_only=True)
        saved = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{self.trunk}.pth"
        weights.verify(saved, LPIPS_HEADS, remedy="pip install --force-reinstall lpips")
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
        """Five stages, VGG's relu1_2 to relu5_3, of images (n, 3, h, w) in [-1, 1]."""
        return list(self.model.net(self.model.scaling_layer(image)))


class PretrainedAlexLPIPS(PretrainedLPIPS):
    """LPIPS with the AlexNet trunk, to which its published thresholds apply."""

    label = "lpips[alex]"
    trunk = "alex"

    def _verified(self) -> Path:
        weights.ALEXNET.verify()
        return weights.ALEXNET.path


class PretrainedVGG:
    """VGG16 up to relu3_3, with ImageNet's normalization, as `Features`.

    Raises `WeightsError` when the file is missing or has a wrong hash.
    """

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
            torch.tensor(values, device=device, dtype=torch.float32)[None, :, None, None]
            for values in (IMAGENET_MEAN, IMAGENET_STD)
        )

    def stages(self, image: Tensor) -> list[Tensor]:
        """One stage, relu3_3, of images (n, 3, h, w) in [-1, 1]."""
        return [self.trunk(((image + 1) / 2 - self.mean) / self.std)]


class BundledFeatures:
    """The stages of the bundled encoder, as `Features`; no published threshold of LPIPS applies to them."""

    heads: Sequence[Tensor] | None = None

    def __init__(self, name: str, device: torch.device | str = "cpu") -> None:
        self.label = f"{name}[bundled]"
        self.autoencoder = load_autoencoder(weights.bundled(), device)

    def stages(self, image: Tensor) -> list[Tensor]:
        """The output of the first convolution and of each resolution, of images (n, 3, h, w) in [-1, 1]."""
        encoder = self.autoencoder.model.encoder
        stages = [encoder.conv_in(self.autoencoder.pad(image))]
        for block in encoder.down_blocks:
            if len(block):
                stages.append(block(stages[-1]))
        return stages


class BundledStage(BundledFeatures):
    """One stage of the bundled encoder, at a quarter of the image's side, instead of VGG16's relu3_3."""

    def stages(self, image: Tensor) -> list[Tensor]:
        """The output of the last block at a quarter of the side, before its downsampling, of images (n, 3, h, w) in
        [-1, 1]."""
        encoder = self.autoencoder.model.encoder
        values = encoder.conv_in(self.autoencoder.pad(image))
        for block in (*encoder.down_blocks[:2], encoder.down_blocks[2][:-1]):
            values = block(values)
        return [values]


class Networks:
    """Loads the networks of losses, vgg and lpips, each once: `networks("lpips")` returns its `Features`.

    `policy` is auto, pretrained or bundled. With auto the pretrained network is used if it is in the cache or, with
    `download`, can be downloaded; otherwise the bundled encoder is used instead, and `notices` says so under the
    network's name. With pretrained that is a `WeightsError`. Without `download` no request is sent.
    """

    def __init__(self, policy: str = "auto", device: torch.device | str = "cpu", *, download: bool = False) -> None:
        self.policy, self.device, self.download = policy, device, download
        self.notices: dict[str, str] = {}
        self._made: dict[str, Features] = {}
        self._lock = threading.Lock()

    @undisturbed
    def __call__(self, name: str) -> Features:
        with self._lock:
            if name not in self._made:
                with single_precision():
                    self._made[name] = self._load(name)
            return self._made[name]

    @property
    def used(self) -> list[str]:
        """The names of the networks that were asked for."""
        return list(self._made)

    def _load(self, name: str) -> Features:
        if name not in PRETRAINED:
            raise WeightsError(f"There is no network named {name}.")
        if self.policy == "bundled":
            return BUNDLED[name](name, self.device)
        problem = self._missing()
        if not problem:
            return PRETRAINED[name](self.device)
        if self.policy == "pretrained":
            raise WeightsError(
                f"The network of {name} can't be loaded: {problem}.",
                "Set `weights` to bundled, or with network access run: latentflow weights fetch --vgg16",
            )
        self.notices[name] = f"Using {name}[bundled] instead of {name}: {problem}."
        return BUNDLED[name](name, self.device)

    def _missing(self) -> str:
        """Why there is no VGG16, or an empty string when there is."""
        if weights.VGG16.path.exists():
            return ""
        if not self.download:
            return f"VGG16 is not in the cache ({weights.VGG16.path})"
        problem = weights.VGG16.fetch()
        return problem and f"VGG16 can't be downloaded: {problem}"


PRETRAINED: dict[str, Callable[[Any], Features]] = {"lpips": PretrainedLPIPS, "vgg": PretrainedVGG}
BUNDLED: dict[str, Callable[[str, Any], Features]] = {"lpips": BundledFeatures, "vgg": BundledStage}
