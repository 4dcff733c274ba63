"""A run in memory: an image becomes a latent, and no file is written."""

import base64
import copy
import html
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.options import MAX_SEED, counted
from latentflow.base.pixels import to_png, to_uint8
from latentflow.base.records import Step
from latentflow.base.session import Session
from latentflow.base.surroundings import undisturbed
from latentflow.inversion.checks import check_followed, check_options
from latentflow.inversion.config import Checkpointing, RunConfig, Schedule
from latentflow.inversion.metrics import Metrics, encoder_metrics, image_metrics, metric_rows
from latentflow.inversion.objective import AnyLoss, Objective, check_loss, networks_of
from latentflow.inversion.optimize import optimize
from latentflow.inversion.target import ImageLike, LatentLike, Target, given_target
from latentflow.inversion.turns import Turns
from latentflow.latents.sources import initial_latents
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.config import WeightsFrom
from latentflow.models.loading import Loaded
from latentflow.models.memory import compiling_pays, is_tight
from latentflow.models.networks import Networks
from latentflow.pictures.config import Fit
from latentflow.pictures.reader import Reader

INVERSION_OPTIONS = ("steps", "method", "lr", "optimizer", "betas", "schedule")
_PREPARING = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of a run so far: its last latents (n, c, rows, columns) and their pictures, `image` (n, 3, h, w) in
    [0, 1].

    `metrics` are PSNR (dB), SSIM and LPIPS of the picture against the target, under the keys psnr, ssim and lpips;
    `metrics.network` names the network of LPIPS. `encoder_metrics` are the metrics of the encoder's own reconstruction.
    `loss` is the label of the loss, `loss_first` and `loss_last` its values; `steps` counts the updates. Of a batch,
    these figures are means; `result[i]` is the outcome of image i alone, with its `seed`.
    """

    latent: Tensor
    image: Tensor
    steps: int
    seed: int
    loss: str
    loss_first: float
    loss_last: float
    metrics: Metrics
    encoder_metrics: Metrics
    seconds_per_step: float
    images: tuple["Result", ...] = ()

    def __len__(self) -> int:
        return len(self.latent)

    def __getitem__(self, index: int) -> "Result":
        return (self.images or (self,))[index]

    @property
    def picture(self) -> Image.Image:
        """The picture, of a batch the first, as 8-bit RGB."""
        return Image.fromarray(to_uint8(self.image))

    def _repr_html_(self) -> str:
        """Return HTML for notebooks: the picture, its cost, and its metrics above the encoder's own."""
        headings, rows = metric_rows(
            {"this run": self.metrics.labeled(), "encoder's own": self.encoder_metrics.labeled()}
        )
        cells = [["", *headings], *([name, *values] for name, values in rows.items())]
        table = "".join(f"<tr>{''.join(f'<td>{html.escape(each)}</td>' for each in row)}</tr>" for row in cells)
        data = base64.b64encode(to_png(to_uint8(self.image))).decode()
        words = f"{self.loss}: {self.loss_first:.4g} → {self.loss_last:.4g} in {counted(self.steps, 'step')}"
        picture = f'<img src="data:image/png;base64,{data}" alt="The picture after {counted(self.steps, "step")}">'
        return f"{picture}<p>{html.escape(words)}, seed {self.seed}</p><table>{table}</table>"


