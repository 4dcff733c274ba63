"""Prompts: pictures from words, and the walk between them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import streamlit as st

from latentflow.app.prompted import Prompted
from latentflow.app.ui import begin, controls_and_stage, downloads, guarded, show_line, state_of, this_visit, widget
from latentflow.prompts.config import PromptsConfig

EXAMPLE = "a red house by day@1\nthree yellow flowers@4\na blue street at night@2"
WALK, STEPS = "Walk", "Steps"


def show() -> None:
    """Draw the panel."""
    visit = this_visit()
    controls, stage = controls_and_stage()
    with controls:
        text = st.text_area(
            "Prompts, one a line; @7 is the seed of its noise", EXAMPLE, height=120, key="prompts_words"
        )
        texts = [line.strip() for line in (text or "").splitlines() if line.strip()]
        kind = st.segmented_control("Show", [WALK, STEPS], default=WALK, key="prompts_kind") or WALK
        walks = kind == WALK
        left, right = st.columns(2)
        loop = left.toggle("Loop", key="prompts_loop", disabled=not walks, help="Return to the first prompt.")
        even = right.toggle(
            "Even", key="prompts_even", disabled=not walks, help="Put each new picture where neighbors differ most."
        )
        left, right = st.columns(2)
        count = left.number_input("Pictures", 2, 500, 25, key="prompts_count", disabled=not walks)
        steps = right.number_input("Denoising steps", 2, 200, 20, key="prompts_steps")
        left, right = st.columns(2)
        fps = left.number_input("Frames per second", 1, 50, 8, key="prompts_fps")
        suffix = right.selectbox("Video", [".mp4", ".gif", ".webm"], key="prompts_suffix")
        missing = find_spec("transformers") is None
        if missing:
            st.warning("Prompts need the package transformers: pip install 'latentflow[prompts]'")
        enough = len(texts) >= (2 if walks else 1) and not missing
        if st.button("Generate", type="primary", disabled=not enough, key="prompts_start", width="stretch"):
            walking: dict[str, Any] = (
                {"loop": loop, "even": even, "frames": int(count)} if walks else {"show_steps": True}
            )
            config: dict[str, Any] = {
                "output_path": f"prompts{suffix}",
                "steps": int(steps),
                "fps": float(fps),
                **walking,
            }
            begin("prompted", lambda: Prompted(visit, texts, PromptsConfig(**config)))
    with stage:
        prompted: Prompted | None = visit.things.get("prompted")
        if prompted is None:
            st.subheader("Pictures from words")
            st.write(
                "Write prompts and press Generate: Walk shows the pictures between them, Steps how each comes out of "
                f"noise. They are made by {visit.studio.model_words()}."
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
