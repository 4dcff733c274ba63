"""Files that the browser fetches beside the page itself: pictures of a run as they come, files, pictures of moved
latents.

Everything has an address that can't be guessed and belongs to one visitor, with whom it goes. Addresses are relative
to a panel's, so that they hold under any path that a proxy serves the app at.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from latentflow.base.errors import LatentflowError
from latentflow.base.pixels import to_jpeg
from latentflow.page.facts import EXAMPLES, example_png
from latentflow.pictures.files import fit

if TYPE_CHECKING:
    from latentflow.app.jobs import Job

LOG = logging.getLogger(__name__)
ROOT = "latentflow"
FASTEST = 30.0  # pictures per second that are sent of a run, at most
THUMBNAIL = 160  # pixels
LOOK = 0.01  # seconds between looks for a newer one
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Shown:
    """The content of an address and its owner. The content is bytes with their type, a path, a job's pictures, or a
    function."""

    owner: str
    content: Any
    kind: str = ""


class Media:
    """The addresses, and the routes that answer for them."""

    def __init__(self) -> None:
        self._shown: dict[str, Shown] = {}

    def __len__(self) -> int:
        return len(self._shown)

    def file(self, owner: str, path: Path) -> str:
        """The address of a file, under its own name."""
        return f"{ROOT}/file/{self._add(Shown(owner, path))}/{path.name}"

    def picture(self, owner: str, jpeg: bytes) -> str:
        """The address of a picture."""
        return f"{ROOT}/picture/{self._add(Shown(owner, jpeg, 'image/jpeg'))}.jpg"

    def live(self, owner: str, job: Job, draw: Callable[[Any], np.ndarray], figures: Callable[[Any], Any]) -> str:
        """The address of the pictures of a job, newest only, as motion JPEG; each part has its figures as a header."""
        return f"{ROOT}/live/{self._add(Shown(owner, (job, draw, figures)))}"

    def decoder(self, owner: str, decode: Callable[[list[float]], np.ndarray]) -> str:
        """The address of a function from numbers, `?v=1,2`, to a picture."""
        return f"{ROOT}/decode/{self._add(Shown(owner, decode))}"

    def drop(self, owner: str, addresses: list[str] | None = None) -> None:
        """Forget all that a visitor has, or some of it."""
        keys = (
            None if addresses is None else {part.removesuffix(".jpg") for each in addresses for part in each.split("/")}
        )
        for key in [key for key, each in self._shown.items() if each.owner == owner and (keys is None or key in keys)]:
            del self._shown[key]

    def _add(self, shown: Shown) -> str:
        key = secrets.token_urlsafe(18)
        self._shown[key] = shown
        return key

    def routes(self, base: str = "") -> list[Any]:
        """The routes, for Starlette, below the path `base`."""
        from starlette.responses import FileResponse, Response, StreamingResponse
        from starlette.routing import Route

        def found(request: Any) -> Shown | None:
            return self._shown.get(request.path_params["key"].removesuffix(".jpg"))

        def missing() -> Response:
            return Response("It is no longer here.", 404, HEADERS)

        async def file(request: Any) -> Response:
            shown = found(request)
            if shown is None or not shown.content.is_file():
                return missing()
            headers = HEADERS | ({} if "show" in request.query_params else {"Content-Disposition": "attachment"})
            return FileResponse(shown.content, headers=headers)

        async def picture(request: Any) -> Response:
            shown = found(request)
            headers = HEADERS | {"Cache-Control": "private, max-age=3600"}
            return missing() if shown is None else Response(shown.content, headers=headers, media_type=shown.kind)

        async def decode(request: Any) -> Response:
            shown = found(request)
            if shown is None:
                return missing()
            try:
                values = [float(each) for each in request.query_params.get("v", "").split(",") if each]
                if not all(map(math.isfinite, values)):
                    raise ValueError("All values must be finite numbers.")
                pixels = await asyncio.to_thread(shown.content, values)
            except (ValueError, LatentflowError) as error:
                return Response(str(error), 400, HEADERS)
            return Response(to_jpeg(pixels), headers=HEADERS, media_type="image/jpeg")

        async def live(request: Any) -> Response:
            shown = found(request)
            if shown is None:
                return missing()
            return StreamingResponse(
                _pictures(*shown.content), headers=HEADERS, media_type="multipart/x-mixed-replace; boundary=frame"
            )

        async def sample(request: Any) -> Response:
            name = request.path_params["name"].removesuffix(".jpg")
            if name not in EXAMPLES:
                return missing()
            headers = HEADERS | {"Cache-Control": "public, max-age=3600"}
            return Response(await asyncio.to_thread(_thumbnail, name), headers=headers, media_type="image/jpeg")

        at = f"{base}/{ROOT}"
        return [
            Route(f"{at}/file/{{key}}/{{name}}", file),
            Route(f"{at}/picture/{{key}}", picture),
            Route(f"{at}/decode/{{key}}", decode),
            Route(f"{at}/live/{{key}}", live),
            Route(f"{at}/example/{{name}}", sample),
        ]


@cache
def _thumbnail(name: str) -> bytes:
    """One of the example pictures, small, as a JPEG."""
    return small_jpeg(Image.open(BytesIO(example_png(name))).convert("RGB"))


def small_jpeg(picture: Image.Image) -> bytes:
    """A picture as a JPEG with a longer side of at most `THUMBNAIL` and no side of less than a pixel."""
    return to_jpeg(np.asarray(fit(picture, THUMBNAIL)))


async def _pictures(job: Job, draw: Callable[[Any], np.ndarray], figures: Callable[[Any], Any]) -> AsyncIterator[bytes]:
    """The parts of a stream: the newest picture whenever there is a newer one, until the job has ended."""
    sent = 0
    loop = asyncio.get_running_loop()
    while True:
        going, version, newest = job.is_going_on, job.version, job.newest
        if version != sent and newest is not None:
            began = loop.time()
            try:
                jpeg = await asyncio.to_thread(lambda record: to_jpeg(draw(record)), newest)
            except Exception:  # a stream that breaks would be asked for again
                LOG.exception("A picture could not be drawn.")
                yield b"--frame--\r\n"
                return
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n"
            yield (head + f"X-Figures: {json.dumps(figures(newest))}\r\n\r\n").encode() + jpeg + b"\r\n"
            sent = version
            await asyncio.sleep(max(0.0, 1 / FASTEST - (loop.time() - began)))
        elif not going:
            yield b"--frame--\r\n"
            return
        else:
            await asyncio.sleep(LOOK)
