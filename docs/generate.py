"""Write docs/commands.md and docs/api.md from the program: `python docs/generate.py` (`--check` only compares)."""

import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from click import Command, Group
from click.testing import CliRunner

import latentflow
from latentflow.cli import DEFAULT, command_names, find_command, group

DOCS = Path(__file__).parent
COMMANDS_PAGE, API_PAGE = DOCS / "commands.md", DOCS / "api.md"


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


def api_page() -> str:
    """Every public name with its signature and its docstring, from the source."""
    lines = [
        "# Python",
        "Everything below is imported from `latentflow`. Pictures are (n, 3, height, width) in [0, 1], latents (n, "
        "channels, rows, columns) of about unit variance. Errors are subclasses of `LatentflowError`.",
    ]
    modules: dict[str, list[str]] = {}
    stub = (DOCS.parent / "latentflow" / "__init__.pyi").read_text(encoding="utf-8")
    for name in re.findall(r"^from .* as (\w+)$", stub, re.MULTILINE):
        value = getattr(latentflow, name)
        modules.setdefault(value.__module__, []).append(name)
    for module, names in modules.items():
        title = (inspect.getdoc(sys.modules[module]) or "").splitlines()[0]
        lines += [f"## {module.removeprefix('latentflow.')}", title]
        for name in names:
            lines += entry(name, getattr(latentflow, name))
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


def pages() -> dict[Path, str]:
    """What each page should be."""
    return {COMMANDS_PAGE: commands_page(), API_PAGE: api_page()}


if __name__ == "__main__":
    for path, text in pages().items():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.name} is not what the program says: make docs")
