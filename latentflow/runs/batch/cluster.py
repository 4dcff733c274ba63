"""The engine for clusters: Ray's actors, each with a model that is loaded once. Ray is an optional package."""

import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from latentflow.base.errors import InputError, LatentflowError, MissingPackageError, first_line
from latentflow.base.session import Session
from latentflow.runs.batch.plan import BatchPlan, Item
from latentflow.runs.batch.table import Row, failed

ATTEMPTS = 3  # at an image when its worker dies: then the image is taken to be the cause
PATIENCE = 0.5  # seconds between looks at Ctrl-C
ANSWER = 40.0  # seconds that a cluster has to answer
SILENCE = 60.0  # seconds until it is said that nothing comes


def _start(cores: int) -> None:
    """Start a Ray of this machine."""
    import ray

    # Ray's sockets are files of 68 characters more, of which an operating system allows 107 (macOS: 103).
    roomy = len(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) <= 103 - 68
    try:
        ray.init(
            address="local",  # whatever RAY_ADDRESS was left over
            num_cpus=cores,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=None if roomy else "/tmp/ray",
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise LatentflowError(f"Ray can't be started on this machine: {first_line(error)}.") from error


def _connect(address: str) -> None:
    """Connect to the cluster at `address`; raises `InputError` within a minute where none answers."""
    import ray

    try:
        host, _, port = address.rpartition("://")[2].rpartition(":")
        if host and port.isdecimal():  # Ray itself looks for minutes, and may end the process then
            socket.create_connection((host.strip("[]"), int(port)), ANSWER / 4).close()
            trial = [sys.executable, "-c", "import ray, sys; ray.init(sys.argv[1])", address]
            subprocess.run(trial, capture_output=True, timeout=ANSWER, check=True)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise InputError(f"`address` {address}: Ray can't connect: {said[-1]}") from error
    except subprocess.TimeoutExpired as error:
        raise InputError(f"`address` {address}: no Ray cluster has answered in {ANSWER:.0f} s.") from error
    except (OSError, ValueError, RuntimeError, ImportError, SystemExit) as error:
        remedy = "Start one with `ray start --head`, or leave `address` out for a Ray of this machine."
        raise InputError(f"`address` {address}: no Ray cluster can be reached: {first_line(error)}.", remedy) from error


class RayWorker:
    """A worker in an actor: it works on one image at a time with `threads` threads."""

    def __init__(self, plan: BatchPlan, threads: int) -> None:
        import torch

        from latentflow.runs.batch.worker import Worker

        torch.set_num_threads(threads)  # Ray's own default is one
        self.notices: list[str] = []
        self.worker = Worker(plan, Session(self.notices.append))

    def work(self, item: Item) -> tuple[Row, list[str]]:
        """The row of an image, and what there was to say."""
        (row,) = self.worker.work([item])
        notices, self.notices[:] = list(self.notices), []
        return row, notices


def ray_engine(plan: BatchPlan, items: Sequence[Item], session: Session) -> Iterator[Row]:
    """The rows of images, as workers of a Ray cluster come by them; a worker that dies is replaced and its image done
    again. Without `address` a Ray of this machine is started, on loopback and without a dashboard.

    Raises `MissingPackageError` without Ray, `InputError` where no cluster is at `address`, `Interrupted` when told to
    stop, and what a worker's start raises.
    """
    config = plan.config
    local = config.address is None
    if local:  # Ray's name for it: without clusters of several machines it binds to the loopback address on any system
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
        from ray.exceptions import ActorDiedError, RayActorError, RayTaskError
    except ImportError as error:
        raise MissingPackageError(f"`engine` ray needs Ray: {error}.", 'pip install "latentflow[ray]"') from error
    count = min(config.workers, len(items))
    if local:
        cores = os.cpu_count() or 1
        _start(max(cores, count))
        threads = max(1, cores // count)
    else:
        _connect(str(config.address))
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        together, largest = (int(pick(node.get("CPU", 0) for node in nodes)) for pick in (sum, max))
        threads = max(1, min(together // count, largest))
    gpus = max(node["Resources"].get("GPU", 0) for node in ray.nodes())
    if config.gpus_per_worker > gpus:
        ray.shutdown()
        raise InputError(
            f"`gpus_per_worker` {config.gpus_per_worker:g}: no machine of the cluster has more than {gpus:g}."
        )
    actor = ray.remote(RayWorker).options(num_cpus=threads, num_gpus=config.gpus_per_worker, max_restarts=0)
    waiting = deque((item, 1) for item in items)
    busy: dict[Any, tuple[Any, Item, int]] = {}

    def give(worker: Any) -> None:
        if waiting:
            item, attempt = waiting.popleft()
            busy[worker.work.remote(item)] = (worker, item, attempt)

    said: set[str] = set()
    try:
        for _ in range(count):
            give(actor.remote(plan, threads))
        waited = 0.0
        while busy:
            ready, _ = ray.wait(list(busy), num_returns=1, timeout=PATIENCE)
            session.check()
            waited = 0.0 if ready else waited + PATIENCE
            if waited == SILENCE:
                session.say("Nothing has come back for a minute: the cluster may have no room for the workers.")
            for reference in ready:
                worker, item, attempt = busy.pop(reference)
                try:
                    row, notices = ray.get(reference)
                except (RayActorError, ActorDiedError) as error:
                    if isinstance(error.__cause__, LatentflowError):
                        raise error.__cause__ from None
                    if attempt < ATTEMPTS:
                        session.say(f"The worker of {item.name} died; another one takes its place.")
                        waiting.appendleft((item, attempt + 1))
                    else:
                        yield failed(item, LatentflowError(f"{ATTEMPTS} workers died of it."), 0.0)
                    give(actor.remote(plan, threads))
                    continue
                except RayTaskError as error:
                    raise error.as_instanceof_cause() from None
                for notice in notices:
                    if notice not in said:
                        said.add(notice)
                        session.say(notice)
                yield row
                give(worker)
    finally:
        for worker, _, _ in busy.values():
            ray.kill(worker)
        ray.shutdown()
