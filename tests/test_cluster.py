"""The engine for clusters, on a Ray of this machine: `make test-ray`."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ray", reason="needs Ray: make test-ray")

from latentflow.sinks.trajectory import read_trajectory

ROOT = Path(__file__).parent.parent
QUICK = ("--weights", "bundled", "--size", 48, "--steps", 30)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(6):
        small = np.random.default_rng(number).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(small).resize((60, 40), Image.Resampling.BICUBIC).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "in"


def listening():
    """The addresses that are listened at on this machine, as /proc has them, and the processes' users aside."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            if state == "0A":
                found.add(address)
    return found


LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


def rows(out):
    return {row["image"]: row for row in map(json.loads, (out / "batch.jsonl").read_text().splitlines())}


def workers():
    """The processes of Ray's actors of ours on this machine."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                title = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if b"ray::RayWorker.work" in title:
                found.append(int(process.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for workers in /proc")
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(invoke, folder, tmp_path, monkeypatch):
    # in a process of its own, whose network isn't blocked: Ray asks for the machine's names
    monkeypatch.setenv("PYTHONPATH", "")

    def by_ray(*more):
        line = [sys.executable, ROOT / "cli.py", "batch", folder, "--output_dir", "there", *QUICK, "--engine", "ray"]
        done = subprocess.run([str(each) for each in [*line, *more]], cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    assert invoke("batch", folder, "--output_dir", "here", *QUICK, "--batch_size", 1, "--quiet")[0] == 1
    killed, heard, before = [], set(), listening()

    def kill_one():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed:
            done = tmp_path / "there" / "batch.jsonl"
            if done.exists() and (found := workers()):
                heard.update(listening() - before)
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    code, _, err = by_ray("--workers", 2)
    killer.join()
    assert code == 1 and killed and "another one takes its place" in err, err
    assert heard and all(address.split(":")[0] in LOOPBACK for address in heard), heard
    here, there = rows(tmp_path / "here"), rows(tmp_path / "there")
    assert here.keys() == there.keys() and there["broken.png"]["status"] == "failed"
    for name, row in there.items():
        assert row["status"] == here[name]["status"] and row["seed"] == here[name]["seed"]
        if row["status"] == "done":
            one, two = (read_trajectory(tmp_path / f"{each[name]['output']}.trajectory") for each in (here, there))
            assert len(one.records) == len(two.records) == 31
            assert row["psnr"] == pytest.approx(here[name]["psnr"], abs=0.05)  # threads differ, and so do last bits
    code, out, _ = by_ray("--json", "--quiet")
    assert json.loads(out)["skipped"] == 6 and code == 1


def test_a_cluster_that_is_not_there_is_one_line_within_a_minute(folder, tmp_path):
    with socket.socket() as silent:  # accepts, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for address in ("auto", "127.0.0.1:1", f"127.0.0.1:{silent.getsockname()[1]}"):
            line = [sys.executable, ROOT / "cli.py", "batch", folder, "--output_dir", "out", *QUICK, "--engine", "ray"]
            began = time.monotonic()
            done = subprocess.run(
                [*map(str, line), "--address", address],
                cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""},
            )  # fmt: skip
            assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
            assert f"--address {address}" in done.stderr and time.monotonic() - began < 75
