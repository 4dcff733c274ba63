"""`grid`, and the planes and components it shares with others."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder, picture

from latentflow.errors import InputError
from latentflow.explore.grid import Mosaic, decode_plane
from latentflow.interrupts import Interrupts
from latentflow.latents.pca import principal_components
from latentflow.latents.planes import make_plane
from latentflow.sinks import run_sinks

BUNDLED = ("--weights", "bundled", "--size", 32, "--quiet")


def silent(line):
    pass


def plane(sources, **options):
    return make_plane(
        [str(each) for each in sources], linear_autoencoder(), 8, "contain", Interrupts(), silent, **options
    )


@pytest.fixture
def three(tmp_path):
    paths = []
    for index in range(3):
        paths.append(tmp_path / f"{index}.png")
        pixels = (picture(8, 8, seed=index)[0].permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_a_plane_goes_through_its_three_points(three):
    from latentflow.latents.sources import read_anchors

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
    assert found.shares == pytest.approx([25 / 29, 4 / 29], abs=0.03)
    point = found.mean.flatten() + sum(
        float(found.coordinates[7, index]) * found.directions[index].flatten() for index in range(2)
    )
    assert float((point - latents[7]).norm()) < 0.5  # all but the third direction
    again = principal_components(latents.reshape(-1, 4, 2, 2), 2)
    assert torch.equal(found.directions, again.directions)


def test_fewer_components_where_there_are_fewer_images():
    found = principal_components(torch.randn(2, 4, 2, 2), 5)
    assert found.directions.shape[0] == found.coordinates.shape[1] == 1


def test_tiles_lie_where_their_coordinates_are():
    found = plane(["random:5"], reach=1.0)
    mosaic = Mosaic(found.size, 3, 3, 8)
    tiles = []
    mosaic_write = mosaic.write
    mosaic.write = lambda tile: (tiles.append(tile), mosaic_write(tile))
    run_sinks(decode_plane(linear_autoencoder(), found, 3, 3), [mosaic])
    assert [(tile.row, tile.column) for tile in tiles[:4]] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert tiles[0].place == (-1, 1) and tiles[8].place == (1, -1)  # the first row is the top
    assert torch.allclose(tiles[4].latent, found.origin)
    expected = (tiles[5].image.clamp(0, 1)[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert np.array_equal(mosaic.pixels[8:16, 16:24], expected)


def test_the_command_draws_each_kind_of_plane(invoke, images, small, tmp_path):
    for name, sources in {"three": [small, "random:1", "random:2"], "one": [small], "folder": [images]}.items():
        index = tmp_path / f"{name}.json"
        code, out, err = invoke(
            *("grid", *sources, "--resolution", 3, "--output_path", f"{name}.png", "--json", *BUNDLED)
        )
        assert code == 0, err
        index.write_text(out)
        assert Image.open(tmp_path / f"{name}.png").size[0] > 900
    assert set(json.loads((tmp_path / "three.json").read_text())["marks"]) == {"small", "random:1", "random:2"}
    assert "1st principal component" in json.loads((tmp_path / "folder.json").read_text())["axes"][0]


def test_a_very_tall_picture_makes_no_endless_figure(invoke, tmp_path):
    Image.new("RGB", (3, 900), "red").save(tmp_path / "tall.png")
    code, _, err = invoke("grid", "tall.png", "--resolution", 2, "--output_path", "g.png", *BUNDLED)
    assert code == 0, err
    assert Image.open(tmp_path / "g.png").height < 4000


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
