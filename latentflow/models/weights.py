"""Finding weights: in a folder or a file, in the hub cache, on the hub, or bundled with the package.

Local files come first, without a request; `latentflow.models.hub` sends all requests. The SHA-256 of a file is checked
where it is known, and of a pickle always before it is opened.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path

from latentflow.base.errors import WeightsError
from latentflow.models.config import DEFAULT_VAE
from latentflow.models.hub import HubName, blob_hash, cache_folder, cached_files, download, download_url
from latentflow.models.layouts import Layout, identify
from latentflow.models.weight_files import PICKLES, SUFFIXES, WEIGHTS_FILE, weight_files

POINTER = b"version https://git-lfs.github.com/spec/"  # how a Git LFS pointer begins
HASHES_FILE = "hashes.json"  # SHA-256 by file name; `train` writes it beside the weights
FILES = ("config.json", WEIGHTS_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWeights:
    """The weights of an autoencoder, their hash checked where one is known.

    `path` is a folder or a single .safetensors file; `source` is bundled, cache, download, folder, file, or object for
    an `Autoencoder` that was passed in. `notice` is for the user, when the bundled weights are used instead of the
    default ones or something is assumed of a file, else empty. `vae_config` is the user's word on a file.
    """

    name: str
    source: str
    path: Path
    sha256: str
    notice: str = ""
    vae_config: str | None = None

    @property
    def is_fallback(self) -> bool:
        """True if the bundled weights stand in for the default ones."""
        return self.source == "bundled" and bool(self.notice)


def layout_of(found: FoundWeights) -> Layout:
    """Return the layout of files of weights, with the assumptions made about them, as `identify` finds it."""
    return identify(found.path, weight_files(found.path), found.vae_config)


def find_weights(vae: str | None = None, policy: str = "auto") -> FoundWeights:
    """Find the weights of an autoencoder, downloading them if they are not on this machine.

    `vae` is a hub name repo[:subfolder][@revision], a folder, a .safetensors file or "bundled"; None is the default
    autoencoder. `policy` is auto, pretrained or bundled. With auto, if `vae` is None and the default autoencoder can't
    be downloaded, the bundled one is returned with a notice. With bundled nothing is downloaded. Raises `WeightsError`
    when no weights are found or their hash is wrong.
    """
    if policy == "bundled" and vae in (None, DEFAULT_VAE):
        return bundled()
    name = DEFAULT_VAE if vae is None else vae
    found = _cached(_hub_name(name)) if vae is None else present(name)
    if found:
        return found
    if policy == "bundled":
        raise WeightsError(f"`vae` {name} is not in the cache, and with `weights` bundled nothing is downloaded.")
    try:
        return fetch(name)
    except WeightsError as error:
        if policy == "auto" and vae is None:
            return bundled(f"Using the small bundled autoencoder instead. {error}")
        raise


def present(vae: str) -> FoundWeights | None:
    """The weights of an autoencoder if they are on this machine, else None; sends no request.

    Raises `WeightsError` for corrupt files and for a name that is neither a path nor a hub name.
    """
    if vae == "bundled":
        return bundled()
    local = _existing(vae)
    if local and not (HubName.parse(vae) and _is_unrelated(local)):
        return _local(local)
    return _cached(_hub_name(vae))


def _is_unrelated(path: Path) -> bool:
    """Tell whether a path is a folder without any part of an autoencoder; it may have the name of a hub model by
    chance."""
    return path.is_dir() and not any(
        file.suffix.lower() in (*SUFFIXES, *PICKLES) or file.name in ("config.json", "model_index.json", "vae")
        for file in path.iterdir()
    )


def fetch(vae: str, *, ask_again: bool = False) -> FoundWeights:
    """Download an autoencoder from the hub into the cache; raises `WeightsError` with the reason when that fails.

    `ask_again` tries to reach the hub even if it was unreachable within the last minutes.
    """
    name = _hub_name(vae)
    problem = download(name, FILES, ask_again=ask_again)
    paths = None if problem else cached_files(name, FILES)
    if paths is None:
        problem = problem or "it is not in the cache after the download"
        raise WeightsError(
            f"{vae} is not in the cache ({cache_folder()}) and can't be downloaded: {problem}.",
            f"With network access run: latentflow weights fetch --vae {vae}",
        )
    try:
        sha256 = verify(paths[1], remedy=f"The download was deleted; try again: latentflow weights fetch --vae {vae}")
    except WeightsError:
        paths[1].resolve().unlink(missing_ok=True)  # the hub's client checks only the size
        raise
    return FoundWeights(name=str(name), source="download", path=paths[1].parent, sha256=sha256)


def _cached(name: HubName) -> FoundWeights | None:
    paths = cached_files(name, FILES)
    if paths is None:
        return None
    remedy = f"Delete {paths[1].resolve()}, then: latentflow weights fetch --vae {name}"
    return FoundWeights(name=str(name), source="cache", path=paths[1].parent, sha256=verify(paths[1], remedy=remedy))


def _existing(vae: str) -> Path | None:
    try:
        path = Path(vae).expanduser()
        return path if vae and path.exists() else None
    except (OSError, RuntimeError):  # the name is too long for the file system, or "~user" doesn't exist
        return None


def _hub_name(vae: str) -> HubName:
    name = None if vae.lower().endswith((*SUFFIXES, *PICKLES)) else HubName.parse(vae)
    if name is None:
        raise WeightsError(f"`vae` {vae}: there is no such folder or file, and it is not a hub name.")
    return name


def bundled(notice: str = "") -> FoundWeights:
    """The autoencoder that comes with the package; raises `WeightsError` when it doesn't have the hash stored with
    it."""
    folder = Path(str(files("latentflow.bundled")))
    sha256 = verify(folder / WEIGHTS_FILE, _known_hashes(folder), remedy="Install latentflow again.")
    return FoundWeights(name="bundled", source="bundled", path=folder, sha256=sha256, notice=notice)


def _local(path: Path) -> FoundWeights:
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise _refusal(path)
    files = weight_files(path)
    if not files and (path / "vae").is_dir():
        found = _local(path / "vae")
        return replace(found, notice=f"{path} is a pipeline; its autoencoder is used: {found.path}.")
    if not files:
        pickled = sorted(file for file in path.iterdir() if file.suffix.lower() in PICKLES)
        raise _refusal(pickled[0]) if pickled else WeightsError(f"`vae` {path} has no {WEIGHTS_FILE}.")
    source = "folder" if path.is_dir() else "file"
    digests = [verify(file, _known_hashes(file.parent)) for file in files]
    sha256 = digests[0] if len(files) == 1 else _digest(*files)
    return FoundWeights(name=str(path), source=source, path=path, sha256=sha256)


def _refusal(path: Path) -> WeightsError:
    """Return the error for a file that isn't .safetensors."""
    if path.suffix.lower() in PICKLES:
        remedy = f"Convert it: latentflow weights convert {path}"
        return WeightsError(f"`vae` {path} is a pickle, which could run code and is not read.", remedy)
    return WeightsError(f"`vae` {path} must be a folder or a .safetensors file.")


