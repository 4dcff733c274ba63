"""The nodes. Each is a class as ComfyUI wants it: INPUT_TYPES, RETURN_TYPES, FUNCTION, CATEGORY.

Errors of a VAE, such as those of memory, pass through: ComfyUI handles them. A progress bar raises one when the user
cancels, and that passes as well.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import comfy.utils
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from latentflow import InputError, Refined, refine_latent
from latentflow.latents import slerp

from .latents import Latent, around, pair_of, samples_of, with_samples
from .pictures import Pictures, band_of, known, mask_of

CATEGORY = "latentflow"
HALF = 0.5
DEVIATIONS = 3  # standard deviations from middle gray to black or white
STEPS = (
    "INT",
    {
        "default": 3,
        "min": 0,
        "max": 50,
        "tooltip": "Each takes as long as one decode and one encode. The best latent of all steps is kept.",
    },
)
Inputs = dict[str, dict[str, Any]]
Way = Callable[[Tensor, Tensor, float], Tensor]


class FaithfulEncode:
    """Encodes pictures into latents whose decoded pictures come as near to them as a few steps can make them."""

    DESCRIPTION = "VAE Encode, then refined without gradients, so that a round trip through the VAE loses less."
    RETURN_TYPES = ("LATENT", "FLOAT", "STRING")
    RETURN_NAMES = ("latent", "psnr", "report")
    FUNCTION = "encode"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """The inputs of the node."""
        return {"required": {"pixels": ("IMAGE",), "vae": ("VAE",), "steps": STEPS}}

    def encode(self, pixels: Tensor, vae: Any, steps: int) -> tuple[Latent, float, str]:
        """The latents, the mean PSNR of their pictures in dB, and a line for each picture."""
        pixels, pictures = pixels[..., :3], Pictures(vae)
        own = vae.encode(pixels).float()
        shown = pictures.decode(own)
        picture = pictures.cropped(pixels, shown)
        shown = shown[..., : picture.shape[-2], : picture.shape[-1]]
        encode, decode = known(pictures.encode, picture, own), known(pictures.decode, own, shown)
        found = refine_latent(picture, encode, decode, steps, after=_progress(steps), start=own)
        return {"samples": found.latent}, float(found.psnr.mean()), _report(found)


def _progress(steps: int) -> Any:
    bar = comfy.utils.ProgressBar(steps)
    return lambda step: bar.update(1)


def _report(found: Refined) -> str:
    pairs = zip(found.before.tolist(), found.psnr.tolist())
    lines = (f"{number}: {before:.2f} dB → {after:.2f} dB" for number, (before, after) in enumerate(pairs, start=1))
    return "\n".join([f"PSNR of the decoded pictures, VAE Encode's and after {found.steps} steps:", *lines])


class ExactComposite:
    """Makes the latent whose picture is one decoded picture over another, under a mask of pixels."""

    DESCRIPTION = "The latent of two decoded pictures mixed by a mask. Cells away from its edges stay as they are."
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "composite"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """The inputs of the node."""
        mask = ("MASK", {"tooltip": "White shows the top, black the bottom."})
        return {"required": {"top": ("LATENT",), "bottom": ("LATENT",), "mask": mask, "vae": ("VAE",), "steps": STEPS}}

    def composite(self, top: Latent, bottom: Latent, mask: Tensor, vae: Any, steps: int) -> tuple[Latent]:
        """The latents; mask and other keys are those of the bottom."""
        above, below = pair_of(top, bottom, ("top", "bottom"))
        pictures = Pictures(vae)
        over, under = (pictures.decode(each).clamp(0, 1) for each in (above, below))
        mask = mask_of(mask, len(above), (over.shape[-2], over.shape[-1])).to(over.device)
        stride = over.shape[-2] // above.shape[-2]
        cells, weights = band_of(mask, stride)
        share = avg_pool2d(mask, stride, ceil_mode=True)
        if above.ndim == 5:
            mask, cells, weights, share = (each[:, :, None] for each in (mask, cells, weights, share))
        fixed = torch.where((share > HALF).to(above.device), above, below)
        if cells.any():
            fixed = _joined(pictures, fixed, mask * over + (1 - mask) * under, cells, weights, steps)
        return (with_samples(bottom, fixed, around(len(fixed), len(bottom["samples"]))),)


def _joined(pictures: Pictures, fixed: Tensor, mixture: Tensor, cells: Tensor, weights: Tensor, steps: int) -> Tensor:
    """The latents refined in the cells of the band, from the encoder's latents of the mixed pictures."""
    encoded = pictures.encode(mixture)
    cells = cells.to(encoded.device)
    start = torch.where(cells > 0, encoded, fixed.to(encoded.device))
    encode, after = known(pictures.encode, mixture, encoded), _progress(steps)
    found = refine_latent(
        mixture, encode, pictures.decode, steps, after=after, start=start, cells=cells, weights=weights
    )
    return found.latent


