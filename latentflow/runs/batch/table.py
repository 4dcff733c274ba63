"""The table of a batch: a row for each image, as JSON lines and as CSV."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latentflow.base.errors import is_out_of_memory
from latentflow.base.files import write_csv, write_file, writing
from latentflow.runs.batch.plan import Item

Row = dict[str, Any]


class Table:
    """`batch.jsonl`: a line is appended for each image that is done; of several lines for an image the last counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                    self.rows[row["image"]] = row
                except (ValueError, TypeError, KeyError):  # a line cut off when the process was killed
                    continue

    def add(self, row: Row) -> None:
        """Append the row of one image; raises `OutputError`."""
        self.rows[row["image"]] = row
        with writing(self.path, "`output_dir`"):
            complete = not self.path.exists() or self.path.read_bytes()[-1:] in (b"", b"\n")
            with self.path.open("a", encoding="utf-8") as file:
                file.write(("" if complete else "\n") + json.dumps(row) + "\n")

    def write(self) -> None:
        """Rewrite the table with one line for each image, sorted by name, and write it as CSV; raises `OutputError`."""
        rows = [self.rows[name] for name in sorted(self.rows)]
        write_file(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode(), "`output_dir`")
        columns = list(dict.fromkeys(key for row in rows for key in row))
        write_csv(self.path.with_suffix(".csv"), columns, rows, "`output_dir`")


def succeeded(item: Item, seed: int, result: dict[str, Any], seconds: float, notes: Iterable[str] = ()) -> Row:
    """The row of an image after its outputs are written; `seconds` is the time it took, `notes` what reading it
    changed."""
    metrics = result["metrics"] if "metrics" in result else result["quality"]  # its name in manifests of 0.1.0
    return {
        **{"image": item.name, "status": "done", "output": str(item.output), "seed": seed},
        **{"steps": result["steps"], "loss": result["loss_last"], **metrics},
        **{"seconds": seconds, "error": "", "notes": "; ".join(notes)},
    }


def seconds_per_step(result: dict[str, Any]) -> float:
    """The seconds per step in the result of a manifest, of this version or of 0.1.0."""
    return float(result["seconds_per_step"] if "seconds_per_step" in result else result["seconds_a_step"])


def failed(item: Item, error: BaseException, seconds: float) -> Row:
    """The row of an image that failed, with the first line of the error."""
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    words = words.removeprefix("`image_path` ")  # no option of a batch
    if is_out_of_memory(error):
        words = "Out of memory."
    return {
        **{"image": item.name, "status": "failed", "output": "", "seed": None},
        **{"seconds": seconds, "error": words},
    }
