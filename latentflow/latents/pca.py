"""Principal components of latents: the directions of largest variance."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.surroundings import undisturbed


@dataclass(frozen=True, slots=True)
class Components:
    """Principal components of latents: their `mean` (1, c, rows, columns), unit `directions` (k, c, rows, columns),
    the `coordinates` (n, k) of the latents along them, and the `variance_fractions` (k,), in [0, 1]."""

    mean: Tensor
    directions: Tensor
    coordinates: np.ndarray
    variance_fractions: np.ndarray


@undisturbed
def principal_components(latents: Tensor, count: int) -> Components:
    """The first `count` principal components of latents (n, c, rows, columns), n > 1, or all where there are fewer.

    The sign of each is such that its coefficient of largest magnitude is positive, so that a repeated analysis gives
    the same. Raises `InputError` for latents of a single value.
    """
    from sklearn.decomposition import PCA

    if latents[0].numel() < 2:
        raise InputError("Latents of one value have no components.", "A larger `size` has more.")
    flat = latents.flatten(1).cpu().double().numpy()
    pca = PCA(min(count, len(flat) - 1, flat.shape[1]), svd_solver="auto", random_state=0)
    with np.errstate(invalid="ignore"):  # equal latents have no variance, and no fractions of it
        coordinates = pca.fit_transform(flat)
    largest = np.abs(pca.components_).argmax(1)
    signs = np.sign(pca.components_[np.arange(len(largest)), largest])
    directions = torch.from_numpy(pca.components_ * signs[:, None]).to(latents.device, latents.dtype)
    return Components(
        mean=torch.from_numpy(pca.mean_).to(latents.device, latents.dtype).reshape(1, *latents.shape[1:]),
        directions=directions.reshape(-1, *latents.shape[1:]),
        coordinates=coordinates * signs,
        variance_fractions=np.nan_to_num(pca.explained_variance_ratio_),
    )
