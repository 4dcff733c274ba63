"""The latents of a run or of moving pictures: small, appended step by step, enough to draw the frames again.

A line of JSON gives the source of the latents. For every record a line follows with its figures, or with the texts
beside its pictures, and, if its frame is kept, the bytes of its latents (float32, little-endian). A file that was cut
off is good up to its last complete record. The file of a run has version 1 and a latent c × rows × columns per record;
the file of a comparison or a view has version 2 and n × c × rows × columns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentflow.base.errors import InputError, first_line
from latentflow.base.files import append, check_writable, writing
from latentflow.base.records import Comparison, Figures, Frame, Labeled, Record, Step
from latentflow.sinks import Sink

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "latentflow trajectory"
OF_RUN, OF_PICTURES = 1, 2  # versions
LARGEST_LINE = 1_000_000  # bytes: a file with a longer line isn't a trajectory


def trajectory_path(output_path: Path) -> Path:
    """Beside the output: `x.gif` has `x.gif.trajectory`."""
    return output_path.with_name(output_path.name + ".trajectory")


class Trajectory(Sink[Any]):
    """Appends the figures of every step, or the texts of every other frame, and the latents of every `every`-th, of the
    first and of the last, as they come.

    `facts` are those of the manifest. With `after` it continues the existing file, after the record before that index.
    """

    def __init__(self, path: Path, facts: dict[str, Any], every: int, after: int = 0) -> None:
        self.path, self.facts, self.every, self.after = path, facts, every, after
        self.file: FileIO | None = None
        self.last: Frame | None = None  # without its latent so far

    def open(self) -> None:
        check_writable(self.path, "`output_path`")

    def write(self, record: Record) -> None:
        """Append one record; raises `OutputError` when it can't be written."""
        if isinstance(record, Comparison):
            record = record.labeled
        if record.index < self.after or not isinstance(record, Frame):
            return
        with writing(self.path, "`output_path`"):
            if self.file is None:
                self.file = self._begun(record)
            kept = record.index % self.every == 0 or record.index == record.total
            self._append(record, kept=kept)
            self.last = None if kept else record

    def _begun(self, record: Frame) -> FileIO:
        if not self.after:
            file = self.path.open("wb", buffering=0)
            version, shape = OF_PICTURES, list(record.latent.shape)
            if isinstance(record, Step):
                version, shape = OF_RUN, shape[1:]
            append(file, json.dumps({"format": f"{FORMAT} {version}", "shape": shape, **self.facts}).encode() + b"\n")
            return file
        past = read_trajectory(self.path)
        going_on = self.path.open("r+b", buffering=0)
        end = next((each.begin for each in past.records if each.figures["step"] >= self.after), past.end)
        going_on.truncate(end)
        going_on.seek(end)
        return going_on

    def _append(self, record: Frame, *, kept: bool) -> None:
        assert self.file is not None
        latent = record.latent.cpu().numpy().astype("<f4").tobytes() if kept else b""
        figures = {"step": record.index, "total": record.total, **_noted(record), "bytes": len(latent)}
        append(self.file, json.dumps(figures).encode() + b"\n" + latent)

    def close(self, error: BaseException | None) -> None:
        if self.file is not None:
            with writing(self.path, "`output_path`"):
                if self.last is not None:  # again, with its latent: it turned out to be the last
                    self._append(self.last, kept=True)
                self.file.close()


def _noted(record: Frame) -> dict[str, Any]:
    """Return the fields of a record's line."""
    if isinstance(record, Step):
        return {
            "loss": float(record.loss[0]),
            "parts": {label: float(value[0]) for label, value in record.parts.items()},
            "psnr": float(record.psnr[0]),
            "grad_norm": None if record.grad_norm is None else float(record.grad_norm[0]),
            "lr": record.lr,
            "passes": record.passes,
            "seconds": record.seconds,
        }
    if isinstance(record, Labeled):
        return {"titles": record.titles, "caption": record.caption}
    return {"titles": [], "caption": []}


@dataclass(frozen=True, slots=True)
class Entry:
    """One record: its figures, where it begins in the file, and where its latent does if that was kept."""

    figures: dict[str, Any]
    begin: int
    latent_at: int | None


