"""Where weights come from, under each policy: stand-ins in a cache, and a hub of our own on the loopback address."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from standins import (
    COMMIT,
    LONE_16,
    LONE_KL,
    SD_VAE_CONFIG,
    TINY_KL,
    Hub,
    ldm_names,
    model_files,
    old_names,
    random_model,
    write_cache,
    write_folder,
)

from latentflow.base.errors import WeightsError
from latentflow.models import hub as hub_module
from latentflow.models import weights
from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.config import DEFAULT_VAE
from latentflow.models.headers import read_header
from latentflow.models.hub import HubName
from latentflow.models.weight_files import WEIGHTS_FILE
from latentflow.models.weights import FoundWeights, find_weights

ROOT = Path(__file__).parent.parent
REPO = "somebody/tiny-vae"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty hub cache of this test's own; the hub's client reads its folders from the environment once."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    return tmp_path / "home" / "hub"


@pytest.fixture
def hub(cache, monkeypatch):
    """A hub that serves a tiny autoencoder, and is the one asked."""
    from huggingface_hub import constants

    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        hub.publish(REPO, model_files(TINY_KL))
        yield hub


def fails(*args, **kwargs):
    """The message of the `WeightsError` that `find_weights` raises: one line, exit code 4."""
    with pytest.raises(WeightsError) as caught:
        find_weights(*args, **kwargs)
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
    return str(caught.value)


# The published autoencoder, at its size


class Standin(NamedTuple):
    home: Path
    snapshot: Path
    image: torch.Tensor
    latent: torch.Tensor
    encoded: torch.Tensor
    decoded: torch.Tensor


@pytest.fixture(scope="session")
def standin():
    """sd-vae-ft-mse with random weights, laid out in a cache as the hub's client does, and what it should compute."""
    with tempfile.TemporaryDirectory(prefix="latentflow-standin-") as folder:
        model = random_model(SD_VAE_CONFIG)
        files = model_files(SD_VAE_CONFIG, old_names(model.state_dict()))
        snapshot = write_cache(Path(folder) / "hub", DEFAULT_VAE, files)
        del files
        image, latent = torch.rand(1, 3, 16, 24), torch.randn(1, 4, 2, 3)
        with torch.no_grad():
            encoded = model.encode(image * 2 - 1).latent_dist.mean * 0.18215
            decoded = model.decode(latent / 0.18215).sample / 2 + 0.5
        yield Standin(Path(folder), snapshot, image, latent, encoded, decoded)


