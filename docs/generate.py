"""Write what the program says of itself into README.md: `python docs/generate.py` (`--check` only compares)."""

import re
import sys
from pathlib import Path

from click import Command, Group
from click.testing import CliRunner

from latentflow.cli import COMMANDS, DEFAULT, group

README = Path(__file__).parent.parent / "README.md"


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


def blocks() -> dict[str, str]:
    """What stands between `<!-- begin NAME -->` and `<!-- end NAME -->`."""
    rest = [name for name in commands() if name != DEFAULT]
    return {
        "options": f"```\n{help_text()}\n```",
        "commands": "\n\n".join(f"### {name}\n\n```\n{help_text(*name.split())}\n```" for name in rest),
    }


def filled(text: str) -> str:
    """The README with its blocks made anew."""
    for name, content in blocks().items():
        pattern = re.compile(f"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        text, count = pattern.subn(lambda match, content=content: f"{match[1]}{content}\n{match[2]}", text)
        if count != 1:
            raise ValueError(f"README.md has {count} blocks named {name}")
    return text


if __name__ == "__main__":
    now = README.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        sys.exit("README.md is not what the program says: make docs" if filled(now) != now else 0)
    README.write_text(filled(now), encoding="utf-8")
