"""Widgets for notebooks: a slider over frames, and a run that is watched while it goes on.

What a notebook keeps of them is HTML that needs no kernel and no widget: a slider that moves, the last picture of a run
and its curves. While the kernel is there, the widget of the browser is connected to that HTML.
"""

import atexit
import io
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, cast
from uuid import uuid4

import numpy as np
from PIL import Image
from torch import Tensor

from latentflow.base.errors import InputError, Interrupted, LatentflowError, MissingPackageError, first_line
from latentflow.base.options import counted
from latentflow.base.pixels import to_jpeg, to_png, to_uint8
from latentflow.base.records import Frame, Labeled, Step
from latentflow.inversion.invert import Result, Run
from latentflow.pictures.draw import in_a_row
from latentflow.widgets import script, stills, style

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise MissingPackageError("Widgets need the package anywidget.", "pip install 'latentflow[notebook]'") from error

FrameLike = Frame | Image.Image | np.ndarray | Tensor
STRIP_FRAMES = 6  # in the picture that replaces a widget where scripts are not run
STRIP_HEIGHT = 160  # pixels
PREVIEWS = 15  # pictures per second at most, so that a run keeps its speed
SAVED_EVERY = 30.0  # seconds between the pictures of a run that a notebook keeps, should it be saved meanwhile
LARGEST_SLIDER = 6e6  # bytes of all pictures of a slider in a notebook; larger ones are shrunk there


class Scrubber(anywidget.AnyWidget):
    """A slider over frames, which are decoded beforehand, so that the picture changes while the slider is dragged.

    `frames` is any iterable of `Frame` records, such as `latentflow.walk(…)`, of PIL pictures, arrays (h, w, 3) of
    uint8 or tensors (1, 3, h, w) in [0, 1]; `captions` has a text for each, by default its number; `fps` is the speed
    at which it plays. `index` is the frame that is shown and may be set; `picture` is that frame. Where scripts are not
    run, as on a page that only displays notebooks, a strip of frames stands in for it. Raises `InputError` when there
    are no frames, and for anything but a frame.
    """

    _esm = script("scrubber.js", "live.js", "notebook.js") + (
        "\nexport default { initialize: connectSlider, render: renderScrubber };\n"
    )
    _css = style()
    pictures = traitlets.List(traitlets.Bytes()).tag(sync=True)
    captions = traitlets.List(traitlets.Unicode()).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    fps = traitlets.Float(20.0).tag(sync=True)
    key = traitlets.Unicode().tag(sync=True)

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
        super().__init__(pictures=pictures, captions=given, fps=float(fps), key=uuid4().hex)

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
        strip = np.asarray(self.strip())
        given = {"captions": self.captions, "index": self.index, "fps": self.fps}
        slider = stills.slider(self.key, _smaller(self.pictures), to_jpeg(strip), given)
        return {
            "text/html": slider,
            "image/png": to_png(strip),
            "text/plain": f"{counted(len(self.pictures), 'frame')}",
        }


