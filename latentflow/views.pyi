# Written by docs/generate.py: make docs
from collections.abc import Sequence
from os import PathLike
from typing import Literal
import torch
from latentflow.runs.job import Report
from latentflow.models.autoencoder import Autoencoder
from latentflow.base.session import Session
from latentflow.explore import Atlas as Atlas
from latentflow.explore import Channel as Channel
from latentflow.explore import Cluster as Cluster
from latentflow.explore import Clusters as Clusters
from latentflow.explore import Composite as Composite
from latentflow.explore import Concept as Concept
from latentflow.explore import Curve as Curve
from latentflow.explore import DecodedPath as DecodedPath
from latentflow.explore import Embedding as Embedding
from latentflow.explore import Evaluated as Evaluated
from latentflow.explore import Evaluation as Evaluation
from latentflow.explore import GeodesicStep as GeodesicStep
from latentflow.explore import HeldOutScore as HeldOutScore
from latentflow.explore import Lattice as Lattice
from latentflow.explore import Match as Match
from latentflow.explore import MetricAt as MetricAt
from latentflow.explore import Neighbor as Neighbor
from latentflow.explore import Neighbors as Neighbors
from latentflow.explore import Placement as Placement
from latentflow.explore import ReconstructionMetrics as ReconstructionMetrics
from latentflow.explore import Row as Row
from latentflow.explore import Score as Score
from latentflow.explore import Summary as Summary
from latentflow.explore import cross_validate as cross_validate
from latentflow.explore import decode_channels as decode_channels
from latentflow.explore import decode_path as decode_path
from latentflow.explore import decode_plane as decode_plane
from latentflow.explore import direction_between as direction_between
from latentflow.explore import draw_atlas as draw_atlas
from latentflow.explore import draw_channels as draw_channels
from latentflow.explore import draw_concept as draw_concept
from latentflow.explore import draw_curvature as draw_curvature
from latentflow.explore import draw_plane as draw_plane
from latentflow.explore import draw_similar as draw_similar
from latentflow.explore import draw_statistics as draw_statistics
from latentflow.explore import embed as embed
from latentflow.explore import evaluate_images as evaluate_images
from latentflow.explore import find_geodesic as find_geodesic
from latentflow.explore import make_atlas as make_atlas
from latentflow.explore import make_lattice as make_lattice
from latentflow.explore import make_page as make_page
from latentflow.explore import measure_path as measure_path
from latentflow.explore import measure_plane as measure_plane
from latentflow.explore import move_along as move_along
from latentflow.explore import nearest as nearest
from latentflow.explore import plane_basis as plane_basis
from latentflow.explore import pullback_metric as pullback_metric
from latentflow.explore import sweep_channels as sweep_channels
def encode(
    *sources: str | PathLike[str],
    vae: str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    refine: str = 'auto',
    loss_type: str = 'mse',
    fit: Literal["contain", "cover", "stretch"] = 'contain',
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    output_path: str | PathLike[str] = '{stem}.safetensors',
    size: int | None = None,
) -> Report:
    """Encode pictures, each into a file, and refine their latents so that the decoder's pictures come as
    near as they can.

    An encoder is only an approximate inverse of its decoder, so every round trip costs a little of the picture.
    A few steps of one decode and one encode each mend that. Files that were made from the same bytes before are
    skipped; what is wrong with one of many pictures is reported, and ends nothing.

    `sources` are IMAGE...|FOLDER, and the options are those of the command `encode`. It writes the same files. The
    report that is returned has its `figures`, the files `written`, and the `error` that broke it off, if any did.
    `vae` is a name, a folder, a file or an `Autoencoder`; `session` shares loaded models. Raises `LatentflowError`
    as the command does."""
    ...

def decode(
    *sources: str | PathLike[str],
    vae: str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    latent_of: str | None = None,
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    output_path: str | PathLike[str] = '{stem}.decoded.png',
) -> Report:
    """Decode saved latents, each into a picture.

    Files are those of encode, of --save_latent, and those of other programs with --latent_of. Pictures that
    were made from the same bytes before are skipped; what is wrong with one of many files is reported, and ends
    nothing.

    `sources` are LATENT...|FOLDER, and the options are those of the command `decode`. It writes the same files. The
    report that is returned has its `figures`, the files `written`, and the `error` that broke it off, if any did.
    `vae` is a name, a folder, a file or an `Autoencoder`; `session` shares loaded models. Raises `LatentflowError`
    as the command does."""
    ...

