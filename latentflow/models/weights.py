"""Where weights come from: a path, the cache, the hub, or the bundle. One policy, and no pickle is read unchecked.

What is on this machine comes first and asks the network nothing; `latentflow.models.hub` is the door to it.
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
HASHES_FILE = "hashes.json"  # what `train` writes beside its weights
FILES = ("config.json", WEIGHTS_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWeights:
    """Weights that were found and whose hash was checked where one is known.

    `path` is a folder with config.json or a single .safetensors file; `source` is bundled, cache, download, folder or
    file; `notice` is the line to show when they are not the ones the name promises.
    """

    name: str
    source: str
    path: Path
    sha256: str
    notice: str = ""


def find_weights(vae: str | None = None, policy: str = "auto") -> FoundWeights:
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


def present(vae: str) -> FoundWeights | None:
    """The weights of an autoencoder if they are on this machine, their hash checked, else None; asks the network
    nothing. Raises `WeightsError` for broken files and for a name that is neither a path nor a hub name."""
    if vae == "bundled":
        return bundled()
    local = _existing(vae)
    return _local(local) if local else _cached(_hub_name(vae))


def fetch(vae: str, *, ask_again: bool = False) -> FoundWeights:
    """Download an autoencoder from the hub into the cache; raises `WeightsError` saying why it can't be done.

    `ask_again` asks the network even when it didn't answer a moment ago.
    """
    name = _hub_name(vae)
    problem = download(name, FILES, ask_again=ask_again)
    paths = None if problem else cached_files(name, FILES)
    if paths is None:
        problem = problem or "it was downloaded but is not there"
        raise WeightsError(
            f"{vae} is not in the cache ({cache_folder()}) and can't be downloaded: {problem}.",
            f"With a network: latentflow weights fetch --vae {vae}",
        )
    try:
        sha256 = verify(
            paths[1], again=f"What was downloaded is removed again; try: latentflow weights fetch --vae {vae}"
        )
    except WeightsError:
        paths[1].resolve().unlink(missing_ok=True)  # the hub's client checks sizes only
        raise
    return FoundWeights(name=str(name), source="download", path=paths[1].parent, sha256=sha256)


def _cached(name: HubName) -> FoundWeights | None:
    paths = cached_files(name, FILES)
    if paths is None:
        return None
    again = f"Delete {paths[1].resolve()}, then: latentflow weights fetch --vae {name}"
    return FoundWeights(name=str(name), source="cache", path=paths[1].parent, sha256=verify(paths[1], again=again))


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


def bundled(notice: str = "") -> FoundWeights:
    """The autoencoder that ships with the package, checked against the hash stored when it was built."""
    folder = Path(str(files("latentflow.bundled")))
    sha256 = verify(folder / WEIGHTS_FILE, _known_hashes(folder), again="Install latentflow again.")
    return FoundWeights(name="bundled", source="bundled", path=folder, sha256=sha256, notice=notice)


def _local(path: Path) -> FoundWeights:
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
    return FoundWeights(name=str(path), source=source, path=path, sha256=verify(weights, _known_hashes(weights.parent)))


def _known_hashes(folder: Path) -> dict[str, str]:
    path = folder / HASHES_FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} can't be read: {error}.", f"Delete it, or get {folder} again.") from error
    return known if isinstance(known, dict) else {}


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
    expected = (known or {}).get(path.name) or blob_hash(path)
    if expected is not None and actual != expected:
        again = again or f"Delete {path.resolve()} and get it again."
        raise WeightsError(f"The weights {path} are corrupt: their SHA-256 is {actual}, not {expected}.", again)
    return actual


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published network behind a loss or a figure, where torch keeps such files.

    Its `file` has a name that ends in the first digits of its SHA-256; `address` asks the package that it belongs to
    where it is published.
    """

    name: str
    file: str
    address: Callable[[], str]

    @property
    def path(self) -> Path:
        """Where it is, if it is there, as TORCH_HOME says."""
        default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
        return Path(os.environ.get("TORCH_HOME", default)).expanduser() / "hub" / "checkpoints" / self.file

    def fetch(self, *, ask_again: bool = False) -> str:
        """Download it; says in one line why it can't be done, or gives an empty string. `ask_again` asks the network
        even when it didn't answer a moment ago."""
        try:
            address = self.address()
        except ImportError as error:
            return f"{error}"
        return download_url(address, self.path, ask_again=ask_again)

    def verify(self) -> str:
        """Its SHA-256; raises `WeightsError` when its first digits are not those of its name."""
        actual, digits = verify(self.path), self.path.stem.rpartition("-")[2]
        if not actual.startswith(digits):
            raise WeightsError(
                f"The weights {self.path} are corrupt: their SHA-256 begins {actual[:8]}, not {digits}.",
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
INCEPTION = Checkpoint("InceptionV3", "weights-inception-2015-12-05-6726825d.pth", _torch_fidelity)
