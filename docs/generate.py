"""Write docs/commands.md, docs/api.md, a table of docs/weights.md, and the types of functions with the options of
commands, from the program.

`python docs/generate.py`; with `--check` it only compares.
"""

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from click import Command, Group
from click.testing import CliRunner

import latentflow
import latentflow.views
from latentflow._moved import PLACES
from latentflow.cli import DEFAULT, command_names, find_command, group
from latentflow.explore.views import VIEWS
from latentflow.models.classes import CLASSES

DOCS = Path(__file__).parent
COMMANDS_PAGE, API_PAGE, WEIGHTS_PAGE = DOCS / "commands.md", DOCS / "api.md", DOCS / "weights.md"
PACKAGE = DOCS.parent / "latentflow"
IMPORTS = {  # of stubs, by the name that is imported
    "Iterator": "from collections.abc import Iterator",
    "Sequence": "from collections.abc import Sequence",
    "PathLike": "from os import PathLike",
    "Any": "from typing import Any",
    "Literal": "from typing import Literal",
    "np": "import numpy as np",
    "torch": "import torch",
    "Evaluation": "from latentflow.explore.evaluate.run import Evaluation",
    "Report": "from latentflow.runs.job import Report",
    "AnchorLike": "from latentflow.latents.sources import AnchorLike",
    "ImageLike": "from latentflow.inversion.target import ImageLike",
    "LatentsLike": "from latentflow.explore.to_pictures import LatentsLike",
    "Composite": "from latentflow.explore.composite import Composite",
    "Image": "from PIL import Image",
    "Tensor": "from torch import Tensor",
    "Autoencoder": "from latentflow.models.autoencoder import Autoencoder",
    "Labeled": "from latentflow.base.records import Labeled",
    "Session": "from latentflow.base.session import Session",
}
ROOMS = ("views", "sound", "latents", "pictures", "sinks")
TYPES = {"latentflow.inversion.metrics": ("Metrics",), "latentflow.inversion.target": ("Target",)}  # in signatures
TORCH_TYPES = {"device": " | torch.device", "dtype": " | torch.dtype"}  # which options take too


def help_text(*words: str) -> str:
    """The help of a command, as a terminal of 100 columns shows it."""
    return CliRunner().invoke(group, [*words, "--help"], terminal_width=100, max_content_width=100).output.rstrip()


def commands() -> dict[str, Command]:
    """All commands by the words that call them."""
    found: dict[str, Command] = {}
    for name in command_names():
        command = find_command(name)
        assert command is not None
        found[name] = command
        if isinstance(command, Group):
            found |= {f"{name} {inner}": each for inner, each in command.commands.items()}
    return found


def commands_page() -> str:
    """Every command with its options."""
    rest = [name for name in commands() if name != DEFAULT]
    sections = [f"## latentflow\n\n```\n{help_text()}\n```"]
    sections += [f"## {name}\n\n```\n{help_text(*name.split())}\n```" for name in rest]
    return "\n\n".join(["# Commands and their options", *sections]) + "\n"


def public() -> dict[str, list[str]]:
    """The public names by the module they are imported from; a name that the package itself has is not named again."""
    found = {"latentflow": [name for name in _listed(latentflow) if not inspect.ismodule(getattr(latentflow, name))]}
    for place in [f"latentflow.{room}" for room in ROOMS] + sorted({*PLACES, *TYPES}):
        names = _listed(import_module(place)) if place.rpartition(".")[2] in ROOMS else PLACES.get(place, "").split()
        names = [*names, *TYPES.get(place, ())]
        if place not in found:
            found[place] = [name for name in names if name not in {*found["latentflow"], *VIEWS}]
    return found


def _listed(module: ModuleType) -> list[str]:
    """The names of a module in the order of its stub, or as it lists them."""
    stub = Path(module.__file__ or "").with_suffix(".pyi")
    names = re.findall(r"^from .* as (\w+)$", stub.read_text(encoding="utf-8"), re.MULTILINE) if stub.exists() else []
    return names or list(module.__all__)


def api_page() -> str:
    """Every public name with its signature and its docstring, from the source."""
    lines = [
        "# Python",
        "What is used most is in `latentflow` itself, the rest in its modules: `latentflow.sound.listen`. Pictures are "
        "(n, 3, height, width) in [0, 1], latents (n, channels, rows, columns) of about unit variance. Errors are "
        "subclasses of `LatentflowError`.",
    ]
    for place, names in public().items():
        module = import_module(place)
        lines += [f"## {place}", (inspect.getdoc(module) or "").splitlines()[0]]
        if place == "latentflow.views":
            lines.append("The options of these functions are those of [the commands](commands.md):")
            lines.append("\n".join(f"- `views.{name}`: {view.summary}" for name, view in VIEWS.items()))
        for name in names:
            lines += entry(name, getattr(module, name))
    return "\n\n".join(lines) + "\n"


def entry(name: str, value: Any) -> list[str]:
    """A heading, the signature, and the docstring; of a class its public members too."""
    lines = [f"### {name}", f"```python\n{signature(name, value)}\n```", documentation(value)]
    if inspect.isclass(value):
        members = [
            f"- `{member}{_call(each)}`: {' '.join(documentation(each).split())}"
            for member, each in vars(value).items()
            if not member.startswith("_") and (isinstance(each, property | classmethod) or inspect.isfunction(each))
        ]
        lines += ["\n".join(members)] if members else []
    return lines


