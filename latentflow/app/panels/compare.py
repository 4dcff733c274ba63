"""Compare: the same start and the same image under several losses."""

from __future__ import annotations

import secrets
from functools import partial

import streamlit as st

from latentflow import losses
from latentflow.app.fields import form, offered, suffix_field
from latentflow.app.shows import Show
from latentflow.app.ui import (
    begin,
    choose_images,
    controls_and_stage,
    show_line,
    this_visit,
    watched,
)
from latentflow.base.options import MAX_SEED
from latentflow.runs.compare import rows
from latentflow.runs.config import CompareConfig

SIGHT = ("steps", "size", "seed")


def show() -> None:
    """Draw the panel."""
    visit = this_visit()
    controls, stage = controls_and_stage()
    with controls:
        images = choose_images(visit, "compare", "Image to become")
        chosen = st.multiselect(
            "Losses", losses.names(), CompareConfig.losses.split(","), accept_new_options=True, key="compare_losses"
        )
        values = form("compare", CompareConfig, SIGHT, [each for each in offered(CompareConfig) if each not in SIGHT])
        values |= suffix_field("compare", CompareConfig)
        if values["seed"] is None:  # chosen here, so that the line to copy has it
            values["seed"] = secrets.randbelow(MAX_SEED + 1)
        if st.button("Compare", type="primary", disabled=not (images and chosen), key="compare_start", width="stretch"):
            path, name = str(images[-1].path), images[-1].name
            config = partial(CompareConfig, image_path=path, losses=",".join(chosen), **values, **visit.studio.reading)
            begin("compare", lambda: Show(visit, "compare", [], config(), {path: name}))
    with stage:
        compared: Show | None = visit.things.get("compare")
        if compared is None:
            st.subheader("What each loss sees")
            st.write("Choose an image and several losses: all begin with the same latent, and take the same steps.")
            return
        watched(compared)
        if compared.job.state == "done":
            head, body = rows(compared.report.figures)
            st.table([dict(zip(head, row)) for row in body])
        show_line(compared.line())
