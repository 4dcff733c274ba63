"""`curvature`: surfaces whose metric and geodesics are known, autoencoders of every class, the command."""

import json
import math
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from standins import TINY, random_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from toys import linear_autoencoder

from latentflow.errors import InputError
from latentflow.explore.curvature.figure import lay_lattice
from latentflow.explore.curvature.metric import (
    GREY,
    MetricAt,
    basis,
    energy,
    find_geodesic,
    measure_plane,
    pullback_metric,
    straight,
    stretches,
    trace,
)
from latentflow.explore.curvature.run import ends, project
from latentflow.latents.planes import Plane
from latentflow.models.autoencoder import Autoencoder, LatentGeometry, read_geometry

PIXEL = (1, 1)
UNIT = GREY / math.sqrt(3)  # grey levels, RMS over three channels, of a length of 1 in a picture
QUICK = ("--weights", "bundled", "--size", 24, "--resolution", 3, "--steps", 2, "--frames", 4, "--quiet")


def surface(points):
    """An autoencoder that decodes latents of two values, (n, 2, 1, 1), to points (n, 3) of a surface, the colors of one
    pixel."""

    def decode(values):
        u, v = values[:, 0, 0, 0], values[:, 1, 0, 0]
        return SimpleNamespace(sample=torch.stack(points(u, v), 1)[..., None, None] * 2 - 1)  # as pictures are stored

    one = torch.ones(1, 1, 1, 1)
    geometry = LatentGeometry(channels=2, stride=1, scale=one, shift=0 * one)
    return Autoencoder(SimpleNamespace(decode=decode), geometry, "surface", "0" * 64)


def sphere(radius=0.7):
    """By polar angle and azimuth."""
    return surface(
        lambda polar, azimuth: [
            radius * polar.sin() * azimuth.cos(),
            radius * polar.sin() * azimuth.sin(),
            radius * polar.cos(),
        ]
    )


def paraboloid():
    """z = (x² + y²) / 2."""
    return surface(lambda x, y: [x, y, (x**2 + y**2) / 2])


def latent(*values):
    return torch.tensor(values).reshape(1, 2, 1, 1)


def plane(extent=(0.3, 1.9, -1.0, 1.0), marks=None):
    """All of the two latent values: coordinates are the values / √2, since directions are of RMS 1."""
    return Plane(
        origin=latent(0.0, 0.0),
        across=latent(math.sqrt(2), 0.0),
        up=latent(0.0, math.sqrt(2)),
        extent=extent,
        size=PIXEL,
        marks=marks or {},
        axes=("u", "v"),
    )


def length(autoencoder, curve):
    return stretches(trace(autoencoder, curve, np.linspace(0, 1, 201), PIXEL)).sum()


# The metric


@pytest.mark.parametrize("place", [(0.4, 0.0), (1.1, -0.7), (1.6, 0.9)])
def test_a_sphere(place):
    (bend,) = measure_plane(sphere(0.7), plane(), [place], basis(plane()))
    sine = math.sin(place[0] * math.sqrt(2))
    across = 0.7 * UNIT * math.sqrt(2)
    assert bend.speeds == pytest.approx((across, across * sine), rel=0.01)
    assert bend.log_volume == pytest.approx(math.log(across * across * sine), rel=0.01)
    assert bend.anisotropy == pytest.approx(1 / sine, rel=0.01)
    assert abs(bend.metric[0, 1]) < 0.01 * across**2 * sine


@pytest.mark.parametrize("place", [(0.0, 0.0), (1.1, -0.7), (-0.2, 0.9)])
def test_a_paraboloid(place):
    (bend,) = measure_plane(paraboloid(), plane(), [place], basis(plane()))
    x, y = np.array(place) * math.sqrt(2)
    expected = 2 * UNIT**2 * np.array([[1 + x * x, x * y], [x * y, 1 + y * y]])
    assert bend.metric == pytest.approx(expected, rel=0.01)
    assert bend.log_volume == pytest.approx(math.log(2 * UNIT**2 * math.sqrt(1 + x * x + y * y)), rel=0.01)
    assert bend.anisotropy == pytest.approx(math.sqrt(1 + x * x + y * y), rel=0.01)


