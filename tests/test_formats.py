"""Files of earlier versions are read, those of newer ones refused in one sentence.

The files in data/0.1.0 were written by latentflow 0.1.0: a run of 6 steps towards target.png, and one of 8 steps that
was terminated after its fourth, with a checkpoint every second step.
"""

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch

from latentflow import InputError, load_latent
from latentflow.base.state import pack, unpack
from latentflow.latents.files import save_latent
from latentflow.runs.resume import read_checkpoint
from latentflow.sinks.manifest import read_manifest
from latentflow.sinks.trajectory import read_trajectory

OLD = Path(__file__).parent / "data" / "0.1.0"


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The files of 0.1.0 in the working directory."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def final_latent(path):
    from safetensors.torch import load_file

    return load_file(path)["latent"]


def test_a_run_of_0_1_0_is_repeated_from_its_manifest(invoke, old):
    before = final_latent(old / "latent.safetensors")
    shown = json.loads((old / "run.gif.manifest.json").read_text())["result"]
    code, out, err = invoke("--from_manifest", "run.gif.manifest.json", "--save_latent", "again.safetensors", "--json")
    assert code == 0, err
    assert torch.allclose(final_latent(old / "again.safetensors"), before, atol=1e-4)
    assert json.loads(out)["metrics"]["psnr"] == pytest.approx(shown["quality"]["psnr"], abs=1e-3)


def test_a_seed_of_more_bits_than_torch_uses_is_repeated_by_those_it_used(invoke, old):
    manifest = old / "run.gif.manifest.json"
    content = json.loads(manifest.read_text())
    seed = content["options"]["seed"]
    content["options"]["seed"] = seed + 5 * 2**32
    manifest.write_text(json.dumps(content))
    code, out, err = invoke("--from_manifest", manifest.name, "--steps", 1, "--save_latent", "z.safetensors", "--json")
    assert code == 0, err
    assert json.loads(out)["seed"] == seed


def test_a_run_of_0_1_0_is_resumed_and_ends_where_it_would_have(invoke, old):
    assert read_checkpoint(old / "stopped.gif.checkpoint.safetensors")["state"]["index"] == 5
    code, _, err = invoke("--resume", "stopped.gif.checkpoint.safetensors", "--save_latent", "resumed.safetensors")
    assert code == 0 and "Going on from step 5." in err, err
    options = ("--weights", "bundled", "--size", 24, "--seed", 5, "--steps", 8, "--dtype", "float32", "--quiet")
    options += ("--betas", "0.9,0.999")  # as Adam had them in 0.1.0
    code, _, err = invoke("--image_path", "target.png", *options, "--save_latent", "straight.safetensors")
    assert code == 0, err
    resumed, straight = final_latent(old / "resumed.safetensors"), final_latent(old / "straight.safetensors")
    assert torch.allclose(resumed, straight, atol=1e-4)
    assert [json.loads(line)["step"] for line in (old / "stopped.jsonl").read_text().splitlines()] == list(range(9))


def test_a_trajectory_of_0_1_0_is_rendered(invoke, old):
    code, out, err = invoke("render", "stopped.gif.trajectory", "--output_path", "frames")
    assert code == 0 and "5 frames" in out, err
    names = sorted(path.name for path in (old / "frames").iterdir())
    assert names == [f"{index:05d}.png" for index in range(5)]


def test_a_latent_of_0_1_0_is_a_start(invoke, old, autoencoder):
    latent = load_latent(old / "latent.safetensors", autoencoder)
    assert latent.shape == (1, 4, 2, 3)
    options = ("--weights", "bundled", "--size", 24, "--steps", 1, "--quiet", "--init", "latent.safetensors")
    code, _, err = invoke("--image_path", "target.png", *options)
    assert code == 0, err


@pytest.mark.parametrize("version", ["3", "99", "two"])
def test_a_newer_manifest_is_refused_in_one_sentence(old, version):
    content = json.loads((old / "run.gif.manifest.json").read_text())
    (old / "new.json").write_text(json.dumps(content | {"format_version": version}))
    with pytest.raises(InputError, match=f"new.json has format version {version}; this latentflow reads versions up"):
        read_manifest(old / "new.json")


def test_a_newer_trajectory_is_refused_in_one_sentence(old):
    content = (old / "stopped.gif.trajectory").read_bytes().replace(b"trajectory 1", b"trajectory 3", 1)
    (old / "new.trajectory").write_bytes(content)
    with pytest.raises(
        InputError, match=r"new.trajectory can't be read: it has format version 3; this latentflow reads"
    ):
        read_trajectory(old / "new.trajectory")


def with_version(content, version):
    """A safetensors file that claims another format version."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["format_version"] = version
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def test_a_newer_checkpoint_or_index_is_refused_in_one_sentence(old):
    (old / "new.safetensors").write_bytes(with_version(pack({"facts": {}}), "3"))
    with pytest.raises(
        InputError, match=r"new.safetensors has format version 3; this latentflow reads versions up to 2"
    ):
        unpack(old / "new.safetensors")


def test_a_newer_latent_is_refused_in_one_sentence(old, autoencoder):
    save_latent(old / "z.safetensors", torch.zeros(1, 4, 2, 3), autoencoder, (16, 24))
    content = (old / "z.safetensors").read_bytes()
    (old / "z.safetensors").write_bytes(with_version(content, "3"))
    with pytest.raises(InputError, match=r"z.safetensors has format version 3"):
        load_latent(old / "z.safetensors", autoencoder)


def test_what_is_written_now_says_its_version(invoke, old):
    options = ("--weights", "bundled", "--size", 24, "--steps", 1, "--quiet", "--output_path", "x.gif")
    assert invoke("--image_path", "target.png", *options)[0] == 0
    content = json.loads((old / "x.gif.manifest.json").read_text())
    assert content["format_version"] == 2 and content["written"] == ["x.gif", "x.gif.trajectory"]
