"""Facts of the library for the page: its constants and defaults, so that both take the same steps."""

import base64
import io
from dataclasses import fields
from typing import Any

from latentflow.generated import picture
from latentflow.inversion.config import RunConfig
from latentflow.inversion.methods import METHODS
from latentflow.latents.files import latent_metadata
from latentflow.models.autoencoder import Autoencoder
from latentflow.page.export.graphs import GRAPHS, LOSSES

SIZES = (64, 96, 128, 160, 192, 256)
SIZE = 128  # a step takes a third of a second without a graphics processor
MOST_STEPS = 2000  # the latents of all of them are kept in memory
EXAMPLES = {"face": 5038, "hills": 5044, "shapes": 5053}  # name: seed of the picture
_EXAMPLE_SIZE = 256
_DRAWINGS = 0.4  # the probability with which the seeds were chosen


def page_facts(autoencoder: Autoencoder, *, inside: bool) -> dict[str, Any]:
    """The facts of an autoencoder's page as values for JSON; `inside` says whether the page holds its files."""
    return {
        "model": {
            "name": autoencoder.name,
            "channels": autoencoder.channels,
            "stride": autoencoder.stride,
            "graphs": list(GRAPHS),
        },
        "losses": list(LOSSES),
        "help": {name: f"{method.words[0].upper()}{method.words[1:]}." for name, method in METHODS.own.items()},
        "metadata": latent_metadata(autoencoder),
        "defaults": {
            "steps": RunConfig.steps,
            "method": RunConfig.method,
            "loss": RunConfig.loss_type,
            "size": SIZE,
            "fps": RunConfig.fps,
            "hold": RunConfig.hold,
        },
        "limits": {
            "lr": {"name": "The learning rate", "above": _limit("lr", "above")},
            "steps": {
                "name": "The number of steps",
                "min": _limit("steps", "minimum"),
                "max": MOST_STEPS,
                "whole": True,
            },
            "seed": {
                "name": "A seed",
                "min": _limit("seed", "minimum"),
                "max": _limit("seed", "maximum"),
                "whole": True,
            },
        },
        "sizes": [size for size in SIZES if size >= 2 * autoencoder.stride],
        "examples": [{"name": name, "source": _example(seed)} for name, seed in EXAMPLES.items()],
        "inside": inside,
    }


def _limit(name: str, kind: str) -> Any:
    """A limit of an option of a run: the page refuses what the command line refuses."""
    return next(each.metadata[kind] for each in fields(RunConfig) if each.name == name)


def _example(seed: int) -> str:
    """A picture drawn by code, as a data: address."""
    memory = io.BytesIO()
    picture(seed, _EXAMPLE_SIZE, _DRAWINGS).save(memory, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(memory.getvalue()).decode()}"


def example_png(name: str) -> bytes:
    """One of the examples, as the content of a PNG file."""
    memory = io.BytesIO()
    picture(EXAMPLES[name], _EXAMPLE_SIZE, _DRAWINGS).save(memory, "PNG")
    return memory.getvalue()
