"""`doctor` says what is there and what is wrong, whatever is broken; `dtype` auto is what was measured."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from standins import TINY_KL, model_files, random_model, write_cache

from latentflow.commands import _examination as examination
from latentflow.models import precision
from latentflow.models.config import DEFAULT_VAE
from latentflow.models.device import computes_bf16
from latentflow.models.precision import Timing, pick_dtype, timing_on

CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and nothing measured yet on a processor that has instructions for bfloat16."""
    from huggingface_hub import constants

    home = tmp_path / "home"
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(precision, "_measured", {})
    monkeypatch.setattr(precision, "computes_bf16", lambda device: True)
    return home


@pytest.fixture
def measured(monkeypatch):
    """Let the next measurements have the figures of this list, the first first; how often one was asked for."""
    figures, asked = [], []

    def measure(device):
        asked.append(device)
        return figures.pop(0)

    monkeypatch.setattr(precision, "measure", measure)
    return figures, asked


def examined(invoke):
    code, out, err = invoke("doctor", "--json")
    assert err == ""
    told = json.loads(out)
    wrong = {each["name"].strip(): each for each in told["findings"] if each["problem"]}
    assert told["wrong"] == len(wrong) and code == (1 if wrong else 0)
    return {each["name"].strip(): each for each in told["findings"]}, wrong


def test_a_machine_in_order(invoke, cache):
    found, wrong = examined(invoke)
    assert not wrong
    assert found["torch"]["text"].startswith(f"{torch.__version__}, ")
    assert found["Python"]["text"].startswith(".".join(map(str, sys.version_info[:3])) + ",")
    assert f"pillow {metadata.version('pillow')}" in found["packages"]["text"]
    assert found["extra sound"]["text"] == f"mido {metadata.version('mido')}"
    assert found["threads"]["text"].startswith(f"{torch.get_num_threads()} of ")
    assert found["bundled"]["text"].startswith("whole, ") and found["VGG16"]["text"] == "not on this machine"
    assert found["hub cache"]["text"] == f"{cache / 'hub'} is not there yet"
    code, out, _ = invoke("doctor")
    assert code == 0 and out.endswith("\nNothing is wrong.\n")


def test_extras_that_are_missing_are_not_wrong_and_old_packages_are(invoke, cache, monkeypatch):
    real = metadata.version

    def version(name):
        if name == "mido":
            raise metadata.PackageNotFoundError(name)
        return "9.5" if name == "pillow" else "0.1" if name == "onnx" else real(name)

    monkeypatch.setattr(examination.metadata, "version", version)
    found, wrong = examined(invoke)
    assert found["extra sound"]["text"] == 'not installed (pip install "latentflow[sound]")'
    assert set(wrong) == {"packages", "extra page"}
    assert wrong["packages"]["problem"] == "pillow 9.5 is not >=10.3"
    assert (wrong["extra page"]["problem"], wrong["extra page"]["remedy"]) == (
        "onnx 0.1 is not >=1.17",
        'pip install --upgrade "latentflow[page]"',
    )


def test_a_checkout_that_is_not_installed_is_in_order(invoke, cache, monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(examination.metadata, "requires", requires)
    found, wrong = examined(invoke)
    assert not wrong and found["packages"]["text"].startswith("not checked: latentflow runs from a checkout")


def test_without_ffmpeg(invoke, cache, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    code, out, _ = invoke("doctor")
    last = out.splitlines()[-1]
    assert code == 1 and last.startswith("ffmpeg: Videos need ffmpeg: IMAGEIO_FFMPEG_EXE names /nowhere/ffmpeg")
    assert last.endswith(" unset IMAGEIO_FFMPEG_EXE") and "Nothing is wrong" not in out


def test_a_broken_cache(invoke, cache):
    model = random_model(TINY_KL)
    snapshot = write_cache(cache / "hub", DEFAULT_VAE, model_files(TINY_KL, model.state_dict()))
    found, wrong = examined(invoke)
    assert not wrong and found["default"]["text"] == f"{DEFAULT_VAE}: {snapshot}"
    assert found[DEFAULT_VAE]["text"].endswith(" MB")
    lone = cache / "hub" / "models--some--body" / "snapshots" / "1"
    lone.mkdir(parents=True)
    (lone / "model.safetensors").symlink_to("../../blobs/gone")
    blob = next(path for path in snapshot.iterdir() if path.suffix == ".safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-8] + bytes(8))
    _, wrong = examined(invoke)
    assert set(wrong) == {"some/body", "default"}
    assert wrong["some/body"]["problem"] == "model.safetensors is incomplete"
    assert wrong["some/body"]["remedy"] == f"Delete {lone.parent.parent}."
    assert "SHA-256" in wrong["default"]["problem"] and wrong["default"]["remedy"]


def test_a_folder_that_cannot_be_written_into_and_a_full_disk(invoke, cache, tmp_path, monkeypatch):
    real = examination.tempfile.TemporaryFile

    def refusing(dir=None, **options):
        if Path(dir) == tmp_path and Path.cwd() == tmp_path:
            raise PermissionError(13, "Permission denied")
        return real(dir=dir, **options)

    monkeypatch.setattr(examination.tempfile, "TemporaryFile", refusing)
    _, wrong = examined(invoke)
    assert wrong["current folder"]["problem"] == "It can't be written into (Permission denied)."
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 5e8})())
    _, wrong = examined(invoke)
    assert wrong["temporary files"]["problem"] == "Its disk is almost full."


