"""The page of the app, which Streamlit runs from top to bottom whenever something changes on it."""

import html
from functools import partial

import streamlit as st

from latentflow.app.panels import PANELS
from latentflow.app.panels.view import show_view
from latentflow.app.ui import guarded, page_style, this_visit
from latentflow.app.visits import Visit
from latentflow.explore.views import VIEWS

ACTIONS = ("_start", "_files", "_before", "_clear", "_add", "_to_show")


def draw() -> None:
    """Draw the page."""
    st.set_page_config("latentflow", layout="wide", initial_sidebar_state="collapsed")
    page_style()
    is_new = "visit" not in st.session_state
    visit = this_visit()
    views = (name for name, view in VIEWS.items() if view.in_app and name not in PANELS)
    panels = PANELS | {name: partial(show_view, name) for name in views}
    pages = [
        st.Page(draw, title=name.capitalize(), url_path=name, default=name == "flow") for name, draw in panels.items()
    ]
    page = st.navigation(pages, position="hidden")
    _keep_settings(visit, tuple(f"{name}_" for name in panels), page.url_path or "flow", is_new)
    with st.container(horizontal=True, key="panels"):  # Streamlit's own navigation hides the names on a phone
        for each in pages:
            st.page_link(each, label=each.title, query_params={"run": visit.owner})
    st.html(f'<p class="autoencoder">Autoencoder: <b>{html.escape(visit.studio.vae_name)}</b></p>')
    guarded(page.run)()


def _keep_settings(visit: Visit, prefixes: tuple[str, ...], panel: str, is_new: bool) -> None:
    """Let widgets have the values they had: in a window that is new, and while another panel is drawn, which makes
    Streamlit forget them."""
    if is_new:
        st.session_state.update(visit.settings)
    for key in map(str, st.session_state):
        if key.startswith(prefixes) and not key.endswith(ACTIONS):
            visit.settings[key] = st.session_state[key]
            if not key.startswith(f"{panel}_"):
                st.session_state[key] = st.session_state[key]


draw()
