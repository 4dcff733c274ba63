"""The metrics of each image in a .csv file: the result of an evaluation, and what the next one need not compute."""

import csv
import io
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, stack

from latentflow.base.errors import InputError, OutputError
from latentflow.base.files import check_writable, write_csv, write_file
from latentflow.base.records import Record
from latentflow.base.state import pack, unpack
from latentflow.explore.evaluate.scores import METRICS, Score
from latentflow.pictures.config import ReadingOptions
from latentflow.sinks import Sink

SAVE_INTERVAL = 60.0  # seconds: the most work that a kill costs
MEASURED = tuple(name for name in METRICS if name != "rfid")
# metrics are reused only where these columns have the same values
IDENTITY = ("image", "steps", "sha256", "bytes", "changed", "size", "fit", "dtype", "lpips_network", "background")
COLUMNS = ("autoencoder", "image", "steps", *MEASURED, *IDENTITY[2:-1], "folder", "background")
EARLIER = {"folder": "", "background": ReadingOptions.background}  # what columns that a table lacks would hold
SETTINGS = ("size", "fit", "dtype", "background")  # that tell evaluations apart
KIND = "the features of an evaluation; delete it to have them computed again"

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated(Record):
    """One image with its `scores` by the steps of optimization of its latent, 0 for the encoder's own, or with the
    `problem` for which it has none. `sha256` is that of the autoencoder's weights. The first has index 1."""

    path: Path
    autoencoder: str
    sha256: str
    scores: dict[int, Score] = field(default_factory=dict)
    problem: str = ""


class ScoreTable(Sink[Evaluated]):
    """A sink that adds images to the table at `path` and writes it now and then and when it is closed; without a path
    the table is in memory alone.

    `settings` are the columns size, fit, dtype, lpips_network and background, the same for all images of this
    evaluation. `features` is a file beside the table for what rFID needs, or None. Raises `OutputError` when the file
    at `path` is no table of an evaluation, `InputError` when that at `features` can't be read.
    """

    def __init__(
        self,
        path: Path | None,
        folder: Path,
        images: Sequence[Path],
        settings: Mapping[str, str],
        features: Path | None,
    ) -> None:
        self.path, self.features_path, self.settings = path, features, dict(settings)
        self.folder = str(folder.resolve())
        self.identities = {image: _identity(folder, image) for image in images}
        self.rows: dict[Key, dict[str, str]] = _read(path) if path else {}
        self.features: dict[Key, Tensor] = _read_features(features) if features else {}
        self.problems: dict[Path, str] = {}
        self.saved = time.monotonic()

    def claim(self, autoencoders: Mapping[str, str], steps: Collection[int], *, overwrite: bool = False) -> None:
        """Raise `OutputError` when a row belongs to a different folder, autoencoder or setting, so that this evaluation
        would not write it again; with `overwrite` leave such rows out. `autoencoders` are hashes by name.

        Rows of images, weights or networks that have changed since are this evaluation's: it measures them again.
        """
        present = {(each["image"], each["bytes"], each["changed"]) for each in self.identities.values()}

        def is_ours(row: Mapping[str, str]) -> bool:
            same_folder = row["folder"] == self.folder or (row["image"], row["bytes"], row["changed"]) in present
            same_autoencoder = row["autoencoder"] in autoencoders or row["sha256"] in autoencoders.values()
            same_settings = all(row[name] == self.settings[name] for name in SETTINGS)
            return same_folder and same_autoencoder and same_settings and row["steps"] in map(str, steps)

        ours = {key: row for key, row in self.rows.items() if is_ours(row)}
        if len(ours) < len(self.rows) and not overwrite:
            other = next(row for key, row in self.rows.items() if key not in ours)
            raise OutputError(
                f"`output_path`: {self.path} is the table of another evaluation ({_described(other)}).",
                "Name another `output_path`, or add `overwrite`.",
            )
        self.rows = ours

    def known(self, image: Path, sha256: str, steps: int) -> Score | None:
        """The score of an unchanged image under the weights and settings of this evaluation, if it is in the table."""
        key = self._key(image, sha256, steps)
        row = self.rows.get(key)
        if row is None or (self.features_path and key not in self.features):
            return None
        return Score({name: float(row[name]) for name in MEASURED if row[name]}, self.features.get(key))

    def open(self) -> None:
        """Check that the table can be written."""
        if self.path:
            check_writable(self.path, "`output_path`")

    def write(self, record: Evaluated) -> None:
        """Take one image."""
        if record.problem:
            self.problems[record.path] = record.problem
        for steps, score in record.scores.items():
            key = self._key(record.path, record.sha256, steps)
            metrics = {name: repr(value) for name, value in score.metrics.items()}
            identity = dict(zip(IDENTITY, key)) | {"autoencoder": record.autoencoder, "folder": self.folder}
            self.rows[key] = dict.fromkeys(COLUMNS, "") | identity | metrics
            if score.features is not None:
                self.features[key] = score.features
        if time.monotonic() - self.saved > SAVE_INTERVAL:
            self._save()

    def close(self, error: BaseException | None) -> None:
        """Write everything that is known."""
        self._save()

    def finish(self, autoencoders: Mapping[str, str], steps: Sequence[int]) -> None:
        """Write the rows of this evaluation alone, in order; `autoencoders` are hashes by name."""
        keys = [
            (name, self._key(image, sha256, count))
            for name, sha256 in autoencoders.items()
            for count in steps
            for image in self.identities
        ]
        wanted = {key for _, key in keys}
        self.features = {key: values for key, values in self.features.items() if key in wanted}
        current = {"folder": self.folder}
        self._write([self.rows[key] | current | {"autoencoder": name} for name, key in keys if key in self.rows])

    def _save(self) -> None:
        self._write(list(self.rows.values()))
        self.saved = time.monotonic()

    def _write(self, rows: Sequence[Mapping[str, str]]) -> None:
        if self.path is None:
            return
        if self.features_path and self.features:
            content = {"keys": list(self.features), "features": stack(list(self.features.values()))}
            write_file(self.features_path, pack(content), "`output_path`")
        write_csv(self.path, COLUMNS, rows, "`output_path`")

    def _key(self, image: Path, sha256: str, steps: int) -> Key:
        known = {**self.settings, **self.identities[image], "sha256": sha256, "steps": str(steps)}
        return tuple(known[column] for column in IDENTITY)


