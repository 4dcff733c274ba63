"""`latentflow curvature`: how the decoder bends a plane."""

from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, say, show
from latentflow.explore.config import CurvatureConfig


@click.command(context_settings=CONTEXT)
@click.argument("sources", metavar="FOLDER|IMAGE|IMAGE IMAGE IMAGE", nargs=-1)
@config_options(CurvatureConfig)
@report_options
def curvature(sources: tuple[str, ...], quiet: bool, as_json: bool, **values: Any) -> None:
    """Measure how the decoder bends a plane of the latent space, and find a shorter way across it.

    One sees where a step of the latent changes the picture much and where little: as color the area it covers in
    pictures, as ellipses how far one may go in each direction for the same change. The plane is laid as grid lays it.
    From the first image to the second, or from the plane's left to its right, goes the straight line and the geodesic,
    whose pictures change less on the way, though never less than if they were mixed; both are shown, and written as
    moving pictures beside the figure.

    \b
    Example: latentflow curvature examples/spheres.png examples/cat.png random:7 --output_path curvature.png
    """
    from latentflow.interrupts import Interrupts

    with Interrupts() as interrupts:
        from latentflow.explore.curvature.run import run_curvature

        report = run_curvature(sources, CurvatureConfig(**values), interrupts, say, quiet=quiet)
    show(report, as_json)
