"""Refine the encoder's latent of a picture by a short optimization."""

import math

from torch import Tensor

from latentflow.base.session import Session
from latentflow.inversion.objective import Objective
from latentflow.inversion.optimize import optimize
from latentflow.models.autoencoder import Autoencoder

REFINE_LR = 0.04


def refine(
    autoencoder: Autoencoder,
    latent: Tensor,
    target: Tensor,
    steps: int,
    session: Session | None = None,
    *,
    loss: str = "mse",
) -> tuple[Tensor, float, float]:
    """Optimize a latent (1, c, rows, columns) for `steps` steps towards a picture (1, 3, h, w) in [0, 1], by `loss`.

    Returns the latent of the least loss, or by MSE of the highest PSNR, and the PSNR in dB before and after. Raises
    `DivergedError` as `optimize` does, and `Interrupted` when the session is stopped.
    """
    best, before, after, least = latent, 0.0, -math.inf, math.inf
    records = optimize(autoencoder, Objective(loss, target), latent, steps=steps, lr=REFINE_LR)
    for step in (session or Session()).watch(records, "the refinement is not finished"):
        psnr = float(step.psnr[0])
        before = psnr if step.index == 0 else before
        judged = -psnr if loss == "mse" else float(step.loss[0])
        if judged < least:
            best, after, least = step.latent, psnr, judged
    return best, before, after