def cycles(
    *sources: str | PathLike[str],
    vae: str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    refine: str = 'auto',
    loss_type: str = 'mse',
    fit: Literal["contain", "cover", "stretch"] = 'contain',
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
    output_path: str | PathLike[str] = 'cycles.gif',
    count: int = 10,
    fps: float = 2.0,
    hold: float = 1.5,
    loop: int = 0,
) -> Report:
    """Encode and decode a picture again and again, by the encoder alone and with refined latents, and show
    both side by side.

    Between two round trips a picture is clamped and rounded to 8 bits, as it is where programs hand it on. The
    curve is the PSNR against the first picture: what the encoder loses adds up, what is refined stays.

    `sources` are IMAGE, and the options are those of the command `cycles`. It writes the same files. The report
    that is returned has its `figures`, the files `written`, and the `error` that broke it off, if any did. `vae` is
    a name, a folder, a file or an `Autoencoder`; `session` shares loaded models. Raises `LatentflowError` as the
    command does."""
    ...

def composite(
    *sources: str | PathLike[str],
    vae: str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    refine: str = 'gradient:10',
    latent_of: str | None = None,
    fit: Literal["contain", "cover", "stretch"] = 'contain',
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
    output_path: str | PathLike[str] = 'composite.png',
    mask: Sequence[str] | None = None,
) -> Report:
    """Put pictures over each other under masks, the first on top, and find the latent of what is seen.

    Latents that are mixed under a mask of their own size decode to something else along its edges. Here the
    pictures are mixed, pixel by pixel, and the latent is refined towards that in the cells along the edges; all
    others keep every bit of their layer. The report says how far the picture is off in that band.

    `sources` are IMAGE|LATENT.safetensors|random:SEED..., and the options are those of the command `composite`. It
    writes the same files. The report that is returned has its `figures`, the files `written`, and the `error` that
    broke it off, if any did. `vae` is a name, a folder, a file or an `Autoencoder`; `session` shares loaded models.
    Raises `LatentflowError` as the command does."""
    ...

def walk(
    *sources: str | PathLike[str],
    vae: str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    latent_of: str | None = None,
    fit: Literal["contain", "cover", "stretch"] = 'contain',
    audio: str | PathLike[str] | None = None,
    motion: Literal["percussive", "energy", "beats", "bars", "chroma", "constant"] | None = None,
    from_: str | None = None,
    to: str | None = None,
    marks: Sequence[str] | None = None,
    every: int | None = None,
    beats_per_bar: int | None = None,
    bpm: float | None = None,
    first_beat: str | None = None,
    smooth: float | None = None,
    margin: float | None = None,
    sensitivity: float | None = None,
    midi: str | PathLike[str] | None = None,
    map_: str | PathLike[str] | None = None,
    offset: float | None = None,
    attack: float | None = None,
    release: float | None = None,
    reach: float | None = None,
    seed: int | None = None,
    tones: bool = False,
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
    output_path: str | PathLike[str] = 'walk.gif',
    method: Literal["slerp", "lerp", "spline"] = 'slerp',
    order: Literal["name", "nearest", "date"] = 'name',
    loop: bool = False,
    frames: int | None = None,
    seconds: float | None = None,
    ease: Literal["linear", "in_out", "stops"] = 'linear',
    even: bool = False,
    measure: Literal["mse", "lpips"] = 'mse',
    budget_frames: int | None = None,
    budget_seconds: float | None = None,
    refine: int = 0,
    caption: bool = False,
    fps: float = 20.0,
    bounce: bool = False,
    palette: Literal["frame", "global"] = 'frame',
    hold: float = 0.0,
    hold_anchors: float = 0.0,
) -> Report:
    """Walk through the latent space from image to image, and write the pictures between them.

    The frames show how the decoder fills the gap. A latent describes its picture place by place, so distant
    pictures cross-fade, with edges that are drawn anew in every frame; similar pictures morph. Where the frames
    turn to noise, the path leaves the region that the decoder was trained on.

    `sources` are IMAGE|LATENT.safetensors|random:SEED...|FOLDER, and the options are those of the command `walk`.
    It writes the same files. The report that is returned has its `figures`, the files `written`, and the `error`
    that broke it off, if any did. `vae` is a name, a folder, a file or an `Autoencoder`; `session` shares loaded
    models. Raises `LatentflowError` as the command does."""
    ...

