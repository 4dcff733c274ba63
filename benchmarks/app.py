"""What the app costs: watching a run, memory over a hundred runs, pictures a second, the time until its page is there.

    python benchmarks/app.py [--size 256]

The two speeds of a run, watched and not, are measured in turns, and their ratio is given.
"""

import argparse
import asyncio
import gc
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil

from latentflow.app.config import AppConfig
from latentflow.app.flows import Flow, figures
from latentflow.app.jobs import Job
from latentflow.app.media import _pictures
from latentflow.app.visits import Studio, Visit
from latentflow.base.pixels import to_uint8
from latentflow.inversion.config import RunConfig

ROOT = Path(__file__).parent.parent


def run(visit: Visit, size: int, steps: int, *, watched: bool) -> tuple[float, int, Flow]:
    """Seconds a step, the pictures that were sent, and the flow."""
    image = visit.take("spheres.png", (ROOT / "examples" / "spheres.png").read_bytes(), "spheres")
    flow = Flow(visit, image, RunConfig(size=size, steps=steps, seed=1, vae="bundled"))
    flow.go_on()
    assert flow.job is not None
    sent = consumed(flow.job) if watched else 0
    flow.job.ended.wait()
    assert flow.state == "finished", flow.job.error
    assert flow.run is not None
    return flow.run.seconds / (steps + 1), sent, flow


def consumed(job: Job) -> int:
    """How many pictures a viewer gets until the job ends."""

    async def count() -> int:
        return sum([1 async for _ in _pictures(job, lambda step: to_uint8(step.image), figures)]) - 1

    return asyncio.run(count())


def streamed(side: int, seconds: float = 3.0) -> float:
    """Pictures a second of a stream whose job has more of them than are sent."""
    noise = np.random.default_rng(0).integers(0, 255, (4, side, side, 3), np.uint8)

    def work(job: Job) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            job.show(noise[job.version % 4])
            time.sleep(1 / 60)

    job = Job("", work, lambda: None)  # type: ignore[arg-type,return-value]
    threading.Thread(target=job.do, daemon=True).start()

    async def count() -> int:
        return sum([1 async for _ in _pictures(job, lambda pixels: pixels, lambda pixels: {})]) - 1

    return asyncio.run(count()) / seconds


def start_up() -> float:
    """Seconds from the command until the page is served."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    line = [sys.executable, str(ROOT / "cli.py"), "app", "--vae", "bundled", "--port", str(port), "--no_browser"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
                return time.monotonic() - began
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    size = parser.parse_args().size
    print(f"start-up: {statistics.median(start_up() for _ in range(3)):.1f} s")
    print(f"stream: {streamed(size):.1f} pictures a second of noise, {size} x {size}")
    studio = Studio(AppConfig(vae="bundled"))
    visit = studio.visit("bench")
    run(visit, size, 5, watched=True)
    plain, watched, sent = [], [], 0
    for _ in range(4):
        plain.append(run(visit, size, 40, watched=False)[0])
        seconds, sent, _ = run(visit, size, 40, watched=True)
        watched.append(seconds)
    ratio = statistics.median(watched) / statistics.median(plain)
    print(
        f"watching: {1000 * statistics.median(watched):.0f} ms a step, {ratio:.3f} x not watched; {sent} of 41 pictures"
    )
    memory = []
    for index in range(120):
        *_, flow = run(visit, 64, 5, watched=True)
        flow.file("gif")
        flow.close()
        if index % 20 == 19:
            gc.collect()
            memory.append(psutil.Process().memory_info().rss / 1e6)
    shown = ", ".join(f"{each:.0f}" for each in memory)
    print(f"memory after 20, 40, … 120 runs: {shown} MB; {len(studio.media)} addresses")
    studio.close()


if __name__ == "__main__":
    main()
