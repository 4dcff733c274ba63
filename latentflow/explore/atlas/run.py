"""Atlases: the pictures of a folder, laid out by their latents, as a figure and a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentflow.base.errors import InputError
from latentflow.base.files import check_writable, write_file
from latentflow.base.options import counted
from latentflow.base.session import NOTHING_WRITTEN, Session
from latentflow.explore.atlas.embedding import Embedding, check_umap, embed
from latentflow.explore.atlas.figure import draw_atlas
from latentflow.explore.atlas.layout import Atlas, make_atlas
from latentflow.explore.atlas.page import make_page
from latentflow.explore.atlas.thumbnails import Thumbnail, read_thumbnails, thumbnail_side
from latentflow.explore.config import AtlasConfig
from latentflow.latents.index import FolderLatents, check_folder, check_index, read_latents
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.figure import check_figure_path, save_figure
from latentflow.pictures.reader import Reader
from latentflow.runs.job import Files, Job, Report, Stages, beside, run_job
from latentflow.sinks import Collect, run_sinks
from latentflow.sinks.progress import Progress

MIN_IMAGES = 3  # points that define a plane


def run_atlas(sources: Sequence[str], config: AtlasConfig, session: Session) -> Report:
    """Draw an atlas of a folder, the one source, as a figure and as a page; raises `LatentflowError` as its parts
    do."""
    return run_job(Stages(check=_check, make=_make), sources, config, session)


def _check(sources: Sequence[str], config: AtlasConfig) -> Files:
    folder = Path(sources[0]).expanduser()
    images = check_folder(folder)
    if len(images) < MIN_IMAGES:
        raise InputError(f"The folder {folder} holds {counted(len(images), 'image')}; an atlas needs {MIN_IMAGES}.")
    if config.clusters is not None and config.clusters > len(images):
        raise InputError(f"`clusters` {config.clusters} is more than the {counted(len(images), 'image')} of {folder}.")
    output = Path(config.output_path).expanduser()
    page = beside(output, ".html")
    check_figure_path(output)
    check_writable(page, "`output_path`")
    if config.method == "umap":
        check_umap()
    check_index(config.index)
    return Files(outputs=[output, page], inputs=[folder], shown={"folder": str(folder.resolve())})


def _make(job: Job[AtlasConfig]) -> None:
    config, report, session = job.config, job.report, job.session
    folder, index = Path(job.sources[0]).expanduser(), check_index(config.index)
    asked: dict[str, Any] = {"path": index, "least": MIN_IMAGES, "written": report.written}
    found = read_latents(folder, job.autoencoder, config.size, session, job.reader, **asked)
    embedding = embed(found.latents, config.method, config.clusters, config.distance)
    session.check()
    atlas = make_atlas(found, embedding, _title_name(job.autoencoder), config.distance)
    tiles = _tiles(found, session, job.reader)
    save_figure(draw_atlas(atlas, tiles), job.output)
    write_file(job.outputs[1], make_page(atlas, tiles), "`output_path`")
    report.figures = _figures(found, embedding, atlas, tiles.shape[1])
    report.lines = _lines(atlas, len(found.problems))


def _tiles(found: FolderLatents, session: Session, reader: Reader) -> np.ndarray:
    """All thumbnails, (n, side, side, 3)."""
    thumbnails: Collect[Thumbnail] = Collect()
    records = read_thumbnails(found.paths, thumbnail_side(len(found.names)), reader)
    progress = Progress(session, len(found.names), lambda record: record.path.name, "thumbnail")
    run_sinks(session.watch(records, NOTHING_WRITTEN), [thumbnails, progress])
    return np.stack([thumbnail.picture for thumbnail in thumbnails])


def _title_name(autoencoder: Autoencoder) -> str:
    return "the bundled autoencoder" if autoencoder.name == "bundled" else autoencoder.name


def _figures(found: FolderLatents, embedding: Embedding, atlas: Atlas, side: int) -> dict[str, Any]:
    moved = atlas.placement.displacements
    return {
        "pictures": len(found.names),
        "left_out": len(found.problems),
        "variance_fractions": list(embedding.variance_fractions),
        "clusters": {str(cluster.number): cluster.size for cluster in atlas.clusters},
        "silhouette": embedding.clusters.silhouette,
        "random_silhouette": embedding.clusters.random_silhouette,
        "finding": embedding.clusters.finding,
        "median_distance": embedding.median,
        "cells": [atlas.placement.columns, atlas.placement.rows],
        "displacement": {"unit": "sides of a thumbnail", "mean": float(moved.mean()), "largest": float(moved.max())},
        "thumbnail": side,
    }


def _lines(atlas: Atlas, left_out: int) -> list[str]:
    moved = atlas.placement.displacements
    out = f", {left_out} left out" if left_out else ""
    return [
        f"pictures {len(atlas.names)}{out}, moved apart by {moved.mean():.2f} of their side, at most {moved.max():.2f}",
        f"axes     {atlas.axes[0]}; {atlas.axes[1]}",
        *(f"cluster  {str(cluster).removeprefix('cluster ')}" for cluster in atlas.clusters),
        f"finding  {atlas.legend.removeprefix('Frames: ')}",
    ]
