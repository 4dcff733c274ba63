"""One of each kind: records, which cost no torch, and a loss. What runs is in `their_rules`."""

from dataclasses import dataclass
from typing import Any

from latentflow.base.options import option
from latentflow.explore.views import View
from latentflow.inversion.methods import Method, Optimizer
from latentflow.latents.config import ViewConfig
from latentflow.models.served import ServedClass
from latentflow.sound.motions import Motion


def __getattr__(name: str) -> Any:
    if name == "Huber":
        import their_rules

        return their_rules.Huber
    raise AttributeError(name)


@dataclass(frozen=True, kw_only=True)
class MirrorConfig(ViewConfig):
    """The options of the view."""

    output_path: str = option("mirror.png", "The picture.", metavar="FILE")
    times: int = option(1, "Number of times to mirror it.", minimum=0, maximum=9)


SERVED = ServedClass(
    module="their_rules",
    widths="encoder_block_out_channels",
    blocks=frozenset({"AutoencoderTinyBlock"}),
    has_posterior=False,
)
MIRROR = View(
    name="mirror",
    config=MirrorConfig,
    function="their_rules:run_mirror",
    arguments=(("source", "IMAGE"),),
    short={},
    summary="A latent mirrored left to right, decoded.",
    help="Mirror a latent left to right and decode it.",
    examples=("latentflow mirror examples/cat.png",),
)
SIGNED = Method(
    name="signed",
    words="follow the signs of the gradient",
    gives=frozenset({"gradient"}),
    optimizer="halving",
    default_lr=lambda optimizer, steps: 0.01,
    rule="their_rules:Signed",
)
HALVING = Optimizer(name="halving", updates="their_rules:Halving", moves_by=frozenset({"gradient"}))
SWELL = Motion("with the energy of all that sounds, slowly", frozenset({"smooth", "sensitivity"}), "energy", 1.5)
