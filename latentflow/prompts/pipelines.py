"""Pipelines of diffusers behind one interface: words become embeddings, noise and embeddings a picture.

Pipelines differ in a few things. `encode_prompt` returns different tensors in a different order: a pair for Stable
Diffusion, pooled embeddings besides for SDXL, masks for PixArt and Sana. Pipelines with several text encoders take the
prompt once for each. Flux wants latents as tokens of two by two cells. The sides of pictures have different divisors,
and prompts are cut at different lengths, which not every tokenizer knows. `Family` holds such facts as data, so that
another pipeline is an entry in `FAMILIES` and at times a line in `encode`. `TextToImage` hides them. Its embeddings are
a dict of tensors under the names that the pipeline's call takes, so they can be mixed without knowing their meaning.
Its noise is (n, c, rows, columns) for every pipeline, packed just before the call. Guidance, scheduler and the loop of
denoising stay the pipeline's own.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow.base.errors import DivergedError, InputError, LatentflowError, WeightsError, first_line
from latentflow.base.files import sha256
from latentflow.models.autoencoder import Autoencoder, read_geometry
from latentflow.models.embeddings import Embeddings, weighing_words
from latentflow.models.toy import quiet_libraries
from latentflow.prompts.schedules import DenoisingStep, check_steps, schedule_alone, watched, without_first


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The peculiarities of a pipeline: the names of what `encode_prompt` returns, the `fixed` arguments of a call,
    whether its latents are `packed`, two by two cells in a token, the `multiple` of pixels that it asks for, and the
    number of `tokens` that it reads of a prompt where the tokenizer doesn't say."""

    returns: tuple[str | None, ...]
    fixed: dict[str, Any] = field(default_factory=dict)
    packed: bool = False
    multiple: int = 8
    tokens: dict[str, int] = field(default_factory=dict)


