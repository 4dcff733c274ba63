"""`grid`, planes and principal components."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from PIL import Image
from toys import linear_autoencoder, picture

from latentflow.base.errors import InputError
from latentflow.base.files import WrittenFiles
from latentflow.base.pixels import to_uint8
from latentflow.base.session import Session
from latentflow.explore.grid import LEFT, MARGIN, MIN_WIDTH, SIDE, TOP, decode_plane, draw_plane
from latentflow.latents.index import index_path, read_latents
from latentflow.latents.pca import principal_components
from latentflow.latents.planes import make_plane
from latentflow.latents.sources import read_anchors
from latentflow.sinks import run_sinks
from latentflow.sinks.mosaic import GAP, Mosaic, pan

BUNDLED = ("--weights", "bundled", "--size", 32, "--dtype", "float32", "--quiet")


def plane(sources, **options):
    return make_plane([str(each) for each in sources], linear_autoencoder(), 8, "contain", Session(), **options)


@pytest.fixture
def three(tmp_path):
    paths = []
    for index in range(3):
        paths.append(tmp_path / f"{index}.png")
        pixels = (picture(8, 8, seed=index)[0].permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_a_plane_goes_through_its_three_points(three):
    found = plane(three)
    latents = read_anchors([str(each) for each in three], linear_autoencoder(), 8).latents
    for latent, (x, y) in zip(latents.split(1), found.marks.values()):
        assert torch.allclose(found.at(x, y), latent, atol=1e-4)
    assert list(found.marks) == ["0", "1", "2"] and found.marks["0"] == pytest.approx((0, 0), abs=1e-6)
    assert found.marks["1"][1] == pytest.approx(0, abs=1e-5)
    distance = float((latents[2] - latents[0]).square().mean().sqrt())
    assert np.hypot(*found.marks["2"]) == pytest.approx(distance, rel=1e-4)  # coordinates are RMS distances
    left, right, bottom, top = found.extent
    assert all(left < x < right and bottom < y < top for x, y in found.marks.values())


def test_directions_around_a_point_are_orthogonal_of_unit_rms_and_seeded():
    found, again, other = (plane(["random:5"], seed=seed, reach=2.0) for seed in (1, 1, 2))
    assert float((found.across * found.up).mean()) == pytest.approx(0, abs=1e-6)
    assert float(found.up.square().mean()) == pytest.approx(1, rel=1e-5)
    assert float(found.across.square().mean()) == pytest.approx(1, rel=1e-5)
    assert torch.equal(found.across, again.across) and not torch.equal(found.across, other.across)
    assert found.extent == (-2, 2, -2, 2)


def test_three_points_on_a_line_are_refused(three):
    with pytest.raises(InputError, match="line"):
        plane([three[0], three[0], three[1]])
    with pytest.raises(InputError, match="line"):
        plane([three[0], three[1], three[1]])


def test_components_are_the_directions_of_largest_variance():
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(16, 3, generator=generator))[0].T
    spread = torch.tensor([5.0, 2.0, 0.1])
    latents = (torch.randn(400, 3, generator=generator) * spread) @ directions + 1.5
    found = principal_components(latents.reshape(-1, 4, 2, 2), 2)
    assert found.mean.flatten().tolist() == pytest.approx([1.5] * 16, abs=0.4)
    for index in range(2):
        assert abs(float(found.directions[index].flatten() @ directions[index])) > 0.99
    assert found.variance_fractions == pytest.approx([25 / 29, 4 / 29], abs=0.03)
    point = found.mean.flatten() + sum(
        float(found.coordinates[7, index]) * found.directions[index].flatten() for index in range(2)
    )
    assert float((point - latents[7]).norm()) < 0.5  # all but the third direction
    again = principal_components(latents.reshape(-1, 4, 2, 2), 2)
    assert torch.equal(found.directions, again.directions)


def test_fewer_components_where_there_are_fewer_images():
    found = principal_components(torch.randn(2, 4, 2, 2), 5)
    assert found.directions.shape[0] == found.coordinates.shape[1] == 1


def test_a_plane_of_a_folder_reaches_two_standard_deviations_along_its_components(images, tmp_path):
    autoencoder, written = linear_autoencoder(), WrittenFiles()
    album = shutil.copytree(images, tmp_path / "album")
    found = plane([album], written=written)
    assert written.paths == [index_path(album, autoencoder, 8)] and written.paths[0].is_file()
    latents = read_latents(album, autoencoder, 8, Session()).latents
    assert torch.allclose(found.origin, latents.mean(0, keepdim=True), atol=1e-5)
    left, right, bottom, top = found.extent
    for axis, reach in ((found.across, right), (found.up, top)):
        assert float(axis.square().mean()) == pytest.approx(1, rel=1e-4)
        coordinates = ((latents - found.origin) * axis).mean((1, 2, 3))
        assert reach == pytest.approx(2 * float(coordinates.std(correction=0)), rel=1e-4)
    assert float((found.across * found.up).mean()) == pytest.approx(0, abs=1e-5)
    assert (left, bottom) == (-right, -top) and right > top > 0 and found.marks == {} and found.size == (8, 8)
    assert found.axes[0].startswith("1st principal component (") and found.axes[1].startswith("2nd (")


def test_images_on_a_line_have_no_plane(tmp_path):
    for index, value in enumerate((10, 200, 200)):
        Image.new("RGB", (8, 8), (value, value, value)).save(tmp_path / f"{index}.png")
    with pytest.raises(InputError, match="The images lie on a line"):
        plane([tmp_path])


def painted(plane, columns, rows, side):
    """A mosaic, its tiles, and the figure of a plane decoded by the linear autoencoder."""
    mosaic, tiles = Mosaic(plane.size, columns, rows, side), []
    run_sinks(
        (tiles.append(tile) or tile for tile in decode_plane(linear_autoencoder(), plane, columns, rows)), [mosaic]
    )
    return mosaic, tiles, draw_plane(plane, mosaic, "linear")


def test_the_figure_shows_each_point_of_the_plane_in_its_place(three, tmp_path):
    """The pixels of the figure itself at each tile are the picture of the point that its ticks name."""
    found, autoencoder = plane(three), linear_autoencoder()
    _, tiles, figure = painted(found, 4, 3, 8)
    axes = figure.axes[0]
    xs, ys = found.lattice(4, 3)
    assert [text.get_text() for text in axes.get_xticklabels()] == [signed(x) for x in xs]
    assert [text.get_text() for text in axes.get_yticklabels()] == [signed(y) for y in ys]
    assert ys == sorted(ys, reverse=True) and xs == sorted(xs)
    figure.savefig(tmp_path / "f.png")
    shown = np.asarray(Image.open(tmp_path / "f.png").convert("RGB"))
    for tile in tiles:
        x, y = axes.get_xticks()[tile.column], axes.get_yticks()[tile.row]  # pixels of the mosaic
        across, down = axes.transData.transform((x, y))
        left, top = round(across - 4), round(len(shown) - down - 4)
        with torch.no_grad():
            wanted = to_uint8(autoencoder.decode(found.at(*tile.place), found.size))
        inner = np.s_[2:6, 2:6]  # of tiles whose frame is drawn in the gap around them
        assert np.abs(shown[top : top + 8, left : left + 8][inner].astype(int) - wanted[inner]).max() <= 1
    assert [(tile.row, tile.column) for tile in tiles[:5]] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    assert tiles[0].total == 11
    assert axes.get_xlabel().startswith("from 0 towards 1\nboth axes: standard deviations")
    assert axes.get_ylabel() == "towards 2" and figure.texts[0].get_text().endswith("latent space: linear")


def signed(value):
    return f"{value:+.2f}".replace("-", "−") if abs(value) >= 0.005 else "0"


@pytest.mark.parametrize("count", [2, 3, 5, 8, 9, 32])
def test_every_point_of_a_plane_has_a_tile_of_its_own_exactly(three, count):
    found = plane(three)
    latents = read_anchors([str(each) for each in three], linear_autoencoder(), 8).latents
    tiles = list(decode_plane(linear_autoencoder(), found, count, count))
    own = [[tile for tile in tiles if torch.allclose(tile.latent, latent, atol=1e-4)] for latent in latents.split(1)]
    assert all(own) and len({(tile.row, tile.column) for each in own for tile in each[:1]}) == 3


def test_other_tiles_stay_as_evenly_spaced_as_they_can():
    found = plane(["random:5"], reach=2.0)
    assert found.lattice(5, 5)[0] == pytest.approx([-2, -1, 0, 1, 2])
    assert found.lattice(5, 5)[1] == pytest.approx([2, 1, 0, -1, -2])
    columns = found.lattice(6, 6)[0]  # no column in the middle: one of the two beside it moves there
    assert columns == pytest.approx([-2, -1, 0, 2 / 3, 4 / 3, 2])


def test_frames_mark_the_tiles_of_the_points_and_their_originals_stand_beside(three):
    found = plane(three)
    mosaic, _, figure = painted(found, 5, 5, 8)
    axes, *beside = figure.axes
    colors = ["tab:red", "tab:blue", "tab:green"]
    for name, frame, original, color, path in zip(found.marks, axes.patches, beside, colors, three, strict=True):
        column, row = (frame.get_x() + 0.5 + GAP / 2) / (8 + GAP), (frame.get_y() + 0.5 + GAP / 2) / (8 + GAP)
        assert mosaic.places[round(row), round(column)] == pytest.approx(found.marks[name])
        assert (column, row) == pytest.approx((round(column), round(row)), abs=1e-6)
        assert frame.get_edgecolor() == to_rgba(color) and not frame.get_fill()  # nothing covers the picture
        assert original.get_title(loc="left") == name and original.spines["left"].get_edgecolor() == to_rgba(color)
        assert np.array_equal(original.images[0].get_array(), np.asarray(Image.open(path).convert("RGB")))
    assert len(axes.texts) == len(axes.lines) == 0


def test_what_was_no_image_stands_beside_as_it_is_decoded():
    found = plane(["random:5"], reach=1.0)
    _, tiles, figure = painted(found, 3, 3, 8)
    assert np.array_equal(figure.axes[1].images[0].get_array(), to_uint8(tiles[4].image))
    assert figure.axes[1].get_title(loc="left") == "random:5"


def test_a_folders_plane_shows_where_its_images_are(images, tmp_path):
    autoencoder, album = linear_autoencoder(), shutil.copytree(images, tmp_path / "album")
    found = plane([album])
    latents = read_latents(album, autoencoder, 8, Session()).latents
    offsets = latents - found.origin
    wanted = np.stack([(offsets * axis).mean((1, 2, 3)).numpy() for axis in (found.across, found.up)], 1)
    assert found.images == pytest.approx(wanted, abs=1e-4)
    *_, figure = painted(found, 3, 3, 8)
    _, places = figure.axes
    (dots,), (decoded,) = places.collections, places.patches
    assert np.array_equal(dots.get_offsets(), found.images) and "Places of the 10 images" in places.get_title()
    left, right, bottom, top = found.extent
    assert decoded.get_bbox().extents.tolist() == pytest.approx([left, bottom, right, top])


def test_a_pan_sees_all_of_a_picture_at_one_speed():
    crops = list(pan((300, 500), (120, 200), 400))
    seen = np.zeros((300, 500), bool)
    for crop in crops:
        top, left = crop.corner
        assert 0 <= top <= 180 and 0 <= left <= 300
        seen[top : top + 120, left : left + 200] = True
    assert seen.all() and crops[0].corner == (0, 0) and crops[-1].corner == (180, 300) and crops[-1].total == 399
    steps = [abs(one.corner[0] - two.corner[0]) + abs(one.corner[1] - two.corner[1]) for one, two in pairwise(crops)]
    assert max(steps) - min(steps) <= 2
    assert len(list(pan((300, 500), (120, 200)))) == round(48 * (3 * 300 + 180) / 200)


def test_the_command_pans_across_a_plane_that_is_too_large_for_a_picture(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr("latentflow.explore.grid.WINDOW", 60)
    line = ("grid", "random:3", "--resolution", 3, "--output_path", "pan", "--frames", 5, *BUNDLED)
    code, _, err = invoke(*line)
    assert code == 0, err
    frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "pan").glob("*.png"))]
    assert len(frames) == 5 and frames[0].shape == (60, 60, 3)
    line = ("grid", "random:3", "--resolution", 3, "--tile", 32, "--output_path", "still.png", *BUNDLED)
    assert invoke(*line)[0] == 0
    still = np.asarray(Image.open(tmp_path / "still.png").convert("RGB"))[TOP:, LEFT:]
    size = 3 * 32 + 2 * GAP
    assert np.array_equal(frames[0][1:30, 1:30], still[1:30, 1:30])  # of the first tile, without its tick
    last = still[size - 60 : size, :60]  # the second band goes to the left
    assert np.array_equal(frames[-1][-12:-1, 1:30], last[-12:-1, 1:30])
    code, _, err = invoke("grid", "random:3", "--resolution", 2, "--tile", 16, "--output_path", "x.gif", *BUNDLED)
    assert code == 2 and "fits into 38 × 38 pixels; there is nothing to pan across" in err and err.count("\n") == 1


def test_large_pictures_are_scaled_to_the_side_of_their_tile():
    found = plane(["random:5"], reach=1.0)
    mosaic, tiles, _ = painted(found, 3, 3, 4)
    assert mosaic.pixels.shape == (12 + 2 * GAP, 12 + 2 * GAP, 3)
    wanted = to_uint8(torch.nn.functional.interpolate(tiles[5].image, (4, 4), mode="bilinear", antialias=True))
    left = 2 * (4 + GAP)
    assert np.array_equal(mosaic.pixels[4 + GAP : 8 + GAP, left : left + 4], wanted)
    assert (mosaic.pixels[4 : 4 + GAP] == 255).all()
    assert torch.allclose(tiles[4].latent, found.origin)


def test_the_command_draws_each_kind_of_plane(invoke, images, small, tmp_path, saved_figures, autoencoder):
    reports, album = {}, shutil.copytree(images, tmp_path / "album")
    for name, sources in {"three": [small, "random:1", "random:2"], "one": [small], "folder": [album]}.items():
        code, out, err = invoke(
            *("grid", *sources, "--resolution", 3, "--output_path", f"{name}.png", "--json", *BUNDLED)
        )
        assert code == 0, err
        reports[name] = json.loads(out)
    assert set(reports["three"]["marks"]) == {"small", "random:1", "random:2"}
    assert reports["three"]["written"] == ["three.png", "three.png.manifest.json"]
    assert "1st principal component" in reports["folder"]["axes"][0]
    index = index_path(album, autoencoder, 32)
    assert reports["folder"]["written"] == ["folder.png", "folder.png.manifest.json", str(index)]
    invoke("grid", album, "--resolution", 2, "--output_path", "folder.png", *BUNDLED)
    manifest = json.loads((tmp_path / "folder.png.manifest.json").read_text())
    assert manifest["result"]["written"] == ["folder.png"]  # the index had all latents
    assert manifest["inputs"] == {"plane": [str(album)]}
    center = saved_figures[1].axes[0].images[0].get_array()[27 + GAP :, 32 + GAP :][:27, :32]  # of 3 × 3
    anchors = read_anchors([str(small)], autoencoder, 32)
    with torch.no_grad():
        wanted = to_uint8(autoencoder.decode(anchors.latents, anchors.size))
    assert anchors.size == (27, 32) and np.abs(center.astype(int) - wanted).max() <= 1


def test_the_figure_is_as_large_as_its_tiles_ask_for(invoke, small, tmp_path):
    for tile, resolution in ((200, 4), (40, 4)):
        line = ("grid", small, "--tile", tile, "--resolution", resolution, "--output_path", "g.png", *BUNDLED)
        assert invoke(*line)[0] == 0
        with Image.open(tmp_path / "g.png") as figure:
            width = LEFT + max(MIN_WIDTH, resolution * (tile + GAP) - GAP) + 2 * MARGIN + SIDE
            assert abs(figure.width - width) <= 1


def test_latents_of_one_value_have_no_components():
    with pytest.raises(InputError, match="one value"):
        principal_components(torch.randn(5, 1, 1, 1), 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "three images"),
        (["{small}", "{small}"], "2 were given"),
        (["{small}", "{small}", "{small}"], "line"),
        (["nothing"], "does not exist"),
        (["."], "no images"),
        (["{small}", "--resolution", "1"], "at least 2"),
        (["{small}", "--output_path", "x.jpg"], ".png"),
        (["{small}", "--tile", "4000", "--resolution", "9"], "Choose a smaller --tile or --resolution"),
        (["{small}", "--frames", "9"], "--frames would have no effect on a figure"),
    ],
)
def test_bad_input_is_one_line(invoke, small, tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    arguments = ["empty" if each == "." else each.format(small=small) for each in arguments]
    code, out, err = invoke("grid", *arguments, *BUNDLED)
    assert code == 2 and out == "" and err.count("\n") == 1 and words in err


@pytest.mark.parametrize(("option", "value"), [("seed", "3"), ("reach", "2")])
def test_an_option_of_a_plane_around_one_image_is_refused_elsewhere(invoke, small, images, option, value):
    for view in ("grid", "curvature"):
        for sources in ([images], [small, "random:1", "random:2"]):
            code, _, err = invoke(view, *sources, f"--{option}", value, "--weights", "bundled")
            assert code == 2 and f"--{option} would have no effect: the plane isn't around one image" in err
    code, _, err = invoke("curvature", images, "--seed", 3, "--subspace", 3, "--output_path", "none/x.png")
    assert "no effect" not in err  # of the directions beyond the plane
