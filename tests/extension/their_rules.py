"""What runs of the package: with torch."""

from pathlib import Path

import torch
from diffusers import AutoencoderTiny

from latentflow.inversion.rules import Evaluation, UpdateRule
from latentflow.inversion.updates import Updates
from latentflow.latents.decode import decode_frames
from latentflow.latents.sources import read_anchors
from latentflow.losses import Loss, register, weighted_mean
from latentflow.runs.job import Files, Stages, run_job
from latentflow.sinks.save_best import save_image


@register("huber", mask="mean over pixels, each weighted by its gray")
class Huber(Loss):
    """Squared for small differences, absolute for large ones."""

    def forward(self, image, prepared, mask=None):
        return weighted_mean(torch.nn.functional.huber_loss(image, prepared, reduction="none"), mask)


class TheirAutoencoder(AutoencoderTiny):
    """An autoencoder class that latentflow doesn't know."""


class Halving(Updates):
    """z ← z − r·d/2."""

    @torch.no_grad()
    def move(self, direction, lr):
        self.latent.add_(direction, alpha=-lr / 2)


class Signed(UpdateRule):
    """Follows the sign of the gradient."""

    def __init__(self, autoencoder, objective, latent, choice):
        super().__init__(autoencoder, objective, latent, choice)
        self.latent = latent.detach().clone()
        self.updates = choice.updates(self.latent)

    def advance(self, fraction, *, last):
        latent = self.latent.clone().requires_grad_()
        image = self.autoencoder.decode(latent, self.size)
        loss, parts = self.objective(image)
        (gradient,) = torch.autograd.grad(loss.sum(), latent)
        lr = fraction * self.choice.lr
        self.updates.move(gradient.sign(), lr)
        return Evaluation(latent.detach(), image.detach(), loss.detach(), parts, None, 3, lr)

    def state(self):
        return {"latent": self.latent}

    def restore(self, state):
        self.latent.copy_(state["latent"])


def run_mirror(sources, config, session):
    return run_job(Stages(check=_check, make=_make), sources, config, session)


def _check(sources, config):
    return Files(outputs=[Path(config.output_path)], inputs=sources)


def _make(job):
    anchors = read_anchors(job.sources, job.autoencoder, job.config.size)
    latent = anchors.latents.flip(-1) if job.config.times % 2 else anchors.latents
    (frame,) = decode_frames(job.autoencoder, [latent], anchors.size)
    save_image(job.output, frame.image)
    job.report.lines.append("mirror   drawn")
