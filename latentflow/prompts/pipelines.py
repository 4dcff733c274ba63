"""Pipelines of diffusers behind one interface: words become embeddings, noise and embeddings a picture."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow.errors import InputError, MissingPackageError, WeightsError, first_line
from latentflow.files import sha256
from latentflow.models.autoencoder import Autoencoder, read_geometry
from latentflow.models.device import pick_device
from latentflow.models.toy import TOY, bundled_vae, quiet_libraries, toy_folder
from latentflow.models.weights import find_weights
from latentflow.prompts.config import DEFAULT_MODEL, SCHEDULERS
from latentflow.session import Say, ignore


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What is special about a pipeline: the names of what `encode_prompt` returns, the `fixed` arguments of a call,
    whether its latents are `packed`, two by two cells in a token, and the `multiple` of pixels that it asks for."""

    returns: tuple[str | None, ...]
    fixed: dict[str, Any] = field(default_factory=dict)
    packed: bool = False
    multiple: int = 8


_PAIR = ("prompt_embeds", "negative_prompt_embeds")
_POOLED = (*_PAIR, "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
_MASKED = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
_MASKED_CALL = {"use_resolution_binning": False, "negative_prompt": None}
FAMILIES = {
    "StableDiffusionPipeline": Family(returns=_PAIR),
    "StableDiffusionXLPipeline": Family(returns=_POOLED),
    "StableDiffusion3Pipeline": Family(returns=_POOLED),
    "FluxPipeline": Family(returns=("prompt_embeds", "pooled_prompt_embeds", None), packed=True),
    "PixArtAlphaPipeline": Family(returns=_MASKED, fixed=_MASKED_CALL),
    "PixArtSigmaPipeline": Family(returns=_MASKED, fixed=_MASKED_CALL),
    "SanaPipeline": Family(returns=_MASKED, fixed=_MASKED_CALL | {"complex_human_instruction": None}, multiple=32),
}
SANA_TOKENS = 300  # that its pipeline pads every prompt to
Embeddings = dict[str, Tensor]


@dataclass(slots=True)
class DenoisingStep:
    """One step of a denoising: the latents (n, …) before it, `noisy`, and those of the picture that the model expects
    by then, `x0`."""

    noisy: Tensor
    x0: Tensor


class TextToImage:
    """A loaded pipeline. `name` is what it was loaded by, `folders` are where its files are, if that is known, and
    `vae_file` is the one of its autoencoder's weights."""

    def __init__(self, pipeline: Any, name: str, folders: Sequence[Path] = (), vae_file: Path | None = None) -> None:
        kind = type(pipeline).__name__
        if kind not in FAMILIES:
            raise InputError(f"`model` {name} is a {kind}.", f"These take prompts here: {', '.join(FAMILIES)}.")
        self.pipeline, self.name, self.folders, self.vae_file = pipeline, name, folders, vae_file
        self.family = FAMILIES[kind]
        pipeline.set_progress_bar_config(disable=True)

    @property
    def kind(self) -> str:
        """The pipeline's class."""
        return type(self.pipeline).__name__

    @property
    def device(self) -> torch.device:
        """Where it computes."""
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
        """What the sides of a picture must be multiples of."""
        patch = 2 if self.family.packed else int(getattr(self._denoiser.config, "patch_size", None) or 1)
        blocks = len(getattr(self._denoiser.config, "block_out_channels", ())) or 1
        halvings = 2 ** (blocks - 1) if getattr(self.pipeline, "unet", None) is not None else 1
        return math.lcm(self.family.multiple, int(self.pipeline.vae_scale_factor) * max(patch, halvings))

    def encode(self, prompt: str, negative: str = "") -> Embeddings:
        """The embeddings of words, by the names that the pipeline has for them."""
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
        with torch.no_grad():
            found = self.pipeline.encode_prompt(**given)
        pairs = zip(self.family.returns, found, strict=True)
        return {name: value.cpu() for name, value in pairs if name is not None and value is not None}

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
        return torch.randn((1, channels, cells, cells), generator=torch.Generator().manual_seed(seed))

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

        Raises `InputError` for what the pipeline refuses."""
        count, _, rows, columns = noise.shape
        dtype = self._denoiser.dtype
        scale = int(self.pipeline.vae_scale_factor)
        given: dict[str, Any] = {
            name: value.to(self.device) if value.dtype in (torch.bool, torch.int64) else value.to(self.device, dtype)
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
            with torch.no_grad(), _watched(scheduler, watch), _without_first(scheduler, skipped):
                found = self.pipeline(latents=latents, **given)
        except (ValueError, IndexError) as error:  # too few steps for a scheduler, for example
            raise InputError(f"{self.kind} can't do this: {first_line(error)}.") from error
        images: Tensor = found.images
        return images.float().cpu()

    def _packed(self, latents: Tensor) -> Tensor:
        if not self.family.packed:
            return latents
        packed: Tensor = self.pipeline._pack_latents(latents, *latents.shape)
        return packed

    def _begun(self, start: Tensor, noise: Tensor, strength: float, given: dict[str, Any]) -> tuple[int, Tensor]:
        """How many timesteps are left out, and latents with the noise of the first that is not, as a call takes
        them."""
        scheduler = self.pipeline.scheduler
        with torch.no_grad(), _schedule_alone(scheduler):
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


@contextmanager
def _patched(scheduler: Any, **methods: Any) -> Iterator[None]:
    """Give a scheduler other methods, while it lasts."""
    before = {name: vars(scheduler).get(name) for name in methods}
    vars(scheduler).update(methods)
    try:
        yield
    finally:
        for name, method in before.items():
            vars(scheduler).pop(name)
            if method is not None:
                vars(scheduler)[name] = method


@contextmanager
def _watched(scheduler: Any, watch: Callable[[DenoisingStep], None] | None) -> Iterator[None]:
    """Tell every step of a scheduler, while it lasts."""
    if watch is None:
        yield
        return
    original = scheduler.step

    @wraps(original)  # pipelines look at which arguments it takes
    def step(model_output: Tensor, timestep: Any, sample: Tensor, *rest: Any, **named: Any) -> Any:
        watch(DenoisingStep(sample.detach(), expected(scheduler, model_output, timestep, sample).detach()))
        return original(model_output, timestep, sample, *rest, **named)

    with _patched(scheduler, step=step):
        yield


class _ScheduleKnownError(Exception):
    """Ends a call once it has set its timesteps."""


@contextmanager
def _schedule_alone(scheduler: Any) -> Iterator[None]:
    """End a call of the pipeline as soon as it has set the timesteps: only it knows how."""
    original = scheduler.set_timesteps

    @wraps(original)
    def set_timesteps(*given: Any, **named: Any) -> None:
        original(*given, **named)
        raise _ScheduleKnownError

    with _patched(scheduler, set_timesteps=set_timesteps), suppress(_ScheduleKnownError):
        yield


@contextmanager
def _without_first(scheduler: Any, skipped: int) -> Iterator[None]:
    """Leave out the first timesteps of whatever schedule is set, while it lasts."""
    if not skipped:
        yield
        return
    original, begin, first_step = scheduler.set_timesteps, getattr(scheduler, "set_begin_index", None), scheduler.step
    complete: list[Tensor] = []

    @wraps(original)
    def set_timesteps(*given: Any, **named: Any) -> None:
        original(*given, **named)
        complete[:] = [scheduler.timesteps]
        scheduler.timesteps = scheduler.timesteps[skipped:]  # for the pipeline, which loops over them
        if begin is not None:
            begin(skipped)

    @wraps(first_step)
    def step(*given: Any, **named: Any) -> Any:
        scheduler.timesteps = complete[0]  # for the scheduler, which counts them
        return first_step(*given, **named)

    methods: dict[str, Any] = {"set_timesteps": set_timesteps, "step": step}
    if begin is not None:  # some pipelines set it to 0 themselves
        methods["set_begin_index"] = lambda _: begin(skipped)
    with _patched(scheduler, **methods):
        yield


def expected(scheduler: Any, model_output: Tensor, timestep: Any, sample: Tensor) -> Tensor:
    """The latents of the picture that a model expects, x0, from its output at a step.

    A noisy latent is a · x0 + s · noise; a and s are what the scheduler's own `add_noise` does to ones. Then x0 is
    (sample - s · output) / a for a model that predicts noise, (a · sample / c - s · output) / c with c = √(a² + s²)
    for v-prediction (Salimans and Ho, 2022), and sample - s · output for one that predicts the flow from picture to
    noise (Lipman et al., 2023).
    """
    kind = getattr(scheduler.config, "prediction_type", None)
    if kind is None or kind == "flow_prediction" or getattr(scheduler.config, "use_flow_sigmas", False):
        index = scheduler.step_index if scheduler.step_index is not None else scheduler.index_for_timestep(timestep)
        return sample - scheduler.sigmas[index].to(sample) * model_output
    if kind == "sample":
        return model_output
    when = torch.as_tensor(timestep).reshape(1).to(sample.device)
    one, zero = torch.ones_like(sample[:1]), torch.zeros_like(sample[:1])
    a, s = scheduler.add_noise(one, zero, when), scheduler.add_noise(zero, one, when)
    if kind == "epsilon":
        return (sample - s * model_output) / a
    if kind == "v_prediction":
        length = (a.square() + s.square()).sqrt()
        return (a * sample / length - s * model_output) / length
    raise InputError(f"A model that predicts {kind!r} has no x0 that is known here.", "Use `shown` noisy.")


def load_pipeline(
    model: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    *,
    scheduler: str | None = None,
    offload: bool = False,
    say: Say = ignore,
) -> TextToImage:
    """Load a pipeline: a folder, a hub name, which is downloaded if it isn't cached, or "toy", the small one that comes
    with the package; without a name Stable Diffusion 1.5 if it is cached, else the toy. Only safetensors are read.

    Raises `WeightsError` where it is missing or can't be loaded, `InputError` for pipelines that are not served here
    and schedulers that don't go with it, `MissingPackageError` without transformers.
    """
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(f"Prompts need transformers: {error}.", "pip install latentflow[prompts]") from error
    from huggingface_hub import try_to_load_from_cache

    place = pick_device(device)
    kinds = {"auto": torch.float16 if place.type == "cuda" else torch.float32}
    number = kinds.get(dtype) or getattr(torch, dtype)
    if model is None:
        if isinstance(try_to_load_from_cache(DEFAULT_MODEL, "model_index.json"), str):
            made = _load(DEFAULT_MODEL, number, local=True)
        else:
            say(
                f"No `model` is named, and {DEFAULT_MODEL} is not in the cache: this is the toy, which comes with "
                f"latentflow. It knows {len(toy_words())} words and eight kinds of scene."
            )
            made = _load(TOY, number)
    else:
        made = _load(model, number)
    pipeline = made.pipeline
    if scheduler is not None:
        _exchange(pipeline, scheduler)
    if getattr(pipeline, "safety_checker", None) is not None:
        say("The pipeline has a safety checker: pictures that it withholds are black.")
    if offload and place.type == "cuda":
        pipeline.enable_model_cpu_offload(device=place)
    else:
        pipeline.to(place)
    return made


def toy_words() -> list[str]:
    """The words that the toy knows."""
    vocabulary = json.loads((toy_folder() / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"][
        "vocab"
    ]
    return sorted(word for word in vocabulary if not word.startswith("<"))


def _load(name: str, dtype: torch.dtype, *, local: bool = False) -> TextToImage:
    """Load a pipeline by its name, or only if it is there, `local`; raises `WeightsError`."""
    from diffusers import DiffusionPipeline

    given: dict[str, Any] = {"torch_dtype": dtype, "use_safetensors": True}
    path = toy_folder() if name == TOY else Path(name).expanduser()
    if not path.is_dir() and name.count("/") != 1:
        raise WeightsError(f"`model` {name}: there is no such folder, and it is not a hub name.")
    given["local_files_only"] = local or path.is_dir()
    try:
        with quiet_libraries():
            if name == TOY:
                given["vae"] = bundled_vae(dtype)
            pipeline = DiffusionPipeline.from_pretrained(str(path) if path.is_dir() else name, **given)
        folder = path if path.is_dir() else Path(DiffusionPipeline.download(name, local_files_only=True))
    except (OSError, ValueError, AttributeError, TypeError, KeyError, ImportError, RuntimeError) as error:
        raise WeightsError(f"`model` {name} can't be loaded: {first_line(error)}") from error
    vae = find_weights("bundled", "bundled").path if name == TOY else folder / "vae"
    return TextToImage(
        pipeline, name, [folder, vae] if name == TOY else [folder], next(iter(sorted(vae.glob("*.safetensors"))), None)
    )


def _exchange(pipeline: Any, name: str) -> None:
    """Give a pipeline another scheduler, with the settings of its own."""
    import diffusers

    wanted = getattr(diffusers, SCHEDULERS[name])
    known = [*getattr(pipeline.scheduler, "compatibles", []), type(pipeline.scheduler)]
    if wanted not in known:
        fitting = [each for each, cls in SCHEDULERS.items() if getattr(diffusers, cls) in known]
        raise InputError(
            f"`scheduler` {name} doesn't go with {type(pipeline).__name__}.", f"These do: {', '.join(fitting)}."
        )
    pipeline.scheduler = wanted.from_config(pipeline.scheduler.config)
