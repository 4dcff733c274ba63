"""Channels: what each channel of a latent holds, by moving it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import streamlit as st
import torch

from latentflow.app.panels.view import choose_options
from latentflow.app.shows import Show
from latentflow.app.ui import (
    begin,
    choose_images,
    controls_and_stage,
    example,
    opened,
    show_line,
    this_visit,
    watched,
    widget,
)
from latentflow.app.visits import Upload, Visit
from latentflow.base.errors import InputError
from latentflow.base.options import command_line
from latentflow.base.pixels import to_uint8
from latentflow.explore.views import VIEWS
from latentflow.latents.directions import smooth_directions, with_norm_of
from latentflow.latents.sources import read_anchors
from latentflow.page.facts import EXAMPLES
from latentflow.pictures.reader import Reader
from latentflow.sound.midi import AXES, PITCHES
from latentflow.sound.motions import REACH


def show() -> None:
    """Draw the panel."""
    visit = this_visit()
    controls, stage = controls_and_stage()
    with controls:
        images = choose_images(visit, "channels", "Image to take apart")
        config = choose_options(visit, VIEWS["channels"])()
        if st.button("Draw all channels", disabled=not images, key="channels_start", width="stretch"):
            image = images[-1]
            begin("channels", lambda: Show(visit, "channels", [str(image.path)], config, {str(image.path): image.name}))
    with stage:
        if not images:
            st.subheader("What a channel holds")
            st.write(
                "Choose an image and drag the sliders: each moves one channel of its latent, in all places. A MIDI "
                "controller moves them too, and its keys other directions. Here is an example:"
            )
        image = images[-1] if images else example(visit, next(iter(EXAMPLES)))
        address, problem = opened(
            visit, ("channels", str(image.path), config.size), lambda: _decoder(visit, image, config.size)
        )
        if problem:
            st.error(problem)
            return
        count = visit.studio.load().autoencoder.geometry.channels
        sliders = [
            {"label": f"channel {number}", "low": -config.reach, "high": config.reach, "step": 0.05, "value": 0}
            for number in range(count)
        ]
        widget(
            "sliders",
            {"address": address, "sliders": sliders, "midi": True},
            f"channels {address[-6:]}",
            on_values_change=lambda: None,
        )
        named = replace(config, **visit.studio.named(config))
        show_line(command_line("channels", [str(image.path)], named, {str(image.path): image.name}))
        if visit.things.get("channels") is not None:
            watched(visit.things["channels"])


def _decoder(visit: Visit, image: Upload, size: int) -> str:
    """The address of the image with its channels moved, then along the directions of the MIDI keys, if their levels in
    [0, 1] follow; raises `InputError` for what can't be read."""
    autoencoder = visit.studio.load().autoencoder
    anchors = read_anchors([str(image.path)], autoencoder, size, "contain", Reader(visit.studio.config))

    @cache
    def directions() -> torch.Tensor:
        return smooth_directions(tuple(anchors.latents.shape), PITCHES + len(AXES), 0)[:PITCHES].to(anchors.latents)

    def decode(values: list[float]) -> np.ndarray:
        channels = anchors.latents.shape[1]
        if len(values) not in (channels, channels + PITCHES):
            raise InputError(f"{channels} values are wanted, and {PITCHES} of keys, not {len(values)}.")
        offsets, levels = (torch.tensor(each).to(anchors.latents) for each in (values[:channels], values[channels:]))
        with torch.no_grad():
            moved = anchors.latents + offsets.view(1, -1, 1, 1)
            if len(levels):
                played = REACH * torch.einsum("k,kchw->chw", levels, directions())
                moved = with_norm_of(moved + played, moved)
            return to_uint8(autoencoder.decode(moved, anchors.size))

    return visit.studio.media.decoder(visit.owner, decode)
