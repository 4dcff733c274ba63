"""Options: fields that say how they are explained, shown and checked, for the command line, Python and the app."""

import math
import os
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from inspect import get_annotations
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from latentflow.base.errors import InputError

KINDS = {float: "a number", int: "an integer", bool: "True or False", str: "text"}
MAX_SEED = 2**32 - 1  # torch draws from 32 bits: larger seeds would repeat the noise of smaller ones


def option(
    default: Any,
    help: str,
    *,
    metavar: str = "",
    choices: Collection[str] = (),
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    shown_default: str = "",
    many: bool = False,
    affects: str = "result",
    may_change: bool | None = None,
    names_file: bool = False,
) -> Any:
    """A dataclass field that also says how the option is explained, shown and checked, and what it does.

    Where `choices` are a `Registry`, "{choices}" in `help` stands for their names and words. The command line takes
    `many` values separated by commas. `affects` is "result" for options that change the numbers, "files" for options
    that change the files written from them, and "nothing" for options that only decide how the work is done.
    `may_change` says whether a run that is resumed may have another value; by default it may where the result doesn't
    depend on it. `names_file` says that its value may be the path of a file that is read.
    """
    limits = {"minimum": minimum, "above": above, "maximum": maximum}
    shown = {"metavar": metavar, "shown_default": shown_default, "many": many}
    changes = affects != "result" if may_change is None else may_change
    meaning = {"help": help, "choices": choices, "affects": affects, "may_change": changes, "names_file": names_file}
    return field(default=default, metadata={**meaning, **shown, **limits})


def parse_seed(text: str) -> int | None:
    """The seed that a text names, or None where it is no whole number from 0 to `MAX_SEED`."""
    digits = len(str(MAX_SEED))
    seed = int(text) if text.isdecimal() and len(text.lstrip("0")) <= digits else None
    return None if seed is None or seed > MAX_SEED else seed


def options_that(config: "type[Options]", **wanted: Any) -> set[str]:
    """The names of a config's options that have these values in their metadata, as in `affects="files"`."""
    return {each.name for each in fields(config) if all(each.metadata[key] == value for key, value in wanted.items())}


def in_order(config: "type[Options] | Options") -> list[Any]:
    """The fields of a config as people read them: its own before those of its bases, in the order of these."""
    kind = config if isinstance(config, type) else type(config)
    homes = {name: place for place, each in list(enumerate(kind.__mro__))[::-1] for name in get_annotations(each)}
    return sorted(fields(kind), key=lambda each: homes[each.name])


@dataclass(frozen=True, kw_only=True)
class Options:
    """Fields made by `option`, checked when made; raises `InputError` naming the option that is wrong."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = plain(getattr(self, each.name))
            object.__setattr__(self, each.name, value)
            check_kind(each.name, value, each.type, many=each.metadata["many"])
            _check(each.name, value, each.metadata)

    def changed(self, *names: str) -> list[str]:
        """The names, of those given, of options that differ from their defaults."""
        return [each.name for each in fields(self) if each.name in names and getattr(self, each.name) != each.default]


def option_of(config: type[Options], name: str) -> Any:
    """The option of that name as a config has it, for another command's."""
    (original,) = (each for each in fields(config) if each.name == name)
    return field(default=original.default, metadata=original.metadata)


def command_line(
    command: str,
    sources: Sequence[str],
    config: Options,
    names: Mapping[str, str] | None = None,
    without: Collection[str] = (),
) -> str:
    """A line for a shell that gives the same config: `latentflow`, the command, its sources, and the options that
    differ from their defaults, but for those `without`.

    `names` gives the text to write instead of a path, such as the name that an uploaded file had.
    """
    names = names or {}
    options: list[str] = []
    for each in in_order(config):
        value = getattr(config, each.name)
        if value is None or value == each.default or each.name in without:
            continue
        option = f"--{each.name.rstrip('_')}"
        if isinstance(value, bool):
            options.append(option if value else option.replace("--", "--no_", 1))
        else:
            options += [option, names.get(str(value)) or _text(value)]
    given = [names.get(source, source) for source in sources]
    words = ["latentflow", *([command] if command else [])]
    if any(source.startswith("-") for source in given):  # which no option is
        return shlex.join([*words, *options, "--", *given])
    return shlex.join([*words, *given, *options])