@dataclass(frozen=True, slots=True)
class Past:
    """The contents of a trajectory: facts on its origin, its records in order, and the end of the last complete one."""

    path: Path
    facts: dict[str, Any]
    records: list[Entry]
    end: int

    @property
    def is_of_run(self) -> bool:
        """True if its records are the steps of a run; else they are pictures with texts."""
        return len(self.facts["shape"]) == 3

    def labeled(self, image: Tensor) -> Iterator[Labeled]:
        """The records that have latents, if they are no steps, each with an empty `image`."""
        for entry in self.records:
            if entry.latent_at is not None:
                found = entry.figures
                texts = {"titles": found["titles"], "caption": found["caption"]}
                yield Labeled(
                    index=found["step"], total=found["total"], latent=self._latent(entry), image=image, **texts
                )

    def _latent(self, entry: Entry) -> Tensor:
        """The latents (n, c, rows, columns) of a record that has them."""
        import torch

        assert entry.latent_at is not None
        with self.path.open("rb") as file:
            file.seek(entry.latent_at)
            values = np.frombuffer(file.read(entry.figures["bytes"]), "<f4")
        shape = self.facts["shape"]
        return torch.from_numpy(values.copy()).reshape([1, *shape] if self.is_of_run else shape)

    def steps(self, decode: Callable[[Tensor], Tensor], before: int | None = None) -> Iterator[Step | Figures]:
        """The records again up to the index `before`: a `Step` where the latent was kept, with the picture that
        `decode` makes of (1, c, rows, columns); elsewhere the figures alone."""
        import torch

        for figures, latent in self.read(before):
            if latent is None:
                yield figures
                continue
            with torch.no_grad():
                image = decode(latent)
            yield Step(latent=latent, image=image, **vars(figures))

    def read(self, before: int | None = None) -> Iterator[tuple[Figures, Tensor | None]]:
        """The figures up to the index `before`, each with its latent (1, c, rows, columns), or None where that was not
        kept."""
        import torch

        def one(value: float | None) -> Any:
            return None if value is None else torch.tensor([value], dtype=torch.float32)

        for entry in self.records:
            found = entry.figures
            if before is not None and found["step"] >= before:
                return
            figures = Figures(
                index=found["step"],
                total=found["total"],
                loss=one(found["loss"]),
                parts={label: one(value) for label, value in found["parts"].items()},
                psnr=one(found["psnr"]),
                grad_norm=one(found["grad_norm"]),
                lr=found["lr"],
                passes=found["passes"],
                seconds=found["seconds"],
            )
            yield figures, None if entry.latent_at is None else self._latent(entry)


def read_trajectory(path: Path) -> Past:
    """The complete records of a trajectory; raises `InputError` when the file is not one."""
    records: dict[int, Entry] = {}
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            facts = json.loads(file.readline(LARGEST_LINE))
            name, _, version = str(facts.get("format") if isinstance(facts, dict) else "").rpartition(" ")
            if name != FORMAT or not version.isdecimal():
                raise ValueError("it is not a trajectory")
            if int(version) > OF_PICTURES:
                raise ValueError(f"it has format version {version}; this latentflow reads versions up to {OF_PICTURES}")
            shape = [int(each) for each in facts["shape"]]
            if len(shape) != (3 if int(version) == OF_RUN else 4) or min(shape) < 1:
                raise ValueError(f"it has latents of shape {shape}")
            kinds, wanted = (_STEP if int(version) == OF_RUN else _PICTURES), 4 * math.prod(shape)
            end = file.tell()
            while (line := file.readline(LARGEST_LINE)).endswith(b"\n"):
                figures = _figures(line, kinds)
                if figures["bytes"] not in (0, wanted):
                    raise ValueError(f"a latent has {figures['bytes']} bytes")
                at = file.tell()
                if at + figures["bytes"] > size:  # cut off
                    break
                begin = records[figures["step"]].begin if figures["step"] in records else end
                records[figures["step"]] = Entry(figures, begin, at if figures["bytes"] else None)
                end = file.seek(at + figures["bytes"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"The trajectory {path} can't be read: {reason}.") from error
    return Past(path, facts, [records[step] for step in sorted(records)], end)


_PICTURES: dict[str, Any] = {"step": int, "total": int, "bytes": int, "titles": list, "caption": list}
_STEP: dict[str, Any] = {
    **{"step": int, "total": int, "passes": int, "bytes": int, "parts": dict},
    **{"loss": float, "psnr": float, "lr": (int, float), "seconds": (int, float), "grad_norm": (float, type(None))},
}


def _figures(line: bytes, kinds: dict[str, Any]) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict) or any(
        key not in found or not isinstance(found[key], kind) for key, kind in kinds.items()
    ):
        raise ValueError("a record is damaged")
    texts = [*found.get("caption", []), *(part for title in found.get("titles", []) for part in title)]
    if not all(isinstance(value, float) for value in found.get("parts", {}).values()) or not all(
        isinstance(text, str) for text in texts
    ):
        raise ValueError("a record is damaged")
    return found
