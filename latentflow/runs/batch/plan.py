"""Which images a batch is of, where each result goes, and what was done before; no torch."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from latentflow.config import BatchConfig, RunConfig, check_start, located
from latentflow.errors import InputError, OutputError
from latentflow.files import check_writable, sha256, writing
from latentflow.inversion.methods import settle
from latentflow.inversion.objective import parse
from latentflow.inversion.plugins import load_plugin
from latentflow.pictures.files import image_files
from latentflow.sinks.frames import check_frames_path
from latentflow.sinks.manifest import manifest_path, read_manifest

TABLE, SHEET = "batch.jsonl", "batch.png"
OUTPUTS = ("save_latent", "save_image", "metrics", "plot")  # beside the frames; their names hold a {stem}
# What doesn't make other results of it.
FREE = {
    *("image_path", "output_path", "output_dir", "overwrite", "device", "batch_size", "max_failures", "shard"),
    *("checkpoint_every", "checkpointing", "compile", "engine", "address", "workers", "gpus_per_worker"),
    *("seed", "dtype"),  # looked at by itself, or settled by the machine
}


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a batch: its name in the table, its file, its output."""

    name: str
    path: Path
    output: Path


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A checked batch: every image with its output, all shards' images included."""

    config: BatchConfig
    folder: Path
    items: list[Item]

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
        for option in OUTPUTS:
            if values[option] is not None:
                values[option] = values[option].replace("{stem}", stem.replace("{", "{{").replace("}", "}}"))
        return RunConfig(**values)

    def differences(self, item: Item, then: dict[str, Any], without: tuple[str, ...] = ()) -> list[str]:
        """What makes an image's run another than one with the options `then`, in words; but for those `without`."""
        config = self.run_config(item)
        optimizer, lr = settle(config.method, config.optimizer, config.lr, config.steps)
        now = located(asdict(replace(config, optimizer=optimizer, lr=lr)))
        if config.vae is None:  # whatever the default found
            now.pop("vae")
        changed = [
            f"--{key} {then[key]} → {value}"
            for key, value in now.items()
            if key in then and key not in FREE and key not in without and then[key] != value
        ]
        if then.get("seed") != now["seed"]:
            changed.append(f"--seed (of {item.name} {then.get('seed')} → {now['seed']})")
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
    for source in sources:
        if Path(source).expanduser().resolve() == folder.resolve():
            raise InputError(f"--output_dir {folder} is where the images are; results need a folder of their own.")
        for path, name in _found(Path(source).expanduser()):
            whole = path.resolve()
            if folder.resolve() in whole.parents:  # results of an earlier call
                continue
            if whole not in found:
                found[whole] = name if name not in found.values() else str(path)
    if not found:
        raise InputError("There are no images to work on.", "Name a folder, images, or a .txt file that lists them.")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"--output_dir {folder} is a file.")
    if not folder.parent.is_dir():
        raise OutputError(
            f"--output_dir {folder}: the folder {folder.parent} does not exist.", f"mkdir -p {folder.parent}"
        )
    with writing(folder, "--output_dir"):
        folder.mkdir(exist_ok=True)
    check_writable(folder / TABLE, "--output_dir")
    _check(config, folder)
    items = list(_items(found, folder, config.suffix))
    index, count = _shard(config.shard)
    return BatchPlan(config, folder, items[index - 1 :: count])


def _check(config: BatchConfig, folder: Path) -> None:
    """What would fail for every image alike fails before the first one."""
    if config.plugin is not None:
        load_plugin(Path(config.plugin))
    parse(config.loss_type)
    settle(config.method, config.optimizer, config.lr, config.steps)
    check_start(config.init)
    check_frames_path(folder / f"frames{config.suffix}", config.fps, overwrite=True)
    for option in OUTPUTS:
        value = getattr(config, option)
        if value is not None and "{stem}" not in value:
            raise InputError(f"--{option} {value}: with several images its name needs a {{stem}}.")


def _found(source: Path) -> Iterator[tuple[Path, str]]:
    if source.is_dir():
        for path in image_files(source):
            yield path, path.relative_to(source).as_posix()
    elif source.suffix == ".txt":
        try:
            lines = source.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The list {source} can't be read: {error}.") from error
        for line in lines:
            if "\0" in line:
                raise InputError(f"The list {source} is no text: a path holds a zero byte.")
            if line.strip() and not line.startswith("#"):
                path = source.parent / Path(line.strip()).expanduser()
                yield path, path.name
    else:
        yield source, source.name


def _items(found: dict[Path, str], folder: Path, suffix: str) -> Iterator[Item]:
    """Outputs are named as the images are; those that would share a name get the whole one, or a number."""
    taken: set[Path] = set()
    for path, name in sorted(found.items(), key=lambda pair: (pair[1], pair[0])):
        plain = Path(name)
        inside = [part for part in plain.parts if part not in ("..", "/")]  # nothing leaves the folder
        base = folder.joinpath(*inside)
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
        raise InputError(f"--shard {text}: it is i/n, as 1/8, with i from 1 to n.")
    return int(index), int(count)


def finished(plan: BatchPlan, item: Item) -> dict[str, Any] | None:
    """The manifest of an image whose result is there; raises `InputError` when it is there with other options."""
    manifest = manifest_path(item.output)
    if plan.config.overwrite or not manifest.exists() or not item.output.exists():
        return None
    try:
        content = read_manifest(manifest)
    except InputError:  # whatever it is, no result is known to be whole
        return None
    if content.get("outcome") != "done":
        return None
    changed = plan.differences(item, content["options"])
    if changed:
        raise InputError(
            f"{plan.folder} holds results of other options: {', '.join(changed)}.",
            "Add --overwrite to do them again, or name another --output_dir.",
        )
    if item.path.exists() and content.get("image", {}).get("sha256") != sha256(item.path):
        return None  # another picture under the same name
    return content