def test_a_linear_decoder_stretches_all_directions_alike():
    autoencoder = linear_autoencoder(scale=0.5)
    across, up = torch.zeros(2, 1, 4, 3, 3)
    across[:, 0], up[:, 1] = 2.0, 2.0  # one channel of four: RMS 1
    flat = Plane(
        origin=torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0)),
        **{"across": across, "up": up, "extent": (-1, 1, -1, 1), "size": (6, 6), "marks": {}, "axes": ("", "")},
    )
    directions = basis(flat, 7, seed=3)
    gram = directions.flatten(1) @ directions.flatten(1).T / 36
    assert torch.allclose(gram, torch.eye(7), atol=1e-5)
    assert torch.equal(directions[:2], torch.cat([across, up]))
    (bend,) = measure_plane(autoencoder, flat, [(0.3, 0.2)], directions)
    each = GREY**2 * (4 / 12) / (2 * 0.5) ** 2  # orthonormal columns; the wrapper halves, and divides by the scale
    assert bend.metric == pytest.approx(each * np.eye(7), rel=1e-4, abs=1e-3 * each)
    assert bend.log_volume == pytest.approx(3.5 * math.log(each), rel=1e-4)
    assert bend.anisotropy == pytest.approx(1, rel=1e-3)


def test_a_direction_that_is_lost():
    (bend,) = measure_plane(surface(lambda u, v: [u, u, u]), plane(), [(0.5, 0.5)], basis(plane()))
    assert bend.anisotropy == math.inf and bend.log_volume == -math.inf and bend.speeds[1] == 0


