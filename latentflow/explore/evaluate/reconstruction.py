"""Reconstructions of images by autoencoders, measured."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from latentflow.base.errors import LatentflowError
from latentflow.base.session import Session
from latentflow.base.surroundings import undisturbed
from latentflow.explore.evaluate.metrics import ReconstructionMetrics, find_metrics
from latentflow.explore.evaluate.score_table import Evaluated
from latentflow.inversion.refine import refine
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.files import fit as fitted
from latentflow.pictures.files import to_tensor
from latentflow.pictures.reader import Reader


@undisturbed
def evaluate_images(
    autoencoder: Autoencoder,
    paths: Sequence[Path],
    *,
    size: int = 256,
    fit: str = "contain",
    steps: int = 0,
    metrics: ReconstructionMetrics | None = None,
    session: Session | None = None,
    reader: Reader | None = None,
) -> Iterator[Evaluated]:
    """Encode and decode images, one after the other, and measure their reconstructions; one record for each.

    Each image is fitted to `size` pixels as `latentflow.fit` does it. With `steps` it is measured again after
    optimizing its latent for this number of steps, which `session` may stop. `reader` notes what reading the images
    changed; an image that can't be read has a record that says why. Raises `WeightsError` when the networks of the
    metrics are corrupt.
    """
    metrics = metrics or find_metrics(autoencoder.device)
    for index, path in enumerate(paths, 1):
        record = Evaluated(
            index=index, total=len(paths), path=path, autoencoder=autoencoder.name, sha256=autoencoder.sha256
        )
        try:
            target = read_target(path, size, fit, reader).to(autoencoder.device)
        except LatentflowError as error:
            yield replace(record, problem=str(error))
            continue
        pictures = reconstruct(autoencoder, target, steps, session)
        yield replace(record, scores={count: metrics.score(picture, target) for count, picture in pictures.items()})


def read_target(path: Path, size: int, fit: str, reader: Reader | None = None) -> Tensor:
    """An image as (1, 3, height, width) in [0, 1], fitted to `size` pixels; raises `InputError` for a file that can't
    be read."""
    return to_tensor(fitted((reader or Reader()).read(path, "The image"), size, fit))


def reconstruct(
    autoencoder: Autoencoder, target: Tensor, steps: int = 0, session: Session | None = None
) -> dict[int, Tensor]:
    """The reconstruction of a target (1, 3, h, w) from the encoder's latent, under 0, and from that after `steps` steps
    of optimization, under their number."""
    shape = (target.shape[-2], target.shape[-1])
    with torch.no_grad():
        latent = autoencoder.encode(target)
        pictures = {0: autoencoder.decode(latent, shape)}
    if steps:
        better, _, _ = refine(autoencoder, latent, target, steps, session)
        with torch.no_grad():
            pictures[steps] = autoencoder.decode(better, shape)
    return pictures