_PAIR = ("prompt_embeds", "negative_prompt_embeds")
_POOLED = (*_PAIR, "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
_MASKED = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
_MASKED_CALL = {"use_resolution_binning": False, "negative_prompt": None}
FAMILIES = {
    "StableDiffusionPipeline": Family(returns=_PAIR),
    "StableDiffusionXLPipeline": Family(returns=_POOLED),
    "StableDiffusion3Pipeline": Family(returns=_POOLED, tokens={"tokenizer_3": 256}),
    "FluxPipeline": Family(
        returns=("prompt_embeds", "pooled_prompt_embeds", None), packed=True, tokens={"tokenizer_2": 512}
    ),
    "PixArtAlphaPipeline": Family(returns=_MASKED, fixed=_MASKED_CALL, tokens={"tokenizer": 120}),
    "PixArtSigmaPipeline": Family(returns=_MASKED, fixed=_MASKED_CALL, tokens={"tokenizer": 300}),
    "SanaPipeline": Family(returns=_MASKED, fixed=_MASKED_CALL | {"complex_human_instruction": None}, multiple=32),
}
SANA_TOKENS = 300  # that its pipeline pads every prompt to


class TextToImage:
    """A loaded pipeline. `name` is the name it was loaded by, `folders` hold its files, if they are known, and
    `vae_file` has its autoencoder's weights."""

    def __init__(self, pipeline: Any, name: str, folders: Sequence[Path] = (), vae_file: Path | None = None) -> None:
        kind = type(pipeline).__name__
        check_served(name, kind)
        self.pipeline, self.name, self.folders, self.vae_file = pipeline, name, folders, vae_file
        self.family = FAMILIES[kind]
        pipeline.set_progress_bar_config(disable=True)

    @property
    def kind(self) -> str:
        """The pipeline's class."""
        return type(self.pipeline).__name__

    @property
    def device(self) -> torch.device:
        """The device that it computes on."""
        return torch.device(self.pipeline._execution_device)

    @property
    def vae(self) -> Any:
        """Its autoencoder."""
        return self.pipeline.vae

    @cached_property
    def _denoiser(self) -> Any:
        found = getattr(self.pipeline, "unet", None)
        return self.pipeline.transformer if found is None else found

    @property
    def default_size(self) -> int:
        """The side of the pictures that it was trained on, in pixels."""
        sample: Any = getattr(self._denoiser.config, "sample_size", None)
        if sample is None:
            sample = getattr(self.pipeline, "default_sample_size", 64)
        side = sample if isinstance(sample, int) else min(sample)
        pixels = int(side) * int(self.pipeline.vae_scale_factor)
        return max(self.stride, pixels - pixels % self.stride)

    @property
    def stride(self) -> int:
        """The number that divides the sides of every picture it makes, in pixels."""
        patch = 2 if self.family.packed else int(getattr(self._denoiser.config, "patch_size", None) or 1)
        blocks = len(getattr(self._denoiser.config, "block_out_channels", ())) or 1
        halvings = 2 ** (blocks - 1) if getattr(self.pipeline, "unet", None) is not None else 1
        return math.lcm(self.family.multiple, int(self.pipeline.vae_scale_factor) * max(patch, halvings))

    def encode(self, prompt: str, negative: str = "") -> Embeddings:
        """The embeddings of words, by the names that the pipeline has for them; raises `WeightsError` or
        `DivergedError` where they are not finite."""
        given: dict[str, Any] = {"prompt": prompt, "device": self.device, "num_images_per_prompt": 1}
        if "negative_prompt_embeds" in self.family.returns:
            # of Stable Diffusion, no negative prompt is not the same as an empty one
            nothing = None if "prompt_attention_mask" not in self.family.returns else ""
            given |= {"do_classifier_free_guidance": True, "negative_prompt": negative or nothing}
        if self.kind in ("StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline"):
            given["prompt_2"] = prompt
        if self.kind == "StableDiffusion3Pipeline":
            given["prompt_3"] = prompt
        if self.kind == "SanaPipeline":  # what is padded beyond that costs time and changes nothing
            given["max_sequence_length"] = min(SANA_TOKENS, self.pipeline.tokenizer.model_max_length)
        with torch.no_grad(), quiet_libraries():
            found = self.pipeline.encode_prompt(**given)
        pairs = zip(self.family.returns, found, strict=True)
        made = {name: value.cpu() for name, value in pairs if name is not None and value is not None}
        if not all(bool(value.isfinite().all()) for value in made.values()):
            raise self._not_finite("text_encoder", "text_encoder_2", "text_encoder_3")
        return made

    def left_out(self, prompt: str) -> dict[int, str]:
        """The end of a prompt that is not read, by the number of tokens before it that are; one entry for each text
        encoder that leaves something out, and none where all read the whole prompt."""
        found = {}
        for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
            tokenizer = getattr(self.pipeline, name, None)
            if tokenizer is None:
                continue
            most = self.family.tokens.get(name, tokenizer.model_max_length) - tokenizer.num_special_tokens_to_add()
            tokens = tokenizer(prompt, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
            if len(tokens.input_ids) > most:
                found[most] = prompt[tokens.offset_mapping[most][0] :].strip()
        return found

    @property
    def _guidance(self) -> float:
        default: float = inspect.signature(type(self.pipeline).__call__).parameters["guidance_scale"].default
        return default

    def check_guidance(self, guidance: float | None, negatives: bool) -> str:
        """Raise `InputError` where a scale of guidance, or negative prompts, would have no effect; returns a remark, or
        an empty text."""
        config = self._denoiser.config
        takes_scale = getattr(config, "time_cond_proj_dim", None) is not None or getattr(
            config, "guidance_embeds", False
        )
        takes_negatives = "negative_prompt_embeds" in self.family.returns and not takes_scale
        if guidance is not None and not (takes_scale or takes_negatives):
            raise InputError(
                f"`guidance` would have no effect: {self.name} was distilled to do without it.", "Leave it out."
            )
        if negatives and not takes_negatives:
            raise InputError(
                f"`negative` would have no effect: {self.name} has no classifier-free guidance, which uses it.",
                "Leave it out.",
            )
        scale = self._guidance if guidance is None else guidance
        if negatives and scale <= 1:
            raise InputError(f"`negative` would have no effect with `guidance` {scale:g}.", "Use more than 1.")
        if takes_negatives and 0 < scale < 1:
            return f"Guidance of {scale:g} has no effect: only more than 1 guides."
        return ""

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that the model has never seen; none where its tokenizer takes any word apart."""
        tokenizer = self.pipeline.tokenizer
        unknown = tokenizer.unk_token_id
        if unknown is None or unknown in (tokenizer.eos_token_id, tokenizer.pad_token_id):
            return []
        words = re.findall(r"\w+", prompt)
        return [word for word in words if unknown in tokenizer(word, add_special_tokens=False).input_ids]

    def noise(self, seed: int, size: int) -> Tensor:
        """Noise (1, c, rows, columns) for a picture of `size` pixels on each side, drawn on the CPU, so that a seed
        means the same on every device."""
        cells = size // int(self.pipeline.vae_scale_factor)
        channels = int(self.vae.config.latent_channels)
        return torch.randn(
            (1, channels, cells, cells), generator=torch.Generator().manual_seed(seed), dtype=torch.float32
        )

    def generate(
        self,
        noise: Tensor,
        embeddings: Embeddings,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        seeds: Sequence[int] | None = None,
        start: Tensor | None = None,
        strength: float = 1.0,
        watch: Callable[[DenoisingStep], None] | None = None,
    ) -> Tensor:
        """Pictures (n, 3, height, width) in [0, 1] from noise (n, c, rows, columns) and embeddings of n prompts;
        `watch` is called at every step. `seeds` are those of the noise that some schedulers add at every step.
        With latents `start` (1, c, rows, columns) of a picture only the last `strength` of the steps are taken, from
        these with the noise that belongs to the first of them (SDEdit, Meng et al., 2022).

        Raises `InputError` for what the pipeline refuses, and `WeightsError` or `DivergedError` for values that are not
        finite."""
        count, _, rows, columns = noise.shape
        dtype = self._denoiser.dtype
        scale = int(self.pipeline.vae_scale_factor)
        given: dict[str, Any] = {
            name: value.to(self.device) if name.endswith("_mask") else value.to(self.device, dtype)
            for name, value in embeddings.items()
        }
        if steps is not None:
            given["num_inference_steps"] = steps
        if guidance is not None:
            given["guidance_scale"] = guidance
        generators = [torch.Generator().manual_seed(seed) for seed in seeds or [0] * count]
        given |= {"height": rows * scale, "width": columns * scale, "output_type": "pt", "generator": generators}
        given |= self.family.fixed
        scheduler = self.pipeline.scheduler
        try:
            skipped = 0
            if start is not None:
                skipped, noise = self._begun(start, noise, strength, given)
            latents = self._packed(noise.to(dtype)).to(self.device)
            with (
                torch.no_grad(),
                watched(scheduler, watch, self._check_output),
                without_first(scheduler, skipped),
                weighing_words(self._denoiser),
                quiet_libraries(),
            ):
                found = self.pipeline(latents=latents, **given)
        except (ValueError, IndexError) as error:  # too few steps for a scheduler, for example
            raise InputError(f"{self.kind} can't do this: {first_line(error)}.") from error
        images: Tensor = found.images
        if not images.isfinite().all():
            raise self._not_finite("vae")
        return images.float().cpu()

    def _check_output(self, output: Tensor) -> None:
        if not output.isfinite().all():
            raise self._not_finite("unet", "transformer")

    def _not_finite(self, *names: str) -> LatentflowError:
        """The error for values of a part of the pipeline that are not finite: its weights are broken, or it was
        computed in a type that is too small for it."""
        parts = {name: part for name in names if (part := getattr(self.pipeline, name, None)) is not None}
        for name, part in parts.items():
            if not all(bool(each.isfinite().all()) for each in part.state_dict().values() if each.is_floating_point()):
                return WeightsError(
                    f"`model` {self.name}: the weights of its {name} have values that are not finite.",
                    "Download or convert it again.",
                )
        small = self._denoiser.dtype != torch.float32
        return DivergedError(
            f"`model` {self.name}: its {' or '.join(parts)} gives values that are not finite.",
            "Try `dtype` float32." if small else "Try less `guidance`, or another `scheduler`.",
        )

    def check_steps(self, steps: int | None) -> None:
        """Raise `InputError` for a number of steps that the scheduler refuses."""
        check_steps(self.pipeline.scheduler, steps)

    def _packed(self, latents: Tensor) -> Tensor:
        if not self.family.packed:
            return latents
        packed: Tensor = self.pipeline._pack_latents(latents, *latents.shape)
        return packed

    def _begun(self, start: Tensor, noise: Tensor, strength: float, given: dict[str, Any]) -> tuple[int, Tensor]:
        """Return the number of timesteps to leave out, and the start with noise for the first timestep that is left, in
        the form that a call of the pipeline takes."""
        scheduler = self.pipeline.scheduler
        with torch.no_grad(), schedule_alone(scheduler):
            self.pipeline(latents=self._packed(noise.to(self._denoiser.dtype)).to(self.device), **given)
        default = inspect.signature(type(self.pipeline).__call__).parameters["num_inference_steps"].default
        steps = int(given.get("num_inference_steps", default))
        skipped = (steps - min(int(steps * strength), steps)) * int(scheduler.order)
        if skipped >= len(scheduler.timesteps):
            raise InputError(f"`strength` {strength:g} leaves none of {steps} steps.", "Use more of either.")
        when = scheduler.timesteps[skipped : skipped + 1]
        add = getattr(scheduler, "scale_noise", None)
        start = start.cpu().expand_as(noise)
        if add is not None:
            return skipped, add(start, when, noise)
        noisy: Tensor = scheduler.add_noise(start, noise, when)
        return skipped, noisy / float(scheduler.init_noise_sigma)

    @cached_property
    def autoencoder(self) -> Autoencoder:
        """Its autoencoder, as other commands have it: the pipeline's latents are about of unit variance, too."""
        geometry = read_geometry(type(self.vae).__name__, self.vae.config, self.vae.device)
        known = "" if self.vae_file is None else sha256(self.vae_file)
        return Autoencoder(self.vae, geometry, self.name, known, self.vae.dtype)

    def decode(self, latents: Tensor, size: int) -> Tensor:
        """Pictures (n, 3, size, size), unclamped, of latents as the scheduler has them."""
        if self.family.packed:
            latents = self.pipeline._unpack_latents(latents, size, size, self.pipeline.vae_scale_factor)
        with torch.no_grad():
            return self.autoencoder.decode(latents.float().to(self.autoencoder.device), (size, size)).cpu()

    def fingerprint(self) -> str:
        """A SHA-256 of the files that it was loaded from."""
        total = hashlib.sha256(self.kind.encode())
        for path in sorted(path for folder in self.folders for path in folder.rglob("*")):
            if path.suffix in (".json", ".txt", ".safetensors", ".model") and path.is_file():
                total.update(path.name.encode())
                total.update(sha256(path).encode())
        return total.hexdigest()


def check_served(name: str, kind: Any) -> None:
    """Raise `InputError` for the class of a pipeline that is not served."""
    if kind not in list(FAMILIES):  # an index may hold anything, also what has no hash
        raise InputError(f"`model` {name} is a {kind}.", f"These take prompts here: {', '.join(FAMILIES)}.")
