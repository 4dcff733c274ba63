"""Losses by name. Imports no torch: a loss's module is imported when the loss is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from latentflow.losses._base import Loss

ENTRY_POINTS = "latentflow.losses"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """The properties of a loss; a test checks that they are true.

    `input_range` is the range of the images that `forward` takes; `min_size` the smallest side in pixels;
    `reads_target` and `symmetric` say whether the target matters and whether swapping image and target changes nothing;
    `lower_bound` is the smallest possible value (None: unbounded); `requires` names the packages and `weights` the
    networks it needs; `options` are the numbers that can follow its name, as in sinkhorn(blur=0.1), with their
    defaults; `reference` is its source.
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


_registered: "dict[str, type[Loss]]" = {}
LossClass = TypeVar("LossClass", bound="type[Loss]")


def register(name: str, **declared: Any) -> Callable[[LossClass], LossClass]:
    """Register a `Loss` subclass under `name`; the keywords are those of `Declaration`.

    Without `summary` the first line of the class's docstring is taken. Raises ValueError when another loss already has
    the name, TypeError for an unknown keyword.
    """

    def bind(cls: LossClass) -> LossClass:
        if _is_built_in(name) and cls.__module__ != f"{__package__}.{name}":
            raise ValueError(f"a loss named {name!r} is built in")
        holder = _registered.get(name)
        if holder is not None and (holder.__module__, holder.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"a loss named {name!r} is already registered, by {holder.__module__}")
        summary = declared.pop("summary", None) or (cls.__doc__ or name).strip().splitlines()[0]
        cls.declaration = Declaration(name=name, summary=summary, **declared)
        _registered[name] = cls
        return cls

    return bind


def names() -> list[str]:
    """The names of all losses: the modules of this package, what is registered, and the entry points of installed
    packages."""
    own = {path.stem for path in Path(__file__).parent.glob("[!_]*.py")}
    return sorted(own | set(_registered) | {point.name for point in entry_points(group=ENTRY_POINTS)})


def is_known(name: str) -> bool:
    """Whether there is a loss of this name. Installed packages come last: asking them reads the metadata of all."""
    return name in _registered or _is_built_in(name) or bool(entry_points(group=ENTRY_POINTS, name=name))


def find(name: str) -> "type[Loss]":
    """The class of the loss `name`, imported if it isn't yet; raises KeyError for an unknown name, ImportError when its
    module can't be imported."""
    if name not in _registered:
        if _is_built_in(name):
            import_module(f"{__package__}.{name}")
        else:
            for point in entry_points(group=ENTRY_POINTS, name=name):
                point.load()
    return _registered[name]


def _is_built_in(name: str) -> bool:
    return not name.startswith("_") and (Path(__file__).parent / f"{name}.py").is_file()
