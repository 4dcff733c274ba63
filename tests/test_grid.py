"""`grid`, planes and principal components."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder, picture

from latentflow.errors import InputError
from latentflow.explore.grid import Mosaic, decode_plane, draw_plane
from latentflow.files import WrittenFiles
from latentflow.latents.index import index_path, read_latents
from latentflow.latents.pca import principal_components
from latentflow.latents.planes import make_plane
from latentflow.latents.sources import read_anchors
from latentflow.pictures.files import to_uint8
from latentflow.session import Session
from latentflow.sinks import run_sinks

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


def test_the_figure_shows_each_point_of_the_plane_in_its_place(three):
    """Found by the figure's own axes: the pixels that are drawn at the coordinates of a point are its picture."""
    found, autoencoder = plane(three), linear_autoencoder()
    _, tiles, figure = painted(found, 4, 3, 8)
    (axes,) = figure.axes
    (image,) = axes.images
    left, right, bottom, top = image.get_extent()
    pixels = image.get_array()
    assert image.origin == "upper" and pixels.shape == (3 * 8, 4 * 8, 3)
    assert not axes.xaxis_inverted() and not axes.yaxis_inverted() and left < right and bottom < top
    assert (axes.get_xlim(), axes.get_ylim()) == ((left, right), (bottom, top))
    for y in np.linspace(found.extent[3], found.extent[2], 3):
        for x in np.linspace(found.extent[0], found.extent[1], 4):
            column, row = int((x - left) / (right - left) * 4), int((top - y) / (top - bottom) * 3)
            center = (left + (column + 0.5) * (right - left) / 4, top - (row + 0.5) * (top - bottom) / 3)
            assert center == pytest.approx((x, y), abs=1e-6)
            with torch.no_grad():
                wanted = to_uint8(autoencoder.decode(found.at(x, y), found.size))
            shown = pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert np.abs(shown.astype(int) - wanted).max() <= 1, (x, y)
    assert [(tile.row, tile.column) for tile in tiles[:5]] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    assert tiles[0].place == pytest.approx((found.extent[0], found.extent[3])) and tiles[0].total == 11


def test_marks_are_drawn_at_the_coordinates_of_the_points(three):
    found = plane(three)
    *_, figure = painted(found, 2, 2, 8)
    (axes,) = figure.axes
    assert {text.get_text(): tuple(text.xy) for text in axes.texts} == {
        name: pytest.approx(place) for name, place in found.marks.items()
    }
    drawn = {tuple(np.round(np.ravel(line.get_data()), 5).tolist()) for line in axes.lines}
    assert drawn == {tuple(np.round(place, 5).tolist()) for place in found.marks.values()}
    latents = read_anchors([str(each) for each in three], linear_autoencoder(), 8).latents
    for latent, text in zip(latents.split(1), axes.texts):  # the marks are where the points are
        assert torch.allclose(found.at(*text.xy), latent, atol=1e-4)
    assert axes.get_xlabel() == "from 0 towards 1\nstandard deviations of a latent value (RMS)"
    assert axes.get_ylabel() == "towards 2\nstandard deviations of a latent value (RMS)"
    assert axes.get_title() == "A decoded plane of the latent space: linear"


def test_large_pictures_are_scaled_to_the_side_of_their_tile():
    found = plane(["random:5"], reach=1.0)
    mosaic, tiles, _ = painted(found, 3, 3, 4)
    assert mosaic.pixels.shape == (12, 12, 3)
    wanted = to_uint8(torch.nn.functional.interpolate(tiles[5].image, (4, 4), mode="bilinear", antialias=True))
    assert np.array_equal(mosaic.pixels[4:8, 8:12], wanted)
    assert torch.allclose(tiles[4].latent, found.origin)


def test_the_command_draws_each_kind_of_plane(invoke, images, small, tmp_path, saved_figures, autoencoder):
    reports, album = {}, shutil.copytree(images, tmp_path / "album")
    for name, sources in {"three": [small, "random:1", "random:2"], "one": [small], "folder": [album]}.items():
        code, out, err = invoke(
            *("grid", *sources, "--resolution", 3, "--output_path", f"{name}.png", "--json", *BUNDLED)
        )
        assert code == 0, err
        reports[name] = json.loads(out)
        with Image.open(tmp_path / f"{name}.png") as figure:
            assert figure.width == round(9.6 * 120)
    assert set(reports["three"]["marks"]) == {"small", "random:1", "random:2"}
    assert reports["three"]["written"] == ["three.png", "three.png.manifest.json"]
    assert "1st principal component" in reports["folder"]["axes"][0]
    index = index_path(album, autoencoder, 32)
    assert reports["folder"]["written"] == ["folder.png", "folder.png.manifest.json", str(index)]
    invoke("grid", album, "--resolution", 2, "--output_path", "folder.png", *BUNDLED)
    manifest = json.loads((tmp_path / "folder.png.manifest.json").read_text())
    assert manifest["result"]["written"] == ["folder.png"]  # the index had all latents
    assert manifest["inputs"] == {"plane": [str(album)]}
    center = saved_figures[1].axes[0].images[0].get_array()[27:54, 32:64]  # of a 3 × 3 grid around the image
    anchors = read_anchors([str(small)], autoencoder, 32)
    with torch.no_grad():
        wanted = to_uint8(autoencoder.decode(anchors.latents, anchors.size))
    assert anchors.size == (27, 32) and np.abs(center.astype(int) - wanted).max() <= 1


def test_a_very_tall_picture_makes_no_endless_figure(invoke, tmp_path):
    Image.new("RGB", (3, 900), "red").save(tmp_path / "tall.png")
    code, _, err = invoke("grid", "tall.png", "--resolution", 2, "--output_path", "g.png", *BUNDLED)
    assert code == 0, err
    with Image.open(tmp_path / "g.png") as figure:
        assert figure.height == round((8.5 * 3 + 1.3) * 120)


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
    ],
)
def test_bad_input_is_one_line(invoke, small, tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    arguments = ["empty" if each == "." else each.format(small=small) for each in arguments]
    code, out, err = invoke("grid", *arguments, *BUNDLED)
    assert code == 2 and out == "" and err.count("\n") == 1 and words in err
