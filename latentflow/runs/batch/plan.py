"""Which images a batch is of, where each result goes, and what was done before; no torch."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from latentflow.config import BatchConfig, RunConfig, located, options_that
from latentflow.errors import FormatVersionError, InputError, LatentflowError, OutputError
from latentflow.files import check_writable, manifest_path, sha256, writing
from latentflow.inversion.checks import check_options
from latentflow.pictures.folders import find_images
from latentflow.runs.outputs import BESIDE_FRAMES
from latentflow.runs.plan import check_output_paths, name_outputs
from latentflow.sinks.manifest import read_manifest

TABLE, SHEET = "batch.jsonl", "batch.png"
# What another value of makes no other results: what only decides how the work is done, what each image has its own
# of, and dtype, which the machine settles.
INDIFFERENT = options_that(RunConfig, affects="nothing") | {"image_path", "output_path", "seed", "dtype"}


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a batch: its name in the table, its file, its output."""

    name: str
    path: Path
    output: Path


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A checked batch: every image with its output, all shards' images included, and what was `passed_over` in
    folders, in words."""

    config: BatchConfig
    folder: Path
    items: list[Item]
    passed_over: list[str] = field(default_factory=list)

    def run_config(self, item: Item) -> RunConfig:
        """The options of one image's run."""
        shared = {each.name for each in fields(RunConfig)}
        values = {name: value for name, value in asdict(self.config).items() if name in shared}
        values |= {
            "image_path": str(item.path),
            "output_path": str(item.output).replace("{", "{{").replace("}", "}}"),
            "seed": image_seed(self.config.seed or 0, item.name),
            "overwrite": True,
        }
        stem = "-".join(item.output.relative_to(self.folder).with_suffix("").parts)  # unlike the image's, it is alone
        for option in BESIDE_FRAMES:
            if values[option] is not None:
                values[option] = values[option].replace("{stem}", stem.replace("{", "{{").replace("}", "}}"))
        return RunConfig(**values)

    def differences(self, item: Item, then: dict[str, Any], without: tuple[str, ...] = ()) -> list[str]:
        """How an image's run differs from one with the options `then`, in words; options `without` are not compared."""
        config = self.run_config(item)
        options = located(asdict(check_options(config)))
        now = json.loads(json.dumps(options))  # has lists for tuples, as what was written
        if config.vae is None:  # whatever the default found
            now.pop("vae")
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
        """Where the table is; each shard has one of its own."""
        return self._own(TABLE)

    @property
    def sheet(self) -> Path:
        """Where the contact sheet is."""
        return self._own(SHEET)

    def _own(self, name: str) -> Path:
        shard = "" if self.config.shard is None else "." + self.config.shard.replace("/", "-of-")
        return self.folder / f"{Path(name).stem}{shard}{Path(name).suffix}"


def image_seed(seed: int, name: str) -> int:
    """The seed of an image: the first 32 bits of the SHA-256 of "SEED:NAME", so that it depends on no other image."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big")


def make_batch_plan(sources: Sequence[str], config: BatchConfig) -> BatchPlan:
    """Find the images and settle where each result goes; raises `InputError` and `OutputError`.

    A source is an image, a folder (searched recursively) or a .txt file with a path a line.
    """
    folder = Path(config.output_dir).expanduser()
    found: dict[Path, str] = {}
    passed_over: list[str] = []
    for source in sources:
        if Path(source).expanduser().resolve() == folder.resolve():
            raise InputError(f"`output_dir` {folder} is where the images are; results need a folder of their own.")
        for path, name in _found(Path(source).expanduser(), passed_over):
            resolved = path.resolve()
            if folder.resolve() in resolved.parents:  # results of an earlier call
                continue
            if resolved not in found:
                found[resolved] = name if name not in found.values() else str(path)
    if not found:
        raise InputError("There are no images to work on.", "Name a folder, images, or a .txt file that lists them.")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"`output_dir` {folder} is a file.")
    if not folder.parent.is_dir():
        raise OutputError(
            f"`output_dir` {folder}: the folder {folder.parent} does not exist.", f"mkdir -p {folder.parent}"
        )
    with writing(folder, "`output_dir`"):
        folder.mkdir(exist_ok=True)
    check_writable(folder / TABLE, "`output_dir`")
    items = list(_items(found, folder, config.suffix))
    index, count = _shard(config.shard)
    plan = BatchPlan(config, folder, items[index - 1 :: count], passed_over)
    if plan.items:
        _check(plan)
    return plan


def _check(plan: BatchPlan) -> None:
    """What would fail for every image alike fails before the model is loaded, by the checks of a single run; so do two
    images that would write one file."""
    for option in BESIDE_FRAMES:
        value = getattr(plan.config, option)
        if value is not None and "{stem}" not in value:
            raise InputError(f"`{option}` {value}: with several images its name needs a {{stem}}.")
    check_options(plan.run_config(plan.items[0]))
    named = {item.path.resolve(): f"the image {item.name}" for item in plan.items}
    problem: LatentflowError | None = None
    checked = False
    for item in plan.items:
        config = plan.run_config(item)
        outputs = name_outputs(config, item.path.stem, config.seed or 0)
        for option, path in outputs.items():
            other = named.setdefault(path.resolve(), f"`{option}` of {item.name}")
            if other != f"`{option}` of {item.name}":
                raise InputError(
                    f"`{option}` of {item.name} and {other} would be the same file, {path}.",
                    "Put more into its name, such as another folder, or work on the images in two batches.",
                )
        if not checked:
            try:
                with writing(item.output, "`output_dir`"):
                    item.output.parent.mkdir(parents=True, exist_ok=True)
                check_output_paths(config, outputs)
                checked = True
            except OutputError as error:  # of this image's name alone, perhaps: the next one tells
                problem = problem or error
    if problem is not None and not checked:
        raise problem


def _found(source: Path, passed_over: list[str]) -> Iterator[tuple[Path, str]]:
    if source.is_dir():
        images = find_images(source)
        passed_over += filter(None, [images.passed_over])
        for path in images.paths:
            yield path, path.relative_to(source).as_posix()
    elif source.suffix == ".txt":
        try:
            lines = source.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The list {source} can't be read: {error}.") from error
        for line in lines:
            if "\0" in line:
                raise InputError(f"The list {source} is not text: a path holds a zero byte.")
            if line.strip() and not line.startswith("#"):
                path = source.parent / Path(line.strip()).expanduser()
                yield path, path.name
    else:
        yield source, source.name


def _items(found: dict[Path, str], folder: Path, suffix: str) -> Iterator[Item]:
    """Outputs are named as the images are; where two would have one name, the suffix or a number is added."""
    taken: set[Path] = set()
    for path, name in sorted(found.items(), key=lambda pair: (pair[1], pair[0])):
        plain = Path(name)
        inside = [part for part in plain.parts if part not in ("..", "/")]  # nothing leaves the folder
        base = folder.joinpath(*(inside or ["image"]))  # of a path such as ".."
        for number in range(len(found) + 2):
            stem = base.stem if number == 0 else base.name if number == 1 else f"{base.name}-{number}"
            if not suffix:  # a folder, whose name must not end as a file's does
                stem = stem.replace(".", "_")
            output = base.with_name(stem + suffix)
            if output not in taken:
                break
        taken.add(output)
        yield Item(name, path, output)


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise InputError(f"`shard` {text}: it is i/n, as 1/8, with i from 1 to n.")
    return int(index), int(count)


def finished(plan: BatchPlan, item: Item) -> dict[str, Any] | None:
    """The manifest of an image whose result is there; raises `InputError` when it is there with other options."""
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
    return content
