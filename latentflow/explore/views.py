"""The views by name: what the command line knows of each. Costs no torch.

A view is its options in `latentflow.explore.config`, its entry here, and the module that checks, computes and draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from latentflow.base.registry import Registry, find_object, record_of
from latentflow.explore.config import (
    AtlasConfig,
    ChannelsConfig,
    CompositeConfig,
    ConceptConfig,
    CurvatureConfig,
    CyclesConfig,
    DecodeConfig,
    EncodeConfig,
    EvaluateConfig,
    GridConfig,
    SimilarConfig,
    StatsConfig,
    WalkConfig,
)
from latentflow.models.config import ModelOptions

if TYPE_CHECKING:
    from latentflow.base.session import Session
    from latentflow.runs.job import Report

SOURCE = "IMAGE|LATENT.safetensors|random:SEED"
PLANE = "FOLDER|IMAGE|IMAGE IMAGE IMAGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A view as the command line sees it.

    `function`, "module:name" with a dot before a module of this package, takes sources, config and session and returns
    a `Report`. `arguments` are its sources by name and metavar; `many` takes any number for the last one. `short`
    are further names of options. `summary` is its line in the list of commands, `help` what it shows, `examples` lines
    that run it. `in_app` is False for a view with sources that the app doesn't take.
    """

    name: str
    config: type[ModelOptions]
    function: str
    arguments: tuple[tuple[str, str], ...]
    many: bool = False
    short: dict[str, str]
    summary: str
    help: str
    examples: tuple[str, ...]
    in_app: bool = True

    @property
    def several(self) -> bool:
        """True if `vae` may name several autoencoders."""
        return "," in next(each.metadata["metavar"] for each in fields(self.config) if each.name == "vae")

    def run(self, sources: Sequence[str], config: ModelOptions, session: "Session") -> "Report":
        """Run it; imports torch. Raises `LatentflowError` as its parts do."""
        function: Callable[[Sequence[str], Any, Session], Report] = find_object(self.function, "latentflow.explore")
        return function(sources, config, session)


def _view(name: str, config: type[ModelOptions], function: str, **values: Any) -> View:
    return View(**{"name": name, "config": config, "function": f".{function}", "short": {}, **values})


