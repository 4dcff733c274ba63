"""What the panels share: the page's frame, the choice of images, widgets, lines to copy, downloads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components import v2
from streamlit.runtime.scriptrunner import get_script_run_ctx

from latentflow.app.jobs import one_line
from latentflow.app.visits import SUFFIXES, Upload, Visit, the_studio
from latentflow.errors import LatentflowError
from latentflow.page.facts import EXAMPLES, example_png
from latentflow.widgets import script, style

TYPES = [suffix.removeprefix(".") for suffix in SUFFIXES]
SIZES = (64, 96, 128, 192, 256, 384, 512)


def this_visit() -> Visit:
    """The visit of the page that is drawn."""
    context = get_script_run_ctx()
    assert context is not None
    return the_studio().visit(context.session_id)


def _read(name: str) -> str:
    return files("latentflow.app").joinpath(name).read_text(encoding="utf-8")


def page_style() -> None:
    """Give the page its looks."""
    st.html(f"<style>{_read('page.css')}</style>")


def widget(name: str, data: dict[str, Any], key: str, **changes: Any) -> Any:
    """One of the functions in widgets.js, with what it is to show; its state and triggers come back."""
    code = script("scrubber.js", "live.js", "midi.js") + "\n" + _read("widgets.js")
    code = code.replace("export function", "function") + f"\nexport default {name}Widget;\n"
    return v2.component(f"latentflow_{name}", js=code, css=style() + _read("widgets.css"))(
        data=data, key=key, **changes
    )


def choose_images(visit: Visit, key: str, label: str, *, several: bool = False) -> list[Upload]:
    """The images that are uploaded or chosen from the examples, one or several of each."""
    given = st.file_uploader(label, TYPES, accept_multiple_files=several, key=f"{key}_files")
    found = list(given) if isinstance(given, list) else [given] if given else []
    uploads = take_all(visit, found)
    names = st.pills(
        "or examples", list(EXAMPLES), selection_mode="multi" if several else "single", key=f"{key}_examples"
    )
    chosen = names if isinstance(names, list) else [names] if names else []
    uploads += [example(visit, name) for name in chosen]
    if uploads:
        shown = uploads[:6]
        with st.container(horizontal=True):
            for upload in shown:
                st.image(upload.thumbnail, caption=upload.name if len(upload.name) < 18 else None, width=104)
    return uploads


def controls_and_stage() -> tuple[Any, Any]:
    """The two parts of a panel; on a narrow page, where they are below each other, the stage comes first."""
    controls, stage = st.columns([1, 2.2], gap="large")
    return controls, stage.container(key="stage")


def take_all(visit: Visit, found: Sequence[Any], folder: Path | None = None) -> list[Upload]:
    """The images among uploaded files; what is none is said in a line each."""
    taken = []
    for file in found:
        content = file.getvalue()
        upload, problem = attempt(partial(visit.take, file.name, content, file.file_id, folder))
        if upload is not None:
            taken.append(upload)
        else:
            st.error(problem)
    return taken


def example(visit: Visit, name: str) -> Upload:
    """One of the pictures that are drawn by code."""
    return visit.take(f"{name}.png", example_png(name), f"example {name}")


def attempt(work: Callable[[], Any]) -> tuple[Any, str]:
    """What `work` gives and an empty text, or None and the line that says what is wrong."""
    try:
        return work(), ""
    except LatentflowError as error:
        return None, one_line(error)


def show_line(line: str) -> None:
    """The command line that makes the same, to copy."""
    st.caption("The same on the command line")
    st.code(line, language="bash", wrap_lines=True)


def downloads(addresses: dict[str, str]) -> None:
    """Links to files."""
    links = " ".join(f'<a href="{address}" download>{name}</a>' for name, address in addresses.items())
    if links:
        st.html(f'<p class="downloads">Download: {links}</p>')


def state_of(job: Any) -> None:
    """Say how a job stands, if it isn't done."""
    jobs = the_studio().jobs
    if job.state == "waiting":
        st.info(f"Waiting for its turn, {jobs.place(job)} before it.")
    elif job.state == "failed":
        st.error(job.error)
    elif job.state == "stopped" and job.error:
        st.warning(job.error)
    for line in dict.fromkeys(job.said):
        st.caption(line)


def begin(key: str, make: Callable[[], Any]) -> None:
    """Show what `make` begins from now on, and end what was shown before it; or say what is wrong."""
    made, problem = attempt(make)
    if problem:
        st.error(problem)
        return
    before = st.session_state.get(key)
    if before is not None:
        before.close()
    st.session_state[key] = made


def opened(visit: Visit, key: tuple[Any, ...], make: Callable[[], str]) -> tuple[str, str]:
    """The address that `make` gave for a key, and an empty text, or what is wrong; the one of the kind before it is
    forgotten."""
    known: dict[str, tuple[Any, str]] = st.session_state.setdefault("addresses", {})
    kind = str(key[0])
    if known.get(kind, (None, ""))[0] != key:
        address, problem = attempt(make)
        if address is None:
            return "", problem
        if kind in known:
            visit.studio.media.drop(visit.owner, [known[kind][1]])
        known[kind] = (key, address)
    return known[kind][1], ""


def watched(show: Any) -> None:
    """A view or a comparison while it is computed, and its files when it is done."""
    going = show.job.is_going_on
    state_of(show.job)
    if going or show.job.newest is not None:
        data = {
            "live": show.live if going else "",
            "history": [],
            "state": show.job.progress if going else "",
            "picture": show.picture(),
        }
        widget("run", data, f"{show.command} {show.folder.name}", on_ended_change=lambda: None)
    for name, address in show.files.items():
        if name.endswith((".png", ".svg")):
            st.html(f'<img src="{address}?show" alt="{name}" class="shown">')
    downloads(show.files)