def test_a_torch_that_cannot_be_imported(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch_cpu.so: undefined symbol')")
    root = str(Path(__file__).parent.parent)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), root, os.environ["PYTHONPATH"]])}
    line = [sys.executable, "-m", "latentflow", "doctor"]
    done = subprocess.run(line, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr == "" and "Traceback" not in done.stdout
    assert "torch: OSError: libtorch_cpu.so: undefined symbol." in done.stdout
    assert "\nffmpeg " in done.stdout and "\ntemporary files " in done.stdout  # what needs no torch is still looked at


def test_a_measurement_is_made_once_and_remembered(cache, measured, monkeypatch):
    figures, asked = measured
    figures += [Timing(0.004, 0.002), Timing(0.002, 0.009)]
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert pick_dtype("auto", CPU) == torch.bfloat16 and timing_on(CPU).faster == 2
    monkeypatch.setattr(precision, "_measured", {})  # another process
    assert pick_dtype("auto", CPU) == torch.bfloat16 and len(asked) == 1
    monkeypatch.setattr(precision, "_measured", {})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # other kernels
    assert pick_dtype("auto", CPU) == torch.float32 and len(asked) == 2
    assert len(json.loads((cache / precision.FILE).read_text())) == 2
    assert pick_dtype("bfloat16", CPU) == torch.bfloat16  # whoever asks for it gets it


@pytest.mark.parametrize("content", ["{", "[]", '{"x": 1}', "null"])
def test_a_memory_that_cannot_be_read_is_measured_again(cache, measured, content):
    figures, asked = measured
    figures.append(Timing(0.002, 0.009))
    cache.mkdir()
    (cache / precision.FILE).write_text(content)
    assert pick_dtype("auto", CPU) == torch.float32 and len(asked) == 1


def test_nothing_is_measured_without_instructions_or_on_a_gpu(cache, measured, monkeypatch):
    assert timing_on(torch.device("cuda")) is None
    monkeypatch.setattr(precision, "computes_bf16", lambda device: False)
    assert timing_on(CPU) is None and pick_dtype("auto", CPU) == torch.float32 and not measured[1]


@pytest.mark.parametrize(
    "features, kernels, expected",
    [
        ({"amx_bf16": True}, "AVX512", True),
        ({"avx512_bf16": True}, "AVX512_VEC", True),
        ({"amx_bf16": True, "avx512_bf16": True}, "DEFAULT", False),
        ({"avx512_bf16": True}, "AVX2", False),
        ({"bf16": True}, "SVE256", True),
        ({"avx2": True}, "AVX2", False),
    ],
)
def test_instructions_count_where_torchs_kernels_use_them(monkeypatch, features, kernels, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kernels)
    assert computes_bf16(CPU) is expected


def test_a_little_slower_is_still_taken_and_much_slower_is_not():
    assert Timing(1.0, 1.2).chosen == "bfloat16" and Timing(1.0, 1.3).chosen == "float32"
    assert str(Timing(1.0, 4.0)) == "bfloat16 takes 4.0 times as long as float32 here: `dtype` auto takes float32."
    assert str(Timing(3.0, 2.0)) == "bfloat16 is 1.5 times as fast as float32 here: `dtype` auto takes bfloat16."


def test_a_real_measurement_takes_a_tenth_of_a_second():
    import time

    began = time.perf_counter()
    timing = precision.measure(CPU)
    assert 0 < timing.float32 < 0.05 and timing.bfloat16 > 0 and time.perf_counter() - began < 1


def test_a_run_says_once_what_it_chose_and_computes_in_it(invoke, cache, measured, small):
    measured[0].append(Timing(0.001, 0.006))
    line = ("--image_path", small, "--weights", "bundled", "--size", 16, "--steps", 1, "--overwrite")
    code, _, err = invoke(*line)
    sentence = "bfloat16 takes 6.0 times as long as float32 here: --dtype auto takes float32."
    assert code == 0 and err.count(sentence) == 1
    manifest = json.loads((small.parent / "grad_result.gif.manifest.json").read_text())
    assert manifest["options"]["dtype"] == "float32"
    code, _, err = invoke(*line)
    assert code == 0 and sentence not in err
