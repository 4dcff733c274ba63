"""Widgets as a notebook keeps them: HTML that needs neither a kernel nor the code of widgets."""

import base64
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from latentflow.widgets import script, style

WIDTH, HEIGHT = 800, 144  # pixels of the curves
COLORS = {"loss": "#b3402a", "psnr": "#2a6f8f"}  # as in the style sheet

Figures = Mapping[str, float]


def slider(key: str, pictures: Sequence[bytes], strip: bytes, given: Mapping[str, Any]) -> str:
    """A slider over JPEGs, with the `captions`, `index` and `fps` that are `given`; `strip`, a JPEG too, stands there
    where no scripts run. A widget under `key` hears what is shown, and may change it."""
    options = json.dumps({**given, "sources": [_address(each, "jpeg") for each in pictures]}).replace("<", "\\u003c")
    code = script("scrubber.js").replace("export function", "function")
    return (
        f'<div data-latentflow="{key}"><style>{style()}</style>'
        f'<div class="lf-place"><img src="{_address(strip, "jpeg")}" alt="Frames from the first to the last"></div>'
        f"<script>{{\n{code}\n{_CONNECTED % {'key': key, 'options': options}}}}</script></div>"
    )


_CONNECTED = """
const place = (document.currentScript?.parentNode ?? document.querySelector('[data-latentflow="%(key)s"]'))
  .querySelector(".lf-place");
const told = (name, index) => document.dispatchEvent(new CustomEvent(`latentflow:%(key)s:${name}`, { detail: index }));
const made = scrubber(place, { ...%(options)s, changed: (index) => told("changed", index) });
document.addEventListener("latentflow:%(key)s:show", (event) => made.show(event.detail));
"""


def run(key: str, picture: bytes, history: Sequence[Figures], state: str) -> tuple[str, bytes]:
    """The newest picture of a run, a JPEG, with its figures and curves: as HTML, and as one PNG. The HTML has a button
    that a widget under `key` shows."""
    from PIL import Image

    curves, said = _curves(history), html.escape(words(history, state))
    newest = Image.open(io.BytesIO(picture)).convert("RGB")
    both = Image.new("RGB", (max(newest.width, WIDTH), newest.height + 8 + HEIGHT), "white")
    both.paste(newest, (0, 0))
    both.paste(curves, (0, newest.height + 8), curves)
    legend = "".join(
        f'<span style="color: {COLORS[name]}">{label} {history[0][name]:.4g} → {history[-1][name]:.4g}{unit} </span>'
        for name, label, unit in (("loss", "loss", ""), ("psnr", "PSNR", " dB"))
    )
    button = f'<button type="button" data-latentflow-button="{key}" hidden>Go on</button>' if state == "stopped" else ""
    page = (
        f'<div class="lf lf-live" data-latentflow="{key}"><style>{style()}</style>'
        f'<img src="{_address(picture, "jpeg")}" alt="The picture after {history[-1]["index"]} steps">'
        f'<p class="lf-figures" role="status">{said}</p>'
        f'<img src="{_address(_png(curves), "png")}" alt="The curves of loss and PSNR" style="height: 72px">'
        f'<p class="lf-legend">{legend}</p>{button}</div>'
    )
    return page, _png(both)


def words(history: Sequence[Figures], state: str) -> str:
    """The last step of a run in words, and what has become of it."""
    last = history[-1]
    done = f"step {last['index']} of {last['total']} · loss {last['loss']:.4g} · {last['psnr']:.2f} dB"
    return done if state == "running" else f"{done} · {state}"


def _curves(history: Sequence[Figures]) -> Any:
    """The curves of loss, logarithmic where that is positive, and PSNR on a transparent ground."""
    from PIL import Image, ImageDraw

    large = Image.new("RGBA", (2 * WIDTH, 2 * HEIGHT))  # twice as large, for smooth lines
    draw = ImageDraw.Draw(large)
    across = [2 * WIDTH * each["index"] / max(1, each["total"]) for each in history]
    for name, color in COLORS.items():
        values = [each[name] for each in history]
        if name == "loss" and min(values) > 0:
            values = [math.log10(each) for each in values]
        finite = [each for each in values if math.isfinite(each)] or [0.0]
        low, spread = min(finite), max(finite) - min(finite)
        high = [(1 - (min(max(each, low), low + spread) - low) / spread) if spread else 0.5 for each in values]
        places = [(x, 4 + y * (2 * HEIGHT - 8)) for x, y in zip(across, high) if math.isfinite(y)]
        if len(places) > 1:
            draw.line(places, fill=color, width=5, joint="curve")
    return large.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _png(picture: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _address(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
