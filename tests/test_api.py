"""The public names: closed, typed, explained, and the same for a type checker and for Python."""

import importlib
import inspect
import re
import types
import typing
from pathlib import Path

import pytest
import torch

import latentflow

ROOT = Path(__file__).parent.parent
STUB = (ROOT / "latentflow" / "__init__.pyi").read_text(encoding="utf-8")
NAMES = sorted(latentflow.__all__)


def functions_of(value):
    """What can be called of a public object, with the name it has there."""
    if inspect.isclass(value):
        own = {name: each for name, each in vars(value).items() if not name.startswith("_") or name == "__init__"}
        for name, each in own.items():
            found = each.fget if isinstance(each, property) else getattr(each, "__func__", each)
            if inspect.isfunction(found):
                yield f"{value.__name__}.{name}", found
    else:
        yield value.__name__, value


def hints(function):
    """Its types; what is imported for a type checker alone is looked up in the whole package."""
    known = vars(importlib.import_module(function.__module__)) | {name: getattr(latentflow, name) for name in NAMES}
    known |= {"Load": typing.Callable, "Draw": typing.Callable, "Figure": typing.Any}  # names of plain function types
    known |= {
        "Tensor": torch.Tensor,
        "torch": torch,
        "Callable": typing.Callable,
        "np": importlib.import_module("numpy"),
    }
    return typing.get_type_hints(function, known)


def leaves(kind):
    if isinstance(kind, list | tuple):
        return {leaf for each in kind for leaf in leaves(each)}
    inner = typing.get_args(kind)
    return {leaf for each in inner for leaf in leaves(each)} if inner else {kind}


def test_the_stub_is_the_only_list():
    assert re.findall(r"^from \.[\w.]+ import (\w+) as (\w+)$", STUB, re.MULTILINE)
    assert sorted(name for name, _ in re.findall(r" import (\w+) as (\w+)$", STUB, re.MULTILINE)) == NAMES
    assert set(NAMES) <= set(dir(latentflow))
    with pytest.raises(AttributeError):
        latentflow.nothing  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_an_object_that_is_explained(name):
    value = getattr(latentflow, name)
    assert not isinstance(value, types.ModuleType)
    text = inspect.getdoc(value)
    assert text and text == text.strip() and text[0].isupper() and "." in text
    for label, function in functions_of(value):
        if not label.endswith("__init__") and not hasattr(torch.nn.Module, function.__name__):
            assert inspect.getdoc(function), label


@pytest.mark.parametrize("name", NAMES)
def test_every_type_in_a_public_signature_is_public(name):
    for label, function in functions_of(getattr(latentflow, name)):
        for kind in leaves(list(hints(function).values())):
            module = getattr(kind, "__module__", "")
            if isinstance(kind, type) and module.startswith("latentflow"):
                assert getattr(latentflow, kind.__name__, None) is kind, f"{label} speaks of {module}.{kind.__name__}"


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isfunction(getattr(latentflow, name))])
def test_tensors_have_their_shapes_in_the_docstring(name):
    function = getattr(latentflow, name)
    if torch.Tensor in leaves(list(hints(function).values())):
        assert re.search(r"\((?:n|1|c|k|3|count)(?:,|\))", inspect.getdoc(function)), name
