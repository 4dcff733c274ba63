"""Prompts: pictures from words, and the walk between them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import streamlit as st

from latentflow.app.fields import field, form, suffix_field
from latentflow.app.prompted import Prompted
from latentflow.app.ui import begin, controls_and_stage, downloads, guarded, show_line, state_of, this_visit, widget
from latentflow.prompts.config import PromptsConfig

EXAMPLE = "a red house by day@1\nthree yellow flowers@4\na blue street at night@2"
WALK, STEPS = ("loop", "even", "frames", "steps"), ("shown", "steps")
MORE = ("guidance", "scheduler", "size", "embeddings", "caption", "fps", "hold", "bounce", "palette")


def show() -> None:
    """Draw the panel."""
    visit = this_visit()
    controls, stage = controls_and_stage()
    with controls:
        text = st.text_area(
            "Prompts, one a line; @7 is the seed of its noise", EXAMPLE, height=120, key="prompts_words"
        )
        texts = [line.strip() for line in (text or "").splitlines() if line.strip()]
        values: dict[str, Any] = {"show_steps": field("prompts", PromptsConfig, "show_steps")}
        walks = not values["show_steps"]
        values |= form("prompts", PromptsConfig, WALK if walks else STEPS, MORE)
        values |= suffix_field("prompts", PromptsConfig)
        missing = find_spec("transformers") is None
        if missing:
            st.warning("Prompts need the package transformers: pip install 'latentflow[prompts]'")
        enough = len(texts) >= (2 if walks else 1) and not missing
        if st.button("Generate", type="primary", disabled=not enough, key="prompts_start", width="stretch"):
            begin("prompted", lambda: Prompted(visit, texts, PromptsConfig(**values)))
    with stage:
        prompted: Prompted | None = visit.things.get("prompted")
        if prompted is None:
            st.subheader("Pictures from words")
            st.write(
                "Write prompts and press Generate: you see the pictures between them, or how each comes out of noise. "
                f"They are made by {visit.studio.model_words()}."
            )
            return
        going = prompted.job.is_going_on
        st.fragment(guarded(_follow), run_every=1.0 if going else None)(prompted, going)
        show_line(prompted.line())


def _follow(prompted: Prompted, was_going: bool) -> None:
    """The pictures so far under a slider, or the steps as a grid, and the files when all are there."""
    going = prompted.job.is_going_on
    state_of(prompted.job)
    sources, captions = prompted.pictures()
    if sources:
        data = {"sources": sources, "captions": captions, "fps": prompted.config.fps}
        widget("scrubber", data, f"prompts {prompted.folder.name}")
    elif going:
        st.caption(prompted.job.progress or "Loading the model.")
    for name, address in prompted.files.items():
        if name.endswith(".steps.png"):
            st.html(f'<img src="{address}?show" alt="The steps of each prompt" class="shown">')
    downloads(prompted.files)
    if going and prompted.job.progress:
        st.caption(prompted.job.progress)
    elif was_going and not going:
        st.rerun()
