"""Any view: its sources, its options from their metadata, and what its command makes of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import cleandoc
from typing import Any

import streamlit as st

from latentflow.app.fields import form, offered, suffix_field
from latentflow.app.shows import Show
from latentflow.app.ui import begin, choose_folder, choose_images, controls_and_stage, show_line, this_visit, watched
from latentflow.app.visits import Visit
from latentflow.explore.views import VIEWS, View

IN_SIGHT = 6  # options; the others are behind "More"
Sources = dict[str, str]  # path → its name for people


def show_view(
    name: str,
    draw: Callable[[Show], None] = watched,
    add: Callable[[Visit], Sources] = lambda visit: {},
    **options: Any,
) -> None:
    """Draw the panel of the view of that name. `draw` shows what was made, `add` gives further sources, and `options`
    are those of `Show`."""
    view, visit = VIEWS[name], this_visit()
    controls, stage = controls_and_stage()
    with controls:
        given = [*choose_sources(visit, view), add(visit)]
        missing = not all(given[:-1])
        sources = {path: words for each in given for path, words in each.items()}
        config = choose_options(visit, view)
        if st.button("Draw", type="primary", disabled=missing, key=f"{name}_start", width="stretch"):
            begin(name, lambda: Show(visit, name, list(sources), config(), sources, **options))
    with stage:
        shown: Show | None = visit.things.get(name)
        if shown is None:
            st.subheader(view.summary)
            st.write(cleandoc(view.help))
            shown = visit.studio.samples.get(name)
            if shown is None or not (shown.frames or shown.job.is_going_on):
                return
            st.caption("An example:")
        draw(shown)
        show_line(shown.line())


def choose_sources(visit: Visit, view: View) -> list[Sources]:
    """The sources of each argument of a view; empty where none is chosen."""
    return [
        _chosen(visit, view, name, metavar, several=view.many and name == view.arguments[-1][0])
        for name, metavar in view.arguments
    ]


def _chosen(visit: Visit, view: View, name: str, metavar: str, *, several: bool) -> Sources:
    label, key = name.capitalize(), view.name if len(view.arguments) == 1 else f"{view.name}_{name}"
    if metavar == "FOLDER":
        folder, words = choose_folder(visit, key, label)
        return {} if folder is None else {str(folder): words}
    return {str(each.path): each.name for each in choose_images(visit, key, label, several=several)}


def choose_options(visit: Visit, view: View) -> Callable[[], Any]:
    """A function that makes the config of a view of what is set in its widgets; it raises as the config does."""
    names = offered(view.config)
    values = form(view.name, view.config, names[:IN_SIGHT], names[IN_SIGHT:]) | suffix_field(view.name, view.config)
    return partial(view.config, **values, **visit.studio.reading)
