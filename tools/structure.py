"""Count the rooms of the package, the arrows between them, the floors they stand on, and the lines of code.

    python tools/structure.py

A room is a folder of `latentflow`, or a module beside these folders. An arrow leads from a room to another one that it
imports, at module level, in functions and for type checkers. A room stands one floor above the highest room that it
imports. Arrows that would make a circle are not counted for floors: they run back up.
"""

import ast
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "latentflow"


def room(parts: tuple[str, ...]) -> str:
    """Return the room of a module, given the parts of its path or of its name below the package."""
    return parts[0] if parts else "__init__"


def imported(path: Path) -> Iterator[str]:
    """Yield the rooms that a module imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "latentflow" else [module]
        for name in names:
            package, *parts = name.split(".")
            if package == "latentflow":
                is_room = parts and any((PACKAGE / f"{parts[0]}{suffix}").exists() for suffix in ("", ".py"))
                yield parts[0] if is_room else "__init__"


def arrows() -> dict[tuple[str, str], int]:
    """Return the number of imports from each room to each other."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    for path in PACKAGE.rglob("*.py"):
        own = room(path.relative_to(PACKAGE).with_suffix("").parts)
        for other in imported(path):
            if other != own:
                found[own, other] += 1
    return dict(found)


def back_up(found: dict[tuple[str, str], int]) -> set[tuple[str, str]]:
    """Return the arrows with the fewest imports without which there is no circle."""
    left, removed = dict(found), set()
    while circle := _circle(left):
        least = min(circle, key=lambda arrow: left[arrow])
        removed.add(least)
        del left[least]
    return removed


def _circle(found: dict[tuple[str, str], int]) -> list[tuple[str, str]]:
    """Return the arrows of a circle, or none."""
    after: dict[str, list[str]] = defaultdict(list)
    for one, other in found:
        after[one].append(other)
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for each in after[name]:
            if circle := visit(each, [*way, name]):
                return circle
        done.add(name)
        return []

    for name in list(after):
        if circle := visit(name, []):
            return list(pairwise(circle))
    return []


def floors(found: dict[tuple[str, str], int]) -> int:
    """Return the number of floors of rooms whose arrows make no circle."""
    height: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in height:
            height[name] = 1 + max((of(other) for one, other in found if one == name), default=0)
        return height[name]

    return max(of(one) for one, _ in found)


def count() -> dict[str, object]:
    """Return all counts by name."""
    found = arrows()
    up = back_up(found)
    sources = {path.resolve() for path in (*PACKAGE.rglob("*.py"), *(PACKAGE / "losses").glob("*.py"))}
    return {
        "rooms": len({name for arrow in found for name in arrow}),
        "floors": floors({arrow: times for arrow, times in found.items() if arrow not in up}),
        "arrows": len(found),
        "arrows that run back up": sorted(f"{one} → {other}" for one, other in up),
        "lines": sum(len(path.read_text(encoding="utf-8").splitlines()) for path in sources),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(count(), indent=2, ensure_ascii=False) + "\n")
