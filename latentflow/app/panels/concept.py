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
from latentflow.errors import InputError
from latentflow.explore.concept.run import MIN_IMAGES, read_concept
from latentflow.explore.config import ConceptConfig
from latentflow.latents.sources import read_anchors
from latentflow.pictures.files import to_uint8
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
            config = ConceptConfig(positive=positive, negative=negative, whiten=whiten, size=SIZE)
            names = {positive: "with", negative: "without"}
            begin("concept", lambda: Show(visit, "concept", [], config, names))
    with stage:
        concept: Show | None = st.session_state.get("concept")
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
    files = st.file_uploader(label, TYPES, accept_multiple_files=True, key=f"concept_{key}")
    known: dict[tuple[str, ...], Path] = st.session_state.setdefault(f"concept_folders_{key}", {})
    ids = tuple(file.file_id for file in files)
    if ids not in known:
        folder = visit.new_folder() / key
        folder.mkdir()
        known[ids] = folder
    return known[ids], len(take_all(visit, files, known[ids]))


def _decoder(visit: Visit, path: Path, image: Upload) -> str:
    """The address of an image moved along a saved direction."""
    autoencoder = visit.studio.load().autoencoder
    concept = read_concept(path, autoencoder)
    anchors = read_anchors([str(image.path)], autoencoder, concept.size[0], "cover", Reader())

    def decode(values: list[float]) -> np.ndarray:
        if len(values) != 1:
            raise InputError(f"One value is wanted, not {len(values)}.")
        with torch.no_grad():
            return to_uint8(autoencoder.decode(anchors.latents + values[0] * concept.direction, concept.size))

    return visit.studio.media.decoder(visit.owner, decode)
