"""The plan of a batch: its images, the path of each result, and what was done before; no torch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from latentflow.base.errors import FormatVersionError, InputError, LatentflowError, OutputError
from latentflow.base.files import check_outputs, check_writable, manifest_path, sha256, writing
from latentflow.base.options import options_that
from latentflow.inversion.checks import check_options
from latentflow.inversion.config import RunConfig, located
from latentflow.runs.batch.names import earlier_output, file_stem, image_seed, output_path
from latentflow.runs.batch.sources import find_all
from latentflow.runs.config import BatchConfig
from latentflow.runs.outputs import BESIDE_FRAMES
from latentflow.runs.plan import Plan, check_output_paths, name_outputs, with_mask
from latentflow.sinks.manifest import read_manifest

TABLE, SHEET = "batch.jsonl", "batch.png"
ROW = b'{"image": "'  # how each line of the table begins
# What another value of makes no other results: what only decides how the work is done, and what each image has its own
# of.
INDIFFERENT = options_that(RunConfig, affects="nothing") | {"image_path", "output_path", "seed"}


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a batch: its name in the table, its file, its output."""

    name: str
    path: Path
    output: Path


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A checked batch: the images of its shard with their outputs, and sentences on how the sources were read."""

    config: BatchConfig
    folder: Path
    items: list[Item]
    notes: list[str]

    def run_config(self, item: Item) -> RunConfig:
        """The options of one image's run."""
        shared = {each.name for each in fields(RunConfig)}
        values = {name: value for name, value in asdict(self.config).items() if name in shared}
        values |= {
            "image_path": str(item.path),
            "output_path": _escaped(str(item.output)),
            "seed": image_seed(self.config.seed or 0, item.name),
        }
        stem = _escaped(file_stem(self.folder, item.output))
        for option in BESIDE_FRAMES:
            if values[option] is not None:
                values[option] = values[option].replace("{stem}", stem)
        return with_mask(RunConfig(**values), item.path.stem)

    def differences(self, item: Item, then: dict[str, Any], without: tuple[str, ...] = ()) -> list[str]:
        """Describe how an image's run differs from one with the options `then`; options `without` are not compared."""
        config = self.run_config(item)
        now = json.loads(json.dumps(located(asdict(check_options(config)))))  # as a manifest has them: no tuples
        if config.vae is None:  # whatever the default found
            now.pop("vae")
        if then.get("dtype") == "auto" or (now["dtype"] == "auto" and self.config.engine != "local"):
            now.pop("dtype")  # nobody knows what the other machine computed in, or will
        elif now["dtype"] == "auto":
            now["dtype"] = _settled_dtype(config)
        changed = [
            f"`{key}` {then[key]} → {value}"
            for key, value in now.items()
            if key in then and key not in INDIFFERENT and key not in without and then[key] != value
        ]
        if then.get("seed") != now["seed"]:
            changed.append(f"`seed` (of {item.name} {then.get('seed')} → {now['seed']})")
        return changed

    @property
    def table(self) -> Path:
        """The path of the table; each shard has one of its own."""
        return self._own(TABLE)

    @property
    def sheet(self) -> Path:
        """The path of the contact sheet."""
        return self._own(SHEET)

    @property
    def outputs(self) -> list[Path]:
        """The files of the batch as a whole, except for the manifest."""
        return [self.table, self.table.with_suffix(".csv"), self.sheet]

    @property
    def manifest(self) -> Path:
        """The path of the manifest."""
        return manifest_path(self.table.with_suffix(""))

    def _own(self, name: str) -> Path:
        shard = "" if self.config.shard is None else "." + self.config.shard.replace("/", "-of-")
        return self.folder / f"{Path(name).stem}{shard}{Path(name).suffix}"


