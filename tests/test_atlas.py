"""Atlases: placement and clusters with known answers, the command, and its page in a real browser."""

import base64
import json
import re
import shutil
import sys
from functools import partial
from html.parser import HTMLParser
from itertools import permutations, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from latentflow.base.errors import InputError
from latentflow.cli import run
from latentflow.explore.atlas.embedding import (
    Clusters,
    Embedding,
    Neighbors,
    embed,
    find_clusters,
    umap_points,
)
from latentflow.explore.atlas.figure import draw_atlas, mosaic
from latentflow.explore.atlas.layout import CLUSTER_COLORS, make_atlas
from latentflow.explore.atlas.page import make_page, sprite
from latentflow.explore.atlas.placement import MAX_ASSIGNED, place
from latentflow.explore.atlas.thumbnails import read_thumbnails, thumbnail_side
from latentflow.explore.distances import moments
from latentflow.latents.index import FolderLatents, encode_folder

QUICK = ("--weights", "bundled", "--size", 64, "--dtype", "float32", "--quiet")
HOSTILE = "a<b/script><script>document.title = 'broken'<!--\"'&{{data}}<b/script>.png"


def crowd(count, seed=0):
    """Points of which most are near the middle."""
    return np.random.default_rng(seed).standard_normal((count, 2)) * [2.0, 1.0]


def islands(each=12, apart=40.0):
    """Three groups of points in eight dimensions, the first of which has one more."""
    rng = np.random.default_rng(1)
    centers = np.eye(3, 8) * apart
    return np.concatenate(
        [center + rng.standard_normal((each + (index == 0), 8)) for index, center in enumerate(centers)]
    )


@pytest.mark.parametrize("count", [1, 3, 10, 120, MAX_ASSIGNED, MAX_ASSIGNED + 1, 3000])
def test_no_thumbnail_is_over_another_and_all_are_on_the_picture(count):
    placement = place(crowd(count))
    assert len({tuple(cell) for cell in placement.cells.tolist()}) == count
    assert (placement.cells >= 0).all() and (placement.cells < [placement.columns, placement.rows]).all()
    assert count / (placement.columns * placement.rows) > 0.15


def test_what_has_room_hardly_moves_and_a_crowd_no_further_than_it_must():
    y, x = np.mgrid[0:6, 0:9]
    spread = place(np.stack([x.ravel(), y.ravel()], 1) * 3.7)
    assert spread.displacements.max() <= 0.5**0.5 + 1e-9  # half a cell's diagonal: only rounding
    assert place(crowd(120)).displacements.mean() < 1
    crowded = place(crowd(MAX_ASSIGNED + 1))  # one by one
    assert crowded.displacements.mean() < 0.1 * crowded.columns
    kept = np.corrcoef(crowded.cells.T.ravel(), crowded.wanted.T.ravel())[0, 1]
    assert kept > 0.95


def test_assignment_is_the_best_of_all():
    placement = place(np.array([[0.0, 0.0], [0.1, 0.05], [0.2, 0.0], [1.0, 1.0]]))
    cells = list(product(range(-1, placement.columns + 1), range(-1, placement.rows + 1)))
    least = min(np.square(np.array(chosen) - placement.wanted).sum() for chosen in permutations(cells, 4))
    assert np.square(placement.displacements).sum() == pytest.approx(least)


def test_a_crowd_at_the_edge_spreads_over_it():
    placement = place(np.concatenate([np.zeros((60, 2)), [[0.0, 10.0], [10.0, 0.0], [10.0, 10.0]]]))
    moved = placement.cells[:60] - placement.wanted[:60]
    assert (moved.min(0) <= -2).all() and (moved.max(0) >= 2).all()  # left and right, up and down


def test_up_is_up_and_the_extent_is_in_the_units_of_the_points():
    placement = place(np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 5.0]]))
    left, right, bottom, top = placement.extent
    side = (right - left) / placement.columns
    assert side == pytest.approx((top - bottom) / placement.rows)  # one scale
    centers = np.array([left, top]) + (placement.wanted + 0.5) * [side, -side]
    assert centers == pytest.approx(np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 5.0]]))


def test_points_that_are_one_get_a_place_each():
    placement = place(np.zeros((7, 2)))
    assert len(np.unique(placement.cells, axis=0)) == 7
    assert placement.displacements.max() < 2


def test_clusters_are_found_counted_and_numbered_by_size():
    values = islands()
    found = find_clusters(values)
    assert found.sizes == [13, 12, 12] and found.silhouette > 0.8
    assert (found.labels == np.repeat([0, 1, 2], [13, 12, 12])).all()
    assert find_clusters(values, 1).sizes == [37] and find_clusters(values, 1).silhouette is None
    assert len(find_clusters(values, 7).sizes) == 7


def test_pictures_that_are_all_one_are_one_cluster():
    assert find_clusters(np.zeros((5, 4))).sizes == [5]
    with pytest.raises(InputError, match="more than the 1 pictures that differ"):
        find_clusters(np.zeros((5, 4)), 2)