def _identity(folder: Path, image: Path) -> dict[str, str]:
    status = image.stat()
    name = image.relative_to(folder).as_posix()
    return {"image": name, "bytes": str(status.st_size), "changed": str(status.st_mtime_ns)}


def _described(row: Mapping[str, str]) -> str:
    """Describe the folder, autoencoder and settings of a row."""
    folder = f"folder {row['folder']}, " if row["folder"] else ""
    optimize = f", optimize {row['steps']}" if row["steps"] != "0" else ""
    settings = ", ".join(f"{name} {row[name]}" for name in SETTINGS)
    return f"{folder}vae {row['autoencoder']}, {settings}{optimize}"


def _read(path: Path) -> dict[Key, dict[str, str]]:
    """The rows of a table, of this version or of 0.1.0, which does not know the folder; none where there is no file."""
    if not path.exists():
        return {}
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8", errors="surrogateescape")))
        rows: list[dict[str, Any]] = [{**EARLIER, **row} for row in reader]
        for row in rows:
            [float(row[name]) for name in MEASURED if row[name]]
        if tuple(reader.fieldnames or ()) not in (COLUMNS, COLUMNS[:-1], COLUMNS[:-2]):
            raise ValueError("its columns are others")
        if "folder" not in (reader.fieldnames or ()):  # 0.1.0 optimized by other betas
            rows = [row for row in rows if row["steps"] == "0"]
        return {tuple(row[column] for column in IDENTITY): row for row in rows}
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise OutputError(
            f"`output_path`: {path} would be overwritten, and is no table of an evaluation.",
            "Name another `output_path`, or move the file away.",
        ) from error


def _read_features(path: Path) -> dict[Key, Tensor]:
    if not path.exists():
        return {}
    content = unpack(path, KIND)
    try:
        return {tuple(key): feature for key, feature in zip(content["keys"], content["features"], strict=True)}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} can't be read as {KIND}.") from error
