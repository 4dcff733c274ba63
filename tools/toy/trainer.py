"""The training loop of a text-to-image model: one record an update, and a state from which it continues exactly."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from latentflow.base.errors import InputError, first_line
from latentflow.base.records import Update
from latentflow.models.toy import bundled_vae
from latentflow.training.clock import Clock
from latentflow.training.optimizing import adamw, averaging, building, diverged, learning_rate, step_seed
from tools.toy.config import TrainPromptsConfig
from tools.toy.data import Captioned, sample_prompts, words_of
from tools.toy.measure import measure_seconds
from tools.toy.models import (
    Denoiser,
    flow_loss,
    generate,
    make_pipeline,
    make_text_model,
    make_tokenizer,
    make_transformer,
)

TIMED = 4  # pictures, by which it is estimated how long others take
MOST_MEASURING = 1 / 3  # of a time limit goes into figures


class PromptTrainer:
    """Trains a transformer and a text model together to predict the flow from picture to noise.

    Noise levels are sigmoids of normal values (Esser et al., 2024). A fraction of the captions is left out, for
    classifier-free guidance (Ho and Salimans, 2022). What is random in a step is seeded by its number, so that
    `state()` needs no random state.
    """

    def __init__(
        self, config: TrainPromptsConfig, data: Captioned, device: torch.device, clock: Clock | None = None
    ) -> None:
        self.config, self.data, self.device = config, data, device
        self.clock = clock or Clock(config.max_minutes)
        self.vae = bundled_vae().to(device)
        self.step = 0
        longest = max(len(words_of(caption)) for caption in data.captions)
        self.tokenizer = make_tokenizer(data.words, longest)
        with building(config.seed):
            text_model = make_text_model(len(self.tokenizer))
            self.model = Denoiser(make_transformer(config, *data.latents.shape[1:3]), text_model).to(self.device)
        self.average = AveragedModel(self.model, multi_avg_fn=averaging(config.ema))
        self.average.requires_grad_(False)
        self.optimizer = adamw(self.model.parameters(), config.lr)
        found = self.tokenizer(["", *data.captions], padding=True, truncation=True, return_tensors="pt")
        self.tokens, self.mask = found.input_ids, found.attention_mask  # the first is of no caption
        self.samples = sample_prompts(data, generated=config.data == "generated")
        self.measures = True  # whether there is time to measure at the end what was learned
        if self.clock.is_limited:
            self._reserve_time()

    def _reserve_time(self) -> None:
        """Leave time for the last samples and figures; the long figures are left out where they take too much of it."""
        began = time.perf_counter()
        self.validate()
        validating = time.perf_counter() - began
        few = self.samples[:TIMED]
        generate(self.pipeline, few, torch.randn(len(few), *self.data.latents.shape[1:]))
        each = (time.perf_counter() - began - validating) / len(few)
        self.clock.reserved = 2 * validating + 2 * len(self.samples) * each
        measuring = measure_seconds(each, len(self.samples), drawn=self.config.data == "generated")
        self.measures = self.clock.reserved + measuring <= MOST_MEASURING * self.clock.limit
        if self.measures:
            self.clock.reserved += measuring

    @property
    def seconds(self) -> float:
        """The seconds of the updates so far."""
        return self.clock.trained

    @property
    def averaged(self) -> Denoiser:
        """The averaged model as it is now."""
        module = self.average.module
        assert isinstance(module, Denoiser)
        return module

    @property
    def pipeline(self) -> Any:
        """The averaged model as it is now, as a diffusers pipeline."""
        return make_pipeline(self.averaged, self.tokenizer, self.vae)

    def updates(self) -> Generator[Update, None, None]:
        """Train to the last step or until the time limit, one record an update; raises `DivergedError` when the loss
        or the gradient is not finite."""
        config = self.config
        while (progress := self._progress()) < 1:
            began = time.perf_counter()
            lr = learning_rate(config.lr, self.step, progress)
            loss, norm = self._update(lr)
            self.step += 1
            seconds = time.perf_counter() - began
            self.clock.took(seconds)
            validation: dict[str, float] = {}
            sheet = None
            if self._progress() >= 1 or self.step % config.validate_every == 0:
                validation, sheet = {"loss": self.validate()}, self.sheet()
            yield Update(
                index=self.step,
                total=config.steps,
                loss=loss,
                parts={},
                psnr=None,
                grad_norm=norm,
                lr=lr,
                seconds=seconds,
                validation=validation,
                sheet=sheet,
            )

    def _progress(self) -> float:
        """The fraction of the training that is done, by steps or by time."""
        return max(self.step / self.config.steps, self.clock.progress())

    def _update(self, lr: float) -> tuple[Tensor, Tensor]:
        """Update the weights once; returns the losses of the images and the norm of the gradient."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        generator = torch.Generator().manual_seed(step_seed(config.seed, self.step + 1, 0))
        held, count = self.data.validation, len(self.data.latents)
        index = torch.randint(held, count, (config.batch,), generator=generator)
        told = torch.rand(config.batch, generator=generator) >= config.caption_dropout
        level = torch.randn(config.batch, generator=generator).sigmoid()
        noise = torch.randn(config.batch, *self.data.latents.shape[1:], generator=generator)
        loss = self._loss(self.model, index, told, level, noise)
        total = loss.mean()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        if not (torch.isfinite(total) & torch.isfinite(norm)):
            raise diverged(self.step + 1, total, norm)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        return loss.detach(), norm

    def _loss(self, model: Any, index: Tensor, told: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        device, row = self.device, torch.where(told, index + 1, 0)
        latent, noise, level = self.data.latents[index].to(device), noise.to(device), level.to(device)
        share = level[:, None, None, None]
        noisy = (1 - share) * latent + share * noise
        output = model(noisy, level, self.tokens[row].to(device), self.mask[row].to(device))
        return flow_loss(output, latent, noise)

    @torch.no_grad()
    def validate(self) -> float:
        """The mean loss of the averaged model on the validation images, with noise levels from 0 to 1."""
        generator = torch.Generator().manual_seed(0)
        losses = []
        for index in torch.arange(self.data.validation).split(self.config.batch):
            noise = torch.randn(len(index), *self.data.latents.shape[1:], generator=generator)
            level = (index + 0.5) / self.data.validation
            told = torch.ones(len(index), dtype=torch.bool)
            losses.append(self._loss(self.averaged, index, told, level, noise).cpu())
        return round(float(torch.cat(losses).mean()), 5)

    def sheet(self) -> Tensor:
        """Draw pictures of the sample prompts with the averaged model, each from the same two noises: (1, 3, h, w)."""
        rows = []
        for seed in range(2):
            shape = (len(self.samples), *self.data.latents.shape[1:])
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
            rows.append(torch.cat(list(generate(self.pipeline, self.samples, noise)), dim=-1))
        return torch.cat(rows, dim=-2)[None].clamp(0, 1)

    def state(self) -> dict[str, Any]:
        """All that an exact continuation needs: weights, averaged weights, optimizer, step, time."""
        return {
            "step": self.step,
            **self.clock.state(),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`; raises `InputError` when it belongs to a different model."""
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
            self.clock.restore(state)
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise InputError(f"The checkpoint belongs to a different training: {first_line(error)}.") from error


def parameters(model: Any) -> int:
    """The number of weights of a model."""
    return sum(each.numel() for each in model.parameters())