def make_batch_plan(sources: Sequence[str], config: BatchConfig) -> BatchPlan:
    """Find the images and settle where each result goes; raises `InputError` and `OutputError`.

    A source is an image, a folder (searched recursively) or a .txt file with a path a line.
    """
    folder = Path(config.output_dir).expanduser()
    found = find_all(sources, folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"`output_dir` {folder} is a file.")
    if not folder.parent.is_dir():
        raise OutputError(
            f"`output_dir` {folder}: the folder {folder.parent} does not exist.", f"mkdir -p {folder.parent}"
        )
    items = [
        Item(name, path, earlier_output(folder, name, config.suffix, path) or output_path(folder, name, config.suffix))
        for path, name in sorted(found.names.items(), key=lambda pair: (pair[1], pair[0]))
    ]
    index, count = _shard(config.shard)
    plan = BatchPlan(config, folder, items[index - 1 :: count], found.notes)
    own = plan.outputs if _is_table(plan.table) else []
    check_outputs(plan.outputs, (), "`output_dir`", overwrite=config.overwrite, manifest=plan.manifest, own=own)
    if plan.items:
        _check(plan)
    _make_folder(plan)
    return plan


def _settled_dtype(config: RunConfig) -> str:
    """Return the type that `dtype` auto means on this machine, as manifests have it."""
    from latentflow.models.device import pick_device  # and torch
    from latentflow.models.precision import pick_dtype

    return str(pick_dtype(config.dtype, pick_device(config.device))).removeprefix("torch.")


def _is_table(path: Path) -> bool:
    """Tell whether a file begins as the table of a batch does."""
    try:
        with path.open("rb") as file:
            return file.read(len(ROW)) == ROW
    except OSError:
        return False


def _check(plan: BatchPlan) -> None:
    """Check for errors that would stop every image, before the model is loaded, by the checks of a single run; also for
    two images that would write one file."""
    for option in BESIDE_FRAMES:
        value = getattr(plan.config, option)
        if value is not None and "{stem}" not in value:
            raise InputError(f"`{option}` {value}: with several images its name needs a {{stem}}.")
    check_options(plan.run_config(plan.items[0]))
    named = {item.path.resolve(): f"the image {item.name}" for item in plan.items}
    for item in plan.items:
        config = plan.run_config(item)
        outputs = name_outputs(config, item.path.stem, config.seed or 0)
        for option, path in outputs.items():
            other = named.setdefault(path.resolve(), f"`{option}` of {item.name}")
            if other != f"`{option}` of {item.name}":
                raise InputError(
                    f"`{option}` of {item.name} and {other} would be the same file, {path}.",
                    "Rename one of the images, or work on them in two batches.",
                )
        Plan(config, item.path, config.seed or 0, outputs).check_ours()


def _make_folder(plan: BatchPlan) -> None:
    """Make the folder of the results, and raise `OutputError` where none of them could be written."""
    with writing(plan.folder, "`output_dir`"):
        plan.folder.mkdir(exist_ok=True)
    check_writable(plan.table, "`output_dir`")
    problem: LatentflowError | None = None
    for item in plan.items:
        config = plan.run_config(item)
        try:
            with writing(item.output, "`output_dir`"):
                item.output.parent.mkdir(parents=True, exist_ok=True)
            check_output_paths(config, name_outputs(config, item.path.stem, config.seed or 0))
            return
        except OutputError as error:  # of this image's name alone, perhaps: the next one tells
            problem = problem or error
    if problem is not None:
        raise problem


def _escaped(text: str) -> str:
    """Text for an option in which {names} are filled in."""
    return text.replace("{", "{{").replace("}", "}}")


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise InputError(f"`shard` {text}: it is i/n, as 1/8, with i from 1 to n.")
    return int(index), int(count)


def finished(plan: BatchPlan, item: Item) -> dict[str, Any] | None:
    """The manifest of an image if its result is there; raises `InputError` when the result has different options."""
    manifest = manifest_path(item.output)
    if plan.config.overwrite or not manifest.exists() or not item.output.exists():
        return None
    try:
        content = read_manifest(manifest)
    except FormatVersionError:
        raise
    except InputError:  # not a manifest: nothing says that the result is complete
        return None
    if content.get("outcome") != "done":
        return None
    changed = plan.differences(item, content["options"])
    if changed:
        raise InputError(
            f"{plan.folder} holds results of other options: {', '.join(changed)}.",
            "Add `overwrite` to do them again, or name another `output_dir`.",
        )
    if item.path.exists() and content.get("image", {}).get("sha256") != sha256(item.path):
        return None  # another picture under the same name
    mask = plan.run_config(item).mask
    if mask is not None and content.get("mask", {}).get("sha256") != sha256(Path(mask)):
        return None
    return content
