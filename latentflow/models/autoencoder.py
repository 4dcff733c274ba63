"""Any diffusers image autoencoder behind `encode` and `decode`, in pictures of [0, 1] and latents of unit variance."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latentflow.config import counted
from latentflow.errors import InputError, WeightsError, is_out_of_memory
from latentflow.models import deep_compression
from latentflow.models.device import pick_dtype
from latentflow.models.layouts import TAESD, Layout, diffusers_names
from latentflow.models.served import SERVED
from latentflow.models.taef2 import add_normalized_blocks
from latentflow.models.weight_files import WEIGHTS_FILE
from latentflow.models.weights import FoundWeights, find_weights, layout_of

_BLOCKS = frozenset().union(*(served.blocks for served in SERVED.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentGeometry:
    """The shape and the statistics of a latent space.

    A latent has `channels` values for each `stride` × `stride` pixels. `scale` and `shift`, (1, c, 1, 1) or
    (1, 1, 1, 1), take the autoencoder's own values to about unit variance: latent = (values − shift) · scale.
    """

    channels: int
    stride: int
    scale: Tensor
    shift: Tensor

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(channels, rows, columns) of the latent that covers a picture of height × width pixels."""
        return self.channels, -(-height // self.stride), -(-width // self.stride)


class Autoencoder(nn.Module):
    """A frozen image autoencoder; `name` and `sha256` say whose latents these are.

    Pictures are (n, 3, h, w) in [0, 1], latents (n, c, rows, columns) of about unit variance, both float32. A picture
    of any size is continued at its right and bottom edges to complete latent cells before it is encoded, and a decoded
    one is cut back, so that nobody else needs to know the stride. It computes in `dtype`, wherever `to(device)` puts
    it.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        model: Any,
        geometry: LatentGeometry,
        name: str,
        sha256: str = "",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`model` has `encode` and `decode` as diffusers' autoencoders do, for pictures in [-1, 1], and is of
        `dtype`."""
        super().__init__()
        self.model = model
        self.channels, self.stride = geometry.channels, geometry.stride
        self.register_buffer("scale", geometry.scale)
        self.register_buffer("shift", geometry.shift)
        self.name = name
        self.sha256 = sha256
        self.dtype = dtype
        self.is_checkpointed = False
        self._compiled: Any = None

    @property
    def geometry(self) -> LatentGeometry:
        """The shape and the statistics of its latents."""
        return LatentGeometry(channels=self.channels, stride=self.stride, scale=self.scale, shift=self.shift)

    @property
    def precision(self) -> str:
        """The name of what it computes in: float32 or bfloat16."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """Where the model is and its tensors must be."""
        return self.scale.device

    def forward(self, image: Tensor) -> Tensor:
        """The reconstruction of a picture: decoded from its own latent, and of its size."""
        return self.decode(self.encode(image), (image.shape[-2], image.shape[-1]))

    def encode(self, image: Tensor) -> Tensor:
        """The latent (n, c, rows, columns) of (n, 3, h, w) in [0, 1]; of a posterior, its mean. Raises `InputError` for
        another shape."""
        return self.encode_with_posterior(image)[0]

    def encode_with_posterior(self, image: Tensor) -> tuple[Tensor, Any]:
        """The latent, and the posterior it is the mean of: diffusers' diagonal Gaussian in the model's own units, with
        N(0, 1) for a prior; None for an encoder that has no distribution."""
        if image.ndim != 4 or image.shape[1] != 3:
            raise InputError(f"A picture to encode is (n, 3, height, width), not {tuple(image.shape)}.")
        output = self.model.encode((self.pad(image) * 2 - 1).to(self.dtype))
        posterior = getattr(output, "latent_dist", None)
        if posterior is not None:
            values = posterior.mode()
        else:
            values = output.latents if hasattr(output, "latents") else output.latent
        return (values.float() - self.shift) * self.scale, posterior

    def decode(self, latent: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """The picture (n, 3, h, w) of a latent (n, c, rows, columns), nominally in [0, 1], unclamped, differentiable;
        cut to `size` (height, width) when given. Raises `InputError` for another shape."""
        if latent.ndim != 4 or latent.shape[1] != self.channels:
            raise InputError(
                f"A latent of {self.name} is (n, {self.channels}, rows, columns), not {tuple(latent.shape)}."
            )
        values = latent / self.scale + self.shift
        image = self._decoded(values.to(self.dtype)).float() / 2 + 0.5
        return image if size is None else image[..., : size[0], : size[1]]

    def _decoded(self, values: Tensor) -> Tensor:
        if self._compiled is None:
            return self.model.decode(values).sample
        torch.compiler.cudagraph_mark_step_begin()
        return self._compiled(values).clone()  # a CUDA graph writes the next picture where this one is

    @property
    def is_compiled(self) -> bool:
        """Whether the decoder is compiled."""
        return self._compiled is not None

    def compile_decoder(self) -> None:
        """Compile the decoder, with CUDA graphs on CUDA, at its next use and for each new size of picture."""
        self._compiled = torch.compile(
            lambda values: self.model.decode(values).sample,
            mode="reduce-overhead" if self.device.type == "cuda" else None,
        )

    def checkpoint_decoder(self) -> None:
        """Forget what happens inside the decoder's blocks and compute it again in the backward pass: a third more
        time, less memory, the same gradient."""
        self.is_checkpointed = True
        for block in self.model.decoder.modules():  # diffusers' own switch is missing in some classes, and coarser
            if type(block).__name__ in _BLOCKS:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)

    def pad(self, image: Tensor) -> Tensor:
        """A picture (n, 3, h, w) continued at its right and bottom to complete latent cells.

        It is mirrored where it is large enough, and its edge repeated where not.
        """
        height, width = image.shape[-2:]
        down, across = -height % self.stride, -width % self.stride
        for padding, side in (((0, across, 0, 0), width), ((0, 0, 0, down), height)):
            if any(padding):
                image = F.pad(image, padding, mode="reflect" if max(padding) < side else "replicate")
        return image


def load_autoencoder(
    weights: FoundWeights | str | Path = "bundled",
    device: torch.device | str = "cpu",
    dtype: str = "float32",
    vae_config: str | None = None,
) -> Autoencoder:
    """Build an autoencoder, frozen, on `device`; it computes in `dtype`: float32, bfloat16, or auto, which is bfloat16
    where the device computes with it. Pictures and latents are float32 always.

    `weights` are what `find_weights` has found, or what it takes: a hub name, a folder, a file, or "bundled";
    `vae_config` is sd, sdxl, sd3, flux or the path of a config.json, for a file that doesn't tell its scale. Raises
    `WeightsError` for weights that are missing, truncated, not finite, not recognized or don't fit their config, and
    for a class that isn't served.
    """
    if not isinstance(weights, FoundWeights):
        weights = find_weights(str(weights), "pretrained")
    layout = layout_of(weights if vae_config is None else replace(weights, vae_config=vae_config))
    if layout.problem:
        raise WeightsError(layout.problem)
    own = weights.source == "bundled" and deep_compression.supports(layout.config)
    model = _build_own(weights.path, layout) if own else _build(weights.path, layout)
    with _blaming(weights.path):
        geometry = read_geometry(type(model).__name__, model.config, device)
    computing = pick_dtype(dtype, torch.device(device))
    # not diffusers' own `to`, which warns of the type
    model = nn.Module.to(model.eval().requires_grad_(False), torch.device(device), computing)
    model = model.to(memory_format=torch.channels_last)
    return Autoencoder(model, geometry, weights.name, weights.sha256, computing)


@contextlib.contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn what diffusers raises into a `WeightsError`; around its calls alone, so that a fault of ours keeps its name.

    It raises whatever a config leads to: a width of zero, a word for a number, a missing key.
    """
    try:
        yield
    except SafetensorError as error:
        raise WeightsError(f"The weights at {path} are truncated or not safetensors: {error}.") from error
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        raise WeightsError(f"The autoencoder at {path} can't be loaded: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__


def _build_own(folder: Path, layout: Layout) -> Any:
    """The network of the bundled autoencoder, without an import of diffusers."""
    with _blaming(folder):
        return deep_compression.load(folder / WEIGHTS_FILE, layout.config)


def _build(path: Path, layout: Layout) -> Any:
    with contextlib.redirect_stdout(sys.stderr), _quiet(), _blaming(path):
        model = SERVED[layout.config["_class_name"]].find(layout.config["_class_name"]).from_config(dict(layout.config))
        if layout.names == TAESD:
            add_normalized_blocks(model, layout.tensors)
        values = diffusers_names(_read(layout), layout, dict(model.config))
        wrong = model.load_state_dict(values, strict=False)
    names = [*wrong.missing_keys, *wrong.unexpected_keys]
    if names:
        many = counted(len(names), "weight", "don't")
        misfit = f"{many} fit its config, the first {names[0]}"
        raise WeightsError(f"The autoencoder at {path} can't be loaded: {misfit}.")
    broken = [name for name, value in model.state_dict().items() if not torch.isfinite(value).all()]
    if broken:
        raise WeightsError(
            f"The autoencoder at {path} has weights that are not finite: {broken[0]} is the first of {len(broken)}.",
            "Copy or download it again.",
        )
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence diffusers, which warns of what is an error here, and of keys in a config that it doesn't know."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _read(layout: Layout) -> dict[str, Tensor]:
    """The tensors of a layout, by its names."""
    values: dict[str, Tensor] = {}
    for path in sorted({info.path for info in layout.tensors.values()}):
        with safe_open(path, framework="pt") as file:
            values |= {name: file.get_tensor(info.name) for name, info in layout.tensors.items() if info.path == path}
    return values


def read_geometry(class_name: str, config: Any, device: torch.device | str = "cpu") -> LatentGeometry:
    """The geometry a diffusers config declares: scalar `scaling_factor` and `shift_factor`, or per-channel
    `latents_mean` and `latents_std` as its pipelines apply them: latent = (values − mean) · scaling_factor / std.

    Raises `ValueError` for figures that are no geometry.
    """

    def values(key: str, default: float) -> Tensor:
        found = config.get(key)
        found = default if found is None else found
        return torch.tensor(found, dtype=torch.float32, device=device).reshape(1, -1, 1, 1)

    shift = values("shift_factor", 0.0) if config.get("latents_mean") is None else values("latents_mean", 0.0)
    scale = values("scaling_factor", 1.0) / values("latents_std", 1.0)
    if not (torch.isfinite(shift).all() and torch.isfinite(scale).all() and (scale != 0).all()):
        raise ValueError("its shift and scale must be finite, and its scale not zero.")
    if {shift.numel(), scale.numel()} - {1, int(config["latent_channels"])}:
        raise ValueError(f"its shift and scale must be one value or {config['latent_channels']}, one a channel.")
    stride = SERVED[class_name].stride(config)
    return LatentGeometry(channels=int(config["latent_channels"]), stride=stride, scale=scale, shift=shift)