def _text(value: Any) -> str:
    """A value as the command line reads it, a number with all its digits."""
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def plain(value: Any) -> Any:
    """A caller's value as options hold it: a Python number for one of numpy's, a tuple for a list, the name of a path,
    of a device and of a type of torch's."""
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    return os.fspath(value) if isinstance(value, PathLike) else scalar(value)


def scalar(value: Any) -> Any:
    """A Python number for one of numpy's, the name of a device and of a type of torch's; anything else as it is."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return value.item()
    named = type(value).__module__ == "torch" and type(value).__name__ in ("device", "dtype")
    return str(value).removeprefix("torch.") if named else value


def check_kind(name: str, value: Any, kind: Any, *, many: bool = False) -> None:
    """Raise `InputError` when the kind of an option's value differs from its annotation: text for a number, None where
    a value is needed, a fraction for an integer. With `many` the value may be a tuple, which makes a sweep."""
    kinds = leaves(kind)
    if value is None and NoneType in kinds:
        return
    if not isinstance(value, tuple) and all(each is NoneType or get_origin(each) is tuple for each in members(kind)):
        raise InputError(f"`{name}` must be a list, not {value!r}.")
    words = next((words for each, words in KINDS.items() if each in kinds), "")
    for each in value if isinstance(value, tuple) and (many or "tuple" in str(kind)) else (value,):
        is_flag = isinstance(each, bool)
        fits = (
            (str in kinds and isinstance(each, str))
            or (bool in kinds and is_flag)
            or (float in kinds and isinstance(each, Real) and not is_flag)
            or (int in kinds and isinstance(each, Integral) and not is_flag)
        )
        if words and not fits:
            words = words if int not in kinds or (isinstance(each, Real) and not is_flag) else KINDS[float]
            raise InputError(f"`{name}` must be {words}, not {each!r}.")


def members(kind: Any) -> tuple[Any, ...]:
    """The members of a union, or the only type."""
    return (kind,) if get_origin(kind) in (tuple, Literal) else get_args(kind) or (kind,)


def leaves(kind: Any) -> set[Any]:
    """The plain types in a type such as tuple[int, ...] | None."""
    if get_origin(kind) is Literal:
        return {str}
    inner = get_args(kind)
    return set().union(*(leaves(each) for each in inner)) if inner else {kind}


def _check(name: str, value: Any, metadata: Any) -> None:
    """Raise `InputError` when a value is outside what its option allows."""
    choices = metadata["choices"]
    if value is None:
        return
    if isinstance(value, tuple):
        for each in value:
            _check(name, each, metadata)
        return
    if choices and value not in choices:
        raise InputError(f"`{name}` is one of {', '.join(choices)}, not {value!r}.", did_you_mean(str(value), choices))
    if isinstance(value, str | bool):
        return
    if not math.isfinite(value):
        raise InputError(f"`{name}` must be a finite number, not {value}.")
    for limit, wrong, words in (
        ("minimum", lambda bound: value < bound, "at least"),
        ("above", lambda bound: value <= bound, "greater than"),
        ("maximum", lambda bound: value > bound, "at most"),
    ):
        bound = metadata[limit]
        if bound is not None and wrong(bound):
            raise InputError(f"`{name}` must be {words} {bound}, not {value}.")


def holds_something(path: Path) -> bool:
    """Tell whether a path is a file, or a folder that isn't empty: an empty one may have the name of something else by
    accident."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def did_you_mean(word: str, known: Any) -> str:
    """ "Did you mean …?" with the nearest known word, or an empty string."""
    close = get_close_matches(word, list(known), n=1)
    return f"Did you mean {close[0]}?" if close else ""


def counted(count: int, noun: str = "", verb: str = "") -> str:
    """A number of things: "1 frame", "2 frames"; with a verb in the plural what they do, such as "1 image is"."""
    singular = {"are": "is", "were": "was", "don't": "doesn't"}
    nouns, verbs = (noun, singular.get(verb, verb)) if count == 1 else (f"{noun}s" if noun else "", verb)
    return " ".join(word for word in (str(count), nouns, verbs) if word)
