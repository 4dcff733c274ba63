"""Compare: the same start and the same image under several losses."""

from __future__ import annotations

import streamlit as st

from latentflow import losses
from latentflow.app.shows import Show
from latentflow.app.ui import (
    SIZES,
    begin,
    choose_images,
    controls_and_stage,
    show_line,
    this_visit,
    watched,
)
from latentflow.base.options import MAX_SEED
from latentflow.runs.config import CompareConfig


def show() -> None:
    """Draw the panel."""
    visit = this_visit()
    controls, stage = controls_and_stage()
    with controls:
        images = choose_images(visit, "compare", "Image to become")
        chosen = st.multiselect("Losses", losses.names(), ["mse", "l1"], accept_new_options=True, key="compare_losses")
        left, right = st.columns(2)
        steps = left.number_input("Steps", 1, 10_000, 50, key="compare_steps")
        size = right.selectbox("Longer side", SIZES, index=SIZES.index(128), key="compare_size")
        seed = st.number_input("Seed", 0, MAX_SEED, 0, key="compare_seed")
        if st.button("Compare", type="primary", disabled=not (images and chosen), key="compare_start", width="stretch"):
            image = images[-1]
            begin(
                "compare",
                lambda: Show(
                    visit,
                    "compare",
                    [],
                    CompareConfig(
                        image_path=str(image.path),
                        losses=",".join(chosen),
                        steps=int(steps),
                        size=size,
                        seed=int(seed),
                        **visit.studio.reading,
                    ),
                    {str(image.path): image.name},
                ),
            )
    with stage:
        compared: Show | None = visit.things.get("compare")
        if compared is None:
            st.subheader("What each loss sees")
            st.write("Choose an image and several losses: all begin with the same latent, and take the same steps.")
            return
        watched(compared)
        if compared.job.state == "done":
            head, rows = compared.report.rows()
            st.table([dict(zip(head, row)) for row in rows])
        show_line(compared.line())
