"""A run in memory: an image becomes a latent, and no file is written."""

import base64
import html
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentflow import losses
from latentflow.config import RunConfig, counted
from latentflow.errors import InputError
from latentflow.inversion.checks import check_options
from latentflow.inversion.metrics import encoder_metrics, image_metrics, metric_rows
from latentflow.inversion.objective import Objective, parse
from latentflow.inversion.optimize import Inversion, optimize
from latentflow.latents.sources import initial_latent
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.loading import Loaded
from latentflow.models.memory import compiling_pays, is_tight
from latentflow.models.networks import Networks
from latentflow.pictures.files import fit, resize, to_png, to_tensor, to_uint8
from latentflow.pictures.reader import Reader
from latentflow.records import Step
from latentflow.session import Session

INVERSION_OPTIONS = ("steps", "method", "lr", "optimizer", "betas", "schedule")
_PREPARING = threading.Lock()
ImageLike = str | PathLike[str] | Image.Image | np.ndarray | Tensor


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of a run so far: its last latent (1, c, rows, columns) and the picture of it, `image` (1, 3, h, w) in
    [0, 1].

    `metrics` are PSNR (dB), SSIM and LPIPS of the picture against the target, under the keys psnr, ssim and the label
    of the network LPIPS was measured with; `encoder_metrics` are those of the encoder's own reconstruction. `loss` is
    the label of the loss, `loss_first` and `loss_last` its values; `steps` counts the updates.
    """

    latent: Tensor
    image: Tensor
    steps: int
    seed: int
    loss: str
    loss_first: float
    loss_last: float
    metrics: dict[str, float]
    encoder_metrics: dict[str, float]
    seconds_per_step: float

    @property
    def picture(self) -> Image.Image:
        """The picture as 8-bit RGB."""
        return Image.fromarray(to_uint8(self.image))

    def _repr_html_(self) -> str:
        """How a notebook shows it: the picture, what it took, and its metrics above the encoder's own."""
        headings, rows = metric_rows({"this run": self.metrics, "encoder's own": self.encoder_metrics})
        cells = [["", *headings], *([name, *values] for name, values in rows.items())]
        table = "".join(f"<tr>{''.join(f'<td>{html.escape(each)}</td>' for each in row)}</tr>" for row in cells)
        data = base64.b64encode(to_png(to_uint8(self.image))).decode()
        words = f"{self.loss}: {self.loss_first:.4g} → {self.loss_last:.4g} in {counted(self.steps, 'step')}"
        picture = f'<img src="data:image/png;base64,{data}" alt="The picture after {counted(self.steps, "step")}">'
        return f"{picture}<p>{html.escape(words)}, seed {self.seed}</p><table>{table}</table>"


