"""Walk: the pictures between pictures, under a slider."""

from __future__ import annotations

import streamlit as st

from latentflow.app.shows import Show
from latentflow.app.ui import (
    SIZES,
    begin,
    choose_images,
    controls_and_stage,
    downloads,
    guarded,
    show_line,
    state_of,
    this_visit,
    widget,
)
from latentflow.explore.config import WalkConfig

METHODS = ["slerp", "lerp", "spline"]


def show() -> None:
    """Draw the panel."""
    visit = this_visit()
    controls, stage = controls_and_stage()
    with controls:
        images = choose_images(visit, "walk", "Images to walk through", several=True)
        added = visit.things.setdefault("anchors", [])
        if added:
            st.caption(f"From the atlas: {', '.join(each.name for each in added)}")
            if st.button("Remove those of the atlas", key="walk_atlas_clear"):
                added.clear()
                st.rerun()
        images = [*images, *added]
        method = st.segmented_control("Path", METHODS, default="slerp", key="walk_method")
        left, right = st.columns(2)
        loop = left.toggle("Loop", key="walk_loop", help="Return to the first image at the end.")
        even = right.toggle("Even", key="walk_even", help="Equal changes of the picture from frame to frame.")
        left, right = st.columns(2)
        frames = left.number_input("Frames per segment", 2, 240, 24, key="walk_frames")
        size = right.selectbox("Longer side", SIZES, index=SIZES.index(256), key="walk_size")
        left, right = st.columns(2)
        fps = left.number_input("Frames per second", 1, 50, 20, key="walk_fps")
        suffix = right.selectbox("Video", [".mp4", ".gif", ".webm"], key="walk_suffix")
        if st.button("Walk", type="primary", disabled=len(images) < 2, key="walk_start", width="stretch"):
            segments = len(images) if loop else len(images) - 1
            begin(
                "walk",
                lambda: Show(
                    visit,
                    "walk",
                    [str(image.path) for image in images],
                    WalkConfig(
                        output_path=f"walk{suffix}",
                        method=method or "slerp",
                        loop=loop,
                        even=even,
                        frames=int(frames) * segments + (0 if loop else 1),
                        size=size,
                        fps=float(fps),
                        fit="cover",
                        **visit.studio.reading,
                    ),
                    {str(image.path): image.name for image in images},
                    collect=True,
                ),
            )
    with stage:
        walk: Show | None = visit.things.get("walk")
        if walk is None:
            st.subheader("The pictures between your pictures")
            st.write("Choose two images or more and press Walk; then drag the slider. Play shows the walk as a video.")
            walk = visit.studio.samples.get("walk")
            if walk is None or not (walk.frames or walk.job.is_going_on):
                return
            st.caption("An example, from the face to the hills:")
        going = walk.job.is_going_on
        st.fragment(guarded(_follow), run_every=0.5 if going else None)(walk, going)
        show_line(walk.line())


def _follow(walk: Show, was_going: bool) -> None:
    """The frames so far under a slider, and the files when all are there."""
    going = walk.job.is_going_on
    if not walk.visit.lasting:  # an example may end early
        state_of(walk.job)
    if walk.frames:
        data = {"sources": list(walk.frames), "captions": list(walk.captions), "fps": walk.config.fps}  # type: ignore[union-attr]
        widget("scrubber", data, f"walk {walk.folder.name}")
    elif going:
        st.caption(walk.job.progress or "Encoding the images.")
    downloads(walk.files)
    if going:
        st.progress(len(walk.frames) / max(1, walk.config.frames or 1))  # type: ignore[union-attr]
    elif was_going:
        st.rerun()
