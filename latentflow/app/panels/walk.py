"""Walk: the pictures between pictures, under a slider."""

from __future__ import annotations

import streamlit as st

from latentflow.app.panels.view import Sources, show_view
from latentflow.app.shows import Show
from latentflow.app.ui import downloads, guarded, state_of, widget
from latentflow.app.visits import Visit


def show() -> None:
    """Draw the panel."""
    show_view("walk", _draw, _of_the_atlas, collect=True)


def _of_the_atlas(visit: Visit) -> Sources:
    """The images that were added in the atlas."""
    added = visit.things.setdefault("anchors", [])
    if added:
        st.caption(f"From the atlas: {', '.join(each.name for each in added)}")
        if st.button("Remove those of the atlas", key="walk_atlas_clear"):
            added.clear()
            st.rerun()
    return {str(each.path): each.name for each in added}


def _draw(walk: Show) -> None:
    going = walk.job.is_going_on
    st.fragment(guarded(_follow), run_every=0.5 if going else None)(walk, going)


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
        st.progress(min(1.0, len(walk.frames) / (walk.job.session.total + 1)))
    elif was_going:
        st.rerun()
