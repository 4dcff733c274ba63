"""Held-back pictures above what a model in training makes of them."""

from pathlib import Path
from types import TracebackType

from latentflow.files import writing
from latentflow.records import Update


class Sheets:
    """One PNG in `folder` for each record that has a sheet, named by its step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> "Sheets":
        with writing(self.folder, "--output_dir"):
            self.folder.mkdir(exist_ok=True)
        return self

    def write(self, record: Update) -> None:
        """Write the sheet, if there is one; raises `OutputError` when it can't be written."""
        if record.sheet is None:
            return
        from PIL import Image

        from latentflow.pictures.files import to_uint8

        path = self.folder / f"{record.index:07d}.png"
        with writing(path, "--output_dir"):
            Image.fromarray(to_uint8(record.sheet)).save(path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
