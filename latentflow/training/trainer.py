"""The training loop: one record an update, and a state from which it goes on exactly."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from latentflow.errors import DivergedError, InputError
from latentflow.inversion.metrics import image_metrics, psnr
from latentflow.inversion.objective import Objective
from latentflow.models.autoencoder import Autoencoder, read_geometry
from latentflow.models.device import computes_bf16, pick_device
from latentflow.records import Update
from latentflow.training.config import TrainConfig
from latentflow.training.data import Crops, Pictures, batches
from latentflow.training.gan import PatchDiscriminator, adaptive_weight, hinge, last_layer
from latentflow.training.models import Autoencoding, build, has_posterior, latent_term, load_weights

WARMUP, WARMUP_SHARE = 300, 0.05  # steps, and share of the training, until the full learning rate: what ends first
SHEET = 8


class Trainer:
    """Trains the model of a diffusers config on crops of pictures.

    AdamW under a cosine that begins with a short warm-up, the gradient's norm clipped, the weights averaged. The
    random draws of a step are seeded by its number, so `state()` needs no generator. `load(name)` gives a perceptual
    loss its network. Several devices are Accelerate's: every process makes a Trainer, and `is_main` is true in one.
    """

    def __init__(
        self, config: TrainConfig, model_config: dict[str, Any], pictures: Pictures, load: Callable[[str], Any]
    ) -> None:
        self.config, self.pictures, self.load = config, pictures, load
        self.posterior = has_posterior(model_config)
        self.accelerator = accelerator(config)
        self.is_main = self.accelerator.is_main_process
        self.step, self.seconds, self.skipped = 0, 0.0, set[Path]()
        _seed(config.seed, 0, 0)  # the same weights in every process
        model = build(model_config)
        if config.start is not None:
            load_weights(model, Path(config.start).expanduser())
        self.model = model.to(self.accelerator.device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, multi_avg_fn=_averaging(config.ema))
        self.average.requires_grad_(False)
        self.optimizer = _adamw(self.model.parameters(), config.lr)
        bf16 = computes_bf16(self.accelerator.device) if config.precision == "auto" else config.precision == "bf16"
        self.wrapped, self.prepared = self.accelerator.prepare(
            Autoencoding(self.model, config.latent_noise, bf16=bf16), self.optimizer
        )
        self.discriminator: Any = None
        if config.gan_weight:
            self.discriminator = PatchDiscriminator().to(self.accelerator.device)
            self.discriminator_optimizer = _adamw(self.discriminator.parameters(), config.lr / 4)
            self.discriminate, self.prepared_discriminator_optimizer = self.accelerator.prepare(
                self.discriminator, self.discriminator_optimizer
            )
        if config.compile:
            self.wrapped.compile()
        self.held_back = pictures.validation() if self.is_main else None

    @property
    def autoencoder(self) -> Autoencoder:
        """The averaged model as it is now."""
        model = self.average.module
        geometry = read_geometry(type(model).__name__, model.config, self.accelerator.device)
        return Autoencoder(model, geometry, "in training")

    def updates(self, workers: int = 0) -> Generator[Update, None, None]:
        """Train to the last step or until the time is up, one record an update.

        Raises `DivergedError` when loss or gradient leave the finite, `InputError` when no picture can be decoded.
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
        with closing(numbered) as loader:  # at an early end too no worker outlives it
            began = time.perf_counter()
            progress = self._progress()
            for crops, skipped in loader:
                if progress >= 1:
                    return
                self.skipped |= skipped
                rate = config.lr * min(1.0, max((self.step + 1) / WARMUP, progress / WARMUP_SHARE))
                rate *= 0.5 + 0.5 * math.cos(math.pi * progress)
                image = crops.to(one.device, non_blocking=True).float() / 255
                loss, parts, output, norm = self._update(image.contiguous(memory_format=torch.channels_last), rate)
                self.step += 1
                took = time.perf_counter() - began
                self.seconds += took
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
                    lr=rate,
                    seconds=took,
                    validation=validation,
                    sheet=sheet,
                )
                began = time.perf_counter()

    def _progress(self) -> float:
        """How much of the training lies behind, by steps or by time, in every process alike."""
        progress = self.step / self.config.steps
        if self.config.max_minutes is not None:
            spent = torch.tensor(self.seconds / 60 / self.config.max_minutes, device=self.accelerator.device)
            progress = max(progress, float(self.accelerator.reduce(spent, "mean")))
        return progress

    def _update(self, image: Tensor, rate: float) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        _seed(config.seed, self.step + 1, self.accelerator.process_index)
        output, cost = self.wrapped(image * 2 - 1)
        output = output / 2 + 0.5
        objective = Objective(config.loss_type, image, self.load)
        reconstruction, parts = objective(output)
        loss = reconstruction + latent_term(config, cost, self.posterior)
        parts["kl" if self.posterior else "latents"] = cost.detach()
        total = loss.mean()
        adversarial = self.discriminator is not None and self.step >= config.gan_start
        if adversarial:
            self.discriminator.requires_grad_(False)
            blame = -self.discriminator(output * 2 - 1).mean()
            weight = adaptive_weight(reconstruction.mean(), blame, last_layer(self.model))
            total = total + config.gan_weight * weight * blame
            parts |= {"adversarial": blame.detach().expand(len(image)), "adaptive": weight.expand(len(image))}
        self.prepared.zero_grad(set_to_none=True)
        self.accelerator.backward(total)
        norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), config.clip)
        norm = torch.as_tensor(norm, device=total.device)
        if not (torch.isfinite(total) & torch.isfinite(norm)):
            raise DivergedError(
                f"The training diverged at step {self.step + 1}: loss {float(total):g}, gradient norm {float(norm):g}.",
                "Try a smaller --lr.",
            )
        self.prepared.step()
        self.average.update_parameters(self.model)
        if adversarial:
            self.discriminator.requires_grad_(True)
            judged = hinge(*self.discriminate(torch.cat([image, output.detach()]) * 2 - 1).chunk(2))
            self.prepared_discriminator_optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(judged)
            self.accelerator.clip_grad_norm_(self.discriminate.parameters(), config.clip)
            self.prepared_discriminator_optimizer.step()
            parts["discriminator"] = judged.detach().expand(len(image))
        return loss.detach(), parts, output.detach(), norm

    @torch.no_grad()
    def validate(self) -> tuple[dict[str, float], Tensor]:
        """Mean PSNR (dB) and SSIM of the averaged model on the held-back pictures, and the first of them above their
        reconstructions, (1, 3, h, w)."""
        assert self.held_back is not None
        autoencoder = self.autoencoder
        made = []
        figures = []
        for image in self.held_back.split(1):
            image = image.to(autoencoder.device)
            made.append(autoencoder.decode(autoencoder.encode(image), (image.shape[-2], image.shape[-1])).clamp(0, 1))
            figures.append(image_metrics(made[-1], image))
        means = {key: round(float(np.mean([each[key] for each in figures])), 4) for key in figures[0]}
        rows = [torch.cat(list(images[:SHEET]), dim=-1) for images in (self.held_back, torch.cat(made).cpu())]
        return means, torch.cat(rows, dim=-2)[None]

    def state(self) -> dict[str, Any]:
        """All that an exact continuation needs: weights, averaged weights, optimizers, step, time."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.discriminator is not None:
            state |= {
                "discriminator": self.discriminator.state_dict(),
                "judging": self.discriminator_optimizer.state_dict(),
            }
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state()`; raises `InputError` when it is of another model."""
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.discriminator is not None:
                self.discriminator.load_state_dict(state["discriminator"])
                self.discriminator_optimizer.load_state_dict(state["judging"])
            self.step, self.seconds = state["step"], state["seconds"]
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise InputError(f"The checkpoint is of another training: {str(error).splitlines()[0]}") from error


def accelerator(config: TrainConfig) -> Accelerator:
    """Accelerate's view of the devices, as the options and `accelerate launch` have it."""
    device = pick_device(config.device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    # autocast is ours: Accelerate's would be settled for the process by whoever asks first
    return Accelerator(cpu=device.type == "cpu", mixed_precision="no")


def _adamw(parameters: Iterator[Tensor], lr: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=1e-3)


def _averaging(decay: float) -> Callable[..., None]:
    """An exponential average that forgets faster while it is young: after n updates at most (1 + n) / (10 + n)."""

    def average(averaged: list[Tensor], current: list[Tensor], count: Any) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, weight)

    return average


def _seed(seed: int, step: int, process: int) -> None:
    """Seed torch for one step of one process."""
    torch.manual_seed(
        int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    )
