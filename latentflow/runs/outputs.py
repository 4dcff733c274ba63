"""The outputs a run may be asked for. One row each: its option, the check before the run, the sink that writes it.

Adding an output is its sink, its option in `latentflow.inversion.config`, and its row here. Costs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from latentflow.base.errors import InputError
from latentflow.base.files import check_writable
from latentflow.pictures.figure import check_figure_path
from latentflow.sinks.frames import check_frames_path, frame_options
from latentflow.sinks.metrics import Metrics
from latentflow.sinks.plot import Plot
from latentflow.sinks.save_best import SaveBest, check_image_path, save_image

if TYPE_CHECKING:
    from latentflow.inversion.config import RunConfig
    from latentflow.models.autoencoder import Autoencoder
    from latentflow.sinks import Sink


class Context(Protocol):
    """The facts that a sink may need about its run; the run's report is one."""

    label: str

    @property
    def keep(self) -> str:
        """The step that is saved: last or best."""

    @property
    def autoencoder(self) -> Autoencoder:
        """The autoencoder of the run."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""

    @property
    def encoder_metrics(self) -> dict[str, float]:
        """The metrics of the encoder's own reconstruction."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """The output of an option named `option`: `check` finds what is wrong with its path, `open` makes its sink.

    `latentflow.runs.run` opens the frames, since their sink needs more than this.
    """

    option: str
    check: Callable[[Path, RunConfig], None]
    open: Callable[[Path, Context], Sink[Any]] | None


def _check_latent_path(path: Path, config: RunConfig) -> None:
    if path.suffix != ".safetensors":
        raise InputError(f"`save_latent` {path}: latents are saved as .safetensors.")
    check_writable(path, "`save_latent`")


def _open_latent(path: Path, context: Context) -> Sink[Any]:
    from latentflow.latents.files import save_latent

    return SaveBest(lambda step: save_latent(path, step.latent, context.autoencoder, context.size), context.keep)


OUTPUTS = (
    Output(
        option="output_path",
        check=lambda path, config: check_frames_path(path, **frame_options(config)),
        open=None,
    ),
    Output(
        option="metrics",
        check=lambda path, config: check_writable(path, "`metrics`"),
        open=lambda path, context: Metrics(path),
    ),
    Output(
        option="plot",
        check=lambda path, config: check_figure_path(path, "`plot`"),
        open=lambda path, context: Plot(path, context.label, context.encoder_metrics["psnr"], context.autoencoder.name),
    ),
    Output(option="save_latent", check=_check_latent_path, open=_open_latent),
    Output(
        option="save_image",
        check=lambda path, config: check_image_path(path),
        open=lambda path, context: SaveBest(lambda step: save_image(path, step.image), context.keep),
    ),
)
NAMED_BY_OPTIONS = tuple(output.option for output in OUTPUTS)
BESIDE_FRAMES = tuple(output.option for output in OUTPUTS if output.open)
