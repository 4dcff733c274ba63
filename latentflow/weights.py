"""Where weights come from: a path, the cache, the hub, or the bundle. One policy, and no pickle is read unchecked.

The cache comes first and asks the network nothing. Whether there is a network is found out by one request with a
deadline of its own, since a blocked connection hangs longer than anybody waits; a "no" is remembered for a while.
"""

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from latentflow.config import DEFAULT_VAE
from latentflow.errors import WeightsError

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
PROBE_SECONDS = 3.5
REMEMBER_OFFLINE_SECONDS = 300
VGG16_FILE, VGG16_HASH = "vgg16-397923af.pth", "397923af"  # torchvision names its files by their first eight digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Weights that were found and whose hash was checked where one is known.

    `path` is a folder with config.json or a single .safetensors file; `source` is bundled, cache, download, folder or
    file; `notice` is the line to show when they are not the ones the name promises.
    """

    name: str
    source: str
    path: Path
    sha256: str
    notice: str = ""


@dataclass(frozen=True, slots=True)
class HubName:
    """A model on the hub: repo[:subfolder][@revision]."""

    repo: str
    subfolder: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubName | None":
        """The parts of a hub name, or None when the text can't be one."""
        match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?::([\w./-]+))?(?:@([\w./-]+))?", text)
        return cls(*match.groups()) if match else None

    def __str__(self) -> str:
        subfolder = f":{self.subfolder}" if self.subfolder else ""
        return self.repo + subfolder + (f"@{self.revision}" if self.revision else "")

    def file(self, name: str) -> str:
        """A file's path inside the repository."""
        return f"{self.subfolder}/{name}" if self.subfolder else name


def resolve(vae: str = DEFAULT_VAE, policy: str = "auto") -> Resolved:
    """Find the weights of an autoencoder under a policy (auto, pretrained, bundled), downloading them if need be.

    `auto` falls back on the bundled autoencoder, with a notice, for the default `vae` only. Raises `WeightsError` when
    there are none, or when their hash is wrong.
    """
    if policy == "bundled" and vae == DEFAULT_VAE:
        return bundled()
    found = present(vae)
    if found:
        return found
    if policy == "bundled":
        raise WeightsError(f"--vae {vae} is not in the cache, and --weights bundled never uses the network.")
    try:
        return fetch(vae)
    except WeightsError as error:
        if policy == "auto" and vae == DEFAULT_VAE:
            return bundled(f"Using the small bundled autoencoder instead. {error}")
        raise


def present(vae: str) -> Resolved | None:
    """The weights of an autoencoder if they are on this machine, their hash checked, else None; asks the network
    nothing. Raises `WeightsError` for broken files and for a name that is neither a path nor a hub name."""
    if vae == "bundled":
        return bundled()
    local = Path(vae).expanduser()
    return _local(local) if local.exists() else cached(_hub_name(vae))


def fetch(vae: str, *, ask_again: bool = False) -> Resolved:
    """Download an autoencoder from the hub into the cache; raises `WeightsError` saying why it can't be done.

    `ask_again` asks the network even when it didn't answer a moment ago.
    """
    name = _hub_name(vae)
    problem = probe(name, ask_again=ask_again)
    if not problem:
        problem = _network_problem(lambda: _download(name))
    found = None if problem else cached(name)
    if found is None:
        problem = problem or f"it was downloaded but is not in the cache {cache_folder()}"
        raise WeightsError(
            f"{vae} is not in the cache ({cache_folder()}) and can't be downloaded: {problem}.",
            f"With a network: latentflow weights fetch --vae {vae}",
        )
    return replace(found, source="download")


def _hub_name(vae: str) -> HubName:
    name = None if vae.endswith(".safetensors") else HubName.parse(vae)
    if name is None:
        raise WeightsError(f"--vae {vae}: there is no such folder or file, and it is no hub name.")
    return name


def _download(name: HubName) -> None:
    from huggingface_hub import hf_hub_download

    for file in ("config.json", WEIGHTS_FILE):
        hf_hub_download(name.repo, file, subfolder=name.subfolder, revision=name.revision)


def bundled(notice: str = "") -> Resolved:
    """The autoencoder that ships with the package, checked against the hash stored when it was built."""
    folder = Path(str(files("latentflow.bundled")))
    known = json.loads((folder / "hashes.json").read_text(encoding="utf-8"))
    return Resolved(
        name="bundled", source="bundled", path=folder, sha256=verify(folder / WEIGHTS_FILE, known), notice=notice
    )


def _local(path: Path) -> Resolved:
    weights = path
    if path.is_dir():
        weights = path / WEIGHTS_FILE
        if not weights.is_file():
            pickled = (path / WEIGHTS_FILE.replace(".safetensors", ".bin")).is_file()
            raise WeightsError(
                f"--vae {path} has no {WEIGHTS_FILE}" + (", only a pickle, which is not read." if pickled else ".")
            )
    elif path.suffix != ".safetensors":
        raise WeightsError(f"--vae {path} is no .safetensors file and no folder.")
    source = "folder" if path.is_dir() else "file"
    return Resolved(name=str(path), source=source, path=path, sha256=verify(weights))


