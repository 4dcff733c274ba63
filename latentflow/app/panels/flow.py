"""Flow: a latent becomes an image, watched, stopped, continued, branched, compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from latentflow import losses
from latentflow.app.fields import form
from latentflow.app.flows import Flow
from latentflow.app.ui import (
    attempt,
    choose_images,
    controls_and_stage,
    downloads,
    look,
    show_line,
    state_while_waiting,
    this_visit,
    widget,
)
from latentflow.app.visits import Upload, Visit
from latentflow.inversion.config import RunConfig

MORE = ("seed", "init", "lr", "optimizer", "betas", "schedule", "fit", "target_psnr")
MOST_FLOWS = 12  # that a visit keeps: each holds a latent and an optimizer's state
KINDS = {"gif": "GIF", "mp4": "MP4", "image": "Picture (PNG)", "latent": "Latent", "manifest": "Manifest"}


def show() -> None:
    """Draw the panel."""
    visit = this_visit()
    flows: list[Flow] = visit.things.setdefault("flows", [])
    controls, stage = controls_and_stage()
    with controls:
        _begin(visit, flows)
    with stage:
        if not flows:
            st.subheader("A random latent becomes your image")
            st.write(
                "Choose an image and press Start. The gradient through the decoder moves a random latent until its "
                "picture is your image."
            )
            sample: Flow | None = visit.studio.samples.get("flow")
            if sample is not None and (sample.history or sample.state in ("waiting", "running")):
                st.caption("An example, the face:")
                _picture(sample)
                show_line(sample.line())
            return
        titles = {index: f"{index + 1}. {flow.title}" for index, flow in enumerate(flows)}
        wanted = st.session_state.pop("flow_to_show", st.session_state.get("shown_flow", len(flows) - 1))
        shown = st.session_state.shown_flow = min(wanted, len(flows) - 1)
        if len(flows) > 1:
            shown = st.selectbox("Run", list(titles), format_func=titles.__getitem__, key="shown_flow")
        others: list[int | None] = [None, *(index for index in titles if index != shown)]
        other = None
        if len(flows) > 1:
            other = st.selectbox(
                "Compare with",
                others,
                format_func=lambda index: "no other" if index is None else titles[index],
                key="other_flow",
            )
        if other is None:
            _show(flows, shown)
        else:
            for column, index in zip(st.columns(2, gap="medium"), (shown, other)):
                with column:
                    st.caption(titles[index])
                    _show(flows, index)


def _begin(visit: Visit, flows: list[Flow]) -> None:
    """The choices of a run, and the button that begins it."""
    images = choose_images(visit, "flow", "Images to become", several=True)
    values = form("flow", RunConfig, ("loss_type", "method", "steps", "size"), MORE)
    if st.button("Start", type="primary", disabled=not images, key="flow_start", width="stretch"):
        config = partial(RunConfig, **values, **visit.studio.reading)
        press = object()
        begun = []
        for image in images:
            flow, problem = attempt(partial(_started, visit, image, config, press))
            if flow is None:
                st.error(problem)
            else:
                begun.append(flow)
        _add(flows, begun)


def _add(flows: list[Flow], begun: list[Flow]) -> None:
    """Show the first of the runs that have begun; remove the runs that they replace, and the oldest of too many."""
    if begun:
        replaced = [each for each in flows if each.run is None and each.state == "stopped"]
        kept = [each for each in flows if each not in replaced] + begun
        for each in [*replaced, *kept[:-MOST_FLOWS]]:
            each.close()
        flows[:] = kept[-MOST_FLOWS:]
        st.session_state.flow_to_show = flows.index(begun[0]) if begun[0] in flows else 0
        look()


def _started(visit: Visit, image: Upload, make: Callable[[], RunConfig], press: object) -> Flow:
    flow = Flow(visit, image, make())
    flow.go_on(press)
    return flow


def _picture(flow: Flow) -> None:
    """The picture of a run with its figures and curves, as it goes on."""
    data = {
        "live": flow.live if flow.state in ("waiting", "running") else "",
        "history": list(flow.history),
        "state": {"running": ""}.get(flow.state, flow.state),
        "picture": flow.picture(),
    }
    widget("run", data, f"run {flow.key}", on_ended_change=lambda: None)


def _show(flows: list[Flow], index: int) -> None:
    """One run: its picture, its figures, what can be done with it."""
    flow = flows[index]
    _picture(flow)
    if flow.job is not None:
        state_while_waiting(flow.job)
    buttons = st.columns(3)
    if flow.state in ("waiting", "running"):
        if buttons[0].button("Stop", key=f"stop {flow.key}", width="stretch"):
            flow.stop()
            if flow.job is not None:
                flow.job.ended.wait(30)
            st.rerun()
        show_line(flow.line())
        return
    if flow.state == "stopped" and buttons[0].button("Go on", key=f"go {flow.key}", width="stretch"):
        _, problem = attempt(flow.go_on)
        if problem:
            st.error(problem)
        else:
            st.rerun()
    if not flow.history:
        return
    with buttons[1].popover("Branch", width="stretch"):
        loss = st.selectbox("Another loss from here", losses.names(), accept_new_options=True, key=f"loss {flow.key}")
        if st.button("Begin", key=f"branch {flow.key}"):
            branched, problem = attempt(lambda: flow.branch(loss or ""))
            if branched is not None:
                _add(flows, [branched])
                st.rerun()
            st.error(problem)
    with buttons[2].popover("Files", width="stretch"):
        for kind, name in KINDS.items():
            if kind not in flow.files and st.button(name, key=f"{kind} {flow.key}", width="stretch"):
                with st.spinner(f"Making {name}"):
                    made, problem = attempt(partial(flow.file, kind))
                if made is None:
                    st.error(problem)
                else:
                    flow.files[kind] = flow.visit.studio.media.file(flow.visit.owner, made)
        downloads({KINDS[kind]: address for kind, address in flow.files.items()})
    show_line(flow.line())