def _known_hashes(folder: Path) -> dict[str, str]:
    path = folder / HASHES_FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} can't be read: {error}.", f"Delete it, or copy {folder} again.") from error
    return known if isinstance(known, dict) else {}


def verify(path: Path, known: Mapping[str, str] | None = None, *, remedy: str = "") -> str:
    """The SHA-256 of a file; raises `WeightsError` with `remedy` when it is known to be another.

    It is known for the file names in `known` and for files in a hub cache, where names are hashes.
    """
    actual = _digest(path)
    expected = (known or {}).get(path.name) or blob_hash(path)
    if expected is not None and actual != expected:
        raise WeightsError(
            f"The weights {path} are corrupt: their SHA-256 is {actual}, not {expected}.",
            remedy or f"Delete {path.resolve()} and download it again.",
        )
    return actual


def _digest(*paths: Path) -> str:
    """The SHA-256 of files one after another, as `cat` puts them; raises `WeightsError` for what can't be read and for
    Git LFS's stand-in of a file."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    if chunk.startswith(POINTER):
                        raise WeightsError(
                            f"The weights {path} are a Git LFS pointer.", "In its folder run: git lfs pull"
                        )
                    digest.update(chunk)
        except OSError as error:
            raise WeightsError(f"The weights {path} can't be read: {error.strerror}.") from error
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published network of a loss or a metric, in the folder where torch keeps such files.

    The name of its `file` ends in the first digits of its SHA-256. `address()` is its URL as `package` states it, which
    is the argument of "pip install".
    """

    name: str
    file: str
    address: Callable[[], str]
    package: str = "torchvision"

    @property
    def path(self) -> Path:
        """The path where it is or would be, below TORCH_HOME."""
        default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
        return Path(os.environ.get("TORCH_HOME", default)).expanduser() / "hub" / "checkpoints" / self.file

    def fetch(self, *, ask_again: bool = False) -> str:
        """Download it; returns the reason in one line when that fails, else an empty string.

        `ask_again` tries to reach the server even if it was unreachable within the last minutes.
        """
        try:
            address = self.address()
        except ImportError as error:
            return f"{error} (pip install {self.package})"
        return download_url(address, self.path, ask_again=ask_again)

    def verify(self) -> str:
        """Its SHA-256; raises `WeightsError` when that doesn't begin with the digits in the file's name."""
        actual, digits = verify(self.path), self.path.stem.rpartition("-")[2]
        if not actual.startswith(digits):
            raise WeightsError(
                f"The weights {self.path} are corrupt: their SHA-256 begins with {actual[:8]}, not {digits}.",
                f"Delete {self.path}.",
            )
        return actual


def _torchvision(name: str) -> str:
    from torchvision import models

    url: str = getattr(models, name).IMAGENET1K_V1.url
    return url


def _torch_fidelity() -> str:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    return str(URL_INCEPTION_V3)


VGG16 = Checkpoint("VGG16", "vgg16-397923af.pth", partial(_torchvision, "VGG16_Weights"))
ALEXNET = Checkpoint("AlexNet", "alexnet-owt-7be5be79.pth", partial(_torchvision, "AlexNet_Weights"))
INCEPTION = Checkpoint(
    "InceptionV3", "weights-inception-2015-12-05-6726825d.pth", _torch_fidelity, '"latentflow[rfid]"'
)