def verify(path: Path, known: Mapping[str, str] | None = None) -> str:
    """The SHA-256 of a file; raises `WeightsError` when it isn't the one the file's name promises.

    What it should be is known of files in `known` (by name) and of blobs in a hub cache, which are named by it.
    """
    try:
        with path.open("rb") as stream:
            actual = (
                hashlib.file_digest(stream, "sha256").hexdigest()
                if hasattr(hashlib, "file_digest")
                else (hashlib.sha256(stream.read()).hexdigest())
            )
    except OSError as error:
        raise WeightsError(f"The weights {path} can't be read: {error.strerror}.") from error
    blob = path.resolve().name
    expected = (known or {}).get(path.name) or (blob if re.fullmatch(r"[0-9a-f]{64}", blob) else None)
    if expected is not None and actual != expected:
        raise WeightsError(
            f"The weights {path} are corrupt: their SHA-256 is {actual}, not {expected}.",
            f"Delete {path.resolve()} and fetch them again: latentflow weights fetch",
        )
    return actual


def cache_folder() -> Path:
    """The hub cache, as HF_HOME and HF_HUB_CACHE say."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached(name: HubName) -> Resolved | None:
    """A model in the hub cache, its hash checked, or None; asks the network nothing."""
    from huggingface_hub import try_to_load_from_cache

    paths = [
        try_to_load_from_cache(name.repo, name.file(file), revision=name.revision)
        for file in ("config.json", WEIGHTS_FILE)
    ]
    if not all(isinstance(path, str) for path in paths):
        return None
    weights = Path(str(paths[1]))
    return Resolved(name=str(name), source="cache", path=weights.parent, sha256=verify(weights))


def probe(name: HubName, *, ask_again: bool = False) -> str:
    """Why the hub can't be reached, within five seconds; an empty string when it can.

    The request runs in a thread that is left behind at the deadline: a name look-up has no time-out of its own.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    memory = Path(constants.HF_HOME) / "latentflow_offline.json"
    remembered = "" if ask_again else _remembered(memory, constants.ENDPOINT)
    if remembered:
        return remembered
    url = hf_hub_url(name.repo, "config.json", subfolder=name.subfolder, revision=name.revision)
    answers: list[str] = []

    def ask() -> None:
        try:
            answers.append(
                _network_problem(lambda: get_hf_file_metadata(url, timeout=PROBE_SECONDS), answered=HfHubHTTPError)
            )
        except BaseException as error:  # nobody is left to see it in a thread
            answers.append(f"{type(error).__name__}: {error}")

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PROBE_SECONDS)
    problem = answers[0] if answers else f"{constants.ENDPOINT} did not answer within {PROBE_SECONDS:g} seconds"
    if problem:
        _remember(memory, constants.ENDPOINT, problem)
    return problem


def _network_problem(call: Callable[[], Any], answered: type[Exception] | tuple[()] = ()) -> str:
    """What kept a hub call from its end, in one line, or an empty string; an error of class `answered` shows at
    least that somebody is there, and counts as none."""
    from huggingface_hub import errors

    try:
        call()
    except answered:
        return ""
    except errors.GatedRepoError:
        return "the hub asks for a login that may use it (set HF_TOKEN)"
    except errors.RepositoryNotFoundError:
        return "the hub has no such repository, or it is private (set HF_TOKEN)"
    except errors.RevisionNotFoundError:
        return "the repository has no such revision"
    except errors.EntryNotFoundError:
        return f"the repository has no config.json or {WEIGHTS_FILE} there"
    except Exception as error:  # the HTTP client's own classes differ between its releases
        if isinstance(error, AttributeError | NameError | AssertionError):
            raise
        return f"the network failed ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})"
    return ""


def _remembered(memory: Path, endpoint: str) -> str:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        if known["endpoint"] == endpoint and 0 <= time.time() - known["time"] < REMEMBER_OFFLINE_SECONDS:
            return str(known["problem"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never asked, or not readable: ask again
    return ""


def _remember(memory: Path, endpoint: str, problem: str) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps({"endpoint": endpoint, "problem": problem, "time": time.time()}), encoding="utf-8")
    except OSError:
        pass  # a read-only home costs the next run a probe, no more


def vgg16_path() -> Path:
    """Where torchvision keeps the ImageNet VGG16, as TORCH_HOME says."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(os.environ.get("TORCH_HOME", default)).expanduser() / "hub" / "checkpoints" / VGG16_FILE


def verify_vgg16() -> str:
    """The SHA-256 of the cached VGG16; raises `WeightsError` when its first digits are not those of its name."""
    actual = verify(vgg16_path())
    if not actual.startswith(VGG16_HASH):
        raise WeightsError(
            f"The weights {vgg16_path()} are corrupt: their SHA-256 begins {actual[:8]}, not {VGG16_HASH}.",
            f"Delete {vgg16_path()}.",
        )
    return actual
