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
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

        match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?::([\w./-]+))?(?:@([\w./-]+))?", text)
        if match is None or ".." in text:
            return None
        try:
            validate_repo_id(match[1])
        except ValueError:
            return None
        return cls(*match.groups())

    def __str__(self) -> str:
        subfolder = f":{self.subfolder}" if self.subfolder else ""
        return self.repo + subfolder + (f"@{self.revision}" if self.revision else "")

    def file(self, name: str) -> str:
        """A file's path inside the repository."""
        return f"{self.subfolder}/{name}" if self.subfolder else name


def resolve(vae: str | None = None, policy: str = "auto") -> Resolved:
    """Find the weights of an autoencoder under a policy (auto, pretrained, bundled), downloading them if need be.

    Without a name it is the default one, and `auto` falls back on the bundled autoencoder, with a notice; one that is
    named never falls back. Raises `WeightsError` when there are none, or when their hash is wrong.
    """
    if policy == "bundled" and vae in (None, DEFAULT_VAE):
        return bundled()
    name = DEFAULT_VAE if vae is None else vae
    found = present(name)
    if found:
        return found
    if policy == "bundled":
        raise WeightsError(f"--vae {name} is not in the cache, and --weights bundled never uses the network.")
    try:
        return fetch(name)
    except WeightsError as error:
        if policy == "auto" and vae is None:
            return bundled(f"Using the small bundled autoencoder instead. {error}")
        raise


def present(vae: str) -> Resolved | None:
    """The weights of an autoencoder if they are on this machine, their hash checked, else None; asks the network
    nothing. Raises `WeightsError` for broken files and for a name that is neither a path nor a hub name."""
    if vae == "bundled":
        return bundled()
    local = _existing(vae)
    return _local(local) if local else cached(_hub_name(vae))


def fetch(vae: str, *, ask_again: bool = False) -> Resolved:
    """Download an autoencoder from the hub into the cache; raises `WeightsError` saying why it can't be done.

    `ask_again` asks the network even when it didn't answer a moment ago.
    """
    name = _hub_name(vae)
    problem = probe(name, ask_again=ask_again) or _network_problem(lambda: _download(name))
    found = None if problem else cached(name)
    if found is None:
        problem = problem or f"it was downloaded but is not in the cache {cache_folder()}"
        raise WeightsError(
            f"{vae} is not in the cache ({cache_folder()}) and can't be downloaded: {problem}.",
            f"With a network: latentflow weights fetch --vae {vae}",
        )
    return replace(found, source="download")


def _existing(vae: str) -> Path | None:
    try:
        path = Path(vae).expanduser()
        return path if vae and path.exists() else None
    except (OSError, RuntimeError):  # a name too long for the file system; ~ of nobody
        return None


def _hub_name(vae: str) -> HubName:
    name = None if vae.endswith(".safetensors") else HubName.parse(vae)
    if name is None:
        raise WeightsError(f"--vae {vae}: there is no such folder or file, and it is no hub name.")
    return name


def _download(name: HubName) -> None:
    from huggingface_hub import hf_hub_download

    for file in ("config.json", WEIGHTS_FILE):
        path = Path(hf_hub_download(name.repo, file, subfolder=name.subfolder, revision=name.revision))
    try:
        verify(path, again=f"What was downloaded is removed again; try: latentflow weights fetch --vae {name}")
    except WeightsError:
        path.resolve().unlink(missing_ok=True)  # the hub's client checks sizes only
        raise


def bundled(notice: str = "") -> Resolved:
    """The autoencoder that ships with the package, checked against the hash stored when it was built."""
    folder = Path(str(files("latentflow.bundled")))
    known = json.loads((folder / "hashes.json").read_text(encoding="utf-8"))
    sha256 = verify(folder / WEIGHTS_FILE, known, again="Install latentflow again.")
    return Resolved(name="bundled", source="bundled", path=folder, sha256=sha256, notice=notice)


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