def _call(member: Any) -> str:
    if isinstance(member, property):
        return ""
    return re.sub(r"\((self|cls)(, )?", "(", plain(_signature(getattr(member, "__func__", member))), count=1)


class _Name:
    """Shown in a signature as it is, without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _signature(value: Any) -> str:
    """The signature, with types that are only written down and functions by their names."""
    found = inspect.signature(value)

    def shown(annotation: Any) -> Any:
        return _Name(annotation) if isinstance(annotation, str) else annotation

    def default(each: Any) -> Any:
        if inspect.isfunction(each):
            return _Name("..." if each.__name__ == "<lambda>" else each.__name__)
        return _Name("...") if repr(each) == "<factory>" else each  # of a dataclass

    parameters = [
        each.replace(annotation=shown(each.annotation), default=default(each.default))
        for each in found.parameters.values()
    ]
    return str(found.replace(parameters=parameters, return_annotation=shown(found.return_annotation)))


def signature(name: str, value: Any) -> str:
    """How it is called, a parameter a line where one line is too long."""
    try:
        shown = plain(f"{name}{_signature(value)}")
    except (ValueError, TypeError):
        return name
    if len(shown) <= 100:
        return shown
    inner, _, result = shown[len(name) + 1 :].rpartition(")")
    lines = textwrap.indent(",\n".join(_split(inner)), "    ")
    return f"{name}(\n{lines},\n){result}"


def _split(parameters: str) -> list[str]:
    """Parameters, split at the commas outside brackets."""
    parts, depth = [""], 0
    for letter in parameters:
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def plain(text: str) -> str:
    """Types without the modules they are in; what stands in quotes is left alone."""
    text = re.sub(r"<class '([^']+)'>", r"\1", text)
    return re.sub(r"'[^']*'|\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", lambda match: match[0] if match[0][0] == "'" else "", text)


def documentation(value: Any) -> str:
    """The docstring, as Markdown."""
    return inspect.getdoc(value) or ""


def stub(functions: Iterable[Callable[..., Any]], first: str = "") -> str:
    """The types of functions, as type checkers read them: every option by name."""
    body = "\n".join(map(_stubbed, functions))
    used = [line for name, line in IMPORTS.items() if re.search(rf"\b{name}\b", body)]
    return "\n".join(["# Written by docs/generate.py: make docs", *used, first, body])


def _stubbed(function: Callable[..., Any]) -> str:
    found = inspect.signature(function)
    lines = [f"def {function.__name__}("]
    named = False
    for each in found.parameters.values():
        if each.kind is inspect.Parameter.KEYWORD_ONLY and not named:
            lines += (
                ["    *,"] if not any(each.kind is each.VAR_POSITIONAL for each in found.parameters.values()) else []
            )
            named = True
        stars = "*" if each.kind is inspect.Parameter.VAR_POSITIONAL else ""
        default = "" if each.default is inspect.Parameter.empty else f" = {each.default!r}"
        kind = annotation(each.annotation) + TORCH_TYPES.get(each.name, "")
        lines.append(f"    {stars}{each.name}: {kind}{default},")
    text = textwrap.indent(f'"""{inspect.getdoc(function)}"""', "    ")
    return "\n".join([*lines, f") -> {annotation(found.return_annotation)}:", text, "    ...", ""])


def annotation(kind: Any) -> str:
    """A type as it is written."""
    if isinstance(kind, str):
        return kind
    if get_origin(kind) in (Union, UnionType):
        return " | ".join(map(annotation, get_args(kind)))
    return "None" if kind is NoneType else plain(inspect.formatannotation(kind)).replace("'", '"')


def stubs() -> dict[Path, str]:
    """The stubs that are written for type checkers."""
    views = [getattr(latentflow.views, name) for name in VIEWS.own]
    parts = "\n".join(f"from latentflow.explore import {name} as {name}" for name in latentflow.explore.__all__)
    in_memory = PACKAGE / "explore" / "in_memory.pyi"
    return {
        PACKAGE / "views.pyi": stub(views, parts),
        in_memory: stub(
            [latentflow.encode, latentflow.decode, latentflow.composite, latentflow.walk, latentflow.evaluate]
        ),
    }


def pages() -> dict[Path, str]:
    """What each page should be."""
    return {COMMANDS_PAGE: commands_page(), API_PAGE: api_page(), WEIGHTS_PAGE: weights_page(), **stubs()}


def weights_page() -> str:
    """The page about weights, with the autoencoder classes that are served in its table."""
    before, first, rest = WEIGHTS_PAGE.read_text(encoding="utf-8").partition(
        "| class of diffusers | used by |\n|---|---|\n"
    )
    after = rest[rest.index("\n\n") :]
    return before + first + "\n".join(f"| `{name}` | {each.used_by} |" for name, each in CLASSES.items()) + after


if __name__ == "__main__":
    for path, text in pages().items():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.name} is not what the program says: make docs")
