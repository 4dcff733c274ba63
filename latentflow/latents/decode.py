"""The loop that decodes latents into frames, for all views and renderings."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from latentflow.base.records import Frame
from latentflow.base.surroundings import undisturbed
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.memory import decode_batch_size


@undisturbed
def decode_frames(
    autoencoder: Autoencoder,
    latents: Iterable[Tensor],
    size: tuple[int, int],
    batch: int | None = None,
    *,
    total: int | None = None,
) -> Iterator[Frame]:
    """Decode latents to pictures of `size` (height, width), one frame for each, some at a time in one forward pass.

    Each of `latents` is (n, c, rows, columns), n being the same for all: a frame holds n pictures. They are taken as
    they are needed, so any generator will do; `total`, the index of the last frame, is then wanted unless `latents` has
    a length. `batch` is the largest number of pictures decoded together, by default what the memory has room for.
    Pictures differ from those decoded alone by rounding only.
    """
    if total is None:
        if not isinstance(latents, Sequence):
            raise TypeError("latents without a length need total=")
        total = len(latents) - 1
    index, waiting = 0, list[Tensor]()
    for latent in latents:
        if batch is None:
            batch = decode_batch_size(autoencoder, *size)
        waiting.append(latent)
        if len(latent) * (len(waiting) + 1) > batch:
            yield from _decoded(autoencoder, waiting, size, batch, index, total)
            index, waiting = index + len(waiting), []
    if batch is not None:
        yield from _decoded(autoencoder, waiting, size, batch, index, total)


def _decoded(
    autoencoder: Autoencoder, latents: Sequence[Tensor], size: tuple[int, int], batch: int, first: int, total: int
) -> list[Frame]:
    """The frames of latents, in one forward pass unless a single frame holds more than `batch` pictures."""
    if not latents:
        return []
    with torch.no_grad():
        images = torch.cat([autoencoder.decode(part, size) for part in torch.cat(list(latents)).split(batch)])
    return [
        Frame(index=first + place, total=total, latent=latent, image=image.clone())  # not a view of the batch
        for place, (latent, image) in enumerate(zip(latents, images.split(len(latents[0])), strict=True))
    ]
