"""Lines to copy: the command line reads the same config from them."""

import shlex
from dataclasses import fields
from typing import get_type_hints

import click
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from latentflow.base.errors import InputError
from latentflow.base.options import command_line, leaves
from latentflow.cli import find_command
from latentflow.explore.config import WalkConfig
from latentflow.explore.views import VIEWS
from latentflow.inversion.config import RunConfig
from latentflow.prompts.config import PromptsConfig
from latentflow.runs.config import CompareConfig, RenderConfig
from latentflow.training.config import TrainConfig

COMMANDS = {
    "": RunConfig,
    "compare": CompareConfig,
    "prompts": PromptsConfig,
    "render": RenderConfig,
    "train": TrainConfig,
    **{view.name: view.config for view in VIEWS.own.values()},
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def values_of(option, kind):
    """A strategy for what an option can be besides its default."""
    limits = option.metadata
    if limits["choices"]:
        return st.sampled_from(list(limits["choices"]))
    if bool in leaves(kind):
        return st.booleans() if option.default is None else st.just(True)
    low = limits["minimum"] if limits["above"] is None else limits["above"]
    if float in leaves(kind):
        is_above = limits["above"] is not None
        one = st.floats(low, limits["maximum"], exclude_min=is_above, allow_nan=False, allow_infinity=False)
    elif int in leaves(kind):
        one = st.integers(low, limits["maximum"])
    else:
        one = TEXTS
    if limits["many"] and "tuple" in str(kind):
        one = st.lists(one.filter(lambda each: "," not in str(each)), min_size=1, max_size=3).map(tuple)
    return one


def read(line, command):
    """The sources and options that the command line reads from a line."""
    words = shlex.split(line)
    assert words[0] == "latentflow"
    found = find_command(command or "optimize")
    given = found.make_context(command, words[2:] if command else words[1:]).params
    return given


@pytest.mark.parametrize("command", COMMANDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_line_gives_the_same_config(command, data):
    kind = COMMANDS[command]
    kinds = get_type_hints(kind)
    names = data.draw(st.lists(st.sampled_from([each.name for each in fields(kind)]), max_size=4, unique=True))
    options = {each.name: each for each in fields(kind)}
    try:
        config = kind(**{name: data.draw(values_of(options[name], kinds[name])) for name in names})
    except InputError:
        assume(False)
    arguments = [each for each in find_command(command or "optimize").params if isinstance(each, click.Argument)]
    found = read(command_line(command, ["a b"] * len(arguments), config), command)
    one = {name for name in options if isinstance(found[name], tuple) and "tuple" not in str(kinds[name])}
    assert kind(**{name: found[name][0] if name in one else found[name] for name in options}) == config  # no sweep


@settings(max_examples=50, deadline=None)
@given(sources=st.lists(TEXTS, min_size=1, max_size=3))
def test_a_line_gives_the_same_sources(sources):
    found = read(command_line("walk", sources, WalkConfig(loop=True)), "walk")
    assert found["sources"] == tuple(sources) and found["loop"]


def test_a_line_has_what_differs_from_the_defaults():
    config = WalkConfig(loop=True, frames=24, fps=12.5, hold=0.1 + 0.2)
    names = {"/tmp/x/a.png": "my cat.png"}
    line = command_line("walk", ["/tmp/x/a.png", "random:3"], config, names)
    assert line == ("latentflow walk 'my cat.png' random:3 --loop --frames 24 --fps 12.5 --hold 0.30000000000000004")
    assert command_line("", [], RunConfig(betas=(0.9, 0.99), compile=False)) == (
        "latentflow --no_compile --betas 0.9,0.99"
    )
    assert (
        command_line("prompts", ["-5 degrees"], PromptsConfig(fps=8.0)) == "latentflow prompts --fps 8 -- '-5 degrees'"
    )