@torch.no_grad()
@pytest.mark.parametrize("single_file", [False, True], ids=["in the cache", "as a lone file"])
def test_the_published_autoencoder_computes_what_it_was_saved_from(standin, tmp_path, monkeypatch, single_file):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(standin.home / "hub"))
    if single_file:
        (tmp_path / "vae.safetensors").symlink_to(standin.snapshot / WEIGHTS_FILE)
        found = find_weights(str(tmp_path / "vae.safetensors"))
    else:
        found = find_weights()
        assert (found.name, found.path, found.notice) == (DEFAULT_VAE, standin.snapshot, "")
    assert found.source == ("file" if single_file else "cache")
    assert found.sha256 == (standin.snapshot / WEIGHTS_FILE).resolve().name
    autoencoder = load_autoencoder(found)
    geometry = autoencoder.geometry
    assert (geometry.channels, geometry.stride, float(geometry.shift)) == (4, 8, 0.0)
    assert float(geometry.scale) == pytest.approx(0.18215)
    assert geometry.latent_shape(512, 512) == (4, 64, 64)
    torch.testing.assert_close(autoencoder.decode(standin.latent), standin.decoded, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(autoencoder.encode(standin.image), standin.encoded, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_run_takes_the_cached_autoencoder_without_a_network(standin, command, small):
    environment = os.environ | {"HF_HOME": str(standin.home), "HF_HUB_OFFLINE": "1"}
    line = ("--image_path", small, "--size", 16, "--steps", 1, "--dtype", "float32", "--weights", "pretrained")
    done = command(*line, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    used = json.loads((small.parent / "grad_result.gif.manifest.json").read_text())["weights"]
    assert (used["name"], used["source"]) == (DEFAULT_VAE, "cache")
    assert used["sha256"] == (standin.snapshot / WEIGHTS_FILE).resolve().name


# Policies, with an empty cache and no network


def test_auto_falls_back_on_the_bundle_for_the_default_with_one_line(cache):
    found = find_weights(None, "auto")
    assert found.source == "bundled" and found.sha256 == weights.bundled().sha256
    assert "bundled autoencoder instead" in found.notice and "\n" not in found.notice
    assert f"latentflow weights fetch --vae {DEFAULT_VAE}" in found.notice


def test_the_default_that_is_named_does_not_fall_back(cache):
    assert DEFAULT_VAE in fails(DEFAULT_VAE, "auto")


def test_pretrained_without_a_network_names_the_command_that_fetches(cache):
    message = fails(DEFAULT_VAE, "pretrained")
    assert f"latentflow weights fetch --vae {DEFAULT_VAE}" in message and str(cache) in message


@pytest.mark.parametrize("policy", ["auto", "pretrained", "bundled"])
def test_another_autoencoder_never_falls_back(cache, policy):
    assert REPO in fails(REPO, policy)


def test_bundled_sends_no_request_even_when_the_hub_is_there(hub):
    hub.publish(DEFAULT_VAE, model_files(TINY_KL))
    assert find_weights(DEFAULT_VAE, "bundled").source == "bundled"
    assert "nothing is downloaded" in fails(REPO, "bundled")
    assert hub.asked == []


def test_bundled_by_name_is_not_the_fall_back(cache):
    for policy in ("auto", "pretrained", "bundled"):
        found = find_weights("bundled", policy)
        assert (found.name, found.source, found.notice) == ("bundled", "bundled", "")


def test_the_bundle_is_checked_against_the_hash_stored_with_it(monkeypatch, tmp_path):
    copy = shutil.copytree(ROOT / "latentflow" / "bundled", tmp_path / "bundled")
    monkeypatch.setattr(weights, "files", lambda package: copy)
    assert weights.bundled().path == copy
    content = (copy / WEIGHTS_FILE).read_bytes()
    (copy / WEIGHTS_FILE).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WeightsError, match=r"corrupt.*Install latentflow again"):
        weights.bundled()


def test_a_run_under_a_named_vae_never_falls_back_and_writes_nothing(cache, invoke, small):
    for vae in (DEFAULT_VAE, REPO):
        code, out, err = invoke("--image_path", small, "--size", 48, "--steps", 1, "--vae", vae)
        assert code == 4 and out == "" and err.count("\n") == 1
        assert f"latentflow weights fetch --vae {vae}" in err
        assert sorted(path.name for path in small.parent.iterdir() if path.is_file()) == ["small.png"]


def test_offline_is_honored_without_a_request(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in fails(REPO)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        weights.fetch(REPO, ask_again=True)
    assert hub.asked == []
    assert not list(Path(constants.HF_HOME).glob("*offline*"))  # the variable may be gone next time


# The cache


def test_the_cache_is_found_where_the_environment_says(tmp_path):
    write_cache(tmp_path / "home" / "hub", REPO, model_files(TINY_KL))
    shutil.copytree(tmp_path / "home" / "hub", tmp_path / "elsewhere", symlinks=True)
    for variables in ({"HF_HOME": f"{tmp_path}/home"}, {"HF_HUB_CACHE": f"{tmp_path}/elsewhere"}):
        done = python("print(find_weights(REPO).path)", **variables)
        assert done.stdout.strip().startswith(str(tmp_path / Path(*variables.values()).name))
    assert "not in the cache" in python("find_weights(REPO)", HF_HUB_OFFLINE="1").stderr


def python(code, stderr=subprocess.PIPE, **variables):
    """Run a line in a process of its own, where the hub's client reads the environment afresh."""
    before = f"from latentflow.models.weights import *; REPO = {REPO!r}; "
    environment = os.environ | {"NO_PROXY": "127.0.0.1"} | variables
    line = [sys.executable, "-c", before + code]
    return subprocess.run(line, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60)


def test_cached_weights_need_no_request(hub, cache):
    snapshot = write_cache(cache, REPO, model_files(TINY_KL))
    found = find_weights(REPO)
    assert (found.source, found.path, hub.asked) == ("cache", snapshot, [])


@pytest.mark.parametrize("name", [f"{REPO}:vae", f"{REPO}@v1", f"{REPO}:a/vae@v1", f"{REPO}@{COMMIT}"])
def test_subfolders_and_revisions_are_found_in_the_cache(cache, name):
    parsed = HubName.parse(name)
    assert str(parsed) == name
    prefix = f"{parsed.subfolder}/" if parsed.subfolder else ""
    files = {prefix + file: content for file, content in model_files(TINY_KL).items()}
    revision = parsed.revision if parsed.revision == "v1" else "main"
    snapshot = write_cache(cache, REPO, files, revision)
    assert find_weights(name).path == snapshot / prefix
    assert load_autoencoder(find_weights(name)).geometry.channels == 4


def test_an_incomplete_model_in_the_cache_is_not_used(cache):
    files = model_files(TINY_KL)
    write_cache(cache, REPO, {"config.json": files["config.json"]})
    assert weights.present(REPO) is None
    write_cache(cache, "somebody/else", {WEIGHTS_FILE: files[WEIGHTS_FILE]})
    assert weights.present("somebody/else") is None


def damage(path):
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.resolve().write_bytes(content)


def test_a_damaged_blob_is_an_error_under_every_policy(cache, invoke, small):
    snapshot = write_cache(cache, DEFAULT_VAE, model_files(TINY_KL))
    damage(snapshot / WEIGHTS_FILE)
    for policy in ("auto", "pretrained"):
        message = fails(DEFAULT_VAE, policy)
        assert "corrupt" in message and f"weights fetch --vae {DEFAULT_VAE}" in message
        assert str((snapshot / WEIGHTS_FILE).resolve()) in message
    code, _, err = invoke("--image_path", small, "--size", 48, "--steps", 1)
    assert code == 4 and "corrupt" in err and err.count("\n") == 1


def share_blob(cache, snapshot):
    """Move the weights to the store that newer hub clients share between repositories, named by another hash."""
    blob = (snapshot / WEIGHTS_FILE).resolve()
    shared = cache / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(Path("../../blobs/ab") / shared.name)
    return blob


def test_a_blob_in_the_shared_store_is_checked_by_its_own_name(cache, tmp_path):
    snapshot = write_cache(cache, REPO, model_files(TINY_KL))
    blob = share_blob(cache, snapshot)
    assert find_weights(REPO).sha256 == blob.name
    (tmp_path / "direct.safetensors").symlink_to(blob.resolve())  # without a SHA-256 in any name
    assert find_weights(str(tmp_path / "direct.safetensors")).sha256 == blob.name
    damage(snapshot / WEIGHTS_FILE)
    assert blob.name in fails(REPO)


def test_a_folder_that_links_into_the_cache_is_checked_too(cache, tmp_path):
    snapshot = write_cache(cache, REPO, model_files(TINY_KL))
    (tmp_path / "links").symlink_to(snapshot)
    assert find_weights(str(tmp_path / "links")).source == "folder"
    damage(snapshot / WEIGHTS_FILE)
    assert "corrupt" in fails(str(tmp_path / "links"))


def test_verify_compares_with_the_hash_it_is_given(tmp_path):
    path = tmp_path / "some.safetensors"
    path.write_bytes(b"content")
    actual = hashlib.sha256(b"content").hexdigest()
    assert weights.verify(path) == weights.verify(path, {path.name: actual}) == actual
    assert weights.verify(path, {"other.safetensors": "0" * 64}) == actual
    with pytest.raises(WeightsError, match=f"SHA-256 is {actual}, not {'0' * 64}"):
        weights.verify(path, {path.name: "0" * 64})
    with pytest.raises(WeightsError, match="can't be read"):
        weights.verify(tmp_path / "none.safetensors")


# Paths and names


def test_a_folder_and_a_file_are_taken_as_they_are(tmp_path):
    files = model_files(TINY_KL)
    folder = write_folder(tmp_path / "vae", files)
    expected = hashlib.sha256(files[WEIGHTS_FILE]).hexdigest()
    for path, source in ((folder, "folder"), (folder / WEIGHTS_FILE, "file")):
        for policy in ("auto", "pretrained", "bundled"):
            found = find_weights(str(path), policy)
            assert (found.source, found.path, found.sha256) == (source, path, expected)


@pytest.mark.parametrize(
    "name",
    [
        *("nothing", "no/such/folder", "a--b/c", "ü/ü", "a/b:../..", "a/b@../x", "~nobody-here/x", "x" * 400 + "/y"),
        *("", "vae.safetensors", "some/vae.safetensors", "a/b.git", "-a/b", "a/b c", "\0"),
    ],
)
def test_names_of_nothing_are_one_line(cache, name):
    assert "there is no such folder or file, and it is not a hub name" in fails(name)


def test_files_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"text")
    assert "must be a folder or a .safetensors file" in fails(str(tmp_path / "notes.txt"))
    for name in ("vae.ckpt", "vae.bin", "vae.PT", "vae.pth"):
        (tmp_path / name).write_bytes(b"pickle")
        assert f"Convert it: latentflow weights convert {tmp_path / name}" in fails(str(tmp_path / name))
    (tmp_path / "empty").mkdir()
    assert f"has no {WEIGHTS_FILE}" in fails(str(tmp_path / "empty"))


def test_an_empty_folder_with_the_name_of_the_default_does_not_shadow_the_hub(cache, invoke, small):
    folder = small.parent / DEFAULT_VAE
    folder.mkdir(parents=True)
    code, out, err = invoke("--image_path", small, "--size", 16, "--steps", 1)
    assert code == 0 and "bundled autoencoder instead" in err and f"bundled, instead of {DEFAULT_VAE}" in out
    for name in ((), ("--vae", DEFAULT_VAE)):
        code, _, err = invoke("weights", "path", *name)
        assert code == 4 and f"{DEFAULT_VAE} is not on this machine" in err
    snapshot = write_cache(cache, DEFAULT_VAE, model_files(TINY_KL))
    assert find_weights(None).path == find_weights(DEFAULT_VAE).path == snapshot


def test_a_folder_with_weights_is_taken_by_its_name_and_never_for_the_default(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / DEFAULT_VAE, model_files(TINY_KL))
    assert find_weights(DEFAULT_VAE).source == "folder"
    assert find_weights(None).is_fallback
    (tmp_path / DEFAULT_VAE / WEIGHTS_FILE).rename(tmp_path / DEFAULT_VAE / "vae.ckpt")
    assert "is a pickle" in fails(DEFAULT_VAE)


def test_a_run_from_a_hub_name_is_repeated_where_an_empty_folder_has_that_name(cache, invoke, small):
    write_cache(cache, REPO, model_files(TINY_KL))
    (small.parent / REPO).mkdir(parents=True)
    assert invoke("--image_path", small, "--size", 16, "--steps", 1, "--vae", REPO)[0] == 0
    manifest = small.parent / "grad_result.gif.manifest.json"
    assert json.loads(manifest.read_text())["options"]["vae"] == REPO


def test_a_run_says_what_it_assumed_of_a_lone_file_and_is_repeated_under_the_config_it_had(invoke, small):
    path = small.parent / "ae.safetensors"
    save_file(random_model(LONE_16).state_dict(), path)
    run = ("--image_path", small, "--size", 32, "--steps", 1, "--seed", 1)
    code, out, err = invoke(*run, "--vae", path)
    assert code == 0 and err.count("\n") == 1 and "instead of" not in out
    assert "16 channels, scale 0.3611, shift 0.1159 (FLUX.1, by its name). If that is wrong: --vae_config sd3" in err
    code, out, err = invoke(*run, "--vae", path, "--vae_config", "sd3", "--save_latent", "z.safetensors")
    assert (code, err) == (0, "")
    manifest = small.parent / "grad_result.gif.manifest.json"
    assert json.loads(manifest.read_text())["options"]["vae_config"] == "sd3"
    for again in (
        ("--from_manifest", manifest),
        (*run, "--vae", path, "--vae_config", "sd3", "--init", "z.safetensors"),
    ):
        assert invoke(*again, "--overwrite")[0] == 0
    code, _, err = invoke("render", manifest)
    assert code == 0, err
    code, _, err = invoke(*run, "--vae", path, "--init", "z.safetensors")
    assert code == 2 and "saved with scale [1.53" in err


def test_no_error_ends_in_a_traceback_on_the_command_line(invoke, small, tmp_path):
    other = {"config.json": b'{"_class_name": "AutoencoderOobleck"}'}
    folder = write_folder(tmp_path / "vae", model_files(TINY_KL) | other)
    code, _, err = invoke("--image_path", small, "--vae", folder, "--steps", 1)
    assert code == 4 and err.count("\n") == 1 and "AutoencoderOobleck is not served" in err


# The hub


def test_a_download_lands_in_the_cache_and_is_asked_for_once(hub, cache):
    found = find_weights(REPO)
    assert found.source == "download"
    blob = (found.path / WEIGHTS_FILE).resolve()
    assert blob.name == found.sha256 and blob.parent == cache / f"models--{REPO.replace('/', '--')}" / "blobs"
    assert {method for method, _ in hub.asked} == {"HEAD", "GET"}
    before = list(hub.asked)
    again = find_weights(REPO)
    assert (again.source, again.path, hub.asked) == ("cache", found.path, before)
    assert load_autoencoder(again).geometry.stride == 2


def test_a_download_has_the_layout_of_the_stand_ins(hub, cache, tmp_path):
    find_weights(REPO)
    write_cache(tmp_path / "made", REPO, model_files(TINY_KL))

    def layout(root):
        paths = (root / f"models--{REPO.replace('/', '--')}").rglob("*")
        return {(str(path.relative_to(root)), path.is_symlink() and str(path.readlink())) for path in paths}

    assert layout(tmp_path / "made") <= layout(cache)


def test_the_default_is_downloaded_under_auto_without_a_notice(hub):
    hub.publish(DEFAULT_VAE, model_files(TINY_KL))
    found = find_weights()
    assert (found.name, found.source, found.notice) == (DEFAULT_VAE, "download", "")


def test_a_download_shows_its_progress_on_a_terminal_and_never_on_stdout(hub, tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    variables = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "fresh")}
    done = python("print(find_weights(REPO).source)", stderr=follower, **variables)
    os.close(follower)
    assert done.stdout == "download\n"
    shown = os.read(leader, 100_000).decode()
    os.close(leader)
    assert WEIGHTS_FILE[:20] in shown and "100%" in shown


@pytest.mark.parametrize("name", [f"{REPO}:a/vae", f"{REPO}@v1", f"{REPO}:vae@v1"])
def test_subfolders_and_revisions_are_downloaded(hub, name):
    parsed = HubName.parse(name)
    hub.files.clear()
    hub.publish(REPO, model_files(TINY_KL), revision=parsed.revision or "main", subfolder=parsed.subfolder or "")
    assert find_weights(name).source == "download"
    assert find_weights(name).source == "cache"


@pytest.mark.parametrize(
    "name,mode,words",
    [
        ("somebody/else", "", "the hub has no such repository"),
        (f"{REPO}@v9", "", "the repository has no such revision"),
        (f"{REPO}:unet", "", f"has no config.json or {WEIGHTS_FILE} there"),
        (REPO, "private", "denies access (401; set HF_TOKEN)"),
        (REPO, "gated", "requires a login"),
        (REPO, "portal", "the network failed"),
        (REPO, "broken", "503"),
    ],
)
def test_refusals_of_the_hub_are_one_line(hub, name, mode, words):
    hub.mode = mode
    started = time.monotonic()
    assert words in fails(name)
    assert time.monotonic() - started < 5


def test_a_repository_with_only_a_pickle_is_refused(hub):
    files = model_files(TINY_KL)
    hub.publish("somebody/old", {"config.json": files["config.json"], "diffusion_pytorch_model.bin": b"pickle"})
    assert f"has no config.json or {WEIGHTS_FILE} there" in fails("somebody/old")
    assert not [path for _, path in hub.asked if path.endswith(".bin")]


def test_a_token_opens_a_private_repository(hub, monkeypatch):
    hub.mode = "private"
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert find_weights(REPO).source == "download"


def test_a_refusal_is_not_remembered_as_a_missing_network(hub):
    fails("somebody/else")
    assert find_weights(REPO).source == "download"


def test_a_corrupt_download_is_not_kept(hub, cache):
    hub.mode = "corrupt"
    message = fails(REPO)
    assert "corrupt" in message and "was deleted" in message and f"weights fetch --vae {REPO}" in message
    assert weights.present(REPO) is None
    hub.mode = ""
    assert find_weights(REPO).source == "download"


def test_the_remedy_for_a_damaged_blob_helps(hub, cache):
    blob = (find_weights(REPO).path / WEIGHTS_FILE).resolve()
    for share in (False, True):
        if share:
            share_blob(cache, weights.present(REPO).path)
        blob = (weights.present(REPO).path / WEIGHTS_FILE).resolve()
        damage(blob)
        assert f"Delete {blob}, then: latentflow weights fetch --vae {REPO}" in fails(REPO)
        blob.unlink()
        assert find_weights(REPO).source == "download"


# No answer


def heads(hub):
    """How often a file was asked for; the hub's client may have questions of its own."""
    return len([path for method, path in hub.asked if method == "HEAD" and "/resolve/" in path])


@pytest.mark.slow
def test_a_hub_that_never_answers_costs_five_seconds_once_and_a_fetch_tries_again(tmp_path):
    code = (
        "import time; start = time.monotonic(); found = find_weights();"
        "print(time.monotonic() - start, found.source, found.notice, sep='|')"
    )
    with Hub() as hub:
        hub.publish(DEFAULT_VAE, model_files(TINY_KL))
        hub.mode = "silent"
        variables = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path)}
        first, second = (python(code, **variables).stdout.strip().split("|") for _ in range(2))
        assert float(first[0]) < 5 and first[1] == "bundled" and hub.endpoint in first[2]
        assert float(second[0]) < 1 and second[1] == "bundled" and "s ago)" in second[2]
        assert heads(hub) == 1
        hub.mode = ""  # the network is back, which only an explicit fetch finds out at once
        assert python(code, **variables).stdout.split("|")[1] == "bundled" and heads(hub) == 1
        fetched = subprocess.run(
            [sys.executable, ROOT / "cli.py", "weights", "fetch"],
            env=os.environ | {"NO_PROXY": "127.0.0.1"} | variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert fetched.returncode == 0, fetched.stderr
        assert Path(fetched.stdout.strip(), WEIGHTS_FILE).is_file()
        assert not (tmp_path / "latentflow_offline.json").exists()


def test_a_refused_connection_is_remembered_for_its_endpoint_only(cache, hub, monkeypatch):
    from huggingface_hub import constants

    with Hub() as other:
        closed = other.endpoint
    with monkeypatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", closed)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", closed + "/{repo_id}/resolve/{revision}/{filename}")
        assert "the network failed" in fails(REPO)
        assert "s ago)" in fails(REPO)
    assert find_weights(REPO).source == "download"


