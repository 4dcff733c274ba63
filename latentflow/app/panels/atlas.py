"""Atlas: a folder as a map; a click decodes a picture, and adds it to the walk."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
import torch

from latentflow.app.panels.view import show_view
from latentflow.app.shows import Show
from latentflow.app.ui import attempt, figure, opened, state_of, watched, widget
from latentflow.app.visits import Upload, Visit
from latentflow.base.pixels import to_jpeg, to_uint8
from latentflow.latents.sources import read_anchors
from latentflow.pictures.folders import find_images
from latentflow.pictures.reader import Reader


def show() -> None:
    """Draw the panel."""
    show_view("atlas", _draw)


def _draw(atlas: Show) -> None:
    """The map, and the picture that was clicked."""
    if atlas.job.state != "done":
        watched(atlas)
        return
    state_of(atlas.job)
    page = next(address for name, address in atlas.files.items() if name.endswith(".html"))
    result = widget("atlas", {"address": f"{page}?show"}, f"atlas {atlas.folder.name}", on_picked_change=lambda: None)
    if getattr(result, "picked", None) is not None:
        _picked(atlas.visit, Path(atlas.sources[0]), str(result.picked))


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