class Live(anywidget.AnyWidget):
    """A run in a thread of its own, watched while it goes on, as `live` makes it.

    `stop()` and the button end it after the step in hand; `go_on()` continues from exactly there. `state` is running,
    stopped, finished, or the sentence that says what broke it off; `history` holds index, total, loss and PSNR (dB) of
    every step. Once it has ended, what a notebook keeps of it is its last picture and its curves.
    """

    _esm = script("scrubber.js", "live.js", "notebook.js") + (
        "\nexport default { initialize: connectButton, render: renderLive };\n"
    )
    _css = style()
    picture = traitlets.Bytes(b"").tag(sync=True)
    fresh: Any = traitlets.Dict().tag(sync=True)  # the newest records, and how many there are before them
    state = traitlets.Unicode("stopped").tag(sync=True)
    key = traitlets.Unicode().tag(sync=True)

    def __init__(self, run: Run) -> None:
        super().__init__(key=uuid4().hex)
        self.run = run
        self.error: Exception | None = None
        self._kept: list[bytes] = []
        self._figures: list[dict[str, float]] = []
        self._sent = 0  # of them
        self._shown_at = self._saved_at = 0.0
        self._places: list[Any] = []  # of the notebook where it is shown
        self._thread: threading.Thread | None = None
        self.on_msg(self._asked)

    def go_on(self) -> None:
        """Begin, or continue where it was stopped; without effect while it runs and when it is finished."""
        if self.state == "running":
            return
        if self.run.is_finished:  # perhaps while another view watched it
            if self.run.last is not None:
                self._publish(self.run.last)
            self.state = "finished"
            self._save()
            return
        if self._thread is not None:
            self._thread.join()
        self.error, self.state = None, "running"
        self._save()
        _begun.add(self)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it after the step in hand."""
        if self.state == "running":
            self.run.stop()

    @property
    def history(self) -> list[dict[str, float]]:
        """Index, total, loss and PSNR (dB) of every step that was shown."""
        return self._figures[: self._sent]

    def wait(self) -> Result:
        """The result, once the run has ended or was stopped; raises what broke it off.

        Interrupting it, as a notebook does for the cell that waits, stops the run: then it raises `Interrupted`.
        """
        try:
            self._join()
        except KeyboardInterrupt:
            self.stop()
            self._join()
            done = "" if self.run.last is None else f" at step {self.run.last.index} of {self.run.last.total}"
            raise Interrupted(f"The run was stopped{done}; `go_on()` continues it.") from None
        if self.error is not None:
            raise self.error
        return self.run.result(finish=False)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def strip(self) -> Image.Image:
        """Pictures of the run so far, from the first to the newest, evenly chosen, beside one another."""
        return _strip(self._kept)

    def _asked(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        known = {"stop": self.stop, "go on": self.go_on, "history": lambda: self.send({"history": self.history})}
        known.get(str(content.get("do")), lambda: None)()

    def _follow(self) -> None:
        state = "stopped"
        try:
            for step in self.run:
                self._take(step)
            state = "finished" if self.run.is_finished else "stopped"
        except LatentflowError as error:
            self.error, state = error, str(error)
        except Exception as error:  # a fault of ours, or of a loss or an autoencoder of the caller's
            self.error, state = error, f"{type(error).__name__}: {first_line(error)}."
        finally:
            if self.run.last is not None:
                self._publish(self.run.last)
            self.state = state
            self._save()

    def _take(self, step: Step) -> None:
        figures = {"loss": float(step.loss[0]), "psnr": float(step.psnr[0])}
        self._figures.append({"index": step.index, "total": step.total, **figures})
        if time.monotonic() - self._shown_at >= 1 / PREVIEWS:
            self._publish(step)
        if time.monotonic() - self._saved_at >= SAVED_EVERY:
            self._save()

    def _publish(self, step: Step) -> None:
        self._shown_at = time.monotonic()
        first, self._sent = self._sent, len(self._figures)
        with self.hold_sync():
            self.picture = to_jpeg(to_uint8(step.image))
            if self._sent > first:
                self.fresh = {"first": first, "records": self._figures[first:]}
        self._kept.append(self.picture)
        if len(self._kept) > 8 * STRIP_FRAMES:  # every other is enough for a strip
            self._kept = [*self._kept[:-1:2], self._kept[-1]]

    def _ipython_display_(self) -> None:
        """Show it in a notebook, where what is shown is replaced when the run ends."""
        from IPython.display import display

        self._places.append(display(self._repr_mimebundle_(), raw=True, display_id=True))

    def _save(self) -> None:
        """Replace what the notebook keeps."""
        self._saved_at = time.monotonic()
        for place in self._places:
            place.update(self._repr_mimebundle_(), raw=True)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = cast(Any, super()._repr_mimebundle_(**kwargs))
        data = dict((bundle[0] if isinstance(bundle, tuple) else bundle) or {})
        if self.state != "running":
            data.pop("application/vnd.jupyter.widget-view+json", None)  # none is found without its kernel
        if not self._kept:
            return data | ({} if self.state == "running" else {"text/plain": self.state})
        page, picture = stills.run(self.key, self._kept[-1], self.history, self.state)
        return data | {"text/html": page, "image/png": picture, "text/plain": stills.words(self.history, self.state)}


def live(run: Run) -> Live:
    """Watch a run, as `latentflow.invert(…)` makes it, while it goes on in a thread: `live(invert("cat.png", "mse"))`.

    The cell ends at once, and the picture, the figures and the curves change below it. `wait()`, in a later cell, gives
    the result. Running the cell again stops what it began before, and so does watching the same run anew. Raises
    nothing; what breaks the run off is shown, and raised by `wait()`.
    """
    view, cell, execution = Live(run), *_place()
    with _WATCHING:
        for other, where, when in _watched:
            if other.run is run or (cell is not None and where == cell and when != execution):
                other.stop()
            if other.run is run:
                other._join()
                view._figures, view._kept = list(other._figures), list(other._kept)
        _watched[:] = [each for each in _watched if each[0].state == "running"] + [(view, cell, execution)]
    view.go_on()
    return view


_begun: weakref.WeakSet[Live] = weakref.WeakSet()


@atexit.register
def _end() -> None:
    """Stop what runs before Python ends: a thread that is cut off inside of torch aborts the process."""
    running = [view for view in _begun if view.state == "running"]
    for view in running:
        view.stop()
    for view in running:
        view._join()


_WATCHING = threading.Lock()
_watched: list[tuple[Live, str | None, str]] = []  # what runs, the cell that began it, and in which execution


def _place() -> tuple[str | None, str]:
    """The cell of a notebook that is executed, by its id or, where that isn't told, its text, and this execution's id;
    None outside of notebooks."""
    try:
        from IPython import get_ipython  # type: ignore[attr-defined]

        request = get_ipython().get_parent()
        cell = (request.get("metadata") or {}).get("cellId") or request["content"]["code"]
        return str(cell), str(request["header"]["msg_id"])
    except (ImportError, AttributeError, KeyError):
        return None, ""


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


def _smaller(pictures: Sequence[bytes]) -> Sequence[bytes]:
    """Pictures that fit into a notebook together."""
    scale = (LARGEST_SLIDER / sum(map(len, pictures))) ** 0.5
    if scale >= 1:
        return pictures
    opened = (Image.open(io.BytesIO(each)) for each in pictures)
    return [
        to_jpeg(np.asarray(each.resize((max(1, round(each.width * scale)), max(1, round(each.height * scale))))))
        for each in opened
    ]