class Run:
    """An optimization of one image, as `invert` makes it.

    Iterating yields a `Step` for the start and one after every update. `stop()`, from any thread, ends the loop after
    the step in hand; iterating again goes on from there. A `session` that is stopped ends it with `Interrupted`; with
    another one it can go on. `seconds` is what the steps took so far. Two runs may go on at once, in threads, with one
    autoencoder.
    """

    def __init__(
        self,
        config: RunConfig,
        target: Tensor,
        loaded: Loaded,
        seed: int,
        session: Session,
        reader: Reader | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """`target` is (1, 3, h, w) in [0, 1], `mask` what of it counts, (1, 1, h, w); `reader` has read them, and reads
        what else `config` names."""
        autoencoder, self.reader = loaded.autoencoder, reader or Reader(config)
        self.config, self.loaded, self.seed, self.session = config, loaded, seed, session
        self.target = target.to(autoencoder.device)
        self.mask = None if mask is None else mask.to(autoencoder.device)
        self.latent = initial_latent(
            *(config.init, autoencoder, self.target, seed, self.reader), latent_of=config.latent_of
        )
        prepare_decoder(config, autoencoder, self.size, session)
        self.objective = make_objective(config.loss_type, self.target, loaded.networks, session, self.mask)
        self.inversion = make_inversion(config, autoencoder, self.objective, self.latent)
        self.first: Step | None = None
        self.last: Step | None = None
        self.seconds = 0.0
        self._stopped = threading.Event()

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading the images changed, a sentence each."""
        return tuple(self.reader.notes.sentences())

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.target.shape[-2], self.target.shape[-1]

    @property
    def is_finished(self) -> bool:
        """Whether the last step is done, the PSNR that was wanted is reached, or further steps would change nothing."""
        goal = self.config.target_psnr
        near = goal is not None and self.last is not None and float(self.last.psnr[0]) >= goal
        return near or bool(self.inversion.ended) or self.inversion.index > self.inversion.steps

    def __iter__(self) -> Iterator[Step]:
        while not self.is_finished:
            if self._stopped.is_set():
                self._stopped.clear()
                return
            if self.session.is_stopped:
                raise self.session.interrupted("Stopped before the next step")
            step = next(self.inversion)
            self.first = self.first or step
            self.last = step
            self.seconds += step.seconds
            yield step

    def stop(self) -> None:
        """End the loop after the step in hand, or the next loop before its first; works from any thread."""
        self._stopped.set()

    def result(self, *, finish: bool = True) -> Result:
        """The outcome so far; with `finish` the run goes on to the end first, unless `stop()` is called.

        Raises `InputError` when there is no step yet, and what the run raises.
        """
        if finish:
            for _ in self:
                pass
        if self.first is None or self.last is None:
            raise InputError("The run has no step yet, so there is no result.")
        return Result(
            latent=self.last.latent,
            image=self.last.image.clamp(0, 1),
            steps=self.last.index,
            seed=self.seed,
            loss=loss_label(self.config, self.objective),
            loss_first=float(self.first.loss[0]),
            loss_last=float(self.last.loss[0]),
            metrics=image_metrics(self.last.image, self.target, self.loaded.metrics, self.mask),
            encoder_metrics=encoder_metrics(self.loaded.autoencoder, self.target, self.loaded.metrics, self.mask),
            seconds_per_step=self.seconds / (self.last.index + 1),
        )


def invert(
    image: ImageLike,
    loss: str = RunConfig.loss_type,
    *,
    vae: str | PathLike[str] | Autoencoder = "bundled",
    size: int = RunConfig.size,
    fit: str = RunConfig.fit,
    mask: ImageLike | None = None,
    steps: int = RunConfig.steps,
    method: str = RunConfig.method,
    lr: float | None = None,
    optimizer: str | None = None,
    betas: tuple[float, float] | None = None,
    schedule: str = RunConfig.schedule,
    init: str | PathLike[str] = RunConfig.init,
    latent_of: str | None = None,
    seed: int | None = None,
    target_psnr: float | None = None,
    weights: str = RunConfig.weights,
    device: str = RunConfig.device,
    dtype: str = RunConfig.dtype,
    checkpointing: str = RunConfig.checkpointing,
    compile: bool | None = None,
    plugin: str | None = None,
    background: str = RunConfig.background,
    max_pixels: int = RunConfig.max_pixels,
    session: Session | None = None,
) -> Run:
    """Begin to turn a latent into an image; iterate over the run for its steps, or ask for its `result()`.

    `image` is a path, a PIL picture, an array (h, w), (h, w, 3) or (h, w, 4) of uint8, or a tensor (3, h, w) or
    (1, 3, h, w) in [0, 1]; it is fitted to `size` pixels on its longer side. `mask` is a picture of the same shape, in
    any of these forms or an array (h, w) of bool: only what is white in it counts. `vae` is a name, a folder, a file or
    an `Autoencoder`. The options are those of the command line, with its defaults. `session` shares loaded models with
    other runs and takes what there is to say. No file is written.

    Raises `InputError` for a wrong option and for what is no image, `WeightsError` for weights that are missing, and
    while it runs `DivergedError`.
    """
    session = session or Session()
    config = RunConfig(
        plugin=plugin,
        loss_type=loss,
        size=size,
        fit=fit,
        steps=steps,
        method=method,
        lr=lr,
        optimizer=optimizer,
        betas=betas,
        schedule=schedule,
        init=str(init),
        latent_of=latent_of,
        seed=secrets.randbelow(2**32) if seed is None else seed,
        target_psnr=target_psnr,
        weights=weights,
        device=device,
        dtype=dtype,
        checkpointing=checkpointing,
        compile=compile,
        background=background,
        max_pixels=max_pixels,
    )
    config = check_options(config)
    assert config.seed is not None
    reader = Reader(config, session.say)
    picture = read_picture(image, reader)
    loaded = session.load(vae if isinstance(vae, Autoencoder) else str(vae), weights, device, dtype)
    weights_of = None if mask is None else fitted_mask(read_mask(mask, reader), picture, config)
    reader.say_notes()
    return Run(config, fitted(picture, config), loaded, config.seed, session, reader, weights_of)


def read_mask(mask: ImageLike, reader: Reader) -> Image.Image:
    """A mask from what a caller has, what is transparent being black; raises `InputError` for what is no picture."""
    if isinstance(mask, np.ndarray) and mask.dtype == np.bool_:
        mask = mask.astype(np.uint8) * 255
    if isinstance(mask, Tensor):
        mask = mask[None] if mask.ndim == 2 else mask
        if mask.ndim > 2 and mask.shape[-3] == 1:
            mask = mask.float().repeat_interleave(3, dim=-3)
    return read_picture(mask, reader, "`mask`", background="black")


def read_picture(
    image: ImageLike, reader: Reader, label: str = "`image`", background: str | None = None
) -> Image.Image:
    """A picture from what a caller has, transparency over `background` or as the reader has it; raises `InputError`,
    beginning with `label`, for what is no picture."""
    if isinstance(image, Tensor):
        shape = tuple(image.shape)
        if image.ndim == 3:
            image = image[None]
        if image.ndim != 4 or image.shape[:2] != (1, 3) or not image.is_floating_point() or not image.numel():
            raise InputError(f"{label}: a tensor is (3, h, w) or (1, 3, h, w) of floats, not {shape}.")
        if not image.isfinite().all():
            raise InputError(f"{label}: the tensor has values that are not finite.")
        if image.min() < -0.5 or image.max() > 1.5:  # decoded pictures leave [0, 1] a little
            raise InputError(f"{label}: a tensor is in [0, 1], not up to {float(image.abs().max()):g}.")
        return Image.fromarray(to_uint8(image))
    if isinstance(image, np.ndarray):
        right = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
        if image.dtype != np.uint8 or not right or not image.size:
            raise InputError(f"{label}: an array is (h, w[, 3 or 4]) of uint8, not {image.dtype} {image.shape}.")
        image = Image.fromarray(image)
    if isinstance(image, Image.Image):
        return reader.standardize(image, label, background)
    if isinstance(image, str | PathLike):
        return reader.read(Path(image).expanduser(), label, background)
    raise InputError(f"{label} is a path, a PIL picture, an array or a tensor, not {type(image).__name__}.")


def fitted(picture: Image.Image, config: RunConfig) -> Tensor:
    """A picture as the target of a run, (1, 3, h, w) in [0, 1]."""
    return to_tensor(fit(picture, config.size, config.fit))


def fitted_mask(mask: Image.Image, picture: Image.Image, config: RunConfig, label: str = "`mask`") -> Tensor:
    """A mask as it lies on the target that `picture` becomes, (1, 1, h, w) in [0, 1]; raises `InputError` when it has
    another shape than the picture or is black everywhere."""
    (width, height), (across, down) = picture.size, mask.size
    if abs(across * height - down * width) > max(width + height, across + down):  # more than rounding leaves
        raise InputError(
            f"{label} is {across} × {down}, but the image is {width} × {height}: they need one aspect ratio.",
            "Draw the mask on a copy of the image.",
        )
    as_large = resize(mask.convert("L"), width, height, sharp=False)
    weights = to_tensor(fit(as_large, config.size, config.fit, sharp=False))[:, :1]
    if not weights.any():
        raise InputError(f"{label} is black everywhere: no pixel would count.", "White marks what counts.")
    return weights


def planned_target(
    config: RunConfig, image_path: Path, reader: Reader, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """The target (1, 3, h, w) of a run in files and its mask (1, 1, h, w), if it has one; raises `InputError`."""
    picture = reader.read(image_path)
    target = fitted(picture, config).to(device)
    if config.mask is None:
        return target, None
    return target, fitted_mask(read_mask(config.mask, reader), picture, config, f"`mask` {config.mask}").to(device)


def make_objective(
    text: str, target: Tensor, networks: Networks, session: Session, mask: Tensor | None = None
) -> Objective:
    """A loss against targets (n, 3, h, w) or what of them a mask (n, 1, h, w) keeps; a network that replaces a missing
    one is reported."""
    objective = Objective(text, target, networks, mask)
    for notice in network_notices(text, networks):
        session.say_once(notice)
    return objective


def network_notices(text: str, networks: Networks) -> list[str]:
    """What `networks` have to say about the networks of a loss, once it is made."""
    names = [name for term in parse(text) for name in losses.find(term.name).declaration.weights]
    return [networks.notices[name] for name in names if name in networks.notices]


def make_inversion(config: RunConfig, autoencoder: Autoencoder, objective: Objective, latent: Tensor) -> Inversion:
    """The optimization that a config asks for."""
    names: dict[str, Any] = {name: getattr(config, name) for name in INVERSION_OPTIONS}
    return optimize(autoencoder, objective, latent, **names)


def prepare_decoder(config: RunConfig, autoencoder: Autoencoder, size: tuple[int, int], session: Session) -> None:
    """Turn on what memory and time ask for: gradient checkpointing, compiling.

    They stay on for the autoencoder, and so for later runs with it: they change no result.
    """
    with _PREPARING:
        if autoencoder.is_checkpointed or autoencoder.is_compiled:  # by the run before
            return
        tight = config.checkpointing == "auto" and is_tight(autoencoder, *size)
        if tight:
            session.say(
                "Memory is tight for a picture of this size: gradient checkpointing is on, and steps take a third "
                "longer."
            )
        if tight or config.checkpointing == "on":
            autoencoder.checkpoint_decoder()
        if compiling_pays(autoencoder, *size, config.steps) if config.compile is None else config.compile:
            autoencoder.compile_decoder()


def loss_label(config: RunConfig, objective: Objective) -> str:
    """The name of what a run's loss is."""
    return "residual" if config.method == "gradient_free" else objective.label
