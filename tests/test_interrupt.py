"""Ctrl-C and termination: outputs are valid up to the last finished step."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from latentflow.errors import Interrupted
from latentflow.interrupts import Interrupts

ROOT = Path(__file__).parent.parent


@pytest.fixture
def running(small):
    """A long run in a process group of its own, as a terminal makes it."""
    started = []

    def start(*options):
        line = [sys.executable, str(ROOT / "cli.py"), "--image_path", str(small), "--weights", "bundled"]
        line += ["--size", "48", "--steps", "100000", "--quiet", "--metrics", "m.jsonl", *options]
        process = subprocess.Popen(
            line, cwd=small.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for_steps(folder, count=5):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        metrics = folder / "m.jsonl"
        if metrics.exists() and metrics.read_text().count("\n") >= count:
            return
        time.sleep(0.05)
    raise TimeoutError("no steps came")


@pytest.mark.parametrize(
    ("number", "code", "name"), [(signal.SIGINT, 130, "grad_result.gif"), (signal.SIGTERM, 143, "x.mp4")]
)
def test_a_signal_leaves_valid_outputs_of_what_was_done(running, small, number, code, name):
    process = running(
        "--output_path", name, "--save_image", "i.png", "--save_latent", "z.safetensors", "--plot", "p.png"
    )
    wait_for_steps(small.parent)
    os.killpg(process.pid, number)  # a terminal sends Ctrl-C to the whole group, ffmpeg included
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert err.startswith("latentflow: Stopped at step") and err.count("\n") == 1
    lines = [json.loads(line) for line in (small.parent / "m.jsonl").read_text().splitlines()]
    manifest = json.loads((small.parent / f"{name}.manifest.json").read_text())
    assert manifest["result"]["steps"] == lines[-1]["step"] >= 4 and manifest["outcome"].startswith("Interrupted")
    if name.endswith("gif"):
        assert Image.open(small.parent / name).n_frames == len(lines)
    assert Image.open(small.parent / "i.png").size == (48, 40)
    assert f"wrote    {name}" in out
    assert not [path for path in small.parent.iterdir() if ".part" in path.name]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("delay", [0.3, 1.0, 2.0])
def test_a_signal_before_the_first_step_leaves_nothing(running, small, number, code, delay):
    process = running()
    time.sleep(delay)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    # 0.3 s may fall before there are handlers: the shell then shows the same code
    assert process.returncode in (code, -number), err
    assert process.returncode != code or err.startswith("latentflow: Stopped") or err == "", err
    assert not [path for path in small.parent.iterdir() if ".part" in path.name or path.suffix == ".gif"]


def test_a_second_signal_does_not_wait_for_the_step():
    with pytest.raises(Interrupted) as caught, Interrupts() as interrupts:
        records = interrupts.watch(iter([None, None]))
        next(records)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.received == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.exit_code == 143


def test_a_signal_that_a_library_swallows_is_not_lost():
    with pytest.raises(Interrupted, match="before the first step"), Interrupts() as interrupts:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGINT)
        next(interrupts.watch(iter([None])))


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