def verify(path: Path, known: Mapping[str, str] | None = None, *, again: str = "") -> str:
    """The SHA-256 of a file; raises `WeightsError` when it isn't the one the file's name promises.

    What it should be is known of files in `known` (by name) and of blobs in a hub cache, which are named by it.
    `again` says how to get a whole file.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"The weights {path} can't be read: {error.strerror}.") from error
    actual = digest.hexdigest()
    expected = (known or {}).get(path.name) or _blob_hash(path)
    if expected is not None and actual != expected:
        again = again or f"Delete {path.resolve()} and get it again."
        raise WeightsError(f"The weights {path} are corrupt: their SHA-256 is {actual}, not {expected}.", again)
    return actual


def _blob_hash(path: Path) -> str | None:
    """The SHA-256 in the name of the hub blob a path leads to.

    Links are followed one by one: behind `blobs/<sha256>` newer hub clients put a store that repositories share, where
    the last name is a hash of another kind.
    """
    for _ in range(8):
        if path.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", path.name):
            return path.name
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


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
    again = f"Delete {weights.resolve()}, then: latentflow weights fetch --vae {name}"
    return Resolved(name=str(name), source="cache", path=weights.parent, sha256=verify(weights, again=again))


def probe(name: HubName, *, ask_again: bool = False) -> str:
    """Why the hub can't be reached, within five seconds; an empty string when it can.

    The request runs in a thread that is left behind at the deadline: a name look-up has no time-out of its own.
    """
    from huggingface_hub import constants, hf_hub_url

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
            answers.append(_network_problem(lambda: _ask(url)))
        except BaseException as error:  # nobody is left to see it in a thread
            answers.append(f"{type(error).__name__}: {error}")

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PROBE_SECONDS)
    problem = answers[0] if answers else f"{constants.ENDPOINT} did not answer within {PROBE_SECONDS:g} seconds"
    _remember(memory, constants.ENDPOINT, problem)
    return problem


def _ask(url: str) -> None:
    """One request; that the hub refuses it shows that somebody is there, unless its server or a proxy is broken."""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(url, timeout=PROBE_SECONDS)
    except HfHubHTTPError as error:
        if error.response is None or error.response.status_code >= 500:
            raise


def _network_problem(call: Callable[[], Any]) -> str:
    """What kept a hub call from its end, in one line, or an empty string."""
    from huggingface_hub import errors

    try:
        call()
    except errors.GatedRepoError:
        return "the hub asks for a login that may use it (set HF_TOKEN)"
    except errors.RepositoryNotFoundError:
        return "the hub has no such repository, or it is private (set HF_TOKEN)"
    except errors.RevisionNotFoundError:
        return "the repository has no such revision"
    except errors.LocalEntryNotFoundError as error:  # what the hub's client says when it got no answer
        return _failed(error.__cause__ or error)
    except errors.EntryNotFoundError:
        return f"the repository has no config.json or {WEIGHTS_FILE} there"
    except Exception as error:  # the HTTP client's own classes differ between its releases
        if isinstance(error, AttributeError | NameError | AssertionError | WeightsError):
            raise
        return _failed(error)
    return ""


def _failed(error: BaseException) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"the hub refuses access ({status}; set HF_TOKEN)"
    words = next((line.strip() for line in str(error).splitlines() if line.strip()), "no more is known")
    return f"the network failed ({type(error).__name__}: {words})"


def _remembered(memory: Path, endpoint: str) -> str:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        age = time.time() - known["time"]
        if known["endpoint"] == endpoint and 0 <= age < REMEMBER_OFFLINE_SECONDS:
            return f"{known['problem']} ({age:.0f} s ago)"
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never asked, or not readable: ask again
    return ""


def _remember(memory: Path, endpoint: str, problem: str) -> None:
    """Keep a problem for the next runs, or forget what was kept when there is none."""
    try:
        if not problem:
            memory.unlink(missing_ok=True)
            return
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
