"""The training loop: one record an update, and a state from which it continues exactly."""

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from latentflow.base.errors import InputError, first_line
from latentflow.base.records import Update
from latentflow.inversion.metrics import image_metrics, psnr
from latentflow.inversion.objective import Objective
from latentflow.losses import Load
from latentflow.models.autoencoder import Autoencoder, read_geometry
from latentflow.models.device import pick_device
from latentflow.models.precision import pick_dtype
from latentflow.training import compression
from latentflow.training.clock import Clock
from latentflow.training.config import TrainConfig
from latentflow.training.data import Crops, Pictures, Remarks, batches
from latentflow.training.gan import PatchDiscriminator, adaptive_weight, hinge_loss, last_layer
from latentflow.training.models import Autoencoding, build, has_posterior, load_weights, weighted_regularization
from latentflow.training.optimizing import adamw, averaging, building, diverged, learning_rate, step_seed

SHEET_IMAGES = 8
FEWEST_STATISTICS = 8
DECODED = 4  # times that each validation image is decoded at the end: to validate, and for the report


class Trainer:
    """Trains the model of a diffusers config on crops of images.

    AdamW with a cosine schedule after a short warm-up, a clipped gradient norm, and an exponential moving average of
    the weights. The noise of a step is seeded by its number, so that `state()` needs no random state. `load(name)`
    returns the network of a perceptual loss. On several devices every process of `accelerate launch` makes a Trainer,
    and `is_main` is true in one.
    """

    def __init__(
        self,
        config: TrainConfig,
        model_config: dict[str, Any],
        pictures: Pictures,
        load: Load,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock(config.max_minutes)
        self.config, self.pictures, self.load = config, pictures, load
        self.posterior = has_posterior(model_config)
        self.accelerator = accelerator(config)
        self.is_main = self.accelerator.is_main_process
        self.step, self.remarks = 0, Remarks()
        model, self.discriminator = _build(config, model_config)
        self.model = model.to(self.accelerator.device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, multi_avg_fn=averaging(config.ema))
        self.average.requires_grad_(False)
        self.optimizer = adamw(self.model.parameters(), config.lr)
        automatic = pick_dtype("auto", self.accelerator.device) == torch.bfloat16
        bf16 = automatic if config.precision == "auto" else config.precision == "bf16"
        self.wrapped, self.prepared = self.accelerator.prepare(
            Autoencoding(self.model, config.latent_noise, bf16=bf16), self.optimizer
        )
        if self.discriminator is not None:
            self.discriminator.to(self.accelerator.device)
            self.discriminator_optimizer = adamw(self.discriminator.parameters(), config.lr / 4)
            self.discriminate, self.prepared_discriminator_optimizer = self.accelerator.prepare(
                self.discriminator, self.discriminator_optimizer
            )
        if config.compile:
            self.wrapped.compile()
        self.validation_images = pictures.validation() if self.is_main else None
        self.statistics = compression.STATISTICS_IMAGES  # images that the statistics of latents are of
        if self.clock.is_limited:
            self._reserve_time()

    @property
    def seconds(self) -> float:
        """The seconds of the updates so far."""
        return self.clock.trained

    @torch.no_grad()
    def _reserve_time(self) -> None:
        """Leave time for the last validation and for the report, by that of one image; where half of the limit isn't
        enough, the statistics of the latents come from fewer images."""
        if self.validation_images is None:
            return
        image, autoencoder = self.validation_images[:1].to(self.accelerator.device), self.autoencoder
        for _ in range(2):  # the first one warms up
            began = time.perf_counter()
            latent = autoencoder.encode(image)
            float(latent.sum())
            encoding = time.perf_counter() - began
            image_metrics(autoencoder.decode(latent, (image.shape[-2], image.shape[-1])), image)
            both = time.perf_counter() - began
        decoded = DECODED * len(self.validation_images) * both
        affordable = int((self.clock.limit / 2 - decoded) / encoding)
        self.statistics = min(self.statistics, max(FEWEST_STATISTICS, affordable))
        self.clock.reserved = decoded + self.statistics * encoding

    @property
    def autoencoder(self) -> Autoencoder:
        """The averaged model as it is now."""
        model = self.average.module
        geometry = read_geometry(type(model).__name__, model.config, self.accelerator.device)
        return Autoencoder(model, geometry, "in training")

    def updates(self, workers: int = 0) -> Generator[Update, None, None]:
        """Train to the last step or until the time limit, one record an update.

        `workers` processes decode or draw images. Closing the generator ends them. Raises `DivergedError` when the loss
        or the gradient is not finite, `InputError` when no image can be decoded.
        """
        config, one = self.config, self.accelerator
        numbered = batches(
            Crops(self.pictures, config.crop, config.seed),
            batch=config.batch,
            first=self.step,
            last=config.steps,
            process=one.process_index,
            processes=one.num_processes,
            workers=workers,
        )
        with closing(numbered) as loader:  # ends the workers when this generator is closed
            compiling = config.compile  # which the first update does
            began = time.perf_counter()
            progress = self._progress()
            for crops, remarks in loader:
                if progress >= 1:
                    return
                self.remarks |= remarks
                lr = learning_rate(config.lr, self.step, progress)
                image = crops.to(one.device, non_blocking=True).float() / 255
                loss, parts, output, norm = self._update(image.contiguous(memory_format=torch.channels_last), lr)
                self.step += 1
                seconds = time.perf_counter() - began
                if not compiling:
                    self.clock.took(seconds)
                compiling = False
                progress = self._progress()
                validation: dict[str, float] = {}
                sheet = None
                if self.is_main and (progress >= 1 or self.step % config.validate_every == 0):
                    validation, sheet = self.validate()
                yield Update(
                    index=self.step,
                    total=config.steps,
                    loss=loss,
                    parts=parts,
                    psnr=psnr(output, image),
                    grad_norm=norm,
                    lr=lr,
                    seconds=seconds,
                    validation=validation,
                    sheet=sheet,
                )
                began = time.perf_counter()

    def _progress(self) -> float:
        """The fraction of the training that is done, by steps or by time; the same in every process."""
        progress = self.step / self.config.steps
        if self.clock.is_limited:
            spent = torch.tensor(self.clock.progress(), device=self.accelerator.device)
            progress = max(progress, float(self.accelerator.reduce(spent, "mean")))
        return progress

    def _update(self, image: Tensor, lr: float) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
        """Update the weights once; returns the loss, its parts, the reconstruction and the norm of the gradient."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        generator = torch.Generator(self.accelerator.device)
        generator.manual_seed(step_seed(config.seed, self.step + 1, self.accelerator.process_index))
        output, regularization = self.wrapped(image * 2 - 1, generator)
        output = output / 2 + 0.5
        reconstruction, parts = Objective(config.loss_type, image, self.load)(output)
        loss = reconstruction + weighted_regularization(config, regularization, self.posterior)
        parts["kl" if self.posterior else "latents"] = regularization.detach()
        total = loss.mean()
        has_gan = self.discriminator is not None and self.step >= config.gan_start
        if has_gan:
            self.discriminator.requires_grad_(False)
            generator_loss = -self.discriminator(output * 2 - 1).mean()
            weight = adaptive_weight(reconstruction.mean(), generator_loss, last_layer(self.model))
            total = total + config.gan_weight * weight * generator_loss
            parts |= {"adversarial": generator_loss.detach().expand(len(image)), "adaptive": weight.expand(len(image))}
        self.prepared.zero_grad(set_to_none=True)
        self.accelerator.backward(total)
        norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), config.clip)
        norm = torch.as_tensor(norm, device=total.device)
        if not (torch.isfinite(total) & torch.isfinite(norm)):
            raise diverged(self.step + 1, total, norm)
        self.prepared.step()
        self.average.update_parameters(self.model)
        if has_gan:
            parts["discriminator"] = self._update_discriminator(image, output.detach()).expand(len(image))
        return loss.detach(), parts, output.detach(), norm

    def _update_discriminator(self, image: Tensor, output: Tensor) -> Tensor:
        """Update the discriminator once; returns its loss."""
        self.discriminator.requires_grad_(True)
        loss = hinge_loss(*self.discriminate(torch.cat([image, output]) * 2 - 1).chunk(2))
        self.prepared_discriminator_optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.discriminate.parameters(), self.config.clip)
        self.prepared_discriminator_optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def validate(self) -> tuple[dict[str, float], Tensor]:
        """Mean PSNR (dB) and SSIM of the averaged model on the validation images, and a sheet (1, 3, h, w) in [0, 1]
        with the first of them in the upper row and their reconstructions in the lower one."""
        assert self.validation_images is not None
        autoencoder = self.autoencoder
        reconstructions = []
        figures = []
        for image in self.validation_images.split(1):
            image = image.to(autoencoder.device)
            reconstructions.append(autoencoder(image).clamp(0, 1))
            figures.append(image_metrics(reconstructions[-1], image))
        means = {key: round(float(np.mean([each[key] for each in figures])), 4) for key in figures[0]}
        both = (self.validation_images, torch.cat(reconstructions).cpu())
        rows = [torch.cat(list(images[:SHEET_IMAGES]), dim=-1) for images in both]
        return means, torch.cat(rows, dim=-2)[None]

    def state(self) -> dict[str, Any]:
        """All that an exact continuation needs: weights, averaged weights, optimizers, step, time."""
        state = {
            "step": self.step,
            **self.clock.state(),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.discriminator is not None:
            state |= {
                "discriminator": self.discriminator.state_dict(),
                "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            }
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`; raises `InputError` when it belongs to a different model."""
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.discriminator is not None:
                self.discriminator.load_state_dict(state["discriminator"])
                key = "discriminator_optimizer" if "discriminator_optimizer" in state else "judging"  # in 0.1.0
                self.discriminator_optimizer.load_state_dict(state[key])
            self.step = state["step"]
            self.clock.restore(state)
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise InputError(f"The checkpoint belongs to a different training: {first_line(error)}.") from error


def _build(config: TrainConfig, model_config: dict[str, Any]) -> tuple[Any, Any]:
    """The model and the discriminator, if there is a GAN loss, with the same initial weights in every process."""
    with building(config.seed):
        model = build(model_config)
        discriminator = PatchDiscriminator() if config.gan_weight else None
    if config.start is not None:
        load_weights(model, Path(config.start).expanduser())
    return model, discriminator


def accelerator(config: TrainConfig) -> Accelerator:
    """Accelerate's devices, as the options and `accelerate launch` set them.

    Raises `InputError` for a device this machine doesn't have, and when an earlier training of this process uses
    another one, since Accelerate keeps one a process.
    """
    device = pick_device(config.device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    try:  # without its autocast, which would be that of the first training in the process
        return Accelerator(cpu=device.type == "cpu", mixed_precision="no")
    except ValueError as error:
        raise InputError(f"`device` {config.device}: {first_line(error)}.") from error
