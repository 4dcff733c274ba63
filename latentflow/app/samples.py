"""Examples that panels show at first: a run and a walk, computed with the app's own model."""

from __future__ import annotations

import threading
from typing import Any

from latentflow.app.flows import Flow
from latentflow.app.shows import Show
from latentflow.app.visits import Studio
from latentflow.base.errors import LatentflowError
from latentflow.explore.config import WalkConfig
from latentflow.inversion.config import RunConfig
from latentflow.page.facts import EXAMPLES, example_png

SIZE, STEPS, FRAMES = 128, 60, 25
SECONDS = 30.0  # after which they end: a large autoencoder may be slow


def begin_samples(studio: Studio) -> None:
    """Begin the samples of a studio, for all its visitors; what fails is left out."""
    visit = studio.visit("samples", lasting=True)
    images = [visit.take(f"{name}.png", example_png(name), name) for name in list(EXAMPLES)[:2]]
    paths = {str(image.path): image.name for image in images}

    def flow() -> Flow:
        made = Flow(visit, images[0], RunConfig(size=SIZE, steps=STEPS, seed=0, **studio.reading))
        made.go_on()
        return made

    def walk() -> Show:
        config = WalkConfig(size=SIZE, frames=FRAMES, fps=12.0, fit="cover", output_path="walk.gif", **studio.reading)
        return Show(visit, "walk", list(paths), config, paths, collect=True, kind="sample")

    made: dict[str, Any] = {"flow": flow, "walk": walk}
    for name, make in made.items():
        try:
            studio.samples[name] = make()
        except LatentflowError:
            continue
    timer = threading.Timer(SECONDS, studio.end_samples)
    timer.daemon = True
    timer.start()
