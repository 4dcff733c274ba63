"""The table of a batch: a line an image."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from latentflow.errors import is_out_of_memory
from latentflow.files import write_whole, writing
from latentflow.runs.batch.plan import Item

Row = dict[str, Any]


class Table:
    """`batch.jsonl`: a line an image, appended as it is done; a later line of an image counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                    self.rows[row["image"]] = row
                except (ValueError, TypeError, KeyError):  # cut off by a kill, in the middle of a line
                    continue

    def add(self, row: Row) -> None:
        """Append one line."""
        self.rows[row["image"]] = row
        with writing(self.path, "--output_dir"):
            whole = not self.path.exists() or self.path.read_bytes()[-1:] in (b"", b"\n")
            with self.path.open("a", encoding="utf-8") as file:
                file.write(("" if whole else "\n") + json.dumps(row) + "\n")

    def write(self) -> None:
        """Put down every image once, and the same as a spreadsheet."""
        rows = [self.rows[name] for name in sorted(self.rows)]
        write_whole(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode(), "--output_dir")
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.path.with_suffix(".csv"), text.getvalue().encode(), "--output_dir")


def succeeded(item: Item, seed: int, result: dict[str, Any], seconds: float) -> Row:
    """The row of an image whose result is written."""
    figures = {key: round(value, 4) for key, value in result["quality"].items()}
    return {
        **{"image": item.name, "status": "done", "output": str(item.output), "seed": seed},
        **{"steps": result["steps"], "loss": result["loss_last"], **figures},
        **{"seconds": round(seconds, 3), "error": ""},
    }


def failed(item: Item, error: BaseException, seconds: float) -> Row:
    """The row of an image that came to nothing, and why."""
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    if is_out_of_memory(error):
        words = "Out of memory."
    return {
        **{"image": item.name, "status": "failed", "output": "", "seed": None},
        **{"seconds": round(seconds, 3), "error": words},
    }
