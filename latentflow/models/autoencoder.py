"""Any diffusers image autoencoder behind `encode` and `decode`, in pictures of [0, 1] and latents of unit variance."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latentflow.base.errors import InputError, WeightsError, is_out_of_memory
from latentflow.base.options import counted
from latentflow.base.surroundings import single_precision, undisturbed
from latentflow.models import deep_compression
from latentflow.models.adapters import Adapter
from latentflow.models.device import pick_device
from latentflow.models.geometry import LatentGeometry, geometry_of, read_geometry
from latentflow.models.layouts import Layout, diffusers_names
from latentflow.models.precision import pick_dtype
from latentflow.models.refinement import AUTO, AfterStep, Refined, ignore_step, refine_latent
from latentflow.models.served import SERVED
from latentflow.models.structures import TAESD
from latentflow.models.taef2 import add_normalized_blocks
from latentflow.models.weight_files import WEIGHTS_FILE
from latentflow.models.weights import FoundWeights, find_weights, layout_of

__all__ = ["Autoencoder", "LatentGeometry", "load_autoencoder", "read_geometry"]
LUMINANCE = (0.299, 0.587, 0.114)  # of ITU-R BT.601, as Pillow's mode L
_FREEZING = threading.Lock()


class Autoencoder(nn.Module):
    """A frozen image autoencoder; `name` and `sha256` identify it in saved latents.

    Whatever mode its model is in, it computes as in evaluation and its weights get no gradient; afterwards the model is
    as it was.

    Pictures are (n, 3, h, w) in [0, 1], latents (n, c, rows, columns) of about unit variance, both float32. A picture
    of any size is continued at its right and bottom edges to complete latent cells before it is encoded, and a decoded
    one is cut back, so that nobody else needs to know the stride. It computes in `dtype`, wherever `to(device)` puts
    it.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        model: Any,
        geometry: LatentGeometry,
        name: str,
        sha256: str = "",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`model` has `encode` and `decode`, for pictures in [-1, 1], and computes in `dtype`. They return what those
        of diffusers' autoencoders do, or tensors."""
        super().__init__()
        self.model = model
        self.channels, self.stride = geometry.channels, geometry.stride
        self._geometry = geometry
        with torch.inference_mode(False):
            _leave_inference_mode(model)
            self.register_buffer("scale", geometry.scale.clone())
            self.register_buffer("shift", geometry.shift.clone())
        self.name = name
        self.sha256 = sha256
        self.dtype = dtype
        self.is_checkpointed = False
        self._compiled: Any = None
        self._computing = 0  # calls under way, in all threads
        self._before: tuple[list[Any], list[Any]] = ([], [])

    @classmethod
    def wrap(
        cls,
        *,
        encode: Callable[[Tensor], Any],
        decode: Callable[[Tensor], Any],
        channels: int,
        stride: int,
        scale: float | Sequence[float] | Tensor = 1.0,
        shift: float | Sequence[float] | Tensor = 0.0,
        picture_range: Sequence[float] = (-1.0, 1.0),
        name: str = "own",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> "Autoencoder":
        """An autoencoder of two functions or modules of your own.

        `encode` takes pictures (n, 3, h, w) in `picture_range` and returns values (n, `channels`, h / `stride`, w /
        `stride`); `decode` takes such values and returns the pictures; each may return what diffusers' autoencoders do
        instead of a tensor. `scale` and `shift`, a number or one for each channel, take these values to about unit
        variance: latent = (values − shift) · scale. `device` and `dtype` are by default those of the modules' weights,
        or the CPU and float32 where there are none; others move the modules, as `to()` does. Raises `InputError` for
        what can't be called and for other numbers.
        """
        for label, function in (("encode", encode), ("decode", decode)):
            if not callable(function) or isinstance(function, type):
                raise InputError(f"`{label}` is a function or a module, not {function!r}.")
        for label, number in (("channels", channels), ("stride", stride)):
            if not isinstance(number, int) or number < 1:
                raise InputError(f"`{label}` is a whole number from 1, not {number!r}.")
        given: dict[str, Any] = {
            "scale": _per_channel("scale", scale, channels),
            "shift": _per_channel("shift", shift, channels),
        }
        if not given["scale"].all():
            raise InputError("`scale` is 0: latents would hold nothing.")
        low, high = _range(picture_range)
        geometry = LatentGeometry(channels=channels, stride=stride, picture_range=(low, high), **given)
        functions = _Functions(encode, decode)
        floats = (each for each in functions.parameters() if each.is_floating_point())
        weights = next(floats, torch.empty(0, dtype=torch.float32, device="cpu"))
        return cls(functions, geometry, name).to(device or weights.device, dtype or weights.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Autoencoder":
        """Move or convert the model, as `to()` and its like do. Scale and shift stay float32: latents are."""
        exact = {"scale": self.scale, "shift": self.shift}
        computing = fn(torch.empty(0, dtype=self.dtype, device=self.device))
        super()._apply(fn, recurse)
        self.dtype = computing.dtype
        for name, values in exact.items():
            setattr(self, name, values.to(computing.device))
        return self

    @property
    def geometry(self) -> LatentGeometry:
        """The shape and the statistics of its latents."""
        return replace(self._geometry, scale=self.scale, shift=self.shift)

    @property
    def precision(self) -> str:
        """The name of the type that it computes in: float32 or bfloat16."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """The device of the model; its tensors must be there."""
        return self.scale.device

    def forward(self, image: Tensor) -> Tensor:
        """The reconstruction of a picture: decoded from its own latent, and of its size."""
        return self.decode(self.encode(image), (image.shape[-2], image.shape[-1]))

    def encode(self, image: Tensor, refine: int | str = 0) -> Tensor:
        """The latent (n, c, rows, columns) of (n, 3, h, w) in [0, 1]; of a posterior, its mean. With `refine`, a number
        of steps or "auto", the decoder's picture of it comes closer to the image, and it has no gradient: see
        `models.refinement`. Raises `InputError` for another shape, and for a `refine` that is neither."""
        if refine == 0:
            return self.encode_with_posterior(image)[0]
        return self.refined(image, refine).latent

    def refined(
        self, image: Tensor, steps: int | str = AUTO, after: AfterStep = ignore_step, **options: Any
    ) -> Refined:
        """The refined latents of pictures (n, 3, h, w) in [0, 1], with their PSNR and that of the encoder's own; the
        rest is as in `refine_latent`. Raises `InputError` as `encode` does."""
        if steps != AUTO and not (isinstance(steps, int) and steps >= 0):
            raise InputError(f'`refine` is a number of steps from 0 or "auto", not {steps!r}.')
        size = (image.shape[-2], image.shape[-1])
        return refine_latent(
            image, self.encode, lambda latent: self.decode(latent, size), steps, after=after, **options
        )

    def encode_with_posterior(self, image: Tensor) -> tuple[Tensor, Any]:
        """The latent, and the posterior it is the mean of: diffusers' diagonal Gaussian in the model's own units, with
        N(0, 1) for a prior; None for an encoder that has no distribution."""
        if image.ndim != 4 or image.shape[1] != 3:
            raise InputError(f"A picture to encode is (n, 3, height, width), not {tuple(image.shape)}.")
        self._check_side(image.shape[-2], image.shape[-1])
        with self._frozen():
            output = self.model.encode(self._given(self.pad(image)).to(self.dtype))
        posterior = getattr(output, "latent_dist", None)
        if posterior is not None:
            values = posterior.mode()
        else:
            values = _tensor(output, "latents", "latent")
        return (values.float() - self.shift) * self.scale, posterior

    def decode(self, latent: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """The picture (n, 3, h, w) of a latent (n, c, rows, columns), nominally in [0, 1], unclamped, differentiable;
        cut to `size` (height, width) when given. Raises `InputError` for another shape."""
        if latent.ndim != 4 or latent.shape[1] != self.channels:
            raise InputError(
                f"A latent of {self.name} is (n, {self.channels}, rows, columns), not {tuple(latent.shape)}."
            )
        self._check_side(latent.shape[-2] * self.stride, latent.shape[-1] * self.stride)
        values = latent / self.scale + self.shift
        with self._frozen():
            image = self._shown(self._decoded(values.to(self.dtype)).float())
        return image if size is None else image[..., : size[0], : size[1]]

    def _check_side(self, height: int, width: int) -> None:
        side = self._geometry.side
        if side is not None and (height, width) != (side, side):
            raise InputError(
                f"{self.name} takes pictures of {side} × {side} pixels alone, not {width} × {height}.",
                f"Add `size` {side} and `fit` cover.",
            )

    def _given(self, image: Tensor) -> Tensor:
        """A picture (n, 3, h, w) in [0, 1] in the channels and the range of the model: gray is the luminance, alpha
        is 1."""
        if self._geometry.picture_channels == 1:
            weights = torch.tensor(LUMINANCE, device=image.device, dtype=image.dtype).view(1, 3, 1, 1)
            image = (image * weights).sum(dim=1, keepdim=True)
        elif self._geometry.picture_channels == 4:
            image = torch.cat([image, torch.ones_like(image[:, :1])], dim=1)
        low, high = self._geometry.picture_range
        return image * (high - low) + low

    def _shown(self, image: Tensor) -> Tensor:
        """A picture of the model as (n, 3, h, w) in [0, 1]."""
        if self._geometry.picture_channels == 1:
            image = image.expand(-1, 3, -1, -1)
        elif self._geometry.picture_channels == 4:
            image = image[:, :3]
        low, high = self._geometry.picture_range
        return image / (high - low) - low / (high - low)

    def _decoded(self, values: Tensor) -> Tensor:
        if self._compiled is None:
            return self._picture(values)
        torch.compiler.cudagraph_mark_step_begin()
        return self._compiled(values).clone()  # a CUDA graph writes the next picture where this one is

    @property
    def is_computing(self) -> bool:
        """Tell whether any thread computes with the model now."""
        return self._computing > 0

    @property
    def is_compiled(self) -> bool:
        """True if the decoder is compiled."""
        return self._compiled is not None

    def compile_decoder(self) -> None:
        """Compile the decoder, with CUDA graphs on CUDA, at its next use and for each new size of picture."""
        self._compiled = torch.compile(
            self._picture,
            mode="reduce-overhead" if self.device.type == "cuda" else None,
        )

    @property
    def can_checkpoint(self) -> bool:
        """True if its decoder has blocks that can be computed twice."""
        return bool(self._blocks())

    def checkpoint_decoder(self) -> None:
        """Forget what happens inside the decoder's blocks and compute it again in the backward pass: a third more
        time, less memory, the same gradient. Raises `InputError` for a decoder without blocks that can be."""
        blocks = self._blocks()
        if not blocks:
            raise InputError(f"{self.name} has no blocks that can be computed twice.", "Leave `checkpointing` off.")
        self.is_checkpointed = True
        for block in blocks:
            again = partial(self._call_frozen, block.forward)
            block.forward = partial(checkpoint, again, use_reentrant=False, preserve_rng_state=False)

    def _blocks(self) -> list[Any]:
        """The decoder's blocks. diffusers' own switch is missing in some classes, and coarser."""
        decoder = getattr(self.model, "decoder", None)
        name = type(getattr(self.model, "inner", self.model)).__name__
        classes = [SERVED[name]] if name in SERVED else SERVED.usable()
        names = frozenset().union(*(served.blocks for served in classes))
        modules = decoder.modules() if isinstance(decoder, nn.Module) else ()
        return [each for each in modules if type(each).__name__ in names]

    def _picture(self, values: Tensor) -> Tensor:
        return _tensor(self.model.decode(values), "sample")

    def _call_frozen(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function with the model frozen: a backward pass calls it again, after the decoder has thawed."""
        with self._frozen():
            return function(*args, **kwargs)

    @contextlib.contextmanager
    def _frozen(self) -> Iterator[None]:
        """Evaluation mode and no gradients of weights, until the last of the threads that compute has left."""
        with _FREEZING:
            self._computing += 1
            if self._computing == 1:
                self._before = _freeze(self.model)
        try:
            yield
        finally:
            with _FREEZING:
                self._computing -= 1
                if not self._computing:
                    trained, in_training = self._before
                    for parameter in trained:
                        parameter.requires_grad_(True)
                    for module in in_training:
                        module.training = True

    def pad(self, image: Tensor) -> Tensor:
        """A picture (n, 3, h, w) continued at its right and bottom to complete latent cells.

        It is mirrored where it is large enough, and its edge repeated where not.
        """
        height, width = image.shape[-2:]
        down, across = -height % self.stride, -width % self.stride
        for padding, side in (((0, across, 0, 0), width), ((0, 0, 0, down), height)):
            if any(padding):
                image = F.pad(image, padding, mode="reflect" if max(padding) < side else "replicate")
        return image


class _Functions(nn.Module):
    """Two functions as a model. The modules that they are, are bound to or close over are its parts: they are frozen
    while it computes, and move with it."""

    def __init__(self, encode: Callable[[Tensor], Any], decode: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._encode, self._decode = [encode], [decode]  # in lists, so that a module isn't registered twice
        self.parts = nn.ModuleList(dict.fromkeys([*_modules_of(encode), *_modules_of(decode)]))

    def encode(self, image: Tensor) -> Any:
        return self._encode[0](image)

    def decode(self, values: Tensor) -> Any:
        return self._decode[0](values)


def _modules_of(function: Any) -> list[nn.Module]:
    """The modules that a function is, is bound to, or finds in its closure, its defaults, its partial arguments, or by
    name in its own module."""
    if isinstance(function, nn.Module):
        return [function]
    inner = [getattr(function, "__self__", None), *(getattr(function, "__defaults__", None) or ())]
    inner += [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if _is_filled(cell)]
    inner += _globals_of(function)
    if isinstance(function, partial):
        inner += [*_modules_of(function.func), *function.args, *function.keywords.values()]
    return [each for each in inner if isinstance(each, nn.Module)]


def _globals_of(function: Any) -> list[Any]:
    """Return the values that a function uses from its own module, as in a cell of a notebook."""
    code = getattr(function, "__code__", None)
    return [function.__globals__[name] for name in code.co_names if name in function.__globals__] if code else []


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # a name that is bound later
        return False
    return True


def _range(given: Any) -> tuple[float, float]:
    """The ends of a range of pictures; raises `InputError` for what is none."""
    try:
        low, high = (float(each) for each in given)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not (low < high and abs(low) < float("inf") and high < float("inf")):
        raise InputError(f"`picture_range` is a pair of numbers, the smaller one first, not {given!r}.")
    return low, high


def _per_channel(label: str, values: Any, channels: int) -> Tensor:
    """A number, or one for each channel, as (1, 1 or channels, 1, 1); raises `InputError` for another count."""
    tensor = torch.as_tensor(values, dtype=torch.float32).flatten()
    if len(tensor) not in (1, channels) or not tensor.isfinite().all():
        raise InputError(f"`{label}` is one finite number, or one for each of the {channels} channels, not {values}.")
    return tensor.view(1, -1, 1, 1)


def _freeze(model: Any) -> tuple[list[Any], list[Any]]:
    """Freeze a model; returns the parameters that took gradients, and the modules that were in training."""
    if not isinstance(model, nn.Module):
        return [], []
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    in_training = [module for module in model.modules() if module.training]
    for parameter in trained:
        parameter.requires_grad_(False)
    for module in in_training:
        module.training = False
    return trained, in_training


def _leave_inference_mode(model: Any) -> None:
    """Replace weights that were made in inference mode, since torch saves none of those for a backward pass."""
    for module in model.modules() if isinstance(model, nn.Module) else ():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_inference():
                setattr(module, name, nn.Parameter(parameter.clone(), parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_inference():
                setattr(module, name, buffer.clone())


def _tensor(output: Any, *names: str) -> Any:
    """The tensor that a model returned, or that it returned as an attribute of one of these names; raises `InputError`
    where there is none."""
    found = (getattr(output, name) for name in names if isinstance(getattr(output, name, None), Tensor))
    value = output if isinstance(output, Tensor) else next(found, None)
    if value is None:
        raise InputError(
            f"The autoencoder's model returned a {type(output).__name__}.",
            f"Return a tensor, or something that has one as .{names[0]}.",
        )
    return value


@undisturbed
def load_autoencoder(
    weights: FoundWeights | str | Path = "bundled",
    device: torch.device | str = "cpu",
    dtype: torch.dtype | str = "float32",
    vae_config: str | None = None,
) -> Autoencoder:
    """Build an autoencoder, frozen, on `device`; it computes in `dtype`: float32, bfloat16, or auto, which is bfloat16
    where the device computes with it. Pictures and latents are float32 always.

    `weights` are a result of `find_weights`, or an argument for it: a hub name, a folder, a file, or "bundled";
    `vae_config` is sd, sdxl, sd3, flux or the path of a config.json, for a file that doesn't tell its scale. Raises
    `WeightsError` for weights that are missing, truncated, not finite, not recognized or don't fit their config, and
    for a class that isn't served; `InputError` for anything else.
    """
    if not isinstance(weights, str | PathLike | FoundWeights):
        raise InputError(f"`weights` is a name, a path or what find_weights() found, not {type(weights).__name__}.")
    device = pick_device(str(device))
    computing = pick_dtype(str(dtype).removeprefix("torch."), device)
    if not isinstance(weights, FoundWeights):
        weights = find_weights(str(weights), "pretrained")
    layout = layout_of(weights if vae_config is None else replace(weights, vae_config=vae_config))
    if layout.problem:
        raise WeightsError(layout.problem)
    own = weights.source == "bundled" and deep_compression.supports(layout.config)
    with single_precision():
        model = _build_own(weights.path, layout) if own else _build(weights.path, layout)
    with _blaming(weights.path):
        if layout.config["_class_name"] in SERVED:
            model = SERVED[layout.config["_class_name"]].adapted(model.eval().requires_grad_(False))
        geometry = geometry_of(model, device)
    # not diffusers' own `to`, which warns of the type
    model = nn.Module.to(model.eval().requires_grad_(False), device, computing)
    _channels_last(model)
    made = Autoencoder(model, geometry, weights.name, weights.sha256, computing)
    if computing != torch.float32 and isinstance(model, Adapter) and not _computes(made):
        if str(dtype) != "auto":
            raise InputError(f"{weights.name} doesn't compute in {dtype} on this device.", "Give `dtype` float32.")
        made.to(torch.float32)
    return made


@torch.no_grad()
def _computes(autoencoder: Autoencoder) -> bool:
    """Tell whether torch has all operations of a model in its type, on its device: it lacks some for video models."""
    side = autoencoder.geometry.side or 4 * autoencoder.stride
    try:
        autoencoder(torch.zeros(1, 3, side, side, device=autoencoder.device, dtype=torch.float32))
    except (NotImplementedError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        return False
    return True


def _channels_last(model: nn.Module) -> None:
    """Store the weights of convolutions over pictures as the fastest kernels read them."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


@contextlib.contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn what diffusers raises into a `WeightsError`; around its calls alone, so that a fault of ours keeps its name.

    It raises whatever a config leads to: a width of zero, a word for a number, a missing key.
    """
    try:
        yield
    except SafetensorError as error:
        raise WeightsError(f"The weights at {path} are truncated or not safetensors: {error}.") from error
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        raise WeightsError(f"The autoencoder at {path} can't be loaded: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__


def _build_own(folder: Path, layout: Layout) -> Any:
    """The network of the bundled autoencoder, without an import of diffusers."""
    with _blaming(folder):
        return deep_compression.load(folder / WEIGHTS_FILE, layout.config)


def _build(path: Path, layout: Layout) -> Any:
    with contextlib.redirect_stdout(sys.stderr), _quiet(), _blaming(path):
        model = SERVED[layout.config["_class_name"]].find(layout.config["_class_name"]).from_config(dict(layout.config))
        if layout.names == TAESD:
            add_normalized_blocks(model, layout.tensors)
        values = diffusers_names(_read(layout), layout, dict(model.config))
        wrong = model.load_state_dict(values, strict=False)
    missing = [name for name in wrong.missing_keys if not name.endswith("num_batches_tracked")]
    names = [*missing, *wrong.unexpected_keys]
    if names:
        many = counted(len(names), "weight", "don't")
        misfit = f"{many} fit its config, the first {names[0]}"
        raise WeightsError(f"The autoencoder at {path} can't be loaded: {misfit}.")
    broken = [name for name, value in model.state_dict().items() if not torch.isfinite(value).all()]
    if broken:
        raise WeightsError(
            f"The autoencoder at {path} has weights that are not finite: {broken[0]} is the first of {len(broken)}.",
            "Copy or download it again.",
        )
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence diffusers: it warns of conditions that are errors here, and of unknown keys in a config."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _read(layout: Layout) -> dict[str, Tensor]:
    """The tensors of a layout, by its names."""
    values: dict[str, Tensor] = {}
    for path in sorted({info.path for info in layout.tensors.values()}):
        with safe_open(path, framework="pt") as file:
            values |= {name: file.get_tensor(info.name) for name, info in layout.tensors.items() if info.path == path}
    return values
