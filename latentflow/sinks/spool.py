"""Pictures on disk, for what needs them a second time."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np


class Spool:
    """Pictures (h, w, 3) uint8 of one size in a nameless temporary file in `folder`, three bytes for each pixel; the
    system removes it whatever happens. All methods raise `OSError`."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by `close`)
        self._shape: tuple[int, ...] = ()
        self.count = 0

    def append(self, picture: np.ndarray) -> None:
        """Keep one more."""
        self._shape = picture.shape
        self._file.seek(self.count * picture.nbytes)
        self._file.write(picture.tobytes())
        self.count += 1

    def read(self, indices: Iterable[int]) -> Iterator[np.ndarray]:
        """The pictures with these indices, one at a time."""
        size = int(np.prod(self._shape))
        for index in indices:
            self._file.seek(index * size)
            yield np.frombuffer(self._file.read(size), np.uint8).reshape(self._shape)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
