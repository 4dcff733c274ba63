"""Concept: a direction between two groups of images, and an image moved along it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
import torch

from latentflow.app.fields import form
from latentflow.app.shows import Show
from latentflow.app.ui import (
    begin,
    choose_folder,
    choose_images,
    controls_and_stage,
    opened,
    show_line,
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


def show() -> None:
    """Draw the panel."""
    visit = this_visit()
    controls, stage = controls_and_stage()
    with controls:
        with_it, _ = choose_folder(visit, "concept_with", "Images with it", whole=False)
        without, _ = choose_folder(visit, "concept_without", "Images without", whole=False)
        images = choose_images(visit, "concept", "Image to move")
        values = form("concept", ConceptConfig, ("whiten", "size"))
        ready = all(folder is not None and len(list(folder.iterdir())) >= MIN_IMAGES for folder in (with_it, without))
        if not ready:
            st.caption(f"At least {MIN_IMAGES} images on each side.")
        if st.button("Find the direction", type="primary", disabled=not ready, key="concept_start", width="stretch"):
            folders: dict[str, Any] = {"positive": str(with_it), "negative": str(without)}
            config = partial(ConceptConfig, **folders, **values, **visit.studio.reading)
            names = {folders["positive"]: "with", folders["negative"]: "without"}
            begin("concept", lambda: Show(visit, "concept", [], config(), names))
    with stage:
        concept: Show | None = visit.things.get("concept")
        if concept is None:
            st.subheader("From images without something to images with it")
            st.write("The difference of the mean latents is a direction; the slider moves an image along it.")
            return
        watched(concept)
        if concept.job.state != "done":
            return
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
