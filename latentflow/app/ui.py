"""Parts that the panels share: the page's frame, the choice of images, widgets, lines to copy, downloads."""

from __future__ import annotations

import html
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial, wraps
from importlib.resources import files
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components import v2
from streamlit.errors import FragmentHandledException
from streamlit.runtime.scriptrunner import get_script_run_ctx

from latentflow.app.jobs import bug, one_line
from latentflow.app.media import ROOT
from latentflow.app.visits import SUFFIXES, Upload, Visit, plain, the_studio
from latentflow.base.errors import LatentflowError
from latentflow.page.facts import EXAMPLES, example_png
from latentflow.widgets import script, style

TYPES = [suffix.removeprefix(".") for suffix in SUFFIXES]
OWN = "the folder of this app"


def this_visit() -> Visit:
    """The visit of the page that is drawn: the one that its address names, or a new one."""
    context = get_script_run_ctx()
    assert context is not None
    studio = the_studio()
    asked = st.session_state.get("visit") or st.query_params.get("run", "")
    visit = studio.find(asked) or studio.new_visit()
    if asked and visit.owner != asked:
        st.info("Nothing is kept at this address any more: the page was closed for too long, or the app began anew.")
    st.session_state.visit = visit.owner
    visit.windows.add(context.session_id)
    return visit


def guarded(draw: Callable[..., Any]) -> Callable[..., None]:
    """The same function, but its errors are shown in a line where it draws, and end nothing else."""

    @wraps(draw)
    def drawn(*args: Any) -> None:
        try:
            draw(*args)
        except FragmentHandledException:
            raise
        except LatentflowError as error:
            st.error(one_line(error))
        except Exception as error:
            st.error(bug(error))

    return drawn


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
    """The images that are uploaded or chosen from the examples, one or several of each; a page that is loaded anew has
    those of before."""
    is_new = f"{key}_files" not in st.session_state  # to Streamlit: it has forgotten what it held
    given = st.file_uploader(label, TYPES, accept_multiple_files=several, key=f"{key}_files")
    found = list(given) if isinstance(given, list) else [given] if given else []
    before: list[Upload] = visit.uploads.get(key, []) if is_new else st.session_state.get(f"{key}_before", [])
    if found and not several:
        before = []
    if before and st.button(f"Remove {before[0].name if len(before) == 1 else 'earlier uploads'}", key=f"{key}_clear"):
        before = []
    st.session_state[f"{key}_before"] = before
    uploads = visit.uploads[key] = [*before, *take_all(visit, found)]
    names = st.pills(
        "or examples",
        list(EXAMPLES),
        selection_mode="multi" if several else "single",
        format_func=lambda name: f"![]({ROOT}/example/{name}.jpg) {name}",
        key=f"{key}_examples",
    )
    chosen = names if isinstance(names, list) else [names] if names else []
    uploads = [*uploads, *(example(visit, name) for name in chosen)]
    thumbnails(uploads)
    return uploads


def choose_folder(visit: Visit, key: str, label: str, *, whole: bool = True) -> tuple[Path | None, str]:
    """A folder of images, uploaded `whole` or image by image, or the app's own, and what it is called; a page that is
    loaded anew has the one of before."""
    own = visit.studio.config.folder
    if whole and own and st.radio(label, [OWN, "upload one"], key=f"{key}_which") == OWN:
        return Path(own).expanduser(), own
    is_new = f"{key}_files" not in st.session_state  # to Streamlit: it has forgotten what it held
    files = st.file_uploader(label, TYPES, accept_multiple_files="directory" if whole else True, key=f"{key}_files")
    folders: dict[tuple[str, ...], Path] = visit.things.setdefault(f"{key}_folders", {})
    if not files:
        if is_new:  # what the page had before it was loaded anew
            st.session_state[f"{key}_before"] = next(reversed(folders.values()), None)
        before = st.session_state.get(f"{key}_before")
        if before is not None:
            st.caption(f"Those of before: {before.name}")
        return before, before.name if before else ""
    st.session_state[f"{key}_before"] = None
    ids = tuple(file.file_id for file in files)
    if ids not in folders:
        folders[ids] = visit.new_folder() / plain(files[0].name.rpartition("/")[0] or label)
        folders[ids].mkdir()
    take_all(visit, files, folders[ids])
    return folders[ids], folders[ids].name