def channels(
    *sources: str | PathLike[str],
    vae: str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    latent_of: str | None = None,
    fit: Literal["contain", "cover", "stretch"] = 'contain',
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
    output_path: str | PathLike[str] = 'channels.png',
    channels: Sequence[int] | None = None,
    reach: float = 3.0,
    frames: int = 48,
    sweep: Literal[".gif", ".mp4", ".webm", ".webp", ""] = '.gif',
    fps: float = 20.0,
    loop: int = 0,
    palette: Literal["frame", "global"] = 'frame',
) -> Report:
    """Take an image's latent apart: each channel as a map, and the picture without it, of it alone, and
    with it moved up and down.

    The figure shows what each channel is for: brightness, a pair of opposite colors, edges. A map looks like a
    small picture because latents keep positions; what the picture loses without a channel is what only that
    channel holds.

    `sources` are IMAGE, and the options are those of the command `channels`. It writes the same files. The report
    that is returned has its `figures`, the files `written`, and the `error` that broke it off, if any did. `vae` is
    a name, a folder, a file or an `Autoencoder`; `session` shares loaded models. Raises `LatentflowError` as the
    command does."""
    ...

def grid(
    *sources: str | PathLike[str],
    vae: str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    latent_of: str | None = None,
    fit: Literal["contain", "cover", "stretch"] = 'contain',
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
    output_path: str | PathLike[str] = 'grid.png',
    resolution: int = 9,
    tile: int | None = None,
    frames: int | None = None,
    reach: float = 1.5,
    seed: int = 0,
    fps: float = 20.0,
    loop: int = 0,
    bounce: bool = False,
    palette: Literal["frame", "global"] = 'frame',
) -> Report:
    """Decode a plane of the latent space: through three images, around one image, or along the two
    directions in which a folder's latents differ most.

    Between images the pictures mix. Around one image they show how far it can be changed at random before it
    falls apart. The first directions of a folder are mostly light and dark, warm and cold.

    `sources` are FOLDER|IMAGE|IMAGE IMAGE IMAGE, and the options are those of the command `grid`. It writes the
    same files. The report that is returned has its `figures`, the files `written`, and the `error` that broke it
    off, if any did. `vae` is a name, a folder, a file or an `Autoencoder`; `session` shares loaded models. Raises
    `LatentflowError` as the command does."""
    ...

def curvature(
    *sources: str | PathLike[str],
    vae: str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    latent_of: str | None = None,
    fit: Literal["contain", "cover", "stretch"] = 'contain',
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'float32',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 128,
    output_path: str | PathLike[str] = 'curvature.png',
    resolution: int = 15,
    reach: float = 1.5,
    subspace: int = 2,
    seed: int = 0,
    steps: int = 15,
    frames: int = 48,
    sweep: Literal[".gif", ".mp4", ".webm", ".webp", ""] = '.gif',
    fps: float = 20.0,
    loop: int = 0,
    bounce: bool = False,
    palette: Literal["frame", "global"] = 'frame',
) -> Report:
    """Measure how much pictures change per step of the latent on a plane, and find the path across it
    along which pictures change least.

    Color shows the area that a step covers in pictures; an ellipse shows how far one may go in each direction
    for the same change. The plane is the one that grid decodes. From the first image to the second, or from the
    plane's left to its right, a straight line and the geodesic are compared; both are written as moving
    pictures beside the figure.

    `sources` are FOLDER|IMAGE|IMAGE IMAGE IMAGE, and the options are those of the command `curvature`. It writes
    the same files. The report that is returned has its `figures`, the files `written`, and the `error` that broke
    it off, if any did. `vae` is a name, a folder, a file or an `Autoencoder`; `session` shares loaded models.
    Raises `LatentflowError` as the command does."""
    ...

def stats(
    *sources: str | PathLike[str],
    vae: str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
    output_path: str | PathLike[str] = 'stats.png',
    index: str | PathLike[str] | None = None,
) -> Report:
    """Measure how the latents of a folder's images are distributed: each channel against the normal
    distribution, channels against each other, values against their neighbors in space.

    The figure shows how far the latent space is from the N(0, 1) it is usually taken for. Random latents lack
    the heavy tails and the spatial correlation of real ones, which is why they decode to texture.

    `sources` are FOLDER, and the options are those of the command `stats`. It writes the same files. The report
    that is returned has its `figures`, the files `written`, and the `error` that broke it off, if any did. `vae` is
    a name, a folder, a file or an `Autoencoder`; `session` shares loaded models. Raises `LatentflowError` as the
    command does."""
    ...