@pytest.mark.parametrize("count", [40, 400])
def test_values_without_clusters_are_not_given_any(count):
    values = np.random.default_rng(3).standard_normal((count, 6)) * [5, 3, 2, 1, 1, 1]
    found = find_clusters(values)
    assert found.sizes == [count] and not found.labels.any() and not found.are_real
    assert found.finding.startswith(f"No clusters worth the name (silhouette {found.silhouette:.2f}; random values")
    asked = find_clusters(values, 3)  # gets them, and what they are worth
    assert len(asked.sizes) == 3 and asked.finding.startswith("No clusters worth the name")


def test_clusters_say_how_much_better_than_random_values_they_are():
    found = find_clusters(islands())
    assert found.are_real and found.silhouette > 0.8 > 0.6 > found.random_silhouette > 0
    assert found.finding == (
        f"3 clusters (silhouette {found.silhouette:.2f}; random values of this shape reach "
        f"{found.random_silhouette:.2f})."
    )


def test_one_picture_is_no_cluster():
    far = np.concatenate([np.random.default_rng(0).standard_normal((30, 4)), [[60.0, 0, 0, 0]]])
    assert 1 not in find_clusters(far).sizes
    assert sorted(find_clusters(far, 2).sizes) == [1, 30]  # unless it is asked for


def test_neighbors_clusters_and_the_median_are_those_of_the_distance():
    pictures = torch.randn(12, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    mirrored = torch.cat([pictures, pictures.flip(-1)])
    by_moments, by_l2 = (embed(mirrored, distance=each) for each in ("moments", "l2"))
    partners = [*range(12, 24), *range(12)]
    assert by_moments.neighbors.indices[:, 0].tolist() == partners
    assert by_moments.neighbors.distances[:, 0] == pytest.approx(np.zeros(24), abs=1e-6)
    assert by_l2.neighbors.indices[:, 0].tolist() != partners
    assert by_l2.median == pytest.approx(2**0.5, rel=0.05) and by_moments.median == pytest.approx(1, rel=0.1)
    assert by_l2.points == pytest.approx(by_moments.points)  # the plane is that of the latents


def test_an_embedding_has_the_plane_that_the_latents_lie_in():
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(20, 2, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 1.0])
    basis, _ = torch.linalg.qr(torch.randn(4 * 2 * 2, 2, generator=generator, dtype=torch.float64))
    embedding = embed((places @ basis.T).reshape(20, 4, 2, 2), "pca", None)
    assert sum(embedding.variance_fractions) == pytest.approx(1)
    assert "% of variance" in embedding.axes[0]
    between = torch.cdist(places, places).numpy() / 4  # RMS of 16 values
    assert np.linalg.norm(embedding.points[:, None] - embedding.points, axis=-1) == pytest.approx(between, abs=1e-6)


def test_umap_keeps_groups_together_and_repeats_itself():
    pytest.importorskip("umap", reason="needs umap-learn")
    points = umap_points(islands().astype(np.float32))
    groups = np.split(points, [13, 25])
    widest = max(np.ptp(group, axis=0).max() for group in groups)
    middles = np.array([group.mean(0) for group in groups])
    assert min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > widest
    assert (umap_points(islands().astype(np.float32)) == points).all()


def test_umap_gives_equal_pictures_one_point_and_refuses_too_few(monkeypatch):
    def fit_transform(self, values):
        assert len(np.unique(values, axis=0)) == len(values), "UMAP divides by zero where all values are equal"
        return values[:, :2]

    fake = SimpleNamespace(UMAP=lambda **options: SimpleNamespace(fit_transform=partial(fit_transform, None)))
    monkeypatch.setitem(sys.modules, "umap", fake)
    values = islands().astype(np.float32)[[5, 3, 5, 9, 20, 3, 5]]
    assert umap_points(values) == pytest.approx(values[:, :2])
    with pytest.raises(InputError, match="`method` umap places 4 pictures that differ or more, not 1"):
        umap_points(values[[0, 2, 6]])


@pytest.mark.slow
def test_equal_pictures_are_drawn(invoke, tmp_path):
    (tmp_path / "equal").mkdir()
    for index in range(3):
        Image.new("RGB", (32, 32), "teal").save(tmp_path / "equal" / f"{index}.png")
    code, _, err = invoke("atlas", "equal", "--output_path", "atlas.png", "--weights", "bundled", "--size", 32)
    assert code == 0 and "Warning" not in err, err
    with Image.open(tmp_path / "atlas.png") as figure:
        teal = (np.abs(np.asarray(figure.convert("RGB")).astype(int) - [0, 128, 128]).max(-1) <= 2).sum()
    assert teal > 3 * 16 * 16


