"""Write what the program says of itself into README.md and docs/commands.md: `python docs/generate.py` (`--check` only
compares)."""

import inspect
import re
import sys
from pathlib import Path
from textwrap import fill

from click import Command, Group
from click.testing import CliRunner

from latentflow.cli import COMMANDS, DEFAULT, group

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
COMMANDS_PAGE = DOCS / "commands.md"
WIDTH = 120
PICTURES = (".gif", ".jpg", ".png")


def help_text(*words: str) -> str:
    """The help of a command, as a terminal of 100 columns shows it."""
    return CliRunner().invoke(group, [*words, "--help"], terminal_width=100, max_content_width=100).output.rstrip()


def commands() -> dict[str, Command]:
    """All commands by the words that call them."""
    context = group.make_context("latentflow", [DEFAULT], resilient_parsing=True)
    found: dict[str, Command] = {}
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        found[name] = command
        if isinstance(command, Group):
            found |= {f"{name} {inner}": each for inner, each in command.commands.items()}
    return found


def entry(name: str, command: Command) -> str:
    """A command in the README: what it does, its example, and its picture where there is one."""
    text, example = inspect.cleandoc(command.help or "").split("\b\nExample: ")
    paragraphs = text.strip().split("\n\n")
    paragraphs[-1] += f" [Options](docs/commands.md#{name.replace(' ', '-')})."
    parts = [f"### {name}", *(fill(" ".join(each.split()), WIDTH, break_long_words=False) for each in paragraphs)]
    parts.append(f"```\n{example.strip()}\n```")
    picture = next((DOCS / "gallery" / (name + suffix) for suffix in PICTURES if has_picture(name, suffix)), None)
    if picture is not None:
        parts.append(f"[![{COMMANDS[name]}](docs/gallery/{picture.name})](docs/gallery.md#{name})")
    return "\n\n".join(parts)


def has_picture(name: str, suffix: str) -> bool:
    """Whether the gallery shows a command."""
    return (DOCS / "gallery" / (name + suffix)).exists()


def blocks() -> dict[str, str]:
    """What stands in the README between `<!-- begin NAME -->` and `<!-- end NAME -->`."""
    rest = {name: command for name, command in commands().items() if name != DEFAULT}
    return {
        "options": f"```\n{help_text()}\n```",
        "commands": "\n\n".join(entry(name, command) for name, command in rest.items()),
    }


def filled(text: str) -> str:
    """The README with its blocks made anew."""
    for name, content in blocks().items():
        pattern = re.compile(f"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        text, count = pattern.subn(lambda match, content=content: f"{match[1]}{content}\n{match[2]}", text)
        if count != 1:
            raise ValueError(f"README.md has {count} blocks named {name}")
    return text


def commands_page() -> str:
    """Every command with its options."""
    rest = [name for name in commands() if name != DEFAULT]
    sections = "\n\n".join(f"## {name}\n\n```\n{help_text(*name.split())}\n```" for name in rest)
    return (
        f"# Commands and their options\n\nThose of the main command are in the [README](../README.md).\n\n{sections}\n"
    )


def pages() -> dict[Path, str]:
    """What each page should be."""
    return {README: filled(README.read_text(encoding="utf-8")), COMMANDS_PAGE: commands_page()}


if __name__ == "__main__":
    for path, text in pages().items():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.name} is not what the program says: make docs")
