"""The command line that makes what a panel shows."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from typing import Any

from latentflow.base.options import Options, in_order


def command_line(command: str, sources: Sequence[str], config: Options, names: Mapping[str, str] | None = None) -> str:
    """A line for a shell: `latentflow`, the command, its sources, and the options that differ from their defaults.

    `names` gives the text to write instead of a path, such as the name that an uploaded file had.
    """
    names = names or {}
    parts = ["latentflow", *([command] if command else []), *(names.get(source, source) for source in sources)]
    for each in in_order(config):
        value = getattr(config, each.name)
        default = each.default if each.default is not MISSING else None
        if value is None or value == default:
            continue
        option = f"--{each.name.rstrip('_')}"
        if isinstance(value, bool):
            parts.append(option if value else option.replace("--", "--no_", 1))
        else:
            parts += [option, _text(names.get(str(value), value))]
    return " ".join(shlex.quote(part) for part in parts)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)