class LatentWalk:
    """Makes a batch of the latents from one to another."""

    DESCRIPTION = "Latents between two, ends included. For batches, the walk of each pair after that of the one before."
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "walk"
    CATEGORY = CATEGORY
    METHODS: ClassVar[dict[str, Way]] = {"slerp": slerp, "lerp": torch.lerp}

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """The inputs of the node."""
        frames = ("INT", {"default": 16, "min": 2, "max": 4096})
        method = (list(cls.METHODS), {"tooltip": "slerp keeps the norm of latents, lerp is a straight line."})
        return {"required": {"a": ("LATENT",), "b": ("LATENT",), "frames": frames, "method": method}}

    def walk(self, a: Latent, b: Latent, frames: int, method: str) -> tuple[Latent]:
        """The latents; frames of one latent share its mask and its noise."""
        first, last = pair_of(a, b, ("a", "b"))
        between = [self.METHODS[method](first, last, index / (frames - 1)) for index in range(1, frames - 1)]
        samples = torch.stack([first, *between, last], dim=1).flatten(0, 1)
        rows = [row for row in around(len(first), len(a["samples"])) for _ in range(frames)]
        return (with_samples(a, samples, rows),)


class LatentChannels:
    """Draws each channel of a latent as a gray picture."""

    DESCRIPTION = "A gray picture of each channel: middle gray is its mean, black and white are three deviations."
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "draw"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """The inputs of the node."""
        return {"required": {"latent": ("LATENT",)}}

    def draw(self, latent: Latent) -> tuple[Tensor]:
        """Pictures (n · c, rows, columns, 3), a pixel per cell; the frames of a video follow each other."""
        samples = samples_of(latent, "latent").float()
        flat = samples.flatten(2)
        centered = flat - flat.mean(dim=2, keepdim=True)
        spread = centered.square().mean(dim=2, keepdim=True).sqrt()
        gray = HALF + centered / torch.where(spread > 0, 2 * DEVIATIONS * spread, 1)
        maps = gray.clamp(0, 1).reshape(-1, *samples.shape[-2:])
        return (maps[..., None].repeat(1, 1, 1, 3),)


class RGBFactors:
    """Fits the linear map from a latent's channels to colors that ComfyUI's previews use."""

    DESCRIPTION = "Least squares from a latent to its decoded pictures: the factors of a preview, and this preview."
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("preview", "factors")
    FUNCTION = "fit"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """The inputs of the node."""
        number = {"min": -100.0, "max": 100.0, "step": 0.00001}
        scale = ("FLOAT", {"default": 1.0, "tooltip": "scale_factor of the model's latent format", **number})
        shift = ("FLOAT", {"default": 0.0, "tooltip": "shift_factor of the model's latent format", **number})
        given = {"latent": ("LATENT",), "image": ("IMAGE",)}
        return {"required": given, "optional": {"scale_factor": scale, "shift_factor": shift}}

    def fit(
        self, latent: Latent, image: Tensor, scale_factor: float = 1.0, shift_factor: float = 0.0
    ) -> tuple[Tensor, str]:
        """Preview (n, rows, columns, 3) of a pixel per cell, and the lines of Python for a latent format."""
        cells = (samples_of(latent, "latent").float() - shift_factor) * scale_factor
        cells = cells.movedim(2, 1).flatten(0, 1) if cells.ndim == 5 else cells
        if len(cells) != len(image):
            count = f"`latent` has {len(cells)} pictures, but `image` has {len(image)}."
            raise InputError(count, "Connect the decoded pictures of this latent.")
        colors = interpolate(image[..., :3].movedim(-1, 1).float(), cells.shape[-2:], mode="area").movedim(1, -1)
        values = cells.movedim(1, -1).to(colors.device)
        factors = _least_squares(values.flatten(0, 2), 2 * colors.flatten(0, 2) - 1).to(values)
        preview = (values @ factors[:-1] + factors[-1] + 1) / 2
        error = 255 * float((preview - colors).square().mean()) ** 0.5
        return preview.clamp(0, 1), _as_python(factors, error)


def _least_squares(values: Tensor, colors: Tensor) -> Tensor:
    """Factors (c + 1, 3) from channels to colors in [-1, 1], the last row is the bias; the smallest where many fit."""
    values, colors = values.cpu().double(), colors.cpu().double()
    ones = torch.ones(len(values), 1, dtype=values.dtype)
    return torch.linalg.lstsq(torch.cat([values, ones], dim=1), colors, driver="gelsd").solution


def _as_python(factors: Tensor, error: float) -> str:
    rows = [f"[{', '.join(f'{value:.4f}' for value in row)}]" for row in factors.tolist()]
    listed = "\n".join(f"    {row}," for row in rows[:-1])
    bias = f"latent_rgb_factors_bias = {rows[-1]}"
    return f"# RMS error: {error:.1f} gray levels\nlatent_rgb_factors = [\n{listed}\n]\n{bias}\n"


NODE_CLASS_MAPPINGS = {
    "LatentflowFaithfulEncode": FaithfulEncode,
    "LatentflowExactComposite": ExactComposite,
    "LatentflowWalk": LatentWalk,
    "LatentflowChannels": LatentChannels,
    "LatentflowRGBFactors": RGBFactors,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "LatentflowFaithfulEncode": "VAE Encode (faithful)",
    "LatentflowExactComposite": "Latent Composite (exact)",
    "LatentflowWalk": "Latent Walk",
    "LatentflowChannels": "Latent Channels",
    "LatentflowRGBFactors": "Latent → RGB factors",
}
