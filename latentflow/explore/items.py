"""Many files in, a file out for each: what `encode` and `decode` share.

The manifest names for each output the bytes it was made from, so that the same command goes on where it was stopped:
what was made from the same bytes, with the same options and weights, is not made again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentflow.base.errors import InputError, LatentflowError, first_line, is_out_of_memory
from latentflow.base.files import (
    STDIN,
    UNFINISHED,
    check_writable,
    is_stream,
    manifest_path,
    path_from,
    sha256,
    write_file,
    writing,
)
from latentflow.base.options import counted, options_that
from latentflow.base.records import Record
from latentflow.pictures.folders import FoundFiles
from latentflow.runs.batch.sources import find_all
from latentflow.runs.job import Files, Job
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.manifest import read_manifest, write_manifest
from latentflow.sinks.progress import Progress

STREAM = "stream"  # {stem} of what comes through a pipe
SAVE_INTERVAL = 10.0  # seconds: the most work that a kill costs
LABEL = "`output_path`"


@dataclass(frozen=True, slots=True)
class Item:
    """One file to convert: its `name` among the sources, its `path`, and its `output`."""

    name: str
    path: Path
    output: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted(Record):
    """One item that was worked on: the `figures` of its result, or the `problem` for which there is none. The first has
    index 1."""

    item: Item
    figures: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    sha256: str = ""


@dataclass(slots=True)
class Items:
    """The items of a command, the notes on how they were found, and the entries of its manifest, by output."""

    items: list[Item]
    notes: list[str]
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)


def check_items(
    command: str,
    sources: Sequence[str],
    config: Any,
    suffixes: Sequence[str],
    kind: str,
    find: Callable[[Path], FoundFiles],
) -> Files:
    """Find the files of a `kind` that the sources name, and settle the output of each; raises `InputError` and
    `OutputError`."""
    template = Path(config.output_path).expanduser()
    if str(template) != STDIN and template.suffix.lower() not in suffixes:
        raise InputError(f"{LABEL} {template}: {kind}s become {', '.join(suffixes)} here.")
    folder = _folder(template)
    streams = [source for source in sources if is_stream(Path(source))]
    files = [source for source in sources if source not in streams]
    found = find_all(files, folder / template.name, LABEL, find, kind) if files or not streams else None
    items = [Item(STREAM, Path(source), _output(template, STREAM)) for source in streams]
    if found is not None:
        items += [Item(name, path, _output(template, found.places[path])) for path, name in found.names.items()]
    _check_distinct(items, template, kind)
    is_one = len(items) == 1 and not any(Path(source).expanduser().is_dir() for source in files)
    manifest = manifest_path(items[0].output if is_one else folder / command)
    if str(template) != STDIN:
        check_writable(folder / template.name if folder.exists() else folder, LABEL)
    return Files(
        outputs=[item.output for item in items],
        inputs=files,
        shown={"sources": list(sources)},
        is_named=True,
        manifest=manifest,
        has_manifest=str(template) != STDIN,
        found=Items(items, [] if found is None else found.notes),
    )


def _folder(template: Path) -> Path:
    """The folder that all outputs are in."""
    parts = template.parent.parts
    fixed = next((place for place, part in enumerate(parts) if "{" in part), len(parts))
    return Path(*parts[:fixed])


def _output(template: Path, name: str) -> Path:
    """The output of an item: {stem} is its name without the suffix, {name} its name, in the folder it has among the
    sources; raises `InputError` for other {names}."""
    plain = Path(name)
    try:
        last = str(template).format(stem=plain.stem, name=plain.name)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise InputError(f"{LABEL} {str(template)!r}: only {{stem}} and {{name}} are filled in.") from error
    return Path(last) if "{" not in str(template) else Path(last).parent / plain.parent / Path(last).name


def _check_distinct(items: Sequence[Item], template: Path, kind: str) -> None:
    taken: dict[Path, Item] = {}
    for item in items:
        other = taken.setdefault(item.output, item)
        if other is item:
            continue
        if "{" not in str(template):
            raise InputError(f"{LABEL} {template}: with several {kind}s its name needs a {{stem}}.")
        raise InputError(
            f"{other.name} and {item.name} would both become {item.output}.",
            f"Write {{name}} in {LABEL}, or work on them in two commands.",
        )


def convert(job: Job[Any], make: Callable[[Item], dict[str, Any]]) -> None:
    """Make the output of each item that isn't there yet; `make` returns its figures.

    What is wrong with one of several files goes into the report and ends nothing; what breaks the work off goes there
    as well. Raises `LatentflowError` where there is one file, and where nothing was made.
    """
    found: Items = job.found
    for note in found.notes:
        job.reader.say_once(note)
    ledger = _Ledger(job)
    todo = [item for item in found.items if not ledger.is_finished(item)]
    try:
        if todo:
            records = _converted(todo, make, is_one=len(found.items) == 1)
            progress = Progress(job.session, len(todo), lambda record: record.item.name, "file")
            run_sinks(job.session.watch(records, "the same command makes the rest"), [ledger, progress])
    except LatentflowError as error:
        if not ledger.made:
            raise
        job.report.error = error
    _report(job, ledger, len(found.items) - len(todo))


def _converted(items: Sequence[Item], make: Callable[[Item], dict[str, Any]], *, is_one: bool) -> Iterator[Converted]:
    for place, item in enumerate(items, 1):
        shown: dict[str, Any] = {"index": place, "total": len(items), "item": item}
        try:
            digest = sha256(item.path)
            with writing(item.output, LABEL):
                item.output.parent.mkdir(parents=True, exist_ok=True)
            yield Converted(**shown, sha256=digest, figures=make(item))
        except (InputError, OSError, RuntimeError) as error:
            if is_one or (not isinstance(error, InputError | OSError) and not is_out_of_memory(error)):
                raise
            words = "Out of memory." if is_out_of_memory(error) else first_line(error)
            yield Converted(**shown, problem=words)


class _Ledger(Sink[Converted]):
    """The entries of the manifest: what was made, from which bytes. It is written every ten seconds, so that a process
    that is killed loses no more than that."""

    def __init__(self, job: Job[Any]) -> None:
        self.job, self.made, self.problems = job, list[Converted](), dict[str, str]()
        self.entries: dict[str, dict[str, Any]] = job.found.entries
        self._saved = 0.0
        if job.manifest is not None and job.manifest.exists():
            self.entries |= self._earlier(job.manifest)

    def _earlier(self, manifest: Path) -> dict[str, dict[str, Any]]:
        """The entries of an earlier command with the same options and weights, of files that are still there."""
        try:
            content = read_manifest(manifest)
        except InputError:  # no manifest of this program, and the guard has let it through
            return {}
        entries, now = content.get("items"), json.loads(json.dumps(_identity(self.job, self.job.facts())))
        if not isinstance(entries, dict) or _identity(self.job, content) != now:
            return {}
        return {name: entry for name, entry in entries.items() if (manifest.parent / name).is_file()}

    def is_finished(self, item: Item) -> bool:
        """Tell whether the output of an item was made from the same bytes before."""
        if self.job.manifest is None or self.job.config.overwrite or is_stream(item.path):
            return False
        entry = self.entries.get(path_from(self.job.manifest, item.output))
        try:
            return entry is not None and entry["sha256"] == sha256(item.path)
        except OSError:  # the work on it meets the same error, and reports it
            return False

    def open(self) -> None:
        """Claim the outputs before the first is there."""
        if self.job.manifest is not None:
            with writing(self.job.manifest, LABEL):
                self.job.manifest.parent.mkdir(exist_ok=True)
        self._save()

    def write(self, record: Converted) -> None:
        """Note one item."""
        if record.problem:
            self.problems[record.item.name] = record.problem
            return
        self.made.append(record)
        if self.job.manifest is not None:
            entry = {"source": record.item.name, "sha256": record.sha256, **record.figures}
            self.entries[path_from(self.job.manifest, record.item.output)] = entry
        if time.monotonic() - self._saved > SAVE_INTERVAL:
            self._save()

    def _save(self) -> None:
        job = self.job
        if job.manifest is not None:
            content = {"inputs": job.shown, **job.facts(), "items": self.entries, "outcome": UNFINISHED}
            write_manifest(job.manifest, content, job.report.written.claimable(job.manifest), LABEL)
        self._saved = time.monotonic()


def _identity(job: Job[Any], facts: dict[str, Any]) -> list[Any]:
    """What else decides on the bytes of an output: options, the weights, and the type that they compute in."""
    decisive = options_that(type(job.config), affects="result") - {"vae", "weights"}
    options = {name: value for name, value in facts.get("options", {}).items() if name in decisive}
    return [options, facts.get("weights", {}).get("sha256")]


def _report(job: Job[Any], ledger: _Ledger, skipped: int) -> None:
    report, left = job.report, len(job.found.items) - skipped - len(ledger.made) - len(ledger.problems)
    made = [{"source": each.item.name, "output": str(each.item.output), **each.figures} for each in ledger.made]
    report.figures |= {"done": len(made), "skipped": skipped, "failed": ledger.problems, "left": left, "items": made}
    report.lines += [
        f"done     {counted(len(made), 'file')}",
        *([f"skipped  {skipped}, finished before"] if skipped else []),
        *(f"failed   {name}: {problem}" for name, problem in ledger.problems.items()),
        *([f"left     {left}"] if left else []),
    ]
    report.exit_code = 1 if ledger.problems else 0


def facts(job: Job[Any]) -> dict[str, Any]:
    """The content of the manifest, with an entry for each output."""
    return {"inputs": job.shown, **job.facts(), "items": job.found.entries}


def put(path: Path, content: bytes) -> None:
    """Write an output in one step, or to standard output where it is "-"."""
    if str(path) == STDIN:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        write_file(path, content, LABEL)
