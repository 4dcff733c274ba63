"""One batch, from a plan to its table."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from latentflow.base.errors import LatentflowError
from latentflow.base.files import WrittenFiles
from latentflow.base.options import counted
from latentflow.base.session import Session
from latentflow.inversion.config import located
from latentflow.pictures.reader import Notes
from latentflow.runs.batch.plan import BatchPlan, Item, finished
from latentflow.runs.batch.sheet import write_sheet
from latentflow.runs.batch.table import Row, Table, seconds_per_step, succeeded
from latentflow.runs.report import versions
from latentflow.sinks.manifest import write_manifest

Engine = Callable[[BatchPlan, Sequence[Item], Session], Iterator[Row]]


@dataclass(slots=True)
class BatchReport:
    """The outcome of a batch."""

    plan: BatchPlan
    done: int
    skipped: int
    failed: list[Row]
    left: int
    seconds: float
    written: WrittenFiles
    notes: Notes = field(default_factory=Notes)
    error: LatentflowError | None = None

    def take(self, row: Row) -> None:
        """Count the row of an image."""
        self.left -= 1
        self.notes.add(row["image"], filter(None, row.get("notes", "").split("; ")))
        if row["status"] == "done":
            self.done += 1
        else:
            self.failed.append(row)

    @property
    def exit_code(self) -> int:
        """0 when all images succeeded, else 1."""
        return 1 if self.failed or self.left else 0

    @property
    def images_per_hour(self) -> float:
        """The number of images that succeed per hour; failures don't count, since many may fail at once."""
        return round(self.done / self.seconds * 3600, 1) if self.seconds else 0.0

    def summary(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return {
            "output_dir": str(self.plan.folder),
            "done": self.done,
            "skipped": self.skipped,
            "failed": {row["image"]: row["error"] for row in self.failed},
            "left": self.left,
            "notes": self.notes.sentences(),
            "images_per_hour": self.images_per_hour,
            "written": [str(path) for path in self.written.paths],
            "outcome": "done" if self.error is None else str(self.error),
        }

    def __str__(self) -> str:
        """The report for people."""
        lines = [f"done     {counted(self.done, 'image')}, {self.images_per_hour:.0f} per hour"]
        lines += [f"skipped  {self.skipped}, finished before"] if self.skipped else []
        lines += [f"failed   {row['image']}: {row['error']}" for row in self.failed]
        lines += [f"left     {self.left}"] if self.left else []
        lines += [f"note     {sentence}" for sentence in self.notes.sentences()]
        return "\n".join([*lines, *(f"wrote    {path}" for path in self.written.paths)])


def run_batch(
    plan: BatchPlan,
    session: Session,
    engine: Engine,
    progress: Callable[["BatchReport"], None] = lambda report: None,
) -> BatchReport:
    """Work on all images that aren't finished, by an engine that gives their rows, and write table and sheet;
    `progress` gets the report after each image.

    Raises `LatentflowError` for errors before the first image.
    """
    written = WrittenFiles(plan.outputs)
    for note in plan.notes:
        session.say(note)
    table = Table(plan.table)
    todo = []
    for item in plan.items:
        try:
            content = finished(plan, item)
        except OSError:  # the work on this image meets it again, and then it is in the image's row
            content = None
        if content is None:
            todo.append(item)
        elif item.name not in table.rows and "result" in content:  # finished, and stopped before it was written down
            seed, result = content["options"]["seed"], content["result"]
            table.add(succeeded(item, seed, result, seconds_per_step(result) * (result["steps"] + 1)))
    began = time.perf_counter()
    report = BatchReport(plan, 0, len(plan.items) - len(todo), [], len(todo), 0.0, written)
    rows = engine(plan, todo, session) if todo else iter(())
    try:
        with session.interruptible():
            for row in rows:
                table.add(row)
                report.take(row)
                report.seconds = time.perf_counter() - began
                if row["status"] != "done":
                    session.say(f"{row['image']} failed: {row['error']}")
                progress(report)
                limit = plan.config.max_failures
                if limit is not None and len(report.failed) >= limit and report.left:
                    session.say(f"{counted(len(report.failed), 'image')} failed, so it stops, as `max_failures` says.")
                    break
    except LatentflowError as error:
        if not table.rows:
            raise
        report.error = error
    finally:
        if isinstance(rows, Generator):
            rows.close()
    with session.held():
        table.write()
    try:
        with session.interruptible():
            if not session.is_stopped:  # who stops a batch doesn't want to wait until all results are read
                write_sheet(plan)
    except LatentflowError as error:
        report.error = report.error or error
    with session.held():
        facts = {"options": located(asdict(plan.config)), "versions": versions(), "result": report.summary()}
        write_manifest(plan.manifest, facts, written)
    return report


def local(plan: BatchPlan, items: Sequence[Item], session: Session) -> Iterator[Row]:
    """The engine that works here, in this process."""
    from latentflow.runs.batch.worker import Worker  # and torch

    yield from Worker(plan, session).work(items)
