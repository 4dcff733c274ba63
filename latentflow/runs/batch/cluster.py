"""The engine for clusters: Ray's actors, each with a model that is loaded once. Ray is an optional package."""

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from latentflow.errors import InputError, LatentflowError, MissingPackageError
from latentflow.runs.batch.plan import BatchPlan, Item
from latentflow.runs.batch.table import Row, failed
from latentflow.session import Session

ATTEMPTS = 3  # at an image whose worker died: then it is taken to be what kills them
PATIENCE = 0.5  # seconds between looks at Ctrl-C
SILENCE = 60.0  # seconds until it is said that nothing comes


class RayWorker:
    """What runs in an actor: it works on one image at a time with `threads` threads."""

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

    Raises `MissingPackageError` without Ray, `Interrupted` when told to stop, and what a worker's start raises.
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
        ray.init(
            num_cpus=max(cores, count),
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        threads = max(1, cores // count)
    else:
        ray.init(address=config.address, log_to_driver=False, logging_level=logging.ERROR)
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