_VIEWS = {
    view.name: view
    for view in (
        _view(
            "encode",
            EncodeConfig,
            "to_latents:run_encode",
            arguments=(("sources", "IMAGE...|FOLDER"),),
            many=True,
            summary="Pictures become latents that keep them: refined without gradients.",
            help="""Encode pictures, each into a file, and refine their latents so that the decoder's pictures come as
            near as they can.

            An encoder is only an approximate inverse of its decoder, so every round trip costs a little of the picture.
            A few steps of one decode and one encode each mend that. Files that were made from the same bytes before are
            skipped; what is wrong with one of many pictures is reported, and ends nothing.""",
            examples=(
                "latentflow encode photographs --output_path 'latents/{stem}.safetensors'",
                "latentflow encode cat.png --output_path - | latentflow decode - --output_path again.png",
            ),
        ),
        _view(
            "decode",
            DecodeConfig,
            "to_pictures:run_decode",
            arguments=(("sources", "LATENT...|FOLDER"),),
            many=True,
            in_app=False,
            summary="Saved latents become pictures.",
            help="""Decode saved latents, each into a picture.

            Files are those of encode, of --save_latent, and those of other programs with --latent_of. Pictures that
            were made from the same bytes before are skipped; what is wrong with one of many files is reported, and ends
            nothing.""",
            examples=("latentflow decode latents --output_path 'pictures/{stem}.png'",),
        ),
        _view(
            "cycles",
            CyclesConfig,
            "cycles:run_cycles",
            arguments=(("source", "IMAGE"),),
            summary="What repeated round trips through an autoencoder do to a picture, refined and not.",
            help="""Encode and decode a picture again and again, by the encoder alone and with refined latents, and show
            both side by side.

            Between two round trips a picture is clamped and rounded to 8 bits, as it is where programs hand it on. The
            curve is the PSNR against the first picture: what the encoder loses adds up, what is refined stays.""",
            examples=("latentflow cycles examples/cat.png --count 10 --output_path cycles.gif",),
        ),
        _view(
            "composite",
            CompositeConfig,
            "composite:run_composite",
            arguments=(("sources", f"{SOURCE}..."),),
            many=True,
            in_app=False,
            summary="One latent of several pictures, under masks at full resolution.",
            help="""Put pictures over each other under masks, the first on top, and find the latent of what is seen.

            Latents that are mixed under a mask of their own size decode to something else along its edges. Here the
            pictures are mixed, pixel by pixel, and the latent is refined towards that in the cells along the edges; all
            others keep every bit of their layer. The report says how far the picture is off in that band.""",
            examples=(
                "latentflow composite cat.png spheres.png --mask mask.png --output_path composite.png",
                "latentflow composite a.safetensors b.safetensors c.png --mask top.png,middle.png "
                "--output_path composite.safetensors",
            ),
        ),
        _view(
            "walk",
            WalkConfig,
            "walk:run_walk",
            arguments=(("sources", f"{SOURCE}...|FOLDER"),),
            many=True,
            summary="Pictures between pictures: a path through the latent space.",
            help="""Walk through the latent space from image to image, and write the pictures between them.

            The frames show how the decoder fills the gap. A latent describes its picture place by place, so distant
            pictures cross-fade, with edges that are drawn anew in every frame; similar pictures morph. Where the frames
            turn to noise, the path leaves the region that the decoder was trained on.""",
            examples=(
                "latentflow walk examples/spheres.png examples/cat.png --even --loop --output_path walk.gif",
                "latentflow walk photographs --order nearest --hold_anchors 0.5 --output_path walk.mp4",
                "latentflow walk photographs --audio song.mp3 --motion beats --every 4 --output_path walk.mp4",
            ),
        ),
        _view(
            "channels",
            ChannelsConfig,
            "channels:run_channels",
            arguments=(("sources", "IMAGE"),),
            many=True,
            summary="What each channel of a latent does: as a map, left out, alone, swept.",
            help="""Take an image's latent apart: each channel as a map, and the picture without it, of it alone, and
            with it moved up and down.

            The figure shows what each channel is for: brightness, a pair of opposite colors, edges. A map looks like a
            small picture because latents keep positions; what the picture loses without a channel is what only that
            channel holds.""",
            examples=("latentflow channels examples/spheres.png --output_path channels.png",),
        ),
        _view(
            "grid",
            GridConfig,
            "grid:run_grid",
            arguments=(("sources", PLANE),),
            many=True,
            summary="A plane of the latent space, decoded: through three images, around one, or through a folder.",
            help="""Decode a plane of the latent space: through three images, around one image, or along the two
            directions in which a folder's latents differ most.

            Between images the pictures mix. Around one image they show how far it can be changed at random before it
            falls apart. The first directions of a folder are mostly light and dark, warm and cold.""",
            examples=("latentflow grid examples/spheres.png examples/cat.png random:7 --output_path grid.png",),
        ),
        _view(
            "curvature",
            CurvatureConfig,
            "curvature.run:run_curvature",
            arguments=(("sources", PLANE),),
            many=True,
            summary="How the decoder curves a plane: pull-back metric, ellipses, a geodesic.",
            help="""Measure how much pictures change per step of the latent on a plane, and find the path across it
            along which pictures change least.

            Color shows the area that a step covers in pictures; an ellipse shows how far one may go in each direction
            for the same change. The plane is the one that grid decodes. From the first image to the second, or from the
            plane's left to its right, a straight line and the geodesic are compared; both are written as moving
            pictures beside the figure.""",
            examples=(
                "latentflow curvature examples/spheres.png examples/cat.png random:7 --output_path curvature.png",
            ),
        ),
        _view(
            "stats",
            StatsConfig,
            "stats:run_stats",
            arguments=(("folder", "FOLDER"),),
            summary="How the latents of a folder are distributed, against the normal and in space.",
            help="""Measure how the latents of a folder's images are distributed: each channel against the normal
            distribution, channels against each other, values against their neighbors in space.

            The figure shows how far the latent space is from the N(0, 1) it is usually taken for. Random latents lack
            the heavy tails and the spatial correlation of real ones, which is why they decode to texture.""",
            examples=("latentflow stats photographs --output_path stats.png",),
        ),
        _view(
            "evaluate",
            EvaluateConfig,
            "evaluate.run:run_evaluate",
            arguments=(("folder", "FOLDER"),),
            summary="How well autoencoders reconstruct a folder's images: PSNR, SSIM, MS-SSIM, LPIPS, rFID.",
            help="""Measure how well autoencoders reconstruct the images of a folder, and show those with the most loss.

            The figure shows what a latent has no room for: small faces, letters, fine texture. With --optimize a second
            row shows how much of that is the encoder's fault, since the same decoder can do better from a better
            latent. A stopped evaluation goes on from its table when the command is repeated.""",
            examples=(
                "latentflow evaluate photographs --optimize 20 --output_path evaluate.png",
                "latentflow evaluate photographs --vae bundled,stabilityai/sd-vae-ft-mse",
            ),
        ),
        _view(
            "similar",
            SimilarConfig,
            "similar:run_similar",
            arguments=(("query", SOURCE), ("folder", "FOLDER")),
            short={"count": "-k"},
            summary="The images of a folder that are nearest to a query by their latents.",
            help="""Find the images of a folder that are nearest to a query by their latents, and show them in order.

            Nearest means the same colors in the same places, seldom the same things. Latents are kept in an index
            beside the folder, so that the next search encodes only what has changed.""",
            examples=("latentflow similar examples/cat.png photographs -k 8 --output_path similar.png",),
        ),
        _view(
            "concept",
            ConceptConfig,
            "concept.run:run_concept",
            arguments=(),
            summary="A direction between two folders of images, tested on held-out ones and applied to an image.",
            help="""Compute the direction from images without something to images with it, test it on held-out images,
            and move an image along it.

            A direction holds colors, brightness and layout, since latents keep positions, and seldom the concept that
            was meant. The test on held-out images tells whether it separates the two folders at all; near duplicates
            across folds make the result look better than it is.""",
            examples=(
                "latentflow concept --positive drawings --negative photographs --apply examples/cat.png",
                "latentflow concept --direction concept.safetensors --apply examples/spheres.png "
                "--output_path spheres.png",
            ),
        ),
        _view(
            "atlas",
            AtlasConfig,
            "atlas.run:run_atlas",
            arguments=(("folder", "FOLDER"),),
            summary="A map of a folder: pictures placed by their latents, as a figure and a zoomable page.",
            help="""Place the pictures of a folder by their latents, in a figure and in a page to pan, zoom and hover
            over.

            Neighbors share colors, brightness and layout sooner than a subject. Frames show clusters. The page (.html
            beside the figure, one file, no network) shows each picture's name and its nearest neighbors.""",
            examples=("latentflow atlas photographs --output_path atlas.png",),
        ),
    )
}
VIEWS = Registry("views", _VIEWS, record_of(View))