def thumbnails(uploads: Sequence[Upload], most: int = 6) -> None:
    """Small pictures with their names."""
    if not uploads:
        return
    shown = "".join(figure(upload.thumbnail, upload.name) for upload in uploads[:most])
    more = f"<p>and {len(uploads) - most} more</p>" if len(uploads) > most else ""
    st.html(f'<div class="thumbnails">{shown}{more}</div>')


def figure(address: str, words: str) -> str:
    """A picture with its name as HTML; unlike Streamlit's, of any shape."""
    name = html.escape(words)
    return f'<figure><img src="{address}" alt="{name}"><figcaption>{name}</figcaption></figure>'


def controls_and_stage() -> tuple[Any, AbstractContextManager[Any]]:
    """The two parts of a panel; on a narrow page, where they are below each other, the stage comes first, and comes
    into view when something begins."""
    controls, stage = st.columns([1, 2.2], gap="large")
    return controls, _stage(stage.container(key="stage"))


@contextmanager
def _stage(container: Any) -> Iterator[Any]:
    with container:
        data = {"begun": st.session_state.get("begun", ""), "run": st.session_state.get("visit", "")}
        widget("look", data, "look")
        yield container


def look() -> None:
    """Bring the stage into view, where it isn't."""
    st.session_state.begun = secrets.token_hex(4)


def take_all(visit: Visit, found: Sequence[Any], folder: Path | None = None) -> list[Upload]:
    """The images among uploaded files; every other file is reported in a line."""
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
    """Return the result of `work` and an empty text, or None and a line that says what is wrong."""
    try:
        return work(), ""
    except LatentflowError as error:
        return None, one_line(error)


def show_line(line: str) -> None:
    """The command line that makes the same, to copy."""
    st.caption("The same on the command line")
    st.code(line, language=None, wrap_lines=True)  # the colors of a language are too pale


def downloads(addresses: dict[str, str]) -> None:
    """Links to files."""
    links = " ".join(f'<a href="{address}" download>{html.escape(name)}</a>' for name, address in addresses.items())
    if links:
        st.html(f'<p class="downloads">Download: {links}</p>')


def state_of(job: Any) -> None:
    """Say how a job stands, if it isn't done."""
    if job.state == "waiting":
        st.info(the_studio().jobs.state(job))
    elif job.state == "failed":
        st.error(job.error)
    elif job.state == "stopped" and job.error:
        st.warning(job.error)
    for line in dict.fromkeys(job.said):
        st.caption(line)


def state_while_waiting(job: Any) -> None:
    """Say how a job stands; while it waits, the place in the queue is kept up to date."""
    waits = job.state == "waiting"
    st.fragment(_waiting, run_every=1.0 if waits else None)(job, waits)


def _waiting(job: Any, waited: bool) -> None:
    if waited and job.state != "waiting":
        st.rerun()
    state_of(job)


def begin(key: str, make: Callable[[], Any]) -> None:
    """Show what `make` begins from now on, and end what was shown before it; or say what is wrong."""
    things = this_visit().things
    before = things.get(key)
    made, problem = attempt(make)
    if problem:
        st.error(problem)
        return
    if before is not None:
        before.close()
    things[key] = made
    look()


def opened(visit: Visit, key: tuple[Any, ...], make: Callable[[], str]) -> tuple[str, str]:
    """The address that `make` gave for a key, and an empty text, or what is wrong; the one of the kind before it is
    forgotten."""
    known: dict[str, tuple[Any, str]] = visit.things.setdefault("addresses", {})
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
    state_while_waiting(show.job)
    if going or show.job.newest is not None:
        data = {
            "live": show.live if going else "",
            "history": [],
            "state": show.job.progress if going else "",
            "picture": show.picture(),
        }
        widget("run", data, f"{show.command} {show.folder.name}", on_ended_change=lambda: None)
    for name, address in show.files.items():
        if name.endswith((".png", ".svg", ".gif", ".webp")):
            st.html(f'<img src="{address}?show" alt="{html.escape(name)}" class="shown">')
    downloads(show.files)
    lines = getattr(show.report, "lines", ())
    if lines:
        st.code("\n".join(lines), language=None)
