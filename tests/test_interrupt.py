"""Ctrl-C and termination: outputs are valid up to the last finished step."""

import contextlib
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
from toys import step, steps

from latentflow.commands._terminal import terminal_session
from latentflow.errors import Interrupted
from latentflow.session import Session

ROOT = Path(__file__).parent.parent


@pytest.fixture
def running(small):
    """A long run in a process group of its own, as a terminal makes it."""
    started = []

    def start(*options):
        line = [sys.executable, str(ROOT / "cli.py"), "--image_path", str(small), "--weights", "bundled"]
        line += ["--size", "48", "--steps", "100000", "--quiet", "--metrics", "m.jsonl", *options]
        process = subprocess.Popen(
            line,
            cwd=small.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # a shell starts background jobs with SIGINT ignored, and their children inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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
def test_a_signal_in_the_beginning_leaves_nothing_or_valid_frames(running, small, number, code, delay):
    process = running()
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
