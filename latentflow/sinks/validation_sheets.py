"""Validation images and the reconstructions of a model in training."""

from collections.abc import Collection
from pathlib import Path

from latentflow.base.files import replacing, writing
from latentflow.base.records import Update
from latentflow.sinks import Sink


class ValidationSheets(Sink[Update]):
    """One PNG in `folder` for each record with a sheet, named by its step. The files called `earlier` were left by an
    earlier training; the ones of steps beyond `after` are removed."""

    def __init__(self, folder: Path, *, after: int = 0, earlier: Collection[str] = ()) -> None:
        self.folder, self.after, self.earlier = folder, after, earlier
        self._began = False

    def open(self) -> None:
        """Make the folder; raises `OutputError` when that fails."""
        with writing(self.folder, "`output_dir`"):
            self.folder.mkdir(exist_ok=True)

    def write(self, record: Update) -> None:
        """Write the sheet, if the record has one; raises `OutputError` when that fails."""
        if not self._began:
            self._began = True
            self._remove_earlier()
        if record.sheet is None:
            return
        from PIL import Image

        from latentflow.base.pixels import to_uint8

        with replacing(self.folder / f"{record.index:07d}.png", "`output_dir`") as unfinished:
            Image.fromarray(to_uint8(record.sheet)).save(unfinished)

    def _remove_earlier(self) -> None:
        with writing(self.folder, "`output_dir`"):
            for path in (self.folder / name for name in self.earlier):
                if path.stem.isdigit() and int(path.stem) > self.after:
                    path.unlink(missing_ok=True)
