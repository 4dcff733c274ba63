"""What a view came to, and the manifest beside its picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from latentflow.config import ViewConfig
from latentflow.errors import InputError, LatentflowError
from latentflow.files import write_whole
from latentflow.report import circumstances, readable
from latentflow.run import Loaded
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


def check_not_input(outputs: Sequence[Path], sources: Sequence[str | Path]) -> None:
    """Raise `InputError` when an output would be put in the place of a source."""
    taken = {Path(source).expanduser().resolve() for source in sources}
    for output in outputs:
        if output.resolve() in taken:
            raise InputError(f"--output_path would put {output} in the place of what it is made from.")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first column is aligned left, the others right."""
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    return [
        (line[0].ljust(widths[0]) + "".join(f"  {text:>{width}}" for text, width in zip(line[1:], widths[1:]))).rstrip()
        for line in [head, *rows]
    ]
