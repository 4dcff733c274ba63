"""Losses by name. Costs no torch: a loss's module is imported when the loss is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

ENTRY_POINTS = "latentflow.losses"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a loss says of itself; tests hold every loss to it.

    `input_range` is the range its `forward` wants pictures in; `min_size` the smallest side in pixels; `lower_bound`
    the least value it can take (None: unbounded); `requires` the packages and `weights` the networks it needs;
    `options` the numbers that can be given with its name, as in sinkhorn(blur=0.1), and their defaults.
    """

    name: str
    summary: str
    input_range: tuple[float, float] = (0.0, 1.0)
    min_size: int = 1
    reads_target: bool = True
    symmetric: bool = True
    lower_bound: float | None = 0.0
    requires: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    options: Mapping[str, float] = field(default_factory=dict)
    reference: str = ""


_registered: dict[str, type] = {}
LossClass = TypeVar("LossClass", bound=type)


def register(name: str, **declared: Any) -> Callable[[LossClass], LossClass]:
    """Make a `Loss` subclass known by `name`; the keywords are those of `Declaration`.

    Raises ValueError when another loss already has the name, TypeError for a keyword that is none.
    """

    def bind(cls: LossClass) -> LossClass:
        own = (Path(__file__).parent / f"{name}.py").is_file()
        if own and cls.__module__ != f"{__package__}.{name}":
            raise ValueError(f"a loss named {name!r} is built in")
        holder = _registered.get(name)
        if holder is not None and (holder.__module__, holder.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"a loss named {name!r} is already registered, by {holder.__module__}")
        summary = declared.pop("summary", None) or (cls.__doc__ or name).strip().splitlines()[0]
        cls.declaration = Declaration(name=name, summary=summary, **declared)  # type: ignore[attr-defined]
        _registered[name] = cls
        return cls

    return bind


def names() -> list[str]:
    """The names of all losses: one module each in this package, the registered ones and those of entry points."""
    own = {path.stem for path in Path(__file__).parent.glob("[!_]*.py")}
    return sorted(own | set(_registered) | {point.name for point in entry_points(group=ENTRY_POINTS)})


def find(name: str) -> type:
    """The class of the loss `name`, imported now if need be; raises KeyError for a name that nobody has."""
    if name not in _registered:
        if (Path(__file__).parent / f"{name}.py").is_file() and not name.startswith("_"):
            import_module(f"{__package__}.{name}")
        else:
            for point in entry_points(group=ENTRY_POINTS, name=name):
                point.load()
    return _registered[name]
