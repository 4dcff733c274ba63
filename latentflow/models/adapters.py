"""Adapters that make autoencoders of still pictures from models of videos, packed latents, tokens or noise.

Each adapter has diffusers' model as `inner` and shows its config, encoder and decoder as its own. Latents have the
values and the channels that the model's pipelines use, without a time axis.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

TOLERANCE = 1e-4  # of a reduced network beside diffusers' own, as a part of the largest value


class Adapter(nn.Module):
    """A model without changes; the base of the other adapters."""

    notice = ""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    @property
    def config(self) -> Any:
        """The config of the model."""
        return self.inner.config

    @property
    def encoder(self) -> Any:
        """The network that encodes."""
        return self.inner.encoder

    @property
    def decoder(self) -> Any:
        """The network that decodes."""
        return self.inner.decoder

    def geometry(self) -> dict[str, Any]:
        """Return what only the model tells of its latents and its pictures, by the names of a geometry's fields."""
        return {}

    def encode(self, image: Tensor) -> Any:
        """The values of a picture."""
        return self.inner.encode(image)

    def decode(self, values: Tensor) -> Any:
        """The picture of values."""
        return self.inner.decode(values)


class Packed(Adapter):
    """FLUX.2's: four neighboring values are one cell of four times the channels, normalized by the statistics that
    training has left in the weights, as `Flux2Pipeline` does."""

    def geometry(self) -> dict[str, Any]:
        """Channels, and the statistics of the batch normalization."""
        normalization = self.inner.bn
        std = torch.sqrt(normalization.running_var.float() + self.config.batch_norm_eps)
        shift = normalization.running_mean.float()
        return {
            "channels": shift.numel(),
            "phases": self.config.patch_size[0] ** 2,
            "scale": (1 / std).reshape(1, -1, 1, 1),
            "shift": shift.reshape(1, -1, 1, 1).clone(),
        }

    def encode(self, image: Tensor) -> Any:
        """The posterior of a picture, four cells in one."""
        side = self.config.patch_size[0]
        return _changed(self.inner.encode(image), lambda values: pixel_unshuffle(values, side))

    def decode(self, values: Tensor) -> Any:
        """The picture of packed values."""
        return self.inner.decode(pixel_shuffle(values, self.config.patch_size[0]))


class Frame(Adapter):
    """A video autoencoder with a time axis of one frame."""

    def geometry(self) -> dict[str, Any]:
        """Return LTX's statistics, which are buffers."""
        buffers = dict(self.inner.named_buffers(recurse=False))
        if "latents_mean" not in buffers:
            return {}
        mean, std = buffers["latents_mean"], buffers["latents_std"]
        scale = self.config.get("scaling_factor", 1.0) / std.float()
        return {"scale": scale.reshape(1, -1, 1, 1), "shift": mean.float().reshape(1, -1, 1, 1).clone()}

    def encode(self, image: Tensor) -> Any:
        """The posterior of a picture."""
        return _changed(self.inner.encode(image[:, :, None]), lambda values: values[:, :, 0])

    def decode(self, values: Tensor) -> Tensor:
        """The picture of values."""
        more = {}
        if self.config.get("timestep_conditioning"):  # pipelines decode at time 0 unless told otherwise
            more["temb"] = torch.zeros(len(values), device=values.device, dtype=values.dtype)
        frames = self._seeded(lambda: self.inner.decode(values[:, :, None], **more)).sample
        return frames[:, :, 0]  # type: ignore[no-any-return]

    def _seeded(self, decode: Callable[[], Any]) -> Any:
        """Decode with the same noise each time where the network draws some."""
        if not _any(self.config.get("decoder_inject_noise")):
            return decode()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return decode()


class SlicedFrame(Frame):
    """A video autoencoder whose attention takes one picture at a time."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        inner.use_slicing = True


class SingleFrame(Adapter):
    """Stable Video Diffusion's, whose decoder asks for the number of frames."""

    def decode(self, values: Tensor) -> Any:
        """The picture of values."""
        return self.inner.decode(values, num_frames=1)


class Seeded(Adapter):
    """A decoder that draws noise: the same for every picture and at every step."""

    @property
    def decoder(self) -> Any:
        """The network that decodes."""
        return self.inner.decoder_unet

    def decode(self, values: Tensor) -> Any:
        """The picture of values."""
        seeds = [torch.Generator().manual_seed(0) for _ in values]
        return self.inner.decode(values, generator=seeds)


