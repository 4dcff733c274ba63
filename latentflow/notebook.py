"""Widgets for notebooks: a slider over frames, and a run that is watched while it goes on."""

import io
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from latentflow.config import counted
from latentflow.errors import InputError, LatentflowError, MissingPackageError
from latentflow.inversion.invert import Result, Run
from latentflow.pictures.draw import in_a_row
from latentflow.pictures.files import to_jpeg, to_png, to_uint8
from latentflow.records import Frame, Labeled, Step
from latentflow.widgets import script, style

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise MissingPackageError("Widgets need the package anywidget.", "pip install 'latentflow[notebook]'") from error

FrameLike = Frame | Image.Image | np.ndarray | Tensor
STRIP_FRAMES = 6  # in the picture that stands for a widget where there is none
STRIP_HEIGHT = 160  # pixels
PREVIEWS = 15  # pictures a second at most, so that a run keeps its speed


class Scrubber(anywidget.AnyWidget):
    """A slider over frames, which are decoded beforehand, so that the picture changes while the slider is dragged.

    `frames` is any iterable of `Frame` records, such as `latentflow.walk(…)`, of PIL pictures, arrays (h, w, 3) of
    uint8 or tensors (1, 3, h, w) in [0, 1]; `captions` has a text for each, by default its number; `fps` is the speed
    at which it plays. `index` is the frame that is shown and may be set; `picture` is that frame. Where widgets are
    not shown, as on a page that only displays notebooks, a strip of frames stands in for it. Raises `InputError` when
    there are no frames, and for what is none.
    """

    _esm = script("scrubber.js", "live.js", "notebook.js") + "\nexport default { render: renderScrubber };\n"
    _css = style()
    pictures = traitlets.List(traitlets.Bytes()).tag(sync=True)
    captions = traitlets.List(traitlets.Unicode()).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    fps = traitlets.Float(20.0).tag(sync=True)

    def __init__(
        self, frames: Iterable[FrameLike], captions: Sequence[str] | None = None, *, fps: float = 20.0
    ) -> None:
        if not fps > 0:
            raise InputError(f"`fps` must be greater than 0, not {fps}.")
        pictures, words = [], []
        for frame in frames:
            pictures.append(to_jpeg(_pixels(frame)))
            words.append(", ".join(frame.caption) if isinstance(frame, Labeled) else "")
        if not pictures:
            raise InputError("`frames` holds no frame.")
        given = list(captions) if captions is not None else words if any(words) else []
        if captions is not None and len(given) != len(pictures):
            raise InputError(f"`captions` has {counted(len(given), 'text')} for {counted(len(pictures), 'frame')}.")
        super().__init__(pictures=pictures, captions=given, fps=float(fps))

    @traitlets.validate("index")
    def _within(self, proposal: Any) -> int:
        return max(0, min(int(proposal["value"]), len(self.pictures) - 1))

    @property
    def picture(self) -> Image.Image:
        """The frame that is shown."""
        return Image.open(io.BytesIO(self.pictures[self.index])).convert("RGB")

    def strip(self) -> Image.Image:
        """Frames from the first to the last, evenly chosen, beside one another."""
        return _strip(self.pictures)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return _with_picture(super()._repr_mimebundle_(**kwargs), self.strip())