class Run:
    """An optimization of one image, or of several of one size side by side, as `invert` makes it.

    Iterating yields a `Step` for the start and one after every update. `stop()`, from any thread, ends the loop after
    the step in hand; iterating again goes on from there. A `session` that is stopped ends it with `Interrupted`; with
    another one it can go on. `seconds` is the time of the steps so far. Two runs may go on at once, in threads, with
    one autoencoder; one run goes on in one thread at a time, and a loop in another raises `InputError`. What is around
    a loop, such as `torch.no_grad()`, has no effect on it.
    """

    @undisturbed
    def __init__(
        self,
        config: RunConfig,
        target: Target,
        loaded: Loaded,
        seeds: Sequence[int],
        session: Session,
        *,
        reader: Reader | None = None,
        loss: AnyLoss | None = None,
        init: LatentLike | None = None,
    ) -> None:
        """`seeds` are those of each image of the `target`; `reader` reads what else `config` names. `loss` takes the
        place of its `loss_type`, `init` of its `init`."""
        autoencoder, self.reader = loaded.autoencoder, reader or Reader(config)
        self.config, self.loaded, self.seeds, self.session = config, loaded, list(seeds), session
        self.target = target.to(autoencoder.device)
        start = config.init if init is None else init
        self.latent = initial_latents(
            start, autoencoder, self.target.image, self.seeds, self.reader, latent_of=config.latent_of
        )
        prepare_decoder(config, autoencoder, self.size, session)
        loss, networks = loss or config.loss_type, loaded.networks
        self.objective = Objective(loss, self.target.image, networks, self.target.mask)
        for notice in network_notices(loss, networks):
            session.say_once(notice)
        options: dict[str, Any] = {name: getattr(config, name) for name in INVERSION_OPTIONS}
        self.inversion = optimize(autoencoder, self.objective, self.latent, **options)
        self.first: Step | None = None
        self.last: Step | None = None
        self.seconds = 0.0
        self._arrived: dict[int, Step] = {}  # the step at which an image of a batch reached its goal
        self._stopped = threading.Event()
        self._was_stopped = False  # the last loop, by `stop()`
        self._turns = Turns()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Run":
        """A run that goes on by itself from here; what doesn't change is shared."""
        shared = (self.loaded.autoencoder, self.objective)
        twin = copy.copy(self)
        twin.inversion = copy.deepcopy(self.inversion, memo | {id(each): each for each in shared})
        twin._stopped, twin._turns, twin._arrived = threading.Event(), Turns(), dict(self._arrived)
        return twin

    @property
    def seed(self) -> int:
        """The seed of the initial latent; of a batch, the first image's."""
        return self.seeds[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on what reading the images changed, a sentence each."""
        return tuple(self.reader.notes.sentences())

    @property
    def label(self) -> str:
        """The name of its loss as it is shown."""
        return "residual" if self.config.method == "gradient_free" else self.objective.label

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.target.size

    @property
    def is_finished(self) -> bool:
        """True if the last step is done, every image reached the wanted PSNR, or further steps would change nothing."""
        near = len(self._arrived) == len(self.target)
        return near or bool(self.inversion.ended) or self.inversion.index > self.inversion.steps

    def _note_arrivals(self, step: Step) -> None:
        """Keep the step at which an image reaches the PSNR that was wanted: it is the image's last."""
        goal = self.config.target_psnr
        for index, psnr in enumerate(step.psnr.tolist() if goal is not None else ()):
            if psnr >= goal and index not in self._arrived:
                self._arrived[index] = step.of_image(index)

    @undisturbed
    def __iter__(self) -> Iterator[Step]:
        loop, self._was_stopped = object(), False
        try:
            while not self.is_finished:
                if self._stopped.is_set():
                    self._stopped.clear()
                    self._was_stopped = True
                    return
                if self.session.is_stopped:
                    raise self.session.interrupted("Stopped before the next step")
                self._turns.take(loop)
                step = next(self.inversion)
                self.first = self.first or step
                self.last = step
                self._note_arrivals(step)
                self.seconds += step.seconds
                yield step
        finally:
            self._turns.leave(loop)

    def stop(self) -> None:
        """End the loop after the step in hand, or the next loop before its first; works from any thread."""
        self._stopped.set()

    def _check(self) -> None:
        if self.session.is_stopped:
            raise self.session.interrupted("Stopped while the run goes on")

    @undisturbed
    def result(self, *, finish: bool = True) -> Result:
        """The outcome so far; with `finish` the run goes on to the end first, unless `stop()` is called. Where another
        thread loops over it, that loop's end is waited for.

        Raises `InputError` when there is no step yet, and what the run raises.
        """
        if finish and not (self._turns.wait(self._check) and self._was_stopped):
            for _ in self:
                pass
        if self.first is None or self.last is None:
            raise InputError("The run has no step yet, so there is no result.")
        results = tuple(self._result_of(index) for index in range(len(self.target)))
        return results[0] if len(results) == 1 else _together(results, self.last.index)

    def _result_of(self, index: int) -> Result:
        """The outcome of one image."""
        assert self.first is not None and self.last is not None
        last, load = self._arrived.get(index) or self.last.of_image(index), self.loaded.metrics
        target = self.target.of_image(index)
        return Result(
            latent=last.latent,
            image=last.image.clamp(0, 1),
            steps=last.index,
            seed=self.seeds[index],
            loss=self.label,
            loss_first=float(self.first.loss[index]),
            loss_last=float(last.loss[0]),
            metrics=image_metrics(last.image, target.image, load, target.mask),
            encoder_metrics=encoder_metrics(self.loaded.autoencoder, target.image, load, target.mask),
            seconds_per_step=self.seconds / (self.last.index + 1),
        )


def _together(results: tuple[Result, ...], steps: int) -> Result:
    """The outcome of a batch: all latents and pictures, and means of the figures."""

    def mean(values: Iterable[float]) -> float:
        return sum(values) / len(results)

    return replace(
        results[0],
        latent=torch.cat([each.latent for each in results]),
        image=torch.cat([each.image for each in results]),
        steps=steps,
        loss_first=mean(each.loss_first for each in results),
        loss_last=mean(each.loss_last for each in results),
        metrics=Metrics.mean([each.metrics for each in results]),
        encoder_metrics=Metrics.mean([each.encoder_metrics for each in results]),
        images=results,
    )


@undisturbed
def invert(
    image: ImageLike,
    loss: AnyLoss = RunConfig.loss_type,
    *,
    vae: str | PathLike[str] | Autoencoder = "bundled",
    size: int | None = None,
    fit: Fit = RunConfig.fit,
    mask: ImageLike | None = None,
    steps: int = RunConfig.steps,
    method: str = RunConfig.method,
    lr: float | None = None,
    optimizer: str | None = None,
    betas: Sequence[float] | None = None,
    schedule: Schedule = RunConfig.schedule,
    init: str | PathLike[str] | LatentLike = RunConfig.init,
    latent_of: str | None = None,
    seed: int | Sequence[int] | None = None,
    target_psnr: float | None = None,
    weights: WeightsFrom = RunConfig.weights,
    device: str | torch.device = RunConfig.device,
    dtype: str | torch.dtype = RunConfig.dtype,
    checkpointing: Checkpointing = RunConfig.checkpointing,
    compile: bool | None = None,
    plugin: str | None = None,
    background: str = RunConfig.background,
    max_pixels: int = RunConfig.max_pixels,
    session: Session | None = None,
) -> Run:
    """Begin to turn a latent into an image; iterate over the run for its steps, or ask for its `result()`.

    `image` is a path, a PIL picture, an array (h, w), (h, w, 3) or (h, w, 4) of uint8, or a tensor (3, h, w) or
    (n, 3, h, w) of floats in [0, 1]: n images are optimized side by side, each as it would be alone. A tensor keeps its
    size and its precision unless `size` is given; everything else is fitted to `size` pixels on its longer side, by
    default 512. `mask` is a picture of the same shape, in any of these forms, an array (h, w) of bool or a tensor
    (h, w), (1, h, w) or (n, 1, h, w); its gray values are weights. `loss` is the name of a loss, a weighted sum, a loss
    of `latentflow.losses`, or a function or module of your own: (image, target), both (n, 3, h, w) in [0, 1] → (n,), or
    one number for one image. `vae` is a name, a folder, a file or an `Autoencoder`. `init` may also be a latent: a
    tensor or array (c, rows, columns), (1, c, rows, columns), or (n, c, rows, columns) for n images. `seed` is one
    number, where image i has seed + i, or one for each image. The options are those of the command line, with its
    defaults. `session` shares loaded models with other runs and takes what there is to say. No file is written.

    Raises `InputError` for a wrong option and for a file that isn't an image, `WeightsError` for weights that are
    missing, and while it runs `DivergedError`.
    """
    check_loss(loss)
    session = session or Session()
    is_latent, is_tensor = not isinstance(init, str | PathLike), isinstance(image, Tensor)
    given: dict[str, Any] = {"betas": betas, "init": RunConfig.init if is_latent else init}
    if is_latent and latent_of is not None:
        raise InputError("`latent_of` is for the file of a latent; `init` is a latent itself.", "Leave it out.")
    own_size = max(image.shape[-2:], default=0) if isinstance(image, Tensor) else 0
    if is_tensor and size is None and fit != RunConfig.fit:
        raise InputError(f"`fit` {fit} would have no effect: a tensor keeps its size.", "Give `size`, too.")
    seeds = _seeds(seed, max(1, len(image)) if isinstance(image, Tensor) and image.ndim == 4 else 1)
    config = RunConfig(
        plugin=plugin,
        loss_type=loss if isinstance(loss, str) else RunConfig.loss_type,
        size=size if size is not None else own_size or RunConfig.size,
        fit=fit,
        steps=steps,
        method=method,
        lr=lr,
        optimizer=optimizer,
        schedule=schedule,
        **given,
        latent_of=latent_of,
        seed=seeds[0],
        target_psnr=target_psnr,
        weights=weights,
        device=str(device),
        dtype=str(dtype),
        checkpointing=checkpointing,
        compile=compile,
        background=background,
        max_pixels=max_pixels,
    )
    config = check_options(config)
    if not isinstance(loss, str):
        check_followed(config.method, "a loss of your own")
    reader = Reader(config, session.say)
    target = given_target(image, mask, config, reader, resized=not is_tensor or size is not None)
    reader.say_notes()
    loaded = session.load(vae, weights, config.device, config.dtype)
    own: dict[str, Any] = {"loss": None if isinstance(loss, str) else loss, "init": init if is_latent else None}
    return Run(config, target, loaded, seeds, session, reader=reader, **own)


def _seeds(seed: Any, count: int) -> list[int]:
    """A seed for each of `count` images; raises `InputError` for a wrong one, and for another number of them."""
    if isinstance(seed, list | tuple):
        if len(seed) != count:
            raise InputError(f"`seed`: there are {counted(len(seed), 'seed')} for {counted(count, 'image')}.")
        return [RunConfig(seed=each).seed or 0 for each in seed]
    first = secrets.randbelow(2**32) if seed is None else RunConfig(seed=seed).seed or 0
    return [(first + index) % (MAX_SEED + 1) for index in range(count)]


def network_notices(loss: AnyLoss, networks: Networks) -> list[str]:
    """Return the notices of `networks` on the networks of a loss, once it is made."""
    return [networks.notices[name] for name in networks_of(loss) if name in networks.notices]


def prepare_decoder(config: RunConfig, autoencoder: Autoencoder, size: tuple[int, int], session: Session) -> None:
    """Turn on what memory and time ask for: gradient checkpointing, compiling.

    They stay on for the autoencoder, and so for later runs with it: they change no result.
    """
    with _PREPARING:
        if autoencoder.is_checkpointed or autoencoder.is_compiled:  # by the run before
            return
        tight = config.checkpointing == "auto" and autoencoder.can_checkpoint and is_tight(autoencoder, *size)
        if tight:
            session.say(
                "Memory is tight for a picture of this size: gradient checkpointing is on, and steps take a third "
                "longer."
            )
        if tight or config.checkpointing == "on":
            autoencoder.checkpoint_decoder()
        if compiling_pays(autoencoder, *size, config.steps) if config.compile is None else config.compile:
            autoencoder.compile_decoder()
