"""Concept: a direction between two groups of images, and an image moved along it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st
import torch

from latentflow.app.shows import Show
from latentflow.app.ui import (
    TYPES,
    begin,
    choose_images,
    controls_and_stage,
    opened,
    show_line,
    take_all,
    this_visit,
    watched,
    widget,
)
from latentflow.app.visits import Upload, Visit
from latentflow.base.errors import InputError
from latentflow.base.pixels import to_uint8
from latentflow.explore.concept.run import MIN_IMAGES, read_concept
from latentflow.explore.config import ConceptConfig
from latentflow.latents.sources import read_anchors
from latentflow.pictures.reader import Reader

SIZE = 128


def show() -> None:
    """Draw the panel."""
    visit = this_visit()
    controls, stage = controls_and_stage()
    with controls:
        groups = [
            _group(visit, key, label) for key, label in (("with", "Images with it"), ("without", "Images without"))
        ]
        images = choose_images(visit, "concept", "Image to move")
        whiten = st.toggle("Whiten", key="concept_whiten", help="Weight by the inverse covariance of the latents.")
        ready = all(count >= MIN_IMAGES for _, count in groups)
        if not ready:
            st.caption(f"At least {MIN_IMAGES} images on each side.")
        if st.button("Find the direction", type="primary", disabled=not ready, key="concept_start", width="stretch"):
            positive, negative = (str(folder) for folder, _ in groups)
            config = ConceptConfig(
                positive=positive, negative=negative, whiten=whiten, size=SIZE, **visit.studio.reading
            )
            names = {positive: "with", negative: "without"}
            begin("concept", lambda: Show(visit, "concept", [], config, names))
    with stage:
        concept: Show | None = visit.things.get("concept")
        if concept is None:
            st.subheader("From images without something to images with it")
            st.write("The difference of the mean latents is a direction; the slider moves an image along it.")
            return
        watched(concept)
        if concept.job.state != "done":
            return
        for line in concept.report.lines:
            st.caption(line)
        if images:
            image = images[-1]
            path = concept.path(".safetensors")
            key = ("concept", str(path), str(image.path))
            address, problem = opened(visit, key, lambda: _decoder(visit, path, image))
            if problem:
                st.error(problem)
                return
            reach = 2 * max(map(abs, read_concept(path, visit.studio.load().autoencoder).strengths()))
            sliders = [{"label": "strength", "low": -reach, "high": reach, "step": reach / 100, "value": 0}]
            widget(
                "sliders",
                {"address": address, "sliders": sliders},
                f"concept {address[-6:]}",
                on_values_change=lambda: None,
            )
        else:
            st.caption("Choose an image to move along it.")
        show_line(concept.line())


def _group(visit: Visit, key: str, label: str) -> tuple[Path, int]:
    """A folder of uploaded images and their number; a page that is loaded anew has those of before."""
    name = f"concept_{key}"
    is_new = name not in st.session_state  # to Streamlit: it has forgotten what it held
    files = st.file_uploader(label, TYPES, accept_multiple_files=True, key=name)
    if not files:
        if is_new:
            st.session_state[f"{name}_before"] = visit.things.get(name)
        before: tuple[Path, int] | None = st.session_state.get(f"{name}_before")
        if before is None:
            return Path(), 0
        st.caption(f"{before[1]} images of before")
        return before
    st.session_state[f"{name}_before"] = None
    folders: dict[tuple[str, ...], Path] = visit.things.setdefault(f"{name}_folders", {})
    ids = tuple(file.file_id for file in files)
    if ids not in folders:
        folders[ids] = visit.new_folder() / key
        folders[ids].mkdir()
    group = visit.things[name] = folders[ids], len(take_all(visit, files, folders[ids]))
    return group


def _decoder(visit: Visit, path: Path, image: Upload) -> str:
    """The address of an image moved along a saved direction."""
    autoencoder = visit.studio.load().autoencoder
    concept = read_concept(path, autoencoder)
    anchors = read_anchors([str(image.path)], autoencoder, concept.size[0], "cover", Reader(visit.studio.config))

    def decode(values: list[float]) -> np.ndarray:
        if len(values) != 1:
            raise InputError(f"One value is wanted, not {len(values)}.")
        with torch.no_grad():
            return to_uint8(autoencoder.decode(anchors.latents + values[0] * concept.direction, concept.size))

    return visit.studio.media.decoder(visit.owner, decode)