def evaluate(
    *sources: str | PathLike[str],
    vae: Sequence[str | PathLike[str] | Autoencoder | None] | str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    fit: Literal["contain", "cover", "stretch"] = 'contain',
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
    output_path: str | PathLike[str] = 'evaluate.png',
    optimize: int = 0,
    worst: int = 4,
    by: Literal["psnr", "ssim", "ms_ssim", "lpips"] = 'psnr',
) -> Report:
    """Measure how well autoencoders reconstruct the images of a folder, and show those with the most loss.

    The figure shows what a latent has no room for: small faces, letters, fine texture. With --optimize a second
    row shows how much of that is the encoder's fault, since the same decoder can do better from a better
    latent. A stopped evaluation goes on from its table when the command is repeated.

    `sources` are FOLDER, and the options are those of the command `evaluate`. It writes the same files. The report
    that is returned has its `figures`, the files `written`, and the `error` that broke it off, if any did. `vae` is
    a name, a folder, a file or an `Autoencoder`; `session` shares loaded models. Raises `LatentflowError` as the
    command does."""
    ...

def similar(
    *sources: str | PathLike[str],
    vae: str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    latent_of: str | None = None,
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
    output_path: str | PathLike[str] = 'similar.png',
    count: int = 5,
    distance: Literal["moments", "pooled", "cosine", "l2"] = 'moments',
    index: str | PathLike[str] | None = None,
) -> Report:
    """Find the images of a folder that are nearest to a query by their latents, and show them in order.

    Nearest means the same colors in the same places, seldom the same things. Latents are kept in an index
    beside the folder, so that the next search encodes only what has changed.

    `sources` are IMAGE|LATENT.safetensors|random:SEED FOLDER, and the options are those of the command `similar`.
    It writes the same files. The report that is returned has its `figures`, the files `written`, and the `error`
    that broke it off, if any did. `vae` is a name, a folder, a file or an `Autoencoder`; `session` shares loaded
    models. Raises `LatentflowError` as the command does."""
    ...

def concept(
    *sources: str | PathLike[str],
    vae: str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    latent_of: str | None = None,
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
    output_path: str | PathLike[str] = 'concept.safetensors',
    positive: str | PathLike[str] | None = None,
    negative: str | PathLike[str] | None = None,
    whiten: bool = False,
    direction: str | PathLike[str] | None = None,
    apply: str | PathLike[str] | None = None,
    strengths: Sequence[float] | None = None,
    frames: int = 48,
    sweep: Literal[".gif", ".mp4", ".webm", ".webp", ""] = '.gif',
    fps: float = 20.0,
    loop: int = 0,
    palette: Literal["frame", "global"] = 'frame',
) -> Report:
    """Compute the direction from images without something to images with it, test it on held-out images,
    and move an image along it.

    A direction holds colors, brightness and layout, since latents keep positions, and seldom the concept that
    was meant. The test on held-out images tells whether it separates the two folders at all; near duplicates
    across folds make the result look better than it is.

    The options are those of the command `concept`. It writes the same files. The report that is returned has its
    `figures`, the files `written`, and the `error` that broke it off, if any did. `vae` is a name, a folder, a file
    or an `Autoencoder`; `session` shares loaded models. Raises `LatentflowError` as the command does."""
    ...

def atlas(
    *sources: str | PathLike[str],
    vae: str | PathLike[str] | Autoencoder | None = None,
    session: Session | None = None,
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
    output_path: str | PathLike[str] = 'atlas.png',
    method: Literal["pca", "umap"] = 'pca',
    clusters: int | None = None,
    distance: Literal["moments", "pooled", "cosine", "l2"] = 'moments',
    index: str | PathLike[str] | None = None,
) -> Report:
    """Place the pictures of a folder by their latents, in a figure and in a page to pan, zoom and hover
    over.

    Neighbors share colors, brightness and layout sooner than a subject. Frames show clusters. The page (.html
    beside the figure, one file, no network) shows each picture's name and its nearest neighbors.

    `sources` are FOLDER, and the options are those of the command `atlas`. It writes the same files. The report
    that is returned has its `figures`, the files `written`, and the `error` that broke it off, if any did. `vae` is
    a name, a folder, a file or an `Autoencoder`; `session` shares loaded models. Raises `LatentflowError` as the
    command does."""
    ...