def test_a_remembered_failure_expires(hub, cache, monkeypatch):
    hub.mode = "broken"
    fails(REPO)
    hub.mode = ""
    assert "s ago)" in fails(REPO)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + hub_module.REMEMBER_OFFLINE_SECONDS + 1)
    assert find_weights(REPO).source == "download"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"endpoint": 1}', b"\xff\xff"])
def test_a_damaged_record_of_a_failure_is_ignored(hub, cache, content):
    cache.parent.mkdir(parents=True)
    (cache.parent / "latentflow_offline.json").write_bytes(content)
    assert find_weights(REPO).source == "download"


def test_a_read_only_home_means_that_nothing_is_remembered(hub, cache):
    hub.mode = "broken"
    cache.parent.write_bytes(b"a file where the folder belongs")
    assert "503" in fails(REPO)


# latentflow weights


def test_list_says_what_is_there_and_what_is_not(cache, invoke, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    code, out, err = invoke("weights", "list")
    lines = out.splitlines()
    assert (code, err, len(lines)) == (0, "", 5)
    assert lines[0] == f"bundled\t{weights.bundled().path}"
    assert lines[1] == f"{DEFAULT_VAE}\tnot in the cache {cache}"
    assert all("not in the cache" in line for line in lines[2:])
    snapshot = write_cache(cache, DEFAULT_VAE, model_files(TINY_KL))
    assert f"{DEFAULT_VAE}\t{snapshot}" in invoke("weights", "list")[1].splitlines()


def test_list_names_the_path_of_each_file(cache, invoke, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    snapshot = write_cache(cache, DEFAULT_VAE, model_files(TINY_KL))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    files = ("vgg16-397923af.pth", "alexnet-owt-7be5be79.pth", "weights-inception-2015-12-05-6726825d.pth")
    for name in (files[0], files[2]):
        (folder / name).write_bytes(b"")
    code, out, err = invoke("weights", "list")
    assert (code, err) == (0, "")
    assert [line.split("\t") for line in out.splitlines()] == [
        ["bundled", str(ROOT / "latentflow" / "bundled")],
        [DEFAULT_VAE, str(snapshot)],
        ["VGG16, for the losses vgg and lpips", str(folder / files[0])],
        ["AlexNet, for LPIPS in evaluate", f"not in the cache {folder}"],
        ["InceptionV3, for rFID in evaluate", str(folder / files[2])],
    ]
    assert invoke("weights", "path", "--vgg16") == (0, f"{folder / files[0]}\n", "")
    code, out, err = invoke("weights", "path", "--alexnet")
    assert (code, out) == (4, "") and str(folder / files[1]) in err


@pytest.mark.parametrize(
    ("option", "module", "remedy"),
    [
        ("--inception", "torch_fidelity.feature_extractor_inceptionv3", 'pip install "latentflow[rfid]"'),
        ("--vgg16", "torchvision", "pip install torchvision"),
    ],
)
def test_a_network_whose_package_is_missing_names_what_to_install(
    cache, invoke, monkeypatch, tmp_path, option, module, remedy
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = invoke("weights", "fetch", option)
    assert (code, out, err.count("\n")) == (4, "", 1) and f"({remedy})" in err


def test_path_and_verify_answer_for_every_kind_of_name(cache, invoke, tmp_path):
    files = model_files(TINY_KL)
    snapshot = write_cache(cache, REPO, files)
    folder = write_folder(tmp_path / "vae", files)
    sha256 = hashlib.sha256(files[WEIGHTS_FILE]).hexdigest()
    bundle = weights.bundled()
    for vae, path, digest in (
        (REPO, snapshot, sha256),
        (folder, folder, sha256),
        (folder / WEIGHTS_FILE, folder / WEIGHTS_FILE, sha256),
        ("bundled", bundle.path, bundle.sha256),
    ):
        assert invoke("weights", "path", "--vae", vae) == (0, f"{path}\n", "")
        assert invoke("weights", "verify", "--vae", vae) == (0, f"{digest}  {path}\n", "")


@pytest.mark.parametrize("command_name", ["path", "verify"])
def test_path_and_verify_of_what_is_missing_name_the_fetch_command(cache, invoke, command_name):
    code, out, err = invoke("weights", command_name)
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert f"latentflow weights fetch --vae {DEFAULT_VAE}" in err


def test_verify_finds_a_damaged_blob(cache, invoke):
    damage(write_cache(cache, REPO, model_files(TINY_KL)) / WEIGHTS_FILE)
    code, out, err = invoke("weights", "verify", "--vae", REPO)
    assert (code, out, err.count("\n")) == (4, "", 1) and "corrupt" in err


def test_fetch_downloads_once_and_prints_where(hub, invoke):
    code, out, _ = invoke("weights", "fetch", "--vae", REPO)
    assert code == 0 and Path(out.strip(), WEIGHTS_FILE).is_file()
    before = list(hub.asked)
    assert invoke("weights", "fetch", "--vae", REPO) == (0, out, "")
    assert hub.asked == before


def test_fetch_without_a_network_is_one_line(cache, invoke):
    code, out, err = invoke("weights", "fetch")
    assert (code, out, err.count("\n")) == (4, "", 1) and "can't be downloaded" in err


def rows(out):
    return dict(line.split(maxsplit=1) for line in out.splitlines() if line)


def test_inspect_says_what_a_file_is(invoke, tmp_path):
    state = ldm_names(random_model(LONE_16).state_dict(), 4)
    path = tmp_path / "ae.sft"
    save_file({name: values.bfloat16().contiguous() for name, values in state.items()}, path)
    code, out, err = invoke("weights", "inspect", path)
    assert (code, err) == (0, "")
    assert rows(out) == {
        "path": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "class": "AutoencoderKL",
        "names": "original latent diffusion",
        "channels": "16",
        "stride": "8",
        "scale": "0.3611, shift 0.1159 (FLUX.1, by its name)",
        "dtype": "bfloat16",
        "parameters": f"{sum(values.numel() for values in state.values()):,}",
        "finite": "yes",
    }
    assert rows(invoke("weights", "inspect", path, "--vae_config", "sd3")[1])["scale"].startswith(
        "1.5305, shift 0.0609"
    )


def test_inspect_describes_a_folder_a_bundle_and_what_it_does_not_recognize(invoke, tmp_path):
    state = random_model(TINY_KL).state_dict()
    state["decoder.conv_out.bias"] = torch.tensor([0.0, torch.nan, torch.inf])
    folder = write_folder(tmp_path / "vae", model_files(TINY_KL, {k: v.half() for k, v in state.items()}))
    found = rows(invoke("weights", "inspect", folder)[1])
    assert (found["class"], found["stride"], found["dtype"]) == ("AutoencoderKL", "2", "float16")
    assert found["scale"] == "0.18215 (the default of its class)"
    assert found["finite"] == f"no: 1 of {len(state)} tensors, the first decoder.conv_out.bias"
    bundle = rows(invoke("weights", "inspect", "bundled")[1])
    assert (bundle["class"], bundle["channels"], bundle["finite"]) == ("AutoencoderDC", "4", "yes")
    save_file({"up.weight": torch.zeros(2)}, tmp_path / "lora.safetensors")
    code, out, _ = invoke("weights", "inspect", tmp_path / "lora.safetensors")
    assert code == 0 and "class       not recognized" in out and "parameters  2" in out
    assert out.endswith("no autoencoder that its tensors tell. Give its config: --vae_config config.json\n")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_what_is_not_finite_is_found_in_every_dtype(tmp_path, dtype, value):
    large = torch.full((3, 5), torch.finfo(dtype).max, dtype=dtype)
    broken = large.clone()
    broken[2, 4] = value
    content = {"large": large, "small": -large, "broken": broken, "none": torch.zeros(0, dtype=dtype)}
    save_file(content | {"numbers": torch.full((2,), -1)}, tmp_path / "a.safetensors")
    found, _ = read_header(tmp_path / "a.safetensors")
    assert {name for name, info in found.items() if not info.is_finite()} == {"broken"}


def test_inspecting_costs_no_torch(tmp_path):
    save_file(random_model(LONE_16).state_dict(), tmp_path / "ae.safetensors")
    code = (
        "import sys; from latentflow.cli import run; code = run(['weights', 'inspect', sys.argv[1]]);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "ae.safetensors"], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("argument", ["no/such.safetensors", "notes.txt", "broken.safetensors", "empty"])
def test_inspecting_what_is_no_weights_is_one_line(cache, invoke, tmp_path, argument):
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 100)
    (tmp_path / "empty").mkdir()
    code, out, err = invoke("weights", "inspect", argument)
    assert (code, out, err.count("\n")) == (4, "", 1)


class Runs:
    """What a pickle may do that is read without care."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_a_pickle_is_converted_without_running_it(invoke, tmp_path):
    state = random_model(LONE_KL).state_dict()
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "vae.ckpt")
    written = tmp_path / "vae.safetensors"
    assert invoke("weights", "convert", tmp_path / "vae.ckpt") == (0, f"{written}\n", "")
    loaded = load_autoencoder(written).model.state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)
    code, _, err = invoke("weights", "convert", tmp_path / "vae.ckpt")
    assert code == 6 and "exists already" in err
    for name, content in (("bad.pt", {"a": Runs()}), ("none.pt", {"epoch": 3}), ("list.pt", [1])):
        torch.save(content, tmp_path / name)
        code, out, err = invoke("weights", "convert", tmp_path / name)
        assert (code, out, err.count("\n")) == (2, "", 1), name
    assert not (tmp_path / "ran").exists() and not (tmp_path / "bad.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_converting_what_is_no_pickle_of_torch_is_one_line(invoke, tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    code, out, err = invoke("weights", "convert", tmp_path / "a.pth")
    assert (code, out, err.count("\n")) == (2, "", 1), err


def test_list_goes_on_past_a_damaged_blob(cache, invoke):
    damage(write_cache(cache, DEFAULT_VAE, model_files(TINY_KL)) / WEIGHTS_FILE)
    code, out, err = invoke("weights", "list")
    assert code == 4 and len(out.splitlines()) == 5 and f"{DEFAULT_VAE}\tcorrupt" in out
    assert "corrupt" in err and err.count("\n") == 1


def test_single_files_keep_their_name_and_hash(tmp_path):
    save_file(random_model(TINY_KL).state_dict(), tmp_path / "a.safetensors")
    found = find_weights(str(tmp_path / "a.safetensors"))
    digest = hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    assert found == FoundWeights(
        name=str(tmp_path / "a.safetensors"), source="file", path=tmp_path / "a.safetensors", sha256=digest
    )
