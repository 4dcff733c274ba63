"""Losses by name. Imports no torch: a loss's module is imported when the loss is asked for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from latentflow.base.registry import Registry

if TYPE_CHECKING:
    from latentflow.losses._base import Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """The properties of a loss; a test checks that they are true.

    `input_range` is the range of the images that `forward` takes; `min_size` the smallest side in pixels;
    `reads_target` and `symmetric` say whether the target matters and whether swapping image and target changes nothing;
    `lower_bound` is the smallest possible value (None: unbounded); `requires` names the packages and `weights` the
    networks it needs; `mask` says in a few words what the grays of a mask weigh, and a loss that leaves it empty takes
    no mask; `options` are the numbers that can follow its name, as in sinkhorn(blur=0.1), with their
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
    mask: str = ""
    options: Mapping[str, float] = field(default_factory=dict)
    reference: str = ""


def exact(value: float) -> str:
    """A number as short as it can be without becoming another one, as in a label: 0.1, 1e-06, 0.12345678."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


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
    """The names of all losses: the modules of this package, registered losses, and the entry points of installed
    packages."""
    return sorted(LOSSES)


def is_known(name: str) -> bool:
    """Tell whether there is a loss of this name."""
    return name in LOSSES


def find(name: str) -> "type[Loss]":
    """The class of the loss `name`, imported if it isn't yet.

    Raises KeyError for an unknown name, ImportError when its module can't be imported, `InputError` and
    `MissingPackageError` for an installed package that can't be used.
    """
    return LOSSES[name]


def built_in() -> "Iterator[type[Loss]]":
    """The classes of the built-in losses, imported one after another."""
    return (find(name) for name in _own_names())


def _own_names() -> list[str]:
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def _is_built_in(name: str) -> bool:
    return not name.startswith("_") and (Path(__file__).parent / f"{name}.py").is_file()


class _Own(Mapping[str, "type[Loss]"]):
    """The losses of this package, and the registered ones."""

    def __getitem__(self, name: str) -> "type[Loss]":
        if name not in _registered and _is_built_in(name):
            import_module(f"{__package__}.{name}")
        return _registered[name]

    def __contains__(self, name: object) -> bool:
        return name in _registered or _is_built_in(str(name))

    def __iter__(self) -> Iterator[str]:
        return iter({*_own_names(), *_registered})

    def __len__(self) -> int:
        return len({*_own_names(), *_registered})


def _registered_by(name: str, found: Any) -> "type[Loss]":
    """The loss that importing an entry point has registered."""
    if name not in _registered:
        raise ValueError("it registers no loss of this name")
    return _registered[name]


LOSSES: "Registry[type[Loss]]" = Registry("losses", _Own(), _registered_by)
