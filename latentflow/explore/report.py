"""What a view came to, and the manifest beside its picture."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from latentflow.config import ViewConfig
from latentflow.errors import InputError, LatentflowError, OutputError
from latentflow.files import write_whole
from latentflow.runs.report import circumstances, readable
from latentflow.runs.run import Loaded
from latentflow.sinks.manifest import manifest_path


@dataclass(slots=True, kw_only=True)
class ViewReport:
    """What a view came to: the files it wrote, its `figures` as plain values, and `lines` that say them to people.

    `error` holds what broke the view off, if anything did.
    """

    written: list[Path]
    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    error: LatentflowError | None = None

    def summary(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        outcome = "done" if self.error is None else str(self.error)
        return {"outcome": outcome, "written": [str(path) for path in self.written if path.exists()], **self.figures}

    def __str__(self) -> str:
        """The report for people."""
        lines = []
        for path in self.written:
            if path.is_dir():
                lines.append(f"wrote    {path} ({len(list(path.iterdir()))} files)")
            elif path.exists():
                lines.append(f"wrote    {path} ({readable(path.stat().st_size)})")
        return "\n".join([*lines, *self.lines])


def beside(path: Path, suffix: str) -> Path:
    """The file that belongs to a view's picture: `x.png` has `x` + suffix."""
    return path.with_name(path.stem + suffix)


def write_view_manifest(
    path: Path, config: ViewConfig, inputs: Mapping[str, Any], loaded: Loaded, report: ViewReport
) -> None:
    """Write what a view was asked for and what it found as JSON beside its picture `path`; raises `OutputError`.

    `inputs` is what it was made from, in words of its command.
    """
    autoencoder = loaded.autoencoder
    options = asdict(config) | {"dtype": autoencoder.precision}
    content = circumstances(options, loaded.resolved, autoencoder.device)
    content = {"inputs": dict(inputs), **content, "notices": loaded.networks.notices, "result": report.summary()}
    file = manifest_path(path)
    write_whole(file, (json.dumps(content, indent=2) + "\n").encode(), "--output_path")
    report.written.append(file)


def check_outputs(outputs: Sequence[Path], sources: Sequence[str | Path]) -> None:
    """Check where a view's picture, the first of its outputs, and its companions go.

    Raises `InputError` when one of them would take the place of a source or come to lie in a folder that is one, where
    the next view would take it for a source; `OutputError` when a companion would take the place of a file that no
    earlier view has left.
    """
    taken = {Path(source).expanduser().resolve() for source in sources}
    for output in outputs:
        whole = output.resolve()
        if whole in taken:
            raise InputError(f"--output_path would put {output} in the place of what it is made from.")
        inside = taken & set(whole.parents)
        if inside:
            raise InputError(
                f"--output_path {output} is in the folder {min(inside)}, whose images are looked at.",
                "Name a path outside of it.",
            )
    for output in outputs[1:]:
        if output.is_file() and not manifest_path(outputs[0]).exists():
            raise OutputError(
                f"--output_path {outputs[0]}: {output} would be overwritten, which no earlier view has left beside it.",
                "Name another --output_path.",
            )


def sweep_path(path: Path, suffix: str) -> Path:
    """Where the moving picture that belongs to a view's picture goes; without a suffix, a folder of PNGs."""
    return beside(path, suffix) if suffix else path.with_name(path.stem.replace(".", "_") + "_frames")


def finite(value: float) -> float | None:
    """The value, or None for what JSON has no number for."""
    return value if math.isfinite(value) else None
