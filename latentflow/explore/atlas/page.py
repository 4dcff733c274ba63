"""An atlas as one page for a browser, which loads nothing from elsewhere."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from latentflow.explore.atlas.layout import Atlas

JPEG_QUALITY = 85


def make_page(atlas: Atlas, tiles: np.ndarray) -> bytes:
    """The HTML page of an atlas, UTF-8, with its thumbnails `tiles` (n, side, side, 3), uint8.

    File names can hold anything, so they are written as JSON without a "<" and shown as text, never as markup.
    """
    sheet = sprite(tiles)
    encoded = base64.b64encode(_jpeg(sheet)).decode()
    side = tiles.shape[1]
    data = _data(atlas) | {"sheet": [sheet.shape[1] // side, sheet.shape[0] // side]}
    values = {
        "title": html.escape(atlas.title),
        "sprite": f"data:image/jpeg;base64,{encoded}",
        "data": json.dumps(data, separators=(",", ":")).replace("<", r"\u003c"),
    }
    template = files("latentflow.explore.atlas").joinpath("atlas.html").read_text(encoding="utf-8")
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)  # once: values stay as they are
    return page.encode("utf-8", "xmlcharrefreplace")


def sprite(tiles: np.ndarray) -> np.ndarray:
    """Tiles (n, side, side, 3) row by row on one sheet that is about square, (h, w, 3); unused places are black."""
    count, side = tiles.shape[:2]
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, side, side, 3), np.uint8)
    sheet[:count] = tiles
    return sheet.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)


def _jpeg(picture: np.ndarray) -> bytes:
    memory = io.BytesIO()
    # subsampled colors would run into the next tile
    Image.fromarray(picture).save(memory, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return memory.getvalue()


def _data(atlas: Atlas) -> dict[str, Any]:
    near = atlas.neighbors
    return {
        "axes": atlas.axes,
        "note": atlas.note,
        "legend": atlas.legend,
        "columns": atlas.placement.columns,
        "rows": atlas.placement.rows,
        "clusters": [{"label": str(cluster), "color": cluster.color} for cluster in atlas.clusters],
        "pictures": [
            {
                "name": name,
                "cell": cell.tolist(),
                "cluster": int(label),
                "near": [[int(other), round(float(distance), 3)] for other, distance in zip(others, distances)],
            }
            for name, cell, label, others, distances in zip(
                atlas.names, atlas.placement.cells, atlas.labels, near.indices, near.distances
            )
        ],
    }
