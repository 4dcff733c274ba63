"""Pipelines of diffusers from folders, from the hub and from this package; what can't be used is refused before it is
loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from latentflow.base.errors import InputError, MissingPackageError, WeightsError, first_line
from latentflow.base.session import Say, ignore
from latentflow.models.device import pick_device
from latentflow.models.hub import HubName, cached_files, download, probe
from latentflow.models.toy import TOY, bundled_vae, quiet_libraries, toy_folder
from latentflow.models.weight_files import PICKLES
from latentflow.models.weights import POINTER, find_weights
from latentflow.prompts.config import DEFAULT_MODEL, SCHEDULERS
from latentflow.prompts.pipelines import TextToImage, check_served

INDEX = "model_index.json"
PARTS = ("tokenizer", "text_encoder", "vae", "scheduler")  # that every pipeline has, beside its unet or transformer
VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model", "vocab.txt")
VARIANT = re.compile(r"\.([a-z]\w*)(-\d+-of-\d+)?\.safetensors$")
MEANS = "python -c \"from diffusers import {kind} as P; P.{call}.save_pretrained('FOLDER')\""
FAILURES = (OSError, ValueError, AttributeError, TypeError, KeyError, ImportError, RuntimeError, OverflowError)


def load_pipeline(
    model: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    *,
    scheduler: str | None = None,
    offload: bool = False,
    say: Say = ignore,
) -> TextToImage:
    """Load a pipeline: a folder, a hub name, which is downloaded if it isn't cached, or "toy", the small one that comes
    with the package; without a name Stable Diffusion 1.5 if it is cached, else the toy. Only safetensors are read, of
    fp16 where there are no others.

    Raises `WeightsError` where it is missing or can't be loaded, `InputError` for pipelines that are not served here
    and schedulers that don't go with it, `MissingPackageError` without transformers.
    """
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(f"Prompts need transformers: {error}.", "pip install latentflow[prompts]") from error

    place = pick_device(device)
    kinds = {"auto": torch.float16 if place.type == "cuda" else torch.float32}
    number = kinds.get(dtype) or getattr(torch, dtype)
    if model is None and _cached(DEFAULT_MODEL) is None:
        say(
            f"No `model` is named, and {DEFAULT_MODEL} is not in the cache: this is the toy, which comes with "
            f"latentflow. It knows {len(toy_words())} words and eight kinds of scene."
        )
        model = TOY
    made = _load(model or DEFAULT_MODEL, number, local=model is None)
    pipeline = made.pipeline
    if scheduler is not None:
        _exchange(pipeline, scheduler)
    if getattr(pipeline, "safety_checker", None) is not None:
        say("The pipeline has a safety checker: pictures that it withholds are black.")
    if offload and place.type == "cuda":
        pipeline.enable_model_cpu_offload(device=place)
    else:
        if offload:
            say(f"`offload` has no effect on {place.type}: the model is in main memory anyway.")
        pipeline.to(place)
    return made


def toy_words() -> list[str]:
    """The words that the toy knows."""
    content = json.loads((toy_folder() / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    return sorted(word for word in content["model"]["vocab"] if not word.startswith("<"))


def _load(name: str, dtype: torch.dtype, *, local: bool = False) -> TextToImage:
    """Load a pipeline by its name, or only if it is there, `local`; raises `InputError` or `WeightsError`."""
    from diffusers import DiffusionPipeline

    folder = toy_folder() if name == TOY else _find(name, local=local)
    vae = find_weights("bundled", "bundled").path if name == TOY else folder / "vae"
    given: dict[str, Any] = {"torch_dtype": dtype, "use_safetensors": True, "local_files_only": True}
    given["variant"] = _check_folder(name, folder, ("vae",) if name == TOY else ())
    try:
        with quiet_libraries():
            if name == TOY:
                given["vae"] = bundled_vae(dtype)
            pipeline = DiffusionPipeline.from_pretrained(str(folder), **given)
    except FAILURES as error:
        raise WeightsError(f"`model` {name} can't be loaded: {first_line(error)}.") from error
    folders = [folder, vae] if name == TOY else [folder]
    return TextToImage(pipeline, name, folders, next(iter(sorted(vae.glob("*.safetensors"))), None))


def _find(name: str, *, local: bool) -> Path:
    """The folder of a pipeline, downloaded if it has to be. Raises `WeightsError` where there is none, and `InputError`
    for the class of a pipeline that is not served, before anything but its index is downloaded."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise _single_file(name, path)
    hub = HubName.parse(name)
    if hub is None or hub.subfolder or hub.revision:
        raise WeightsError(f"`model` {name}: there is no such folder, and it is not a hub name.")
    problem = "" if cached_files(hub, (INDEX,)) else download(hub, (INDEX,))
    index = _cached(name)
    if problem or index is None:
        raise WeightsError(f"`model` {name} can't be loaded: {problem or 'it has no model_index.json'}.")
    _read_index(name, index.parent)
    try:
        _check_folder(name, index.parent)
    except WeightsError as error:
        if local:
            problem = f"`model` {name} is in the cache, but not complete: {first_line(error)}."
            raise WeightsError(problem, "Name it with `model`, and the rest is downloaded.") from error
        return _download(name)
    return index.parent  # what is cached asks the network nothing


