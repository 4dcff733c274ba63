"""The figures of each image on disk: what an evaluation leaves, and what the next one need not compute again."""

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from torch import Tensor, stack

from latentflow.errors import InputError
from latentflow.explore.evaluate.scores import FIGURES
from latentflow.files import check_writable, write_whole
from latentflow.records import Record
from latentflow.state_files import pack, unpack

SAVED_EVERY = 60.0  # seconds: what a kill costs at most
MEASURED = tuple(name for name in FIGURES if name != "rfid")
# what must be the same for figures to be taken over
IDENTITY = ("image", "steps", "sha256", "bytes", "changed", "size", "fit", "dtype", "lpips_network")
COLUMNS = ("autoencoder", "image", "steps", *MEASURED, *IDENTITY[2:])
KIND = "the features of an evaluation; delete it to have them computed anew"

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """How near one picture came: its figures, and what rFID wants, (2, d) features of the original and of it."""

    figures: dict[str, float]
    features: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated(Record):
    """One image with its scores behind encoder and decoder, by steps of optimization of its latent, or with what is
    wrong with it. The first has index 1."""

    path: Path
    autoencoder: str
    sha256: str
    scores: dict[int, Score] = field(default_factory=dict)
    problem: str = ""


class Scorebook:
    """A sink that adds images to a table (.csv), written whole now and then and whenever it is left.

    `shared` are the columns that are the same for all images of this evaluation. `features` is a file beside
    the table for what rFID wants, or None. Opening raises `InputError` when the table is not one of an evaluation.
    """

    def __init__(
        self, path: Path, folder: Path, images: Sequence[Path], shared: Mapping[str, str], features: Path | None
    ) -> None:
        self.path, self.features_path, self.shared = path, features, dict(shared)
        self.identities = {image: _identity(folder, image) for image in images}
        self.rows: dict[Key, dict[str, str]] = _read(path)
        self.features: dict[Key, Tensor] = _read_features(features) if features else {}
        self.problems: dict[Path, str] = {}
        self.saved = time.monotonic()

    def known(self, image: Path, sha256: str, steps: int) -> Score | None:
        """The score of an unchanged image under the weights and options of this evaluation, if there is one."""
        key = self._key(image, sha256, steps)
        row = self.rows.get(key)
        if row is None or (self.features_path and key not in self.features):
            return None
        return Score({name: float(row[name]) for name in MEASURED if row[name]}, self.features.get(key))

    def __enter__(self) -> "Scorebook":
        check_writable(self.path, "--output_path")
        return self

    def write(self, record: Evaluated) -> None:
        """Take one image."""
        if record.problem:
            self.problems[record.path] = record.problem
        for steps, score in record.scores.items():
            key = self._key(record.path, record.sha256, steps)
            figures = {name: repr(value) for name, value in score.figures.items()}
            identity = dict(zip(IDENTITY, key)) | {"autoencoder": record.autoencoder}
            self.rows[key] = dict.fromkeys(COLUMNS, "") | identity | figures
            if score.features is not None:
                self.features[key] = score.features
        if time.monotonic() - self.saved > SAVED_EVERY:
            self.save()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.save()

    def keep(self, autoencoders: Mapping[str, str], counts: Sequence[int]) -> None:
        """Put down the rows of this evaluation alone, in order; `autoencoders` is hashes by name."""
        keys = [
            (name, self._key(image, sha256, steps))
            for name, sha256 in autoencoders.items()
            for steps in counts
            for image in self.identities
        ]
        wanted = {key for _, key in keys}
        self.features = {key: values for key, values in self.features.items() if key in wanted}
        self._put([self.rows[key] | {"autoencoder": name} for name, key in keys if key in self.rows])

    def save(self) -> None:
        """Put down everything that is known, other evaluations' rows too."""
        self._put(list(self.rows.values()))
        self.saved = time.monotonic()

    def _put(self, rows: Sequence[Mapping[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        if self.features_path and self.features:
            content = {"keys": list(self.features), "features": stack(list(self.features.values()))}
            write_whole(self.features_path, pack(content), "--output_path")
        write_whole(self.path, text.getvalue().encode(errors="surrogateescape"), "--output_path")

    def _key(self, image: Path, sha256: str, steps: int) -> Key:
        known = {**self.shared, **self.identities[image], "sha256": sha256, "steps": str(steps)}
        return tuple(known[column] for column in IDENTITY)


def _identity(folder: Path, image: Path) -> dict[str, str]:
    status = image.stat()
    name = image.relative_to(folder).as_posix()
    return {"image": name, "bytes": str(status.st_size), "changed": str(status.st_mtime_ns)}


def _read(path: Path) -> dict[Key, dict[str, str]]:
    if not path.exists():
        return {}
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8", errors="surrogateescape")))
        rows = list(reader)
        for row in rows:
            [float(row[name]) for name in MEASURED if row[name]]
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError("its columns are others")
        return {tuple(row[column] for column in IDENTITY): row for row in rows}
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise InputError(
            f"{path} is there and is no table of an evaluation.", "Move it away, or give another --output_path."
        ) from error


def _read_features(path: Path) -> dict[Key, Tensor]:
    if not path.exists():
        return {}
    content = unpack(path, KIND)
    try:
        return {tuple(key): feature for key, feature in zip(content["keys"], content["features"], strict=True)}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} can't be read as {KIND}.") from error