class Live(anywidget.AnyWidget):
    """A run in a thread of its own, watched while it goes on, as `live` makes it.

    `stop()` and the button end it after the step in hand; `go_on()` continues from exactly there. `state` is running,
    stopped, finished, or the sentence that says what broke it off; `history` holds index, total, loss and PSNR (dB) of
    every step.
    """

    _esm = script("scrubber.js", "live.js", "notebook.js") + "\nexport default { render: renderLive };\n"
    _css = style()
    picture = traitlets.Bytes(b"").tag(sync=True)
    history: Any = traitlets.List().tag(sync=True)
    state = traitlets.Unicode("stopped").tag(sync=True)

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.error: LatentflowError | None = None
        self._kept: list[bytes] = []
        self._figures: list[dict[str, float]] = []
        self._shown_at = 0.0
        self._thread: threading.Thread | None = None
        self.on_msg(self._asked)

    def go_on(self) -> None:
        """Begin, or continue where it was stopped; without effect while it runs and when it is finished."""
        if self.state == "running" or self.run.is_finished:
            return
        if self._thread is not None:
            self._thread.join()
        self.state = "running"
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it after the step in hand."""
        if self.state == "running":
            self.run.stop()

    def wait(self) -> Result:
        """The result, once the run has ended or was stopped; raises what broke it off."""
        if self._thread is not None:
            self._thread.join()
        if self.error is not None:
            raise self.error
        return self.run.result(finish=False)

    def strip(self) -> Image.Image:
        """Pictures of the run so far, from the first to the newest, evenly chosen, beside one another."""
        return _strip(self._kept)

    def _asked(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        {"stop": self.stop, "go on": self.go_on}.get(str(content.get("do")), lambda: None)()

    def _follow(self) -> None:
        state = "stopped"
        try:
            for step in self.run:
                self._take(step)
            state = "finished" if self.run.is_finished else "stopped"
        except LatentflowError as error:
            self.error, state = error, str(error)
        finally:
            if self.run.last is not None:
                self._publish(self.run.last)
            self.state = state

    def _take(self, step: Step) -> None:
        figures = {"loss": float(step.loss[0]), "psnr": float(step.psnr[0])}
        self._figures.append({"index": step.index, "total": step.total, **figures})
        if time.monotonic() - self._shown_at >= 1 / PREVIEWS:
            self._publish(step)

    def _publish(self, step: Step) -> None:
        self._shown_at = time.monotonic()
        self.picture = to_jpeg(to_uint8(step.image))
        self.history = list(self._figures)
        self._kept.append(self.picture)
        if len(self._kept) > 8 * STRIP_FRAMES:  # every other is enough for a strip
            self._kept = [*self._kept[:-1:2], self._kept[-1]]

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        return _with_picture(bundle, self.strip()) if self._kept else bundle


def live(run: Run) -> Live:
    """Watch a run, as `latentflow.invert(…)` makes it, while it goes on in a thread: `live(invert("cat.png", "mse"))`.

    The cell ends at once, and the picture, the figures and the curves change below it. `wait()`, in a later cell, gives
    the result. Raises nothing; what breaks the run off is shown, and raised by `wait()`.
    """
    view = Live(run)
    view.go_on()
    return view


def _pixels(frame: FrameLike) -> np.ndarray:
    """The picture (h, w, 3), uint8, of a frame; several in one frame beside one another."""
    if isinstance(frame, Frame):
        return in_a_row([to_uint8(image) for image in frame.image.split(1)])
    if isinstance(frame, Tensor) and frame.ndim == 4 and frame.shape[1] == 3:
        return to_uint8(frame)
    if isinstance(frame, Image.Image):
        return np.asarray(frame.convert("RGB"))
    if isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3:
        return frame
    kind = type(frame).__name__
    wanted = "a record, a picture, an array (h, w, 3) of uint8 or a tensor (1, 3, h, w)"
    raise InputError(f"A frame is {wanted}, not {kind}.")


def _strip(pictures: Sequence[bytes]) -> Image.Image:
    chosen = np.unique(np.linspace(0, len(pictures) - 1, STRIP_FRAMES).round().astype(int))
    opened = [Image.open(io.BytesIO(pictures[index])) for index in chosen]
    scale = min(1.0, STRIP_HEIGHT / opened[0].height)
    size = max(1, round(opened[0].width * scale)), max(1, round(opened[0].height * scale))
    return Image.fromarray(in_a_row([np.asarray(each.resize(size)) for each in opened]))


def _with_picture(bundle: Any, picture: Image.Image) -> Any:
    """A widget's representation with a picture beside it, for where there are no widgets."""
    data, *rest = bundle if isinstance(bundle, tuple) else (bundle,)
    data = {**(data or {}), "image/png": to_png(np.asarray(picture))}
    return (data, *rest) if rest else data