@pytest.mark.parametrize("name", TINY)
def test_forward_mode_agrees_with_reverse_mode_for_every_class(name):
    config = TINY[name]
    torch.manual_seed(0)
    model = random_model(config).eval().requires_grad_(False)
    autoencoder = Autoencoder(model, read_geometry(config["_class_name"], model.config), name)
    generator = torch.Generator().manual_seed(1)
    shape = autoencoder.geometry.latent_shape(24, 30)
    point, directions = torch.randn(1, *shape, generator=generator), torch.randn(3, *shape, generator=generator)
    found = pullback_metric(autoencoder, point, directions, (24, 30))
    decode = partial(autoencoder.decode, size=(24, 30))
    with sdpa_kernel(SDPBackend.MATH):
        changes = [torch.autograd.functional.jvp(decode, point, each[None])[1].flatten() for each in directions]
    expected = torch.tensor([[float((one * two).mean()) * GREY**2 for two in changes] for one in changes])
    assert torch.allclose(torch.from_numpy(found).float(), expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


def test_more_directions_than_there_are():
    with pytest.raises(InputError, match="--subspace 3: latents of this size have 2 values"):
        basis(plane(), 3)


# The geodesic


def test_energy_is_the_squared_length_of_equal_steps_and_its_gradient_is_torchs():
    ball = sphere()
    chain = straight(latent(0.5, -0.3), latent(1.8, 1.0))(torch.linspace(0, 1, 6))
    found, gradient = energy(ball, chain, PIXEL)
    chain.requires_grad_()
    pictures = ball.decode(chain)
    expected = 5 * GREY**2 * (pictures[1:] - pictures[:-1]).square().mean((1, 2, 3)).sum()
    (whole,) = torch.autograd.grad(expected, chain)
    assert found == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(gradient[1:-1], whole[1:-1], rtol=1e-4, atol=1e-2)
    assert not gradient[[0, -1]].any()
    meridian = straight(latent(0.5, 0.0), latent(1.5, 0.0))
    fine = meridian(torch.linspace(0, 1, 101))
    assert energy(ball, fine, PIXEL)[0] == pytest.approx((0.7 * UNIT) ** 2, rel=1e-3)


def test_the_geodesic_of_a_sphere_is_its_great_circle():
    ball, start, end = sphere(0.7), latent(0.9, -1.1), latent(0.9, 1.1)
    records = list(find_geodesic(ball, start, end, PIXEL, steps=30))
    assert all(later.energy <= record.energy for record, later in pairwise(records))
    curve = records[-1].curve
    angle = math.acos(math.cos(0.9) ** 2 + math.sin(0.9) ** 2 * math.cos(2.2))
    great_circle, parallel = 0.7 * UNIT * angle, 0.7 * UNIT * math.sin(0.9) * 2.2
    assert length(ball, straight(start, end)) == pytest.approx(parallel, rel=1e-3)
    assert length(ball, curve) == pytest.approx(great_circle, rel=0.01)
    assert great_circle < 0.95 * parallel
    points = curve(torch.linspace(0, 1, 9))
    assert torch.allclose(points[[0, -1]], torch.cat([start, end]), atol=1e-5)
    middle = math.atan(math.tan(0.9) * math.cos(1.1))  # the polar angle where the circle comes nearest to the pole
    assert float(points[4, 0]) == pytest.approx(middle, rel=0.02)


def test_the_geodesic_of_a_plane_is_straight():
    flat = surface(lambda u, v: [u, v, u - v])
    records = list(find_geodesic(flat, latent(0.0, 0.0), latent(1.0, 0.5), PIXEL))
    assert len(records) < 4  # it settles at once
    assert records[-1].curve.waves.abs().max() < 1e-3


# On planes


def test_lattice_is_square_and_tiles_go_between_ellipses():
    lattice = lay_lattice(plane(extent=(0, 4, 0, 2)), 9)
    assert lattice.columns == 9 and len(lattice.points) == 9 * 4
    assert len(lattice.tiles) == 12 * 6 and len(lattice.ellipses) == 11 * 5
    gaps = [max(abs(x - u), abs(y - v)) for x, y in lattice.tiles for u, v in lattice.ellipses]
    assert min(gaps) == pytest.approx(lattice.pitch / 2)


def test_ends_and_projection():
    assert ends(plane(marks={"a": (0, 1), "b": (2, 3), "c": (4, 5)})) == ((0, 1), (2, 3))
    assert ends(plane(extent=(0, 2, -1, 3))) == ((0, 1), (2, 1))
    places, away = project(plane(), torch.cat([plane().at(0.5, -2.0), plane().at(3.0, 0.25)]))
    assert places == pytest.approx(np.array([[0.5, -2.0], [3.0, 0.25]])) and away < 1e-6


def test_quantities_of_a_bend():
    bend = MetricAt(index=0, total=0, place=(0, 0), metric=np.array([[4.0, 0, 1], [0, 9, 0], [1, 0, 16]]))
    assert bend.speeds == (2, 3) and bend.anisotropy == pytest.approx(1.5)
    assert bend.log_volume == pytest.approx(math.log(4 * 9 * 16 - 9) / 2)


# The command


@pytest.fixture(autouse=True)
def few(monkeypatch, request):
    """Fewer small pictures and ellipses where a whole command runs."""
    if "invoke" in request.fixturenames:
        monkeypatch.setattr("latentflow.explore.curvature.figure.TILES", 2)


@pytest.fixture
def three(images):
    return [images / "0.png", images / "2.png", "random:7"]


def test_figure_frames_and_manifest(invoke, three, tmp_path):
    line = ("curvature", *three, *QUICK, "--output_path", "c.png", "--subspace", 3)
    code, out, err = invoke(*line)
    assert code == 0, err
    with Image.open(tmp_path / "c.png") as figure:
        assert figure.width == 16 * 120
    with Image.open(tmp_path / "c.gif") as gif:
        assert gif.n_frames == 4 and gif.width == 48
    assert "grey levels" in out and "geodesic" in out
    result = json.loads((tmp_path / "c.png.manifest.json").read_text())["result"]
    ways = result["ways"]
    assert ways["chord"] < ways["geodesic"]["length"] < ways["straight"]["length"]
    assert 0.5 < ways["ratio"] < 1 and 0 < ways["detour_saved"] < 1
    assert list(result["marks"]) == ["0", "2", "random:7"] and result["volume_directions"] == 3
    assert all(np.linalg.eigvalsh(point["metric"]).min() > 0 for point in result["points"])
    before = [(tmp_path / name).read_bytes() for name in ("c.png", "c.gif")]
    assert invoke(*line)[0] == 0
    assert [(tmp_path / name).read_bytes() for name in ("c.png", "c.gif")] == before


def test_a_long_plane_is_not_measured_without_end():
    long = lay_lattice(plane(extent=(-2.0, 2.0, -0.004, 0.004)), 15)
    assert len(long.tiles) <= 24 * 2 and len(long.ellipses) <= 24 * 2


def test_of_a_folder(invoke, images, tmp_path):
    code, out, err = invoke("curvature", images, *QUICK, "--json", "--output_path", "f.svg", "--sweep", "")
    assert code == 0, err
    assert len(list((tmp_path / "f_frames").glob("*.png"))) == 4
    left, right = json.loads(out)["ways"]["ends"]
    assert left[0] == -right[0] < 0 == left[1] == right[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "A plane goes through three images"),
        (("random:1", "random:2"), "A plane goes through three images"),
        (("missing.png",), "missing.png"),
        (("random:1", "--resolution", 1), "--resolution must be at least 2"),
        (("random:1", "--subspace", 1), "--subspace must be at least 2"),
        (("random:1", "--output_path", "c.gif"), "a figure is written as .png or .svg"),
        (("random:1", "--output_path", "nowhere/c.png"), "does not exist"),
        (("random:1", "--sweep", ".avi"), "--sweep is one of"),
        (("random:1", "random:1", "random:2", *QUICK), "lie on a line"),
        (("random:1", "--subspace", 100, *QUICK), "--subspace 100: latents of this size have 36 values"),
    ],
)
def test_bad_input_is_one_line(invoke, arguments, message):
    code, out, err = invoke("curvature", *arguments)
    assert code in (2, 6) and out == "" and message in err and err.count("\n") == 1
