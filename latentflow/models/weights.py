"""Finding weights: in a folder or a file, in the hub cache, on the hub, or bundled with the package.

Local files come first, without a request; `latentflow.models.hub` sends all requests. The SHA-256 of a file is checked
where it is known, and of a pickle always before it is opened.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

from latentflow.config import DEFAULT_VAE
from latentflow.errors import WeightsError
from latentflow.models.hub import HubName, blob_hash, cache_folder, cached_files, download, download_url

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
HASHES_FILE = "hashes.json"  # SHA-256 by file name; `train` writes it beside the weights
FILES = ("config.json", WEIGHTS_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWeights:
    """The weights of an autoencoder, their hash checked where one is known.

    `path` is a folder with config.json or a single .safetensors file; `source` is bundled, cache, download, folder,
    file, or object for an `Autoencoder` that was passed in. `notice` is a sentence for the user when the bundled
    weights are used instead of the default ones, else empty.
    """

    name: str
    source: str
    path: Path
    sha256: str
    notice: str = ""


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
    found = present(name)
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
    return _local(local) if local else _cached(_hub_name(vae))


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
    name = None if vae.endswith(".safetensors") else HubName.parse(vae)
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
    weights = path
    if path.is_dir():
        weights = path / WEIGHTS_FILE
        if not weights.is_file():
            pickled = (path / WEIGHTS_FILE.replace(".safetensors", ".bin")).is_file()
            raise WeightsError(
                f"`vae` {path} has no {WEIGHTS_FILE}" + (", only a pickle, which is not read." if pickled else ".")
            )
    elif path.suffix != ".safetensors":
        raise WeightsError(f"`vae` {path} must be a folder or a .safetensors file.")
    source = "folder" if path.is_dir() else "file"
    return FoundWeights(name=str(path), source=source, path=path, sha256=verify(weights, _known_hashes(weights.parent)))


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

    It is known for the file names in `known` and for files in a hub cache, whose names are their hashes.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"The weights {path} can't be read: {error.strerror}.") from error
    actual = digest.hexdigest()
    expected = (known or {}).get(path.name) or blob_hash(path)
    if expected is not None and actual != expected:
        raise WeightsError(
            f"The weights {path} are corrupt: their SHA-256 is {actual}, not {expected}.",
            remedy or f"Delete {path.resolve()} and download it again.",
        )
    return actual


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
        """Where it is or would be, below TORCH_HOME."""
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