class Tokens(Adapter):
    """A representation autoencoder: tokens of a transformer as cells, for square pictures of one size in [0, 1]."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        inner.reshape_to_2d = True

    def geometry(self) -> dict[str, Any]:
        """The size and the range of its pictures, and no scale: the model normalizes its latents itself."""
        one = torch.ones(1, 1, 1, 1)
        side = int(self.inner.decoder_image_size)
        return {"side": side, "picture_range": (0.0, 1.0), "scale": one, "shift": torch.zeros_like(one)}


class Still(Adapter):
    """A causal video autoencoder fed one frame, without the clamp that ends its own decoding.

    Before the first frame there are zeros alone, so only the last temporal slice of a convolution meets anything, and
    nothing is resampled in time.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        for parent in list(inner.modules()):
            for name, module in list(parent.named_children()):
                if name == "time_conv":
                    delattr(parent, name)
                elif isinstance(module, nn.Conv3d):
                    setattr(parent, name, FlatConvolution(module))
                elif type(module).__name__.endswith("RMS_norm") and not isinstance(module.bias, Tensor):
                    setattr(parent, name, Normalization(module))

    def encode(self, image: Tensor) -> Any:
        """The posterior of a picture."""
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        patch = self.config.get("patch_size") or 1
        cells = _reordered(pixel_unshuffle(image, patch), patch) if patch > 1 else image
        values = self.inner.quant_conv(self.encoder(cells[:, :, None]))[:, :, 0]
        return _Encoded(DiagonalGaussianDistribution(values))

    def decode(self, values: Tensor) -> Tensor:
        """The picture of values, unclamped."""
        first = {} if type(self.inner).__name__ == "AutoencoderKLQwenImage" else {"first_chunk": True}
        image = self.decoder(self.inner.post_quant_conv(values[:, :, None]), **first)[:, :, 0]
        patch = self.config.get("patch_size") or 1
        return pixel_shuffle(_reordered(image, patch), patch) if patch > 1 else image


class FlatConvolution(nn.Conv2d):
    """The last temporal slice of a causal convolution, for tensors whose time axis has one frame."""

    def __init__(self, causal: Any) -> None:
        _, kernel_height, kernel_width = causal.kernel_size
        across, _, down, *_ = causal._padding
        super().__init__(
            *(causal.in_channels, causal.out_channels, (kernel_height, kernel_width)),
            stride=causal.stride[1:],
            padding=(down, across),
            bias=causal.bias is not None,
            device="meta",
        )
        self.weight = nn.Parameter(causal.weight.detach()[:, :, -1].clone(), requires_grad=False)
        self.bias = causal.bias

    def forward(self, x: Tensor, cache_x: None = None) -> Tensor:
        """The features (n, c, 1, rows, columns) of such features."""
        return super().forward(x[:, :, 0])[:, :, None]


class Normalization(nn.Module):
    """The normalization over channels with half the passes over the features: its factors are multiplied first."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.gamma = nn.Parameter(norm.gamma.detach() * norm.scale, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, c, …) of the length √c over their channels, weighted."""
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32).clamp_min(1e-12)
        return x * length.reciprocal().to(x.dtype) * self.gamma


def _reordered(cells: Tensor, patch: int) -> Tensor:
    """Patches with their columns before their rows, as diffusers' `patchify` has them, from rows before columns and the
    other way round."""
    shape = cells.shape
    split = cells.reshape(shape[0], -1, patch, patch, *shape[2:])
    return split.transpose(2, 3).reshape(shape)


def causal(model: Any) -> Adapter:
    """A causal video autoencoder reduced to a network for pictures; with its time axis where the results differ.

    Both are compared on a picture of 4 × 4 cells and on a latent.
    """
    side = 4 * int(model.spatial_compression_ratio)
    generator = torch.Generator().manual_seed(0)
    pictures = int(model.config.get("in_channels") or model.config.get("input_channels"))
    patch = model.config.get("patch_size") or 1
    image = torch.rand(1, pictures // patch**2, side, side, generator=generator) * 2 - 1
    latent = torch.randn(1, model.config.z_dim, 4, 4, generator=generator)
    framed, told = Frame(model.eval()), ""
    with torch.no_grad():
        expected = framed.encode(image).latent_dist.mode(), framed.decode(latent)
        before = {name: dict(module.named_children()) for name, module in model.named_modules()}
        try:
            reduced = Still(model)
            found = reduced.encode(image).latent_dist.mode(), reduced.decode(latent).clamp(-1, 1)
            if all(_is_same(*pair) for pair in zip(expected, found, strict=True)):
                return reduced
        except (RuntimeError, TypeError, AttributeError, ValueError) as error:
            told = f" ({type(error).__name__})"
    for name, children in before.items():
        for child, module in children.items():
            setattr(model.get_submodule(name), child, module)
    name = type(model).__name__
    framed.notice = f"{name} keeps its time axis: as a network for pictures it gives other values{told}."
    return framed


def _is_same(expected: Tensor, found: Tensor) -> bool:
    return expected.shape == found.shape and bool(
        (expected - found).abs().max() <= TOLERANCE * expected.abs().max().clamp(min=1)
    )


class _Encoded:
    """An encoder's output: a distribution."""

    def __init__(self, latent_dist: Any) -> None:
        self.latent_dist = latent_dist


def _changed(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """An encoder's output with all tensors changed."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    posterior = getattr(output, "latent_dist", None)
    if posterior is None:
        return change(output if isinstance(output, Tensor) else output[0])
    if not hasattr(posterior, "logvar"):  # of a class that has one value for a distribution
        return change(posterior.mode())
    halves = posterior.parameters.chunk(2, dim=1)
    return _Encoded(DiagonalGaussianDistribution(torch.cat([change(each) for each in halves], dim=1)))


def _any(values: Any) -> bool:
    return any(values) if isinstance(values, list | tuple) else bool(values)


__all__ = ["Adapter", "Frame", "Packed", "Seeded", "SingleFrame", "SlicedFrame", "Still", "Tokens", "causal"]
