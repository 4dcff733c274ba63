"""The page of the app, which Streamlit runs from top to bottom whenever something changes on it."""

import html

import streamlit as st

from latentflow.app.panels import atlas, channels, compare, concept, flow, prompts, walk
from latentflow.app.ui import page_style
from latentflow.app.visits import the_studio

PANELS = {
    "Flow": flow,
    "Walk": walk,
    "Channels": channels,
    "Atlas": atlas,
    "Compare": compare,
    "Concept": concept,
    "Prompts": prompts,
}
PREFIXES = tuple(f"{name.lower()}_" for name in PANELS)  # widgets whose values stay while another panel is shown
ACTIONS = ("_start", "_files", "_clear", "_add", "_with", "_without", "_to_show")


def draw() -> None:
    """Draw the page."""
    st.set_page_config("latentflow", layout="wide", initial_sidebar_state="collapsed")
    page_style()
    pages = [
        st.Page(panel.show, title=name, url_path=name.lower(), default=name == "Flow") for name, panel in PANELS.items()
    ]
    page = st.navigation(pages, position="top")
    for key in map(str, st.session_state):  # Streamlit forgets widgets that are not drawn
        own = key.startswith(f"{page.title.lower()}_")
        if key.startswith(PREFIXES) and not own and not key.endswith(ACTIONS):
            st.session_state[key] = st.session_state[key]
    studio = the_studio()
    name = studio.named_vae or studio.load().autoencoder.name
    st.html(f'<p class="autoencoder">Autoencoder: <b>{html.escape(name)}</b></p>')
    page.run()


draw()
