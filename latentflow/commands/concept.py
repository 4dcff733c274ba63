"""`latentflow concept`: a direction of the latent space, from two folders of images."""

from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, say, show
from latentflow.explore.config import ConceptConfig


@click.command(context_settings=CONTEXT)
@config_options(ConceptConfig)
@report_options
def concept(quiet: bool, as_json: bool, **values: Any) -> None:
    """Make a direction from images that have something and images that don't, judge it, and move an image along it.

    One sees what an autoencoder's latents hold of a concept: colors, brightness and layout, since latents keep their
    place; seldom what is meant. Held-out images say whether the direction tells the two apart at all; images that are
    nearly copies of each other make it look better than it is.

    \b
    Example: latentflow concept --positive drawings --negative photographs --apply examples/cat.png
    Again:   latentflow concept --direction concept.safetensors --apply examples/spheres.png --output_path spheres.png
    """
    from latentflow.interrupts import Interrupts

    with Interrupts() as interrupts:
        from latentflow.explore.concept.run import run_concept

        report = run_concept(ConceptConfig(**values), interrupts, say, quiet=quiet)
    show(report, as_json)
