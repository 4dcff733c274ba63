"""Ctrl-C and termination: outputs are valid up to the last finished step."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from processes import Command
from toys import step, steps

from latentflow import cli
from latentflow.base import files
from latentflow.base.errors import Interrupted
from latentflow.base.session import Session
from latentflow.commands._terminal import terminal_session

ROOT = Path(__file__).parent.parent


@pytest.fixture
def running(small):
    """A long run in a process group of its own, as a terminal makes it."""
    started = []

    def start(*options, new_python=False):
        line = ["--image_path", str(small), "--weights", "bundled"]
        line += ["--size", "48", "--steps", "100000", "--quiet", "--metrics", "m.jsonl", *options]
        process = from_nothing(line) if new_python else Command(line, small.parent, new_session=True)
        started.append(process)
        return process

    def from_nothing(line):
        return subprocess.Popen(
            [sys.executable, str(ROOT / "cli.py"), *line],
            cwd=small.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # a shell starts background jobs with SIGINT ignored, and their children inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delay", "number", "code"),
    [(0.3, signal.SIGINT, 130), (0.3, signal.SIGTERM, 143), (1.0, signal.SIGTERM, 143), (2.0, signal.SIGINT, 130)],
)
def test_a_signal_in_the_beginning_leaves_nothing_or_valid_frames(running, small, number, code, delay):
    process = running(new_python=True)
    time.sleep(delay)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    # 0.3 s may fall before there are handlers: the shell then shows the same code
    assert process.returncode in (code, -number), err
    assert process.returncode != code or err.startswith("latentflow: Stopped") or err.strip() == "", err
    assert not [path for path in small.parent.iterdir() if ".part" in path.name]
    frames = small.parent / "grad_result.gif"
    assert frames.exists() == ("Stopped at step" in err)  # how far it comes until then depends on the machine
    if frames.exists():
        assert Image.open(frames).size == (48, 40)


def test_a_second_signal_does_not_wait_for_the_step():
    with pytest.raises(Interrupted) as caught, terminal_session() as session:
        records = session.watch(steps(2))
        next(records)
        os.kill(os.getpid(), signal.SIGTERM)
        assert session.is_stopped
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.exit_code == 143


def test_a_signal_that_a_library_swallows_is_not_lost():
    with pytest.raises(Interrupted, match=r"before the first step \(Ctrl-C\)"), terminal_session() as session:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGINT)
        next(session.watch(steps(1)))


def test_a_command_without_a_session_ends_with_one_line(invoke, monkeypatch):
    def stopped(*given, **more):  # a signal would be ignored where a shell started the tests in the background
        raise KeyboardInterrupt

    monkeypatch.setattr("latentflow.models.weights.verify", stopped)
    assert invoke("weights", "verify", "--vae", "bundled") == (130, "", "latentflow: Stopped (Ctrl-C).\n")


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("models.weights.bundled", ("weights", "list")),
        ("models.weights.present", ("weights", "fetch")),
        ("models.weights.Checkpoint.fetch", ("weights", "fetch", "--vgg16")),
        ("models.weights.present", ("weights", "verify")),
        ("models.weights.present", ("weights", "path")),
        ("models.weights.layout_of", ("weights", "inspect", "bundled")),
        ("models.pickles.convert", ("weights", "convert", "x.pt")),
        ("losses.names", ("losses",)),
        ("app.run.begin_samples", ("app", "--vae", "bundled", "--port", "8599")),
    ],
)
def test_termination_ends_a_command_without_a_session_with_one_line(invoke, monkeypatch, place, line):
    before = signal.getsignal(signal.SIGTERM)

    def terminated(*given, **more):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    monkeypatch.setattr(f"latentflow.{place}", terminated)
    code, out, err = invoke(*line)
    assert (code, out) == (143, "") and err.endswith("latentflow: Stopped (terminated).\n"), err
    assert err.count("\n") == (2 if line[0] == "app" else 1)  # the app says its address first
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_leaves_without_freeing_what_was_imported_but_with_its_code(monkeypatch):
    called, codes = [], []
    monkeypatch.setattr(cli.atexit, "register", called.append)
    monkeypatch.setattr(cli.os, "_exit", codes.append)
    monkeypatch.setattr(sys, "argv", ["latentflow", "losses", "--nothing"])
    with pytest.raises(SystemExit) as ended_by:
        cli.program()
    called[0]()
    assert codes == [2] and ended_by.value.code == 2
    monkeypatch.setattr(cli, "run", lambda args: {}["a bug"])
    with pytest.raises(KeyError):
        cli.program()
    called[1]()
    assert codes == [2, 1]


def test_a_large_file_is_hashed_in_blocks(tmp_path, monkeypatch):
    content = bytes(range(256)) * 10
    (tmp_path / "large").write_bytes(content)
    asked = []
    read = files._BoundedFile.read
    monkeypatch.setattr(files._BoundedFile, "read", lambda file, size=-1: asked.append(size) or read(file, size))
    monkeypatch.setattr(files, "BLOCK", 1000)
    assert files.sha256(tmp_path / "large") == hashlib.sha256(content).hexdigest()
    assert asked == [1000] * 4


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with terminal_session():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_session_is_stopped_from_another_thread_after_the_record_in_hand():
    session, seen = Session(), []

    def work():
        try:
            for record in session.watch(steps(1000)):
                seen.append(record.index)
                if record.index == 3:
                    reached.set()
                    stopped.wait()
        except Interrupted as error:
            seen.append(error)

    reached, stopped = threading.Event(), threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    reached.wait()
    session.stop("closed by its window")
    stopped.set()
    thread.join()
    assert seen[:-1] == [0, 1, 2, 3]
    assert str(seen[-1]) == "Stopped at step 3; outputs are complete up to that step (closed by its window)."
    assert seen[-1].exit_code == 130


def test_a_stop_waits_for_a_record_with_a_picture_while_figures_are_replayed():
    session = Session()
    records = session.watch(iter([step(0).figures, step(1).figures, step(2), step(3)]))
    next(records)
    session.stop()
    assert [record.index for record in (next(records), next(records))] == [1, 2]
    with pytest.raises(Interrupted, match="step 2"):
        next(records)
