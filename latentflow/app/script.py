"""The page of the app, which Streamlit runs from top to bottom whenever something changes on it."""

import html

import streamlit as st

from latentflow.app.panels import atlas, channels, compare, concept, flow, prompts, walk
from latentflow.app.ui import guarded, page_style, this_visit
from latentflow.app.visits import Visit

PANELS = {
    "Flow": flow,
    "Walk": walk,
    "Channels": channels,
    "Atlas": atlas,
    "Compare": compare,
    "Concept": concept,
    "Prompts": prompts,
}
PREFIXES = tuple(f"{name.lower()}_" for name in PANELS)  # of widgets that keep their values
ACTIONS = ("_start", "_files", "_before", "_clear", "_add", "_with", "_without", "_to_show")


def draw() -> None:
    """Draw the page."""
    st.set_page_config("latentflow", layout="wide", initial_sidebar_state="collapsed")
    page_style()
    is_new = "visit" not in st.session_state
    visit = this_visit()
    pages = [
        st.Page(panel.show, title=name, url_path=name.lower(), default=name == "Flow") for name, panel in PANELS.items()
    ]
    page = st.navigation(pages, position="hidden")
    _keep_settings(visit, page.title, is_new)
    with st.container(horizontal=True, key="panels"):  # Streamlit's own navigation hides the names on a phone
        for each in pages:
            st.page_link(each, label=each.title, query_params={"run": visit.owner})
    st.html(f'<p class="autoencoder">Autoencoder: <b>{html.escape(visit.studio.vae_name)}</b></p>')
    guarded(page.run)()


def _keep_settings(visit: Visit, panel: str, is_new: bool) -> None:
    """Let widgets have the values they had: in a window that is new, and while another panel is drawn, which makes
    Streamlit forget them."""
    if is_new:
        st.session_state.update(visit.settings)
    for key in map(str, st.session_state):
        if key.startswith(PREFIXES) and not key.endswith(ACTIONS):
            visit.settings[key] = st.session_state[key]
            if not key.startswith(f"{panel.lower()}_"):
                st.session_state[key] = st.session_state[key]


draw()
