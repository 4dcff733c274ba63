"""Thumbnails in cells of a grid: none over another, each as near as possible to its point."""

from dataclasses import dataclass

import numpy as np

FILL_FRACTION = 0.4  # of the cells: a fuller grid would show larger thumbnails, but move them further
ASPECT_RANGE = (0.5, 1.0)  # height over width
MARGIN_FRACTION = 0.15  # of the columns, on every side, for a crowd at the edge to spread; cut off where it is empty
MAX_ASSIGNED = 1000  # points that are assigned together in a second or two; the work grows with their cube


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A grid of `rows` × `columns` square cells, of which each of n points has one of its own.

    `cells` (n, 2), integers, are column and row, counted from the upper left; `wanted` (n, 2) is where the centers
    would have been in the same count. `extent` is (left, right, bottom, top) of all cells in the units of the points.
    """

    columns: int
    rows: int
    cells: np.ndarray
    wanted: np.ndarray
    extent: tuple[float, float, float, float]

    @property
    def displacements(self) -> np.ndarray:
        """The distance by which each point was moved, (n,), in sides of a cell."""
        return np.linalg.norm(self.cells - self.wanted, axis=1)


def place(points: np.ndarray) -> Placement:
    """Give each of the points (n, 2), n > 0, a cell of its own in a grid with the aspect of the points.

    Both axes have one scale. Up to 1000 points the sum of the squared displacements is minimal (a linear assignment, as
    in Quadrianto et al., "Kernelized sorting", 2010); with more, each point takes the nearest free cell, from the
    middle outwards, which moves a thousand points about 5 % further.
    """
    inner = _grid(points)
    margin = int(np.ceil(MARGIN_FRACTION * inner[0]))
    low, high = points.min(0), points.max(0)
    room = inner - 1
    ratios = [cells / span for cells, span in zip(room, high - low) if span > 0 and cells > 0]
    scale = np.array([1, -1]) * float(min(ratios, default=1.0))  # cells per unit; rows are counted downwards
    middle = (low + high) / 2
    wanted = (points - middle) * scale + room / 2 + margin
    across, down = inner + 2 * margin
    cells = np.stack(np.meshgrid(np.arange(across), np.arange(down)), -1).reshape(-1, 2)
    taken = cells[_assigned(wanted, cells) if len(points) <= MAX_ASSIGNED else _one_by_one(wanted, cells)]
    first, last = taken.min(0), taken.max(0)
    (left, top), (right, bottom) = (
        middle + (corner - margin - room / 2) / scale for corner in (first - 0.5, last + 0.5)
    )
    columns, rows = (last - first + 1).tolist()
    extent = (float(left), float(right), float(bottom), float(top))
    return Placement(columns=columns, rows=rows, cells=taken - first, wanted=wanted - first, extent=extent)


def _grid(points: np.ndarray) -> np.ndarray:
    """Columns and rows of a grid for all points."""
    across, up = np.ptp(points, axis=0)
    aspect = float(np.clip(up / across if across > 0 else 1.0, *ASPECT_RANGE))
    count = len(points) / FILL_FRACTION
    columns = int(np.ceil(np.sqrt(count / aspect)))
    return np.array([columns, int(np.ceil(count / columns))])


def _assigned(wanted: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The cell of each point, so that the sum of squared distances is minimal."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    return np.asarray(linear_sum_assignment(cdist(wanted, cells, "sqeuclidean"))[1])


def _one_by_one(wanted: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The cell of each point: the nearest that points nearer to the middle have left free."""
    taken = np.empty(len(wanted), int)
    closed = np.zeros(len(cells))
    middle = np.median(wanted, axis=0)
    for point in np.argsort(np.linalg.norm(wanted - middle, axis=1), kind="stable"):
        distances = np.square(cells - wanted[point]).sum(1) + closed
        taken[point] = distances.argmin()
        closed[taken[point]] = np.inf
    return taken
