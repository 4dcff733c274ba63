"""Faults to plant, by what they are in: see tests/plant_faults.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A replacement of `old`, which is in `file` exactly once, that one of the `tests` should notice.

    A test is a file in tests/ or web/test/, or one test of a file in tests/, "test_walk.py::test_where".
    """

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
