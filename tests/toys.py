"""Things whose answers are known: an autoencoder whose decoder is one 12 × 4 matrix, applied to each latent cell;
records whose picture moves."""

from types import SimpleNamespace

import torch
from torch import Tensor

from latentflow.base.records import Step
from latentflow.models.autoencoder import Autoencoder, LatentGeometry

STRIDE = 2


class LinearModel:
    """Cell by cell: 4 latent values ↔ 3 channels × 2 × 2 pixels, the encoder being the decoder's pseudo-inverse."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.matrix, _ = torch.linalg.qr(torch.randn(12, 4, generator=generator))
        self.decodings = 0

    def encode(self, image: Tensor) -> SimpleNamespace:
        cells = torch.nn.functional.pixel_unshuffle(image, STRIDE)
        return SimpleNamespace(latent=torch.einsum("oc,nohw->nchw", self.matrix, cells))

    def decode(self, latent: Tensor) -> SimpleNamespace:
        self.decodings += 1
        cells = torch.einsum("oc,nchw->nohw", self.matrix, latent)
        return SimpleNamespace(sample=torch.nn.functional.pixel_shuffle(cells, STRIDE))


def linear_autoencoder(scale: float = 0.5, shift: float = 0.25) -> Autoencoder:
    """A linear autoencoder with a scale and a shift, to be undone by the wrapper."""
    one = torch.ones(1, 1, 1, 1)
    geometry = LatentGeometry(channels=4, stride=STRIDE, scale=one * scale, shift=one * shift)
    return Autoencoder(LinearModel(), geometry, "linear", "0" * 64)


def least_mse(autoencoder: Autoencoder, target: Tensor) -> float:
    """The least MSE any latent reaches, by projecting the target on the decoder's range."""
    model = autoencoder.model
    projected = model.decode(model.encode(target * 2 - 1).latent).sample / 2 + 0.5
    return float((projected - target).square().mean())


def picture(height: int = 8, width: int = 8, seed: int = 1, count: int = 1) -> Tensor:
    """A random picture (count, 3, height, width) in [0, 1]."""
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def step(index, total=9, height=24, width=32, loss=None, seconds=0.01):
    """A record with a picture that moves: a ramp, shifted by the index."""
    ramp = (torch.linspace(0, 1, width).repeat(height, 1) + index / 10) % 1
    image = torch.stack([ramp, ramp.flip(1), torch.full_like(ramp, 0.3)])[None]
    return Step(
        **{"index": index, "total": total, "latent": torch.zeros(1, 4, 3, 4), "image": image, "lr": 0.1},
        **{"loss": torch.tensor([1 / (index + 1) if loss is None else loss]), "seconds": seconds},
        **{"parts": {"mse": torch.tensor([1 / (index + 1)])}, "psnr": torch.tensor([10.0 + index])},
        grad_norm=torch.tensor([0.5]),
        passes=3,
    )


def steps(count=10, **kwargs):
    return [step(index, count - 1, **kwargs) for index in range(count)]


MIDI_DEVICE = """
// a MIDI device without hardware: window.play(status, first, second) is a message of it
window.midiInput = {name: "Toy keys"};
navigator.requestMIDIAccess = async () => ({inputs: new Map([["1", window.midiInput]])});
window.play = (...bytes) => window.midiInput.onmidimessage({data: Uint8Array.from(bytes)});
"""
