"""Validation images and the reconstructions of a model in training."""

from pathlib import Path

from latentflow.files import replacing, writing
from latentflow.records import Update
from latentflow.sinks import Sink


class ValidationSheets(Sink[Update]):
    """One PNG in `folder` for each record with a sheet, named by its step; those of steps beyond `after`, which an
    earlier training left, are removed."""

    def __init__(self, folder: Path, *, after: int = 0) -> None:
        self.folder, self.after = folder, after
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

        from latentflow.pictures.files import to_uint8

        with replacing(self.folder / f"{record.index:07d}.png", "`output_dir`") as unfinished:
            Image.fromarray(to_uint8(record.sheet)).save(unfinished)

    def _remove_earlier(self) -> None:
        with writing(self.folder, "`output_dir`"):
            for path in self.folder.glob("*.png"):
                if path.stem.isdigit() and int(path.stem) > self.after:
                    path.unlink()
