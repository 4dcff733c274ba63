"""Atlas: a folder as a map; a click decodes a picture, and adds it to the walk."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
import torch

from latentflow.app.shows import Show
from latentflow.app.ui import (
    TYPES,
    attempt,
    begin,
    controls_and_stage,
    figure,
    opened,
    show_line,
    state_of,
    take_all,
    this_visit,
    watched,
    widget,
)
from latentflow.app.visits import Upload, Visit, plain
from latentflow.base.pixels import to_jpeg, to_uint8
from latentflow.explore.config import AtlasConfig
from latentflow.latents.sources import read_anchors
from latentflow.pictures.folders import find_images
from latentflow.pictures.reader import Reader

OWN = "the folder of this app"


def show() -> None:
    """Draw the panel."""
    visit = this_visit()
    controls, stage = controls_and_stage()
    with controls:
        folder, names = _folder(visit)
        method = st.segmented_control("Layout", ["pca", "umap"], default="pca", key="atlas_method")
        if st.button("Draw the atlas", type="primary", disabled=folder is None, key="atlas_start", width="stretch"):
            config = AtlasConfig(method=method or "pca", size=128, **visit.studio.reading)
            begin("atlas", lambda: Show(visit, "atlas", [str(folder)], config, {str(folder): names}))
    with stage:
        atlas: Show | None = visit.things.get("atlas")
        if atlas is None:
            st.subheader("A folder as a map")
            st.write("Choose a folder: pictures that the autoencoder takes for similar lie side by side.")
            return
        if atlas.job.state != "done":
            watched(atlas)
            return
        state_of(atlas.job)
        page = next(address for name, address in atlas.files.items() if name.endswith(".html"))
        result = widget(
            "atlas", {"address": f"{page}?show"}, f"atlas {atlas.folder.name}", on_picked_change=lambda: None
        )
        if getattr(result, "picked", None) is not None:
            _picked(visit, Path(atlas.sources[0]), str(result.picked))
        show_line(atlas.line())


def _folder(visit: Visit) -> tuple[Path | None, str]:
    """The folder to draw, and what it is called."""
    own = visit.studio.config.folder
    chosen = st.radio("Folder", [OWN, "upload one"], key="atlas_which") if own else "upload one"
    if own and chosen == OWN:
        return Path(own).expanduser(), own
    is_new = "atlas_files" not in st.session_state  # to Streamlit: it has forgotten what it held
    files = st.file_uploader("Folder of images", TYPES, accept_multiple_files="directory", key="atlas_files")
    if not files:
        if is_new:  # what the page had before it was loaded anew
            st.session_state.atlas_before = next(reversed(visit.things.get("atlas_folders", {}).values()), None)
        before = st.session_state.get("atlas_before")
        if before is not None:
            st.caption(f"The folder of before: {before.name}")
        return before, before.name if before else ""
    st.session_state.atlas_before = None
    key = tuple(file.file_id for file in files)
    known: dict[tuple[str, ...], Path] = visit.things.setdefault("atlas_folders", {})
    if key not in known:
        name = files[0].name.rpartition("/")[0].rpartition("/")[2]
        known[key] = visit.new_folder() / plain(name or "images")
        known[key].mkdir()
    take_all(visit, files, known[key])
    return known[key], known[key].name


def _picked(visit: Visit, folder: Path, name: str) -> None:
    """The picture that was clicked, beside what the autoencoder makes of it."""
    paths = {str(path.relative_to(folder)): path for path in find_images(folder).paths}
    if name not in paths:  # the folder has changed, or the name isn't in the atlas
        return
    path = paths[name]
    upload, problem = attempt(lambda: visit.take(path.name, path.read_bytes(), f"{path} {path.stat().st_mtime}"))
    if upload is None:
        st.error(problem)
        return
    left, right, more = st.columns([1, 1, 1.2])
    left.html(figure(upload.thumbnail, upload.name))
    address, problem = opened(visit, ("decoded", str(upload.path)), lambda: _decoded(visit, upload))
    if problem:
        right.error(problem)
    else:
        right.html(figure(address, "decoded from its latent"))
    anchors: list[Upload] = visit.things.setdefault("anchors", [])
    if more.button("Add to the walk", key="atlas_add", disabled=upload in anchors):
        anchors.append(upload)
        st.rerun()
    more.caption(f"{len(anchors)} in the walk" if anchors else "")


def _decoded(visit: Visit, upload: Upload) -> str:
    autoencoder = visit.studio.load().autoencoder
    anchors = read_anchors([str(upload.path)], autoencoder, 160, "contain", Reader(visit.studio.config))
    with torch.no_grad():
        pixels = to_uint8(autoencoder.decode(anchors.latents, anchors.size))
    return visit.studio.media.picture(visit.owner, to_jpeg(pixels))