def _cached(name: str) -> Path | None:
    """The index of a pipeline in the hub's cache."""
    found = cached_files(HubName(name), (INDEX,))
    return None if found is None else found[0]


def _download(name: str) -> Path:
    """Download a pipeline, its fp16 files where it has no others; raises `WeightsError` where that fails."""
    from diffusers import DiffusionPipeline
    from huggingface_hub import HfApi

    problem = probe(HubName(name))  # which answers in time where a connection hangs
    if problem:
        raise WeightsError(f"`model` {name} can't be downloaded: {problem}.")
    try:
        files = HfApi().list_repo_files(name)
        with quiet_libraries():
            found = DiffusionPipeline.download(name, use_safetensors=True, variant=_variant(files))
    except Exception as error:  # the exceptions of the HTTP client differ between releases
        raise WeightsError(f"`model` {name} can't be downloaded: {first_line(error)}.") from error
    return Path(found)


def _single_file(name: str, path: Path) -> WeightsError:
    if path.suffix.lower() not in (".safetensors", *PICKLES):
        return WeightsError(f"`model` {name} is a file, and no model.", "A folder of diffusers is wanted.")
    call = f"from_single_file('{name}')"
    means = MEANS.format(kind="StableDiffusionPipeline", call=call)
    return WeightsError(f"`model` {name} is a single file; a folder of diffusers is wanted.", f"Convert it: {means}")


def _read_index(name: str, folder: Path) -> dict[str, Any]:
    """The index of a pipeline; raises `WeightsError` where it can't be read, `InputError` for a class that is not
    served."""
    path = folder / INDEX
    if not path.is_file():
        raise WeightsError(f"`model` {name} has no {INDEX}: it is no folder of a diffusers pipeline.")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} can't be read: {first_line(error)}.") from error
    if not isinstance(index, dict):
        raise WeightsError(f"{path} is no index of a pipeline.")
    check_served(name, index.get("_class_name"))
    return index


def _check_folder(name: str, folder: Path, elsewhere: tuple[str, ...] = ()) -> str | None:
    """The variant of the weights in the folder of a pipeline, or None for the usual ones; raises `InputError` for a
    pipeline that is not served, `WeightsError` for one with parts missing, except parts that are `elsewhere`."""
    index = _read_index(name, folder)
    named = [part for part, kind in index.items() if isinstance(kind, list) and kind[:1] not in ([], [None])]
    denoiser = "unet" if "unet" in index else "transformer"
    for part in dict.fromkeys((*PARTS, denoiser, *named)):
        inside = folder / part
        if part in elsewhere or (inside / "config.json").is_file():
            continue
        files = VOCABULARIES if part.startswith("tokenizer") else ("*.json",)
        if part not in named or not any(any(inside.glob(each)) for each in files):
            raise WeightsError(f"`model` {name} has no {part}.", f"Complete the folder {inside}.")
    for part in named:
        if part not in elsewhere and (folder / part / "config.json").is_file():
            _check_weights(name, folder / part)
    return _variant(str(path.relative_to(folder)) for path in folder.glob("*/*.safetensors"))


def _check_weights(name: str, part: Path) -> None:
    """Raise `WeightsError` unless a part has safetensors that are more than pointers to them."""
    files = list(part.glob("*.safetensors"))
    pickles = [path for path in sorted(part.iterdir()) if path.suffix in PICKLES]
    if pickles and not files:
        means = MEANS.format(kind="DiffusionPipeline", call=f"from_pretrained('{name}')")
        raise WeightsError(
            f"`model` {name} has its {part.name} as a pickle, {pickles[0].name}, which could run code.",
            f"If you trust it, convert it: {means}",
        )
    if not files:
        raise WeightsError(f"`model` {name} has no weights of its {part.name}.", f"Complete the folder {part}.")
    for path in files:
        with path.open("rb") as stream:
            if stream.read(len(POINTER)) == POINTER:
                raise WeightsError(f"{path} is a pointer of Git LFS and not the weights.", "Run: git lfs pull")


def _variant(files: Any) -> str | None:
    """The variant to load, of the files "PART/NAME": None unless some part has its weights in a variant alone; fp16
    before others."""
    found: dict[str, set[str | None]] = {}
    for part, match in _weights(files):
        found.setdefault(part, set()).add(match[1] if match else None)
    lacking = [kinds for kinds in found.values() if None not in kinds]
    if not lacking:
        return None
    common = set.intersection(*lacking) or lacking[0]
    return min(common, key=lambda kind: (kind != "fp16", kind or ""))


def _weights(files: Any) -> Iterator[tuple[str, re.Match[str] | None]]:
    for file in files:
        part, _, name = file.rpartition("/")
        if part and "/" not in part and name.endswith(".safetensors"):
            yield part, VARIANT.search(name)


def _exchange(pipeline: Any, name: str) -> None:
    """Give a pipeline another scheduler, with the settings of its own."""
    import diffusers

    wanted = getattr(diffusers, SCHEDULERS[name])
    known = [*getattr(pipeline.scheduler, "compatibles", []), type(pipeline.scheduler)]
    if wanted not in known:
        fitting = [each for each, cls in SCHEDULERS.items() if getattr(diffusers, cls) in known]
        raise InputError(
            f"`scheduler` {name} doesn't go with {type(pipeline).__name__}.", f"These do: {', '.join(fitting)}."
        )
    pipeline.scheduler = wanted.from_config(pipeline.scheduler.config)