def test_a_sheet_holds_its_tiles_row_by_row():
    tiles = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8) + 1
    sheet = sprite(tiles)
    assert sheet.shape == (32, 48, 3)
    assert sheet[::16, ::16, 0].tolist() == [[1, 2, 3], [4, 5, 0]]


class Page(HTMLParser):
    """The tags of a page, and its JSON."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.data, self._inside = [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = ("id", "data") in attrs

    def handle_data(self, text):
        self.data += text if self._inside else ""


@pytest.fixture(scope="module")
def hostile(images, tmp_path_factory):
    """A folder with a bad name, in which one picture has a worse one."""
    folder = tmp_path_factory.mktemp("atlas") / "<img src=x onerror=alert(1)> $a$"
    shutil.copytree(images, folder)
    path = folder / HOSTILE
    path.parent.mkdir(parents=True)
    Image.new("RGB", (64, 64), (250, 40, 10)).save(path)
    return folder


@pytest.fixture(scope="module")
def drawn(hostile):
    """The page of an atlas of that folder, its figure beside it."""
    figure = hostile.parent / "atlas.png"
    assert run(["atlas", str(hostile), "--output_path", str(figure), "--clusters", "2", *map(str, QUICK)]) == 0
    return figure.with_suffix(".html")


def test_the_command_writes_a_figure_a_page_and_a_manifest_the_same_again(invoke, drawn, hostile):
    figure = drawn.with_suffix(".png")
    page = Page(text := drawn.read_text(encoding="utf-8"))
    data = json.loads(page.data)
    assert len(data["pictures"]) == 11 and all(len(picture["near"]) == 5 for picture in data["pictures"])
    assert [tag for tag, _ in page.tags].count("script") == 3 and ("html", {"lang": "en"}) in page.tags
    assert not re.findall(r"url\((?!data:)|@import|https?://", text)
    assert not [attrs for _, attrs in page.tags if {"src", "href", "action"} & set(attrs)]
    with Image.open(figure) as picture:
        assert picture.width > 2200
    assert figure.stat().st_size < 12e6
    result = json.loads(figure.with_name("atlas.png.manifest.json").read_text())["result"]
    assert sum(result["clusters"].values()) == result["pictures"] == 11 and len(result["variance_fractions"]) == 2
    assert list(
        hostile.parent.glob("*.latents.safetensors")
    )  # stored for the next time, from which it is now made again
    code, out, err = invoke("atlas", hostile, "--clusters", 2, *QUICK)
    assert (code, err) == (0, "") and "moved apart by" in out and "1st principal component" in out
    assert Path("atlas.png").read_bytes() == figure.read_bytes()
    assert Path("atlas.html").read_bytes() == drawn.read_bytes()


def test_the_sheet_of_the_page_shows_each_picture_where_its_data_says(drawn):
    text = drawn.read_text(encoding="utf-8")
    data = json.loads(Page(text).data)
    encoded = re.search(r">data:image/jpeg;base64,([\w+/=]+)<", text)[1]
    (drawn.parent / "sheet.jpg").write_bytes(base64.b64decode(encoded))
    sheet = np.asarray(Image.open(drawn.parent / "sheet.jpg"))
    side = sheet.shape[1] // data["sheet"][0]
    index = [picture["name"] for picture in data["pictures"]].index(HOSTILE)
    row, column = divmod(index, data["sheet"][0])
    found = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]
    assert np.abs(found.astype(int) - [250, 40, 10]).max() < 12


GROUPS = {"red": ((230, 30, 30), 5), "green": ((30, 200, 40), 4), "blue": ((30, 40, 220), 3)}


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    """The one color of each picture of a folder, by its name: five reds, four greens, three blues."""
    folder = tmp_path_factory.mktemp("colored") / "colors"
    folder.mkdir()
    found = {}
    for name, (color, count) in GROUPS.items():
        for number in range(count):
            found[f"{name}{number}.png"] = tuple(value + 6 * number * (value < 100) for value in color)
    for name, color in found.items():
        Image.new("RGB", (64, 64), color).save(folder / name)
    return folder, found


@pytest.fixture(scope="module")
def atlas_of_colors(colors):
    """What the command makes of these pictures: the data of the page, the figure, the report."""
    from matplotlib.figure import Figure

    figures, save = [], Figure.savefig
    output = colors[0].with_name("atlas.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Figure, "savefig", lambda figure, *args, **rest: figures.append(figure) or save(figure, *args, **rest)
        )
        assert run(["atlas", str(colors[0]), "--output_path", str(output), "--clusters", "3", *map(str, QUICK)]) == 0
    data = json.loads(Page(output.with_suffix(".html").read_text(encoding="utf-8")).data)
    report = json.loads(output.with_name("atlas.png.manifest.json").read_text())["result"]
    return data, figures[0], report


def group(name):
    return re.match("[a-z]+", name)[0]


def test_the_figure_shows_each_picture_in_its_cell_in_the_color_of_its_cluster(colors, atlas_of_colors):
    data, figure, _ = atlas_of_colors
    drawn = np.array(figure.axes[0].images[0].get_array())
    cell = drawn.shape[1] // data["columns"]
    assert drawn.shape == (data["rows"] * cell, data["columns"] * cell, 3)
    used = np.zeros((data["rows"], data["columns"]), bool)
    assert sorted(picture["name"] for picture in data["pictures"]) == sorted(colors[1])
    for picture in data["pictures"]:
        column, row = picture["cell"]
        used[row, column] = True
        shown = drawn[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
        assert shown[cell // 2, cell // 2].tolist() == list(colors[1][picture["name"]])
        frame = CLUSTER_COLORS[list(GROUPS).index(group(picture["name"]))]
        edge = cell // 40 + 1
        for pixel in ((edge, cell // 2), (cell // 2, edge), (-edge - 1, cell // 2), (cell // 2, -edge - 1)):
            assert "#{:02x}{:02x}{:02x}".format(*shown[pixel]) == frame
    empty = drawn.reshape(data["rows"], cell, data["columns"], cell, 3).swapaxes(1, 2)[~used]
    assert (empty == 255).all()


def test_the_legend_counts_each_cluster_and_has_its_color(atlas_of_colors):
    data, figure, report = atlas_of_colors
    (legend,) = figure.legends
    expected = ["cluster 1: 5 pictures", "cluster 2: 4 pictures", "cluster 3: 3 pictures"]
    assert [text.get_text() for text in legend.get_texts()] == expected
    from matplotlib.colors import to_hex

    assert [to_hex(patch.get_facecolor()) for patch in legend.get_patches()] == list(CLUSTER_COLORS[:3])
    assert data["clusters"] == [
        {"label": label, "color": color} for label, color in zip(expected, CLUSTER_COLORS, strict=False)
    ]
    assert {picture["name"]: picture["cluster"] for picture in data["pictures"]} == {
        f"{name}{number}.png": index
        for index, (name, (_, count)) in enumerate(GROUPS.items())
        for number in range(count)
    }
    assert report["clusters"] == {"1": 5, "2": 4, "3": 3} and report["pictures"] == 12


def test_the_page_names_the_nearest_pictures_at_their_distances(colors, atlas_of_colors, autoencoder):
    data, _, _ = atlas_of_colors
    names = [picture["name"] for picture in data["pictures"]]
    found = encode_folder(colors[0], vae=autoencoder, size=64)
    assert names == found.names
    flat = moments(found.latents)
    flat = torch.nn.functional.normalize(flat - flat.mean(0))
    between = 1 - flat @ flat.T
    for index, picture in enumerate(data["pictures"]):
        others = [other for other, _ in picture["near"]]
        distances = [distance for _, distance in picture["near"]]
        assert distances == pytest.approx(between[index, others].tolist(), abs=6e-4)
        least = between[index].sort().values[1:6]
        assert distances == pytest.approx(least.tolist(), abs=6e-4) and index not in others
        same = GROUPS[group(picture["name"])][1] - 1
        assert {group(names[other]) for other in others[:same]} == {group(picture["name"])}


def test_the_axes_are_those_of_the_points(colors, atlas_of_colors, autoencoder):
    data, figure, _ = atlas_of_colors
    axes = figure.axes[0]
    embedding = embed(encode_folder(colors[0], vae=autoencoder, size=64).latents)
    assert (axes.get_xlabel(), axes.get_ylabel()) == embedding.axes
    assert data["axes"] == list(embedding.axes) and axes.get_xlabel().startswith("1st principal component")
    left, right, bottom, top = axes.images[0].get_extent()
    cells = np.array([picture["cell"] for picture in data["pictures"]]) + 0.5
    shown = np.stack(
        [left + cells[:, 0] / data["columns"] * (right - left), top + cells[:, 1] / data["rows"] * (bottom - top)], 1
    )
    assert np.corrcoef(shown.T.ravel(), embedding.points.T.ravel())[0, 1] > 0.9
    assert np.abs(shown - embedding.points).max() < 2.5 * (right - left) / data["columns"]


def layout(names=("a.png", "b.png", "c.png")):
    """An atlas of three pictures, made without a file: the last is a cluster of its own."""
    found = FolderLatents(Path("album"), 8, list(names), torch.zeros(3, 1, 1, 1), None, 3, {}, None)
    embedding = Embedding(
        points=np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0]]),
        axes=("to the right", "up"),
        variance_fractions=(),
        clusters=Clusters(labels=np.array([0, 0, 1]), sizes=[2, 1], silhouette=0.5, random_silhouette=0.25),
        neighbors=Neighbors(indices=np.array([[1], [0], [1]]), distances=np.array([[4.0], [4.0], [2.0]])),
        median=3.0,
    )
    return make_atlas(found, embedding, "a toy")


def test_an_atlas_is_drawn_without_a_file():
    atlas = layout()
    tiles = np.stack([np.full((16, 16, 3), value, np.uint8) for value in (10, 20, 30)])
    figure = draw_atlas(atlas, tiles)
    assert figure.texts[0].get_text() == "album: 3 pictures in the latent space of a toy"
    assert (
        figure.texts[1]
        .get_text()
        .endswith("Distances: 1 − cosine of moments in 4 × 4 parts; of two pictures 3.00 in the median.")
    )
    (legend,) = figure.legends
    assert legend.get_title().get_text().replace("\n", " ") == (
        "Frames: 2 clusters (silhouette 0.50; random values of this shape reach 0.25)."
    )
    assert [text.get_text() for text in legend.get_texts()] == ["cluster 1: 2 pictures", "cluster 2: 1 picture"]
    assert list(figure.axes[0].get_xticks()) == []  # axes without units
    page = make_page(atlas, tiles).decode()
    pictures = json.loads(Page(page).data)["pictures"]
    assert [(each["name"], each["cluster"], each["near"]) for each in pictures] == [
        ("a.png", 0, [[1, 4.0]]),
        ("b.png", 0, [[0, 4.0]]),
        ("c.png", 1, [[1, 2.0]]),
    ]
    assert [each["cell"] for each in pictures] == atlas.placement.cells.tolist()


def test_a_mosaic_has_thumbnails_and_frames_to_the_pixel():
    placement = place(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 3.0]]))
    tiles = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (10, 20, 30)])
    picture = mosaic(tiles, placement, ["#010203", "#040506", "#070809"], 44)
    for (column, row), value, frame in zip(placement.cells, (10, 20, 30), ((1, 2, 3), (4, 5, 6), (7, 8, 9))):
        cell = picture[row * 44 : (row + 1) * 44, column * 44 : (column + 1) * 44]
        assert (cell[0] == 255).all() and (cell[-1] == 255).all()  # a gap of one pixel
        assert cell[1, 1].tolist() == cell[2, -3].tolist() == cell[-2, -2].tolist() == list(frame)
        assert (cell[3:-3, 3:-3] == value).all()
    (left, bottom), (_, _), (right, top) = placement.cells
    assert left < right and top < bottom


def test_thumbnails_are_the_center_squares_in_order(tmp_path):
    pixels = np.zeros((64, 192, 3), np.uint8)
    pixels[:, 64:128] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.new("RGB", (50, 50), (1, 2, 3)).save(tmp_path / "flat.png")
    records = list(read_thumbnails([tmp_path / "wide.png", tmp_path / "flat.png"], 16))
    assert [(record.index, record.total, record.path.name) for record in records] == [
        (1, 2, "wide.png"),
        (2, 2, "flat.png"),
    ]
    assert records[0].picture.min() > 150 and (records[1].picture == [1, 2, 3]).all()
    with pytest.raises(InputError, match="does not exist"):
        list(read_thumbnails([tmp_path / "gone.png"], 16))
    assert [thumbnail_side(count) for count in (3, 1000, 5000, 1_000_000)] == [256, 152, 64, 48]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["missing"], "does not exist"),
        (["empty"], "holds no images"),
        (["two"], "an atlas needs 3"),
        (["many", "--clusters", "9"], "more than the 4 images"),
        (["many", "--clusters", "11"], "at most 10"),
        (["many", "--method", "pac"], "Did you mean pca?"),
        (["many", "--output_path", "many/atlas.png"], "Name a path outside of it."),
        (["many", "--output_path", "atlas.gif"], ".png or .svg"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_line(invoke, tmp_path, line, words):
    for name, count in (("empty", 0), ("two", 2), ("many", 4)):
        (tmp_path / name).mkdir()
        for index in range(count):
            Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / name / f"{index}.png")
    code, out, err = invoke("atlas", *line, "--vae", "nothing-of-this-name-is-loaded")
    assert (code, out, err.count("\n")) == (2, "", 1) and words in err, err


def test_without_umap_it_says_what_to_install(invoke, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    code, _, err = invoke("atlas", images, "--method", "umap", *QUICK)
    assert (code, err.count("\n")) == (3, 1) and 'pip install "latentflow[umap]"' in err


class Shown:
    """A page in a browser: what is where on its map, and what its card says."""

    def __init__(self, browser, path):
        from selenium.webdriver.support.wait import WebDriverWait

        self.browser = browser
        self.data = json.loads(Page(path.read_text(encoding="utf-8")).data)
        self.names = [picture["name"] for picture in self.data["pictures"]]
        browser.get(path.as_uri())
        WebDriverWait(browser, 60).until(lambda _: self.find("body[data-ready]"))
        self.settle()

    def find(self, selector):
        return self.browser.find_elements("css selector", selector)

    def run(self, script, *values):
        return self.browser.execute_script(script, *values)

    def settle(self):
        self.browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def wait(self, condition):
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.browser, 10).until(lambda _: self.run(f"return {condition}"))
        self.settle()

    def boxes(self):
        """Left, top and side of each thumbnail in the window."""
        return self.run(
            "const around = stage.getBoundingClientRect(), boxes = atlas.pictures.map((_, index) => box(index));"
            "return boxes.map(([x, y, side]) => [x + around.x, y + around.y, side])"
        )

    def colors(self):
        """Red, green, blue and opacity in the middle of each thumbnail."""
        return self.run(
            "return atlas.pictures.map((_, index) => { const [x, y, side] = box(index);"
            "return [...find('paint').getContext('2d').getImageData("
            "(x + side / 2) * devicePixelRatio, (y + side / 2) * devicePixelRatio, 1, 1).data]; })"
        )

    def actions(self):
        from selenium.webdriver import ActionChains

        return ActionChains(self.browser)

    def to(self, index):
        """Actions that begin with the pointer at a thumbnail."""
        x, y, side = self.boxes()[index]
        actions = self.actions()
        actions.w3c_actions.pointer_action.move_to_location(round(x + side / 2), round(y + side / 2))
        return actions

    def name(self):
        (card,) = self.find("#card")
        return self.find("#name")[0].text if card.is_displayed() else None

    def view(self):
        return self.run("return [view.x, view.y, view.scale]")

    def complaints(self):
        log = self.browser.get_log("browser")
        return [entry for entry in log if "getImageData" not in entry["message"]]  # which is this test's own


@pytest.mark.browser
def test_the_page_shows_pictures_and_moves(drawn, browser):
    from selenium.webdriver import Keys
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    page = Shown(browser, drawn)
    names, boxes = page.names, page.boxes()
    for index, one in enumerate(boxes):
        assert one[2] > 20
        for other in boxes[:index]:
            assert max(abs(one[0] - other[0]), abs(one[1] - other[1])) >= one[2]
    painted = page.colors()
    assert all(color[3] == 255 for color in painted)
    index = names.index(HOSTILE)
    assert painted[index][:3] == pytest.approx([250, 40, 10], abs=12)

    # hovering shows the file and its neighbors, as text whatever they are called; leaving hides the card
    page.to(index).perform()
    assert page.name() == HOSTILE
    shown = [item.text.split("\n") for item in page.find("#near li")]
    assert shown == [[names[other], f"{distance:.3f}"] for other, distance in page.data["pictures"][index]["near"]]
    assert browser.title.startswith("<img src=x onerror=alert(1)> $a$: 11 pictures")
    assert not page.find("img") and len(page.find("script")) == 3
    page.actions().move_to_element(page.find("h1")[0]).perform()
    assert page.name() is None

    # the wheel zooms about the pointer, dragging pans and pins nothing, a double click shows all
    first = page.view()
    x, y, side = page.boxes()[index]
    origin = ScrollOrigin.from_viewport(round(x + side / 2), round(y + side / 2))
    page.actions().scroll_from_origin(origin, 0, -400).perform()
    closer = page.view()
    assert closer[2] > 1.3 * first[2]
    now = page.boxes()[index]
    assert [now[0] + now[2] / 2, now[1] + now[2] / 2] == pytest.approx([x + side / 2, y + side / 2], abs=2)
    (stage,) = page.find("#stage")
    page.actions().move_to_element(stage).click_and_hold().move_by_offset(-60, 45).release().perform()
    panned = page.view()
    assert [panned[0] - closer[0], panned[1] - closer[1], panned[2]] == pytest.approx([-60, 45, closer[2]], abs=1)
    assert page.run("return pinned") is None
    page.actions().move_to_element_with_offset(stage, 0, -200).double_click().perform()
    assert page.view() == pytest.approx(first)

    # one cluster alone
    choice = page.find("#clusters button")[0]
    choice.click()
    outside = sum(picture["cluster"] != 0 for picture in page.data["pictures"])
    assert outside > 0 and choice.get_attribute("aria-pressed") == "true"
    page.settle()
    assert sum(color[3] < 100 for color in page.colors()) == outside
    choice.click()

    # thumbnails of another size
    before = page.boxes()[0][2]
    page.run("find('size').value = 2; find('size').dispatchEvent(new Event('input'))")
    page.settle()
    assert page.boxes()[0][2] > 1.9 * before
    page.find("#size")[0].send_keys(Keys.HOME)
    page.settle()
    assert page.boxes()[0][2] < 0.45 * before
    assert all(color[3] == 255 for color in page.colors())

    # two fingers pinch
    zoomed = page.run(
        "const finger = (kind, pointerId, x, y) => stage.dispatchEvent(new PointerEvent(kind, {pointerId, button: 0,"
        "  clientX: x, clientY: y, pointerType: 'touch', bubbles: true}));"
        "stage.setPointerCapture = () => {}; const before = view.scale;"
        "finger('pointerdown', 7, 500, 500); finger('pointerdown', 8, 600, 500);"
        "finger('pointermove', 8, 700, 500); finger('pointerup', 7, 500, 500); finger('pointerup', 8, 700, 500);"
        "return view.scale / before;"
    )
    assert zoomed == pytest.approx(2, rel=0.01)
    papers = set()
    for theme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": theme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        papers.add(page.find("body")[0].value_of_css_property("background-color"))
    assert len(papers) == 2
    assert page.complaints() == []  # no error, and nothing that the page's own policy had to stop


@pytest.mark.browser
def test_a_picture_of_the_page_is_pinned_traveled_from_and_found(drawn, browser):
    from selenium.webdriver import Keys

    page = Shown(browser, drawn)
    names, pictures = page.names, page.data["pictures"]

    # a click pins: the card stays when the pointer goes elsewhere
    page.to(3).click().perform()
    page.to(5).perform()
    assert page.name() == names[3] and page.run("return pinned") == 3
    (option,) = page.find("#map [role=option]")
    assert (
        option.get_attribute("textContent") == f"{names[3]}, {page.data['clusters'][pictures[3]['cluster']]['label']}"
    )
    assert page.find("#map")[0].get_attribute("aria-activedescendant") == option.get_attribute("id")

    # a click on a neighbor travels there
    other = pictures[3]["near"][1][0]
    page.find("#near button")[1].click()
    page.wait(f"pinned === {other}")
    page.wait("Math.hypot(box(pinned)[0] + box(pinned)[2] / 2 - stage.clientWidth / 2, 0) < 400")
    assert page.name() == names[other]
    page.find("#close")[0].click()
    page.actions().move_to_element(page.find("h1")[0]).perform()
    assert page.name() is None

    # a search dims what it doesn't find, and travels to what it does; accents and case are nothing to it
    page.actions().send_keys("/").perform()
    (query,) = page.find("#query")
    assert page.run("return document.activeElement === query")
    query.send_keys(names[4][:-4].upper())
    page.settle()
    count = sum(names[4][:-4].lower() in name.lower() for name in names)
    assert page.find("#count")[0].text == ("1 picture" if count == 1 else f"{count} pictures")
    assert len(page.find("#results button")) == count
    assert sum(color[3] < 100 for color in page.colors()) == len(names) - count
    query.send_keys(Keys.ENTER)
    page.settle()
    assert names[4][:-4] in page.name() and not page.find("#results button")
    query.send_keys(Keys.ESCAPE)
    page.actions().send_keys("0").perform()
    page.settle()
    assert query.get_attribute("value") == "" and all(color[3] == 255 for color in page.colors())
    query.send_keys("nothing is called this")
    assert page.find("#count")[0].text == "0 pictures"
    query.send_keys(Keys.ESCAPE)

    # keys: from picture to picture, to a neighbor by its number, closer, all, and away
    page.actions().send_keys(Keys.ESCAPE, "0").perform()
    first = page.view()
    page.actions().send_keys(Keys.ARROW_RIGHT).perform()
    assert page.name() == names[0] and page.run("return document.activeElement === map")
    right = pictures[0]["cell"][0] < max(picture["cell"][0] for picture in pictures)
    page.actions().send_keys(Keys.ARROW_RIGHT if right else Keys.ARROW_LEFT).send_keys("+").perform()
    assert page.name() != names[0] and page.view()[2] == pytest.approx(1.4 * first[2])
    here = page.run("return pinned")
    page.actions().send_keys("2").perform()
    assert page.run("return pinned") == pictures[here]["near"][1][0]
    page.actions().send_keys("0", Keys.ESCAPE).perform()
    assert page.view() == pytest.approx(first) and page.name() is None
    labels = [
        element.accessible_name for element in page.find("button, input, [role=listbox]") if element.is_displayed()
    ]
    assert all(labels) and page.complaints() == []


@pytest.mark.browser
def test_the_card_leaves_the_map_of_a_phone_to_see(drawn, browser):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    page = Shown(browser, drawn)
    assert page.run("return document.documentElement.scrollWidth") <= 390
    for index in range(len(page.names)):
        page.run("travel(arguments[0])", index)
        page.wait("Math.abs(box(pinned)[1] + box(pinned)[2] / 2 - roof() / 2) < 2 || view.y <= stage.clientHeight / 2")
        stage, card = (page.find(selector)[0].rect for selector in ("#stage", "#card"))
        assert card["height"] <= 0.4 * stage["height"] and card["width"] >= 0.9 * stage["width"]
    page.run("travel(0)")
    page.browser.execute_async_script("setTimeout(arguments[0], 600)")
    x, y, side = page.boxes()[0]
    assert y + side <= page.find("#card")[0].rect["y"] + 1 and x >= 0 and x + side <= 390
    assert all(button.rect["height"] >= 40 for button in page.find("#near button"))


def phone(browser, height=844):
    size = {"width": 390, "height": height, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 5})


@pytest.mark.browser
def test_the_map_follows_fingers(drawn, browser):
    phone(browser)
    page = Shown(browser, drawn)
    x, y, width, height = page.run(
        "const box = stage.getBoundingClientRect(); return [box.x, box.y, box.width, box.height]"
    )

    def touch(kind, *fingers):
        points = [{"id": number, "x": x + at[0], "y": y + at[1]} for number, at in enumerate(fingers)]
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    page.run("zoom(3)")
    left, top, scale = page.view()
    touch("touchStart", (100, 300))
    for moved in range(20, 161, 20):
        touch("touchMove", (100 + moved, 300 - moved / 2))
    touch("touchEnd")
    now = page.view()
    assert now == pytest.approx([left + 160, top - 80, scale], abs=2)
    assert page.run("return pinned") is None and page.run("return fingers.size") == 0

    # what is between two fingers stays there, and grows as they part
    page.run("showAll()")
    left, top, scale = page.view()
    middle = width / 2, height / 2
    touch("touchStart", (middle[0] - 20, middle[1]), (middle[0] + 20, middle[1]))
    for apart in range(40, 121, 10):
        touch("touchMove", (middle[0] - apart / 2, middle[1]), (middle[0] + apart / 2, middle[1]))
    touch("touchEnd")
    now = page.view()
    assert now[2] / scale == pytest.approx(3, rel=0.03)
    under = [(middle[axis] - [left, top][axis]) / scale for axis in (0, 1)]
    assert [now[axis] + under[axis] * now[2] for axis in (0, 1)] == pytest.approx(list(middle), abs=3)
    assert page.run("return [pinned, fingers.size]") == [None, 0]

    # a tap pins, and a keyboard that covers half of the page leaves the middle where it was
    index = 2
    page.run("travel(arguments[0])", index)
    page.wait("flight > 0")
    browser.execute_async_script("setTimeout(arguments[0], 500)")
    before = page.run("const [x, y, side] = box(2); return [x + side / 2 - stage.clientWidth / 2, view.scale]")
    phone(browser, 500)
    page.settle()
    after = page.run("const [x, y, side] = box(2); return [x + side / 2 - stage.clientWidth / 2, view.scale]")
    assert after == pytest.approx(before, abs=1)


@pytest.mark.browser
def test_a_search_goes_to_what_it_finds(drawn, browser):
    page = Shown(browser, drawn)
    first = page.view()
    wanted = page.names[4][:-4]
    hits = [index for index, name in enumerate(page.names) if wanted.lower() in name.lower()]
    page.run("view.x = -1e4; zoom(3)")  # elsewhere
    page.find("#query")[0].send_keys(wanted)
    browser.execute_async_script("setTimeout(arguments[0], 600)")
    page.settle()
    around = page.run("const box = stage.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]")
    for left, top, side in (page.boxes()[index] for index in hits):
        assert left >= around[0] and left + side <= around[2] and top >= around[1] and top + side <= around[3]
    assert page.view()[2] > first[2] and page.run("return pinned") is None
    assert page.complaints() == []


@pytest.mark.browser
@pytest.mark.slow
def test_a_page_of_three_thousand_pictures_moves_without_long_frames(browser, tmp_path, record_property):
    count = 3000
    latents = torch.randn(count, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    names = [f"{number:05d}.jpg" for number in range(count)]
    shared = {"kl": None, "encoded": 0, "problems": {}, "index": None}
    found = FolderLatents(folder=tmp_path, size=32, names=names, latents=latents, **shared)
    atlas = make_atlas(found, embed(latents, "pca", 2), "bundled")
    tiles = np.random.default_rng(0).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    side = thumbnail_side(count)
    tiles = np.stack([np.asarray(Image.fromarray(tile).resize((side, side))) for tile in tiles])
    content = make_page(atlas, tiles)
    (tmp_path / "page.html").write_bytes(content)
    assert len(content) < 16e6
    browser.set_script_timeout(60)
    page = Shown(browser, tmp_path / "page.html")
    first = page.run("return performance.getEntriesByName('first-contentful-paint')[0].startTime")
    frames = {
        act: browser.execute_async_script(
            "const done = arguments[arguments.length - 1], act = arguments[0], times = [];"
            "const acts = { idle: () => {}, pan: () => { view.x += 3; view.y += 2; move(); },"
            "  zoom: n => zoom(n < 30 ? 1.05 : 1 / 1.05), hover: n => hover(n * 37 % atlas.pictures.length) };"
            "let n = 0, last = performance.now();"
            "const step = () => { const now = performance.now(); times.push(now - last); last = now;"
            "  if (n++ < 60) { acts[act](n); requestAnimationFrame(step); } else done(times.slice(1)); };"
            "requestAnimationFrame(step);",
            act,
        )
        for act in ("idle", "pan", "zoom", "hover")
    }
    idle = np.median(frames["idle"])
    assert first < 5000, first
    for act in ("pan", "zoom", "hover"):  # against frames of the same machine that do nothing
        assert np.quantile(frames[act], 0.9) < 3 * idle, (act, frames[act])
