"""Widgets of options: what the command line asks for, with its limits, defaults and words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from inspect import get_annotations
from pathlib import Path
from typing import Any, get_type_hints

import streamlit as st

from latentflow import losses
from latentflow.base.options import Options, in_order, leaves
from latentflow.base.registry import explained
from latentflow.latents.config import NAMED_STARTS
from latentflow.models.config import ModelOptions
from latentflow.pictures.config import ReadingOptions
from latentflow.sinks.config import OUTPUT_SUFFIXES, OverwriteOption
from latentflow.sound.config import MusicConfig, SoundConfig

OF_THE_APP = {each.name for kind in (ReadingOptions, ModelOptions, OverwriteOption) for each in fields(kind)}
TEXTS = {
    "init": (lambda: NAMED_STARTS, False),
    "loss_type": (losses.names, True),
}  # what is offered; may it be another?
OF_FILES = (SoundConfig, MusicConfig)  # their options follow a file that a visitor doesn't have here


def offered(config: type[Options]) -> list[str]:
    """The names of the options that a visitor may set, in their order: none of the app's own, and no free text, which
    may name a file of this machine."""
    kinds = get_type_hints(config)
    homes = {name: kind for kind in reversed(config.__mro__) for name in get_annotations(kind)}
    return [
        each.name
        for each in in_order(config)
        if each.name not in OF_THE_APP
        and homes[each.name] not in OF_FILES
        and (each.metadata["choices"] or each.name in TEXTS or str not in leaves(kinds[each.name]))
    ]


def form(panel: str, config: type[Options], sight: Sequence[str], more: Sequence[str] = ()) -> dict[str, Any]:
    """The widgets of options, by twos, those of `more` behind "More"; returns what is set."""
    values = _by_twos(panel, config, sight)
    if more:
        with st.expander("More"):
            values |= _by_twos(panel, config, more)
    return values


def _by_twos(panel: str, config: type[Options], names: Sequence[str]) -> dict[str, Any]:
    values = {}
    for place, name in enumerate(names):
        if place % 2 == 0:
            columns = st.columns(2, vertical_alignment="bottom")
        with columns[place % 2]:
            values[name] = field(panel, config, name)
    return values


def suffix_field(panel: str, config: type[Options]) -> dict[str, Any]:
    """The widget of the format of moving pictures, for options whose output is one: its path, or nothing."""
    path = Path(next(str(each.default) for each in fields(config) if each.name == "output_path"))
    if path.suffix not in OUTPUT_SUFFIXES:
        return {}
    chosen = st.selectbox("Format", OUTPUT_SUFFIXES, OUTPUT_SUFFIXES.index(path.suffix), key=f"{panel}_suffix")
    return {"output_path": path.stem + chosen}


def field(panel: str, config: type[Options], name: str) -> Any:
    """The value of an option in a widget of its kind, `panel`_`name`, with its limits, its default and its help."""
    option = next(each for each in fields(config) if each.name == name)
    facts, kinds, default = option.metadata, leaves(get_type_hints(config)[name]), option.default
    label = name.rstrip("_").replace("_", " ").capitalize()
    unset = facts["shown_default"].replace("`", "") or "not set"
    words = explained(facts["help"], facts["choices"]) + (f" Default: {unset}." if default is None else "")
    shown: dict[str, Any] = {"key": f"{panel}_{name}", "help": words}
    suggested, free = TEXTS.get(name, (tuple, False))
    choices: list[Any] = [each for each in facts["choices"] or suggested() if each != ""]  # no folder of PNGs
    if choices or (bool in kinds and default is None):
        choices = choices or [True, False]
        choices = choices if default is not None else [None, *choices]
        texts = {None: unset, True: "on", False: "off"}
        return st.selectbox(
            label,
            choices,
            choices.index(default),
            format_func=lambda each: texts.get(each, each),
            accept_new_options=free,
            **shown,
        )
    if bool in kinds:
        return st.toggle(label, bool(default), **shown)
    if facts["many"]:
        text = st.text_input(label, placeholder=unset, **shown)
        return _several(text or "", float if float in kinds else int)
    if kinds & {int, float}:
        return _number(label, float if float in kinds else int, facts, default, placeholder=unset, **shown)
    return st.text_input(label, default, placeholder=unset, **shown)


def _number(label: str, kind: Callable[[Any], Any], facts: Any, default: Any, **shown: Any) -> Any:
    low = facts["minimum"] if facts["above"] is None else facts["above"]  # which itself the config refuses
    limits = {"min_value": low, "max_value": facts["maximum"]}
    bounds: dict[str, Any] = {name: None if bound is None else kind(bound) for name, bound in limits.items()}
    step = kind(1)
    if kind is float:
        shown["format"] = "%g"
        step = 10.0 ** (math.floor(math.log10(default)) - 1) if default else 0.01
    return st.number_input(label, value=default, step=step, **bounds, **shown)


def _several(text: str, kind: Callable[[str], Any]) -> tuple[Any, ...] | None:
    """The values of a text with commas; the config refuses what is no number."""
    try:
        return tuple(kind(each) for each in text.split(",")) if text.strip() else None
    except ValueError:
        return (text,)
