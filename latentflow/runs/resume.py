"""Checkpoints of runs, read back."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from latentflow.base.errors import InputError
from latentflow.base.state import unpack
from latentflow.inversion.config import RunConfig


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what a run saved to go on from: facts, state, best step; raises `InputError` for a file that isn't a
    checkpoint."""
    content = unpack(path)
    facts, state, best = content.get("facts"), content.get("state"), content.get("best")
    known = {each.name for each in fields(RunConfig)}
    if (
        not isinstance(facts, dict)
        or not isinstance(facts.get("options"), dict)
        or set(facts["options"]) - known
        or not isinstance(state, dict)
        or not isinstance(state.get("index"), int)
        or not (best is None or (isinstance(best, dict) and {"step", "latent"} <= set(best)))
    ):
        raise InputError(f"`resume` {path} is not the checkpoint of a run.")
    return content
