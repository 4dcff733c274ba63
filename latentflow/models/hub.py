"""The model hub: its names, its cache, and all requests that this package sends.

Looking into the cache sends no request. Before a download one request with a deadline finds out whether the server can
be reached, since a blocked connection can hang for minutes; a failure is remembered for five minutes.
"""

import contextlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROBE_SECONDS = 3.5
REMEMBER_OFFLINE_SECONDS = 300
OFFLINE_FILE = "latentflow_offline"  # stem of the file in HF_HOME that remembers a failure


@dataclass(frozen=True, slots=True)
class HubName:
    """A model on the hub: repo[:subfolder][@revision]."""

    repo: str
    subfolder: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubName | None":
        """The parts of a hub name, or None when the text is not one."""
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
        """The path of a file inside the repository."""
        return f"{self.subfolder}/{name}" if self.subfolder else name


def cache_folder() -> Path:
    """The folder of the hub cache, as set by HF_HOME or HF_HUB_CACHE."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached_files(name: HubName, files: tuple[str, ...]) -> list[Path] | None:
    """The paths of a model's files in the hub cache, or None unless all are there; sends no request."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(name.repo, name.file(file), revision=name.revision) for file in files]
    paths = [Path(path) for path in found if isinstance(path, str)]
    return paths if len(paths) == len(files) else None


def blob_hash(path: Path) -> str | None:
    """The SHA-256 of a file in the hub cache, from the name of the blob that the path links to; None for other files.

    Links are followed one at a time: in newer hub clients `blobs/<sha256>` is itself a link, to a shared store, where
    file names are hashes of a different kind.
    """
    for _ in range(8):
        if path.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", path.name):
            return path.name
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def download(name: HubName, files: tuple[str, ...], *, ask_again: bool = False) -> str:
    """Download files into the hub cache, with a progress bar on stderr; returns the reason in one line when that fails,
    else an empty string.

    `ask_again` tries to reach the hub even if it was unreachable within the last minutes.
    """
    from huggingface_hub import hf_hub_download

    def fetch() -> None:
        for file in files:
            hf_hub_download(name.repo, file, subfolder=name.subfolder, revision=name.revision)

    return probe(name, ask_again=ask_again) or _network_problem(fetch, files)


def probe(name: HubName, *, ask_again: bool = False) -> str:
    """The reason why the hub can't be reached, after at most 3.5 seconds; an empty string when it can."""
    from huggingface_hub import constants, hf_hub_url

    url = hf_hub_url(name.repo, "config.json", subfolder=name.subfolder, revision=name.revision)
    return _reachable(
        constants.ENDPOINT, lambda: _network_problem(lambda: _ask(url)), OFFLINE_FILE, ask_again=ask_again
    )


def download_url(url: str, path: Path, *, ask_again: bool = False) -> str:
    """Download a file and check it against the digits of the SHA-256 in its name; returns the reason in one line when
    that fails, else an empty string."""
    import urllib.parse
    import urllib.request

    from torch.hub import download_url_to_file

    endpoint = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(url))

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
            pass

    def fetch() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        digits = path.stem.rpartition("-")[2]
        with contextlib.redirect_stdout(sys.stderr):
            download_url_to_file(url, str(path), hash_prefix=digits, progress=True)

    memory = f"{OFFLINE_FILE}_{path.stem}"
    problem = _reachable(endpoint, lambda: _failure(ask), memory, ask_again=ask_again)
    return problem or _failure(fetch)


def _failure(call: Callable[[], None]) -> str:
    try:
        call()
    except (OSError, RuntimeError) as error:
        return _failed(error)
    return ""


def _reachable(endpoint: str, ask: Callable[[], str], memory_name: str, *, ask_again: bool) -> str:
    """The problem that `ask` returns within the deadline, or an empty string; a problem is remembered in a file.

    `ask` runs in a thread that is abandoned at the deadline, since a name lookup has no timeout of its own.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    memory = Path(constants.HF_HOME) / f"{memory_name}.json"
    remembered = "" if ask_again else _remembered(memory, endpoint)
    if remembered:
        return remembered
    answers: list[str] = []

    def answer() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # a thread would print it and end
            answers.append(f"{type(error).__name__}: {error}")

    asking = threading.Thread(target=answer, daemon=True)
    asking.start()
    asking.join(PROBE_SECONDS)
    problem = answers[0] if answers else f"{endpoint} did not answer within {PROBE_SECONDS:g} seconds"
    _remember(memory, endpoint, problem)
    return problem


def _ask(url: str) -> None:
    """Send one request; a refusal means that the hub is reachable, an error of the server or a proxy is raised."""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(url, timeout=PROBE_SECONDS)
    except HfHubHTTPError as error:
        if error.response is None or error.response.status_code >= 500:
            raise


def _network_problem(call: Callable[[], Any], files: tuple[str, ...] = ("such file",)) -> str:
    """Run a call of the hub's client and return the reason in one line when it fails, else an empty string."""
    from huggingface_hub import errors

    try:
        call()
    except errors.GatedRepoError:
        return "the hub requires a login with access to it (set HF_TOKEN)"
    except errors.RepositoryNotFoundError:
        return "the hub has no such repository, or it is private (set HF_TOKEN)"
    except errors.RevisionNotFoundError:
        return "the repository has no such revision"
    except errors.LocalEntryNotFoundError as error:  # raised by the hub's client when there is no answer
        return _failed(error.__cause__ or error)
    except errors.EntryNotFoundError:
        return f"the repository has no {' or '.join(files)} there"
    except Exception as error:  # the exceptions of the HTTP client differ between releases
        if isinstance(error, AttributeError | NameError | AssertionError):
            raise
        return _failed(error)
    return ""


def _failed(error: BaseException) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"the hub denies access ({status}; set HF_TOKEN)"
    words = next((line.strip() for line in str(error).splitlines() if line.strip()), "no details")
    return f"the network failed ({type(error).__name__}: {words})"


def _remembered(memory: Path, endpoint: str) -> str:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        age = time.time() - known["time"]
        if known["endpoint"] == endpoint and 0 <= age < REMEMBER_OFFLINE_SECONDS:
            return f"{known['problem']} ({age:.0f} s ago)"
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no file, or not readable: ask again
    return ""


def _remember(memory: Path, endpoint: str, problem: str) -> None:
    """Write a problem down for the next runs, or delete an earlier one when there is none."""
    try:
        if not problem:
            memory.unlink(missing_ok=True)
            return
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps({"endpoint": endpoint, "problem": problem, "time": time.time()}), encoding="utf-8")
    except OSError:
        pass  # a read-only home means that the next run asks again
