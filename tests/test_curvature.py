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
from toys import linear_autoencoder, picture

from latentflow.base.errors import InputError
from latentflow.base.pixels import to_uint8
from latentflow.base.records import Labeled
from latentflow.base.session import Session
from latentflow.explore.curvature.figure import DecodedPath, color_range, draw_curvature, make_lattice, path_titles
from latentflow.explore.curvature.metric import (
    GRAY_LEVELS,
    MetricAt,
    decode_curves,
    energy,
    find_geodesic,
    gray_level_distance,
    measure_plane,
    plane_basis,
    pullback_metric,
    straight_line,
)
from latentflow.explore.curvature.run import compare_paths, curvature_in_words, measure_path, path_ends, project
from latentflow.latents.paths import frame_times, place_evenly, step_sizes
from latentflow.latents.planes import Plane, make_plane
from latentflow.models.autoencoder import Autoencoder, LatentGeometry, read_geometry
from latentflow.pictures.draw import GAP, LabeledDrawing
from latentflow.pictures.text import titled

PIXEL = (1, 1)
UNIT = GRAY_LEVELS / math.sqrt(3)  # gray levels, RMS over three channels, of a length of 1 in a picture
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
    return sum(step_sizes(decode_curves(autoencoder, [curve], [np.linspace(0, 1, 201)], PIXEL), gray_level_distance))


# The metric


@pytest.mark.parametrize("place", [(0.4, 0.0), (1.1, -0.7), (1.6, 0.9)])
def test_a_sphere(place):
    (found,) = measure_plane(sphere(0.7), plane(), [place], plane_basis(plane()))
    sine = math.sin(place[0] * math.sqrt(2))
    across = 0.7 * UNIT * math.sqrt(2)
    assert found.speeds == pytest.approx((across, across * sine), rel=0.01)
    assert found.log_volume == pytest.approx(math.log(across * across * sine), rel=0.01)
    assert found.anisotropy == pytest.approx(1 / sine, rel=0.01)
    assert abs(found.metric[0, 1]) < 0.01 * across**2 * sine


@pytest.mark.parametrize("place", [(0.0, 0.0), (1.1, -0.7), (-0.2, 0.9)])
def test_a_paraboloid(place):
    (found,) = measure_plane(paraboloid(), plane(), [place], plane_basis(plane()))
    x, y = np.array(place) * math.sqrt(2)
    expected = 2 * UNIT**2 * np.array([[1 + x * x, x * y], [x * y, 1 + y * y]])
    assert found.metric == pytest.approx(expected, rel=0.01)
    assert found.log_volume == pytest.approx(math.log(2 * UNIT**2 * math.sqrt(1 + x * x + y * y)), rel=0.01)
    assert found.anisotropy == pytest.approx(math.sqrt(1 + x * x + y * y), rel=0.01)


def test_a_linear_decoder_stretches_all_directions_alike():
    autoencoder = linear_autoencoder(scale=0.5)
    across, up = torch.zeros(2, 1, 4, 3, 3)
    across[:, 0], up[:, 1] = 2.0, 2.0  # one channel of four: RMS 1
    flat = Plane(
        origin=torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0)),
        **{"across": across, "up": up, "extent": (-1, 1, -1, 1), "size": (6, 6), "marks": {}, "axes": ("", "")},
    )
    directions = plane_basis(flat, 7, seed=3)
    gram = directions.flatten(1) @ directions.flatten(1).T / 36
    assert torch.allclose(gram, torch.eye(7), atol=1e-5)
    assert torch.equal(directions[:2], torch.cat([across, up]))
    (found,) = measure_plane(autoencoder, flat, [(0.3, 0.2)], directions)
    each = (
        GRAY_LEVELS**2 * (4 / 12) / (2 * 0.5) ** 2
    )  # orthonormal columns; the wrapper halves, and divides by the scale
    assert found.metric == pytest.approx(each * np.eye(7), rel=1e-4, abs=1e-3 * each)
    assert found.log_volume == pytest.approx(3.5 * math.log(each), rel=1e-4)
    assert found.anisotropy == pytest.approx(1, rel=1e-3)


def test_a_direction_that_is_lost():
    (found,) = measure_plane(surface(lambda u, v: [u, u, u]), plane(), [(0.5, 0.5)], plane_basis(plane()))
    assert found.anisotropy == math.inf and found.log_volume == -math.inf and found.speeds[1] == 0


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
    expected = torch.tensor([[float((one * two).mean()) * GRAY_LEVELS**2 for two in changes] for one in changes])
    assert torch.allclose(torch.from_numpy(found).float(), expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


def test_more_directions_than_there_are():
    with pytest.raises(InputError, match="`subspace` 3: latents of this size have 2 values"):
        plane_basis(plane(), 3)


# The geodesic


def test_energy_is_the_squared_length_of_equal_steps_and_its_gradient_is_torchs():
    ball = sphere()
    chain = straight_line(latent(0.5, -0.3), latent(1.8, 1.0))(torch.linspace(0, 1, 6))
    found, gradient = energy(ball, chain, PIXEL)
    chain.requires_grad_()
    pictures = ball.decode(chain)
    expected = 5 * GRAY_LEVELS**2 * (pictures[1:] - pictures[:-1]).square().mean((1, 2, 3)).sum()
    (expected_gradient,) = torch.autograd.grad(expected, chain)
    assert found == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(gradient[1:-1], expected_gradient[1:-1], rtol=1e-4, atol=1e-2)
    assert not gradient[[0, -1]].any()
    meridian = straight_line(latent(0.5, 0.0), latent(1.5, 0.0))
    fine = meridian(torch.linspace(0, 1, 101))
    assert energy(ball, fine, PIXEL)[0] == pytest.approx((0.7 * UNIT) ** 2, rel=1e-3)


def test_the_geodesic_of_a_sphere_is_its_great_circle():
    ball, start, end = sphere(0.7), latent(0.9, -1.1), latent(0.9, 1.1)
    records = list(find_geodesic(ball, start, end, PIXEL, steps=30))
    assert all(later.energy <= record.energy for record, later in pairwise(records))
    curve = records[-1].curve
    angle = math.acos(math.cos(0.9) ** 2 + math.sin(0.9) ** 2 * math.cos(2.2))
    great_circle, parallel = 0.7 * UNIT * angle, 0.7 * UNIT * math.sin(0.9) * 2.2
    assert length(ball, straight_line(start, end)) == pytest.approx(parallel, rel=1e-3)
    assert length(ball, curve) == pytest.approx(great_circle, rel=0.01)
    assert great_circle < 0.95 * parallel
    points = curve(torch.linspace(0, 1, 9))
    assert torch.allclose(points[[0, -1]], torch.cat([start, end]), atol=1e-5)
    middle = math.atan(math.tan(0.9) * math.cos(1.1))  # the polar angle where the circle comes nearest to the pole
    assert float(points[4, 0]) == pytest.approx(middle, rel=0.02)


def test_the_geodesic_of_a_plane_is_straight_line():
    flat = surface(lambda u, v: [u, v, u - v])
    records = list(find_geodesic(flat, latent(0.0, 0.0), latent(1.0, 0.5), PIXEL))
    assert len(records) < 4  # it settles at once
    assert records[-1].curve.waves.abs().max() < 1e-3


def test_a_search_that_goes_astray_keeps_its_best_curve(monkeypatch):
    class Astray:
        def __init__(self, parameters, **options):
            (self.waves,) = parameters

        def step(self, evaluate):
            self.waves.data.fill_(5.0)
            evaluate()

    monkeypatch.setattr(torch.optim, "LBFGS", Astray)
    flat = surface(lambda u, v: [u, v, u - v])
    first, last = list(find_geodesic(flat, latent(0.0, 0.0), latent(1.0, 0.5), PIXEL))[:2]
    assert last.energy == first.energy and last.curve.waves.abs().max() == 0


# On planes


def test_lattice_is_square_and_tiles_go_between_ellipses():
    lattice = make_lattice(plane(extent=(0, 4, 0, 2)), 9)
    assert lattice.columns == 9 and len(lattice.points) == 9 * 4
    assert len(lattice.tiles) == 12 * 6 and len(lattice.ellipses) == 11 * 5
    gaps = [max(abs(x - u), abs(y - v)) for x, y in lattice.tiles for u, v in lattice.ellipses]
    assert min(gaps) == pytest.approx(lattice.pitch / 2)


def test_ends_and_projection():
    assert path_ends(plane(marks={"a": (0, 1), "b": (2, 3), "c": (4, 5)})) == ((0, 1), (2, 3))
    assert path_ends(plane(extent=(0, 2, -1, 3))) == ((0, 1), (2, 1))
    places, away = project(plane(), torch.cat([plane().at(0.5, -2.0), plane().at(3.0, 0.25)]))
    assert places == pytest.approx(np.array([[0.5, -2.0], [3.0, 0.25]])) and away < 1e-6


def test_quantities_of_a_metric():
    found = MetricAt(index=0, total=0, place=(0, 0), metric=np.array([[4.0, 0, 1], [0, 9, 0], [1, 0, 16]]))
    assert found.speeds == (2, 3) and found.anisotropy == pytest.approx(1.5)
    assert found.log_volume == pytest.approx(math.log(4 * 9 * 16 - 9) / 2)


# The figure


def two_paths():
    """Paths whose places, steps and pictures can be told apart."""
    return {
        name: DecodedPath(
            places=np.array([[0.4, 0.0], [1.0, middle], [1.8, 0.0]]),
            steps=np.array(steps),
            pictures=[to_uint8(picture(6, 8, seed=seed + index)) for index in range(3)],
        )
        for name, middle, steps, seed in (
            ("straight", 0.0, [5.0, 3.0, 4.0], 10),
            ("geodesic", 0.4, [2.0, 4.0, 3.5], 20),
        )
    }


@pytest.fixture(scope="module")
def drawn():
    """A figure of the paraboloid: its axes by title (the large map's by "volume"), lattice, tiles, paths."""
    flat = plane(extent=(-0.2, 1.9, -1.0, 0.7), marks={"a": (0.1, 0.0), "b": (1.7, -0.5)})
    lattice = make_lattice(flat, 5)
    metrics = list(measure_plane(paraboloid(), flat, [*lattice.points, *lattice.ellipses], plane_basis(flat)))
    tiles = [to_uint8(picture(6, 8, seed=index)) for index in range(len(lattice.tiles))]
    paths = two_paths()
    figure = draw_curvature("paraboloid", flat, lattice, metrics, tiles, paths, chord=9.5)
    axes = {each.get_title() or each.get_title(loc="left"): each for each in figure.axes}
    axes["volume"] = next(each for title, each in axes.items() if title.startswith("Inside an ellipse"))
    return SimpleNamespace(figure=figure, axes=axes, plane=flat, lattice=lattice, tiles=tiles, paths=paths)


def known_metric(place):
    """The metric of the paraboloid, squared gray levels per squared standard deviation."""
    x, y = np.array(place) * math.sqrt(2)
    return 2 * UNIT**2 * np.array([[1 + x * x, x * y], [x * y, 1 + y * y]])


@pytest.mark.parametrize(
    ("title", "label", "value"),
    [
        ("volume", "log area element  ½ ln det G", lambda metric: math.log(np.linalg.det(metric)) / 2),
        ("Speed across", "gray levels per standard deviation", lambda metric: math.sqrt(metric[0, 0])),
        ("Speed up", "gray levels per standard deviation", lambda metric: math.sqrt(metric[1, 1])),
        ("Anisotropy", "fastest over slowest direction", lambda metric: math.sqrt(np.linalg.cond(metric))),
    ],
)
def test_each_map_shows_its_quantity_where_it_was_measured(drawn, title, label, value):
    shown = drawn.axes[title].images[0]
    values = shown.get_array()
    rows, columns = values.shape
    left, right, bottom, top = shown.get_extent()
    assert shown.origin == "upper" and (rows, columns) == (4, 5)
    for row in range(rows):
        for column in range(columns):
            place = (left + (column + 0.5) * (right - left) / columns, top - (row + 0.5) * (top - bottom) / rows)
            assert values[row, column] == pytest.approx(value(known_metric(place)), rel=1e-3), place
    assert drawn.plane.extent == pytest.approx(
        (
            left + (right - left) / columns / 2,
            right - (right - left) / columns / 2,
            bottom + (top - bottom) / rows / 2,
            top - (top - bottom) / rows / 2,
        )
    )
    (bar,) = drawn.axes[title].child_axes
    assert bar.get_ylabel() == label


def test_both_axes_of_each_ellipse_change_the_picture_by_what_the_title_says(drawn):
    axes = drawn.axes["volume"]
    ellipses = [patch for patch in axes.patches if hasattr(patch, "angle")]
    assert [tuple(each.center) for each in ellipses] == drawn.lattice.ellipses
    changes = []
    for ellipse in ellipses:
        metric, angle = known_metric(ellipse.center), math.radians(ellipse.angle)
        longer = ellipse.width / 2 * np.array([math.cos(angle), math.sin(angle)])
        shorter = ellipse.height / 2 * np.array([-math.sin(angle), math.cos(angle)])
        assert ellipse.width >= ellipse.height and longer @ metric @ shorter == pytest.approx(0, abs=0.01)
        changes += [math.sqrt(axis @ metric @ axis) for axis in (longer, shorter)]
    assert changes == pytest.approx([changes[0]] * len(changes), rel=1e-3)
    words = f"Inside an ellipse the picture changes by less than {changes[0]:.2g} gray levels"
    assert axes.get_title() == words
    assert max(each.width for each in ellipses) <= 0.54 * drawn.lattice.pitch * 1.0001


def test_small_pictures_paths_and_marks_are_where_they_belong(drawn):
    axes = drawn.axes["volume"]
    for (x, y), tile, shown in zip(drawn.lattice.tiles, drawn.tiles, axes.images[1:], strict=True):
        left, right, bottom, top = shown.get_extent()
        assert ((left + right) / 2, (bottom + top) / 2) == pytest.approx((x, y)) and left < right and bottom < top
        assert shown.origin == "upper" and np.array_equal(shown.get_array(), tile)
    lines = {line.get_label(): line for line in axes.lines}
    for name, color in (("straight", "black"), ("geodesic", "#ff4a1c")):
        assert lines[name].get_xydata() == pytest.approx(drawn.paths[name].places) and lines[name].get_color() == color
    assert {text.get_text(): tuple(text.xy) for text in axes.texts} == drawn.plane.marks
    assert axes.get_xlim() == pytest.approx(axes.images[0].get_extent()[:2])
    assert axes.get_ylim() == pytest.approx(axes.images[0].get_extent()[2:])


def test_speeds_are_those_of_their_path(drawn):
    axes = drawn.axes["Speed of change along both paths"]
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["straight", "geodesic", "cross-fade of the ends"]
    assert lines["straight"].get_xdata() == pytest.approx([1 / 6, 3 / 6, 5 / 6])
    assert lines["straight"].get_ydata() == pytest.approx([15, 9, 12]) and lines["straight"].get_color() == "black"
    assert lines["geodesic"].get_ydata() == pytest.approx([6, 12, 10.5])
    assert lines["cross-fade of the ends"].get_ydata() == [9.5, 9.5]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("fraction of the path", "gray levels for the whole path")


def test_colors_do_not_make_small_differences_large(drawn):
    assert color_range([1.75, 1.88], 1.0, low=1) == (1, 2)
    assert color_range([1.75, 4.0, math.inf], 1.0, low=1) == (1, 4)
    assert color_range([7.0, 7.1], 0.7) == pytest.approx((6.7, 7.4)) and color_range([5, 9.0], 0.7) == (5, 9)
    assert color_range([40, 60.0], low=0) == (0, 60) and color_range([math.inf], 1.0, low=1)[0] == 1
    for title, low in (("Speed across", 0), ("Speed up", 0), ("Anisotropy", 1)):
        assert drawn.axes[title].images[0].get_clim()[0] == low


def test_the_finding_says_how_much_the_plane_curves():
    def words(least, largest, ratio):
        volume = {"least": least, "median": least, "largest": largest}
        return curvature_in_words({"log_volume": volume, "volume_directions": 2, "paths": {"ratio": ratio}})

    assert words(1.0, 1.0 + math.log(1.5), 0.9) == (
        "The decoder stretches areas up to 1.50 times as much in one place of the plane as in another, and the "
        "geodesic is 10.0% shorter than the straight line."
    )
    assert words(1.0, 1.1, 0.995).startswith("This plane is nearly flat: the decoder stretches areas up to 1.11 times")
    assert "don't change in some direction" in words(None, None, 1.0)


def test_each_strip_shows_the_pictures_of_its_path(drawn):
    for title, name in (
        ("straight: 12.0 gray levels long", "straight"),
        ("geodesic: 9.5 gray levels long", "geodesic"),
    ):
        strip = drawn.axes[title].images[0].get_array()
        assert strip.shape == (6, 3 * 8 + 2 * 4, 3)
        for index, wanted in enumerate(drawn.paths[name].pictures):
            assert np.array_equal(strip[:, 12 * index : 12 * index + 8], wanted)
    strip = drawn.axes["geodesic − straight, × 4, around gray"].images[0].get_array()
    straight, geodesic = (drawn.paths[name].pictures[1].astype(int) for name in ("straight", "geodesic"))
    assert np.array_equal(strip[:, 12:20], np.clip(128 + 4 * (geodesic - straight), 0, 255))
    titles = [axes.get_title(loc="left") for axes in drawn.figure.axes if axes.get_title(loc="left")]
    assert [title.split(":")[0] for title in titles] == ["straight", "geodesic", titles[-1]]


def test_more_directions_have_a_volume():
    flat = Plane(
        origin=torch.zeros(1, 4, 3, 3),
        across=torch.ones(1, 4, 3, 3),
        up=torch.tensor([1.0, -1.0, 1.0, -1.0]).reshape(1, 4, 1, 1).expand(1, 4, 3, 3),
        **{"extent": (-1, 1, -1, 1), "size": (6, 6), "marks": {}, "axes": ("", "")},
    )
    lattice = make_lattice(flat, 2)
    metrics = list(measure_plane(linear_autoencoder(), flat, lattice.points, plane_basis(flat, 5)))
    tiles = [to_uint8(picture(6, 8))] * len(lattice.tiles)
    figure = draw_curvature("linear", flat, lattice, metrics, tiles, two_paths(), chord=1.0)
    label = figure.axes[0].child_axes[0].get_ylabel()
    assert label == "log volume element in 5 directions  ½ ln det G"
    volumes = np.reshape([np.linalg.slogdet(each.metric)[1] / 2 for each in metrics], (2, 2))
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), volumes)


def test_paths_are_drawn_side_by_side_under_their_names():
    images, paths = picture(30, 120, count=2), two_paths()
    frame = Labeled(index=0, total=0, latent=images, image=images, titles=path_titles(paths))
    shown = LabeledDrawing(columns=2)(frame)
    assert np.array_equal(shown[:, :120], titled(to_uint8(images[:1]), ["straight:", "12.0 gray levels"]))
    assert np.array_equal(shown[:, 124:], titled(to_uint8(images[1:]), ["geodesic:", "9.5 gray levels"]))


def test_a_path_is_measured_and_compared_without_a_file():
    ball, flat = sphere(0.7), plane(extent=(0.9 / math.sqrt(2), 0.9 / math.sqrt(2), 0, 0))
    start, end = latent(0.9, -1.1), latent(0.9, 1.1)
    curves = {"straight": straight_line(start, end)}
    curves["geodesic"] = list(find_geodesic(ball, start, end, PIXEL, steps=30))[-1].curve
    paths = {name: measure_path(ball, flat, curve) for name, curve in curves.items()}
    parallel = 0.7 * UNIT * math.sin(0.9) * 2.2
    assert paths["straight"].length == pytest.approx(parallel, rel=1e-3) and len(paths["straight"].steps) == 64
    assert paths["straight"].places[[0, -1]] == pytest.approx(np.array([[0.9, -1.1], [0.9, 1.1]]) / math.sqrt(2))
    for shown, angle in ((paths["straight"].pictures[0], -1.1), (paths["straight"].pictures[-1], 1.1)):
        assert np.array_equal(shown, to_uint8(ball.decode(latent(0.9, angle))))
    chord = 2 * 0.7 * UNIT * math.sin(0.9) * math.sin(1.1)
    found = compare_paths(flat, curves, paths, chord)
    great_circle = 0.7 * UNIT * math.acos(math.cos(0.9) ** 2 + math.sin(0.9) ** 2 * math.cos(2.2))
    assert found["straight"]["length"] == pytest.approx(parallel, rel=1e-3)
    assert found["geodesic"]["length"] == pytest.approx(great_circle, rel=0.01)
    assert found["ratio"] == pytest.approx(great_circle / parallel, rel=0.01)
    assert found["detour_saved"] == pytest.approx((parallel - great_circle) / (parallel - chord), rel=0.05)
    assert found["straight"]["latent_rms"]["least"] == pytest.approx(0.9 / math.sqrt(2), rel=1e-3)


# The command


@pytest.fixture(autouse=True)
def few(monkeypatch, request):
    """Fewer small pictures and ellipses where a complete command runs."""
    if "invoke" in request.fixturenames:
        monkeypatch.setattr("latentflow.explore.curvature.figure.TILES_ON_SHORT_SIDE", 2)


@pytest.fixture
def three(images):
    return [images / "0.png", images / "2.png", "random:7"]


@pytest.mark.slow
def test_figure_frames_and_manifest(invoke, three, tmp_path):
    line = ("curvature", *three, *QUICK, "--output_path", "c.png", "--subspace", 3)
    code, out, err = invoke(*line)
    assert code == 0, err
    with Image.open(tmp_path / "c.png") as figure:
        assert figure.width == 16 * 120
    with Image.open(tmp_path / "c.gif") as gif:
        assert gif.n_frames == 4 and gif.width == 48 + GAP
    result = json.loads((tmp_path / "c.png.manifest.json").read_text())["result"]
    paths = result["paths"]
    assert paths["chord"] < paths["geodesic"]["length"] < paths["straight"]["length"]
    assert 0.5 < paths["ratio"] < 1 and 0 < paths["detour_saved"] < 1
    assert paths["straight"]["off_plane"] < 1e-5 < 1e-3 < paths["geodesic"]["off_plane"]
    assert list(result["marks"]) == ["0", "2", "random:7"] and result["volume_directions"] == 3
    assert all(np.linalg.eigvalsh(point["metric"]).min() > 0 for point in result["points"])
    across = result["speed_across"]
    said = out.splitlines()
    assert any(
        line.startswith(
            f"speed    across {across['median']:.3g} ({across['least']:.3g} to {across['largest']:.3g}), up"
        )
        for line in said
    )
    words = f"straight {paths['straight']['length']:.2f}, geodesic {paths['geodesic']['length']:.2f} gray levels"
    ends = f"(ratio {paths['ratio']:.3f}); the pictures at their ends are {paths['chord']:.2f} apart"
    assert f"paths    {words} {ends}" in said
    before = [(tmp_path / name).read_bytes() for name in ("c.png", "c.gif")]
    assert invoke(*line)[0] == 0
    assert [(tmp_path / name).read_bytes() for name in ("c.png", "c.gif")] == before


@pytest.mark.slow
def test_the_command_draws_and_writes_the_paths_it_names(invoke, autoencoder, three, tmp_path, saved_figures):
    line = ("curvature", *three, *QUICK, "--output_path", "c.png", "--sweep", "")
    code, _, err = invoke(*line)
    assert code == 0, err
    sources = [str(each) for each in three]
    found = make_plane(sources, autoencoder, 24, "contain", Session())
    curve = straight_line(*(found.at(*place) for place in path_ends(found)))
    straight = measure_path(autoencoder, found, curve)
    (figure,) = saved_figures
    strips = {
        axes.get_title(loc="left"): axes.images[0].get_array() for axes in figure.axes if axes.get_title(loc="left")
    }
    strip = strips[f"straight: {straight.length:.1f} gray levels long"]
    width = straight.pictures[0].shape[1]
    for index, wanted in enumerate(straight.pictures):
        shown = strip[:, (width + 4) * index : (width + 4) * index + width]
        assert np.abs(shown.astype(int) - wanted).max() <= 1
    frames = sorted((tmp_path / "c_frames").glob("*.png"))
    even = place_evenly(np.linspace(0, 1, 65), list(straight.steps), frame_times(4))
    title = f"straight: {straight.length:.1f} gray levels"
    for path, frame in zip(frames, decode_curves(autoencoder, [curve], [even], found.size), strict=True):
        shown = np.asarray(Image.open(path)).astype(int)
        assert shown.shape[1] == 2 * width + GAP
        assert np.abs(shown[:, :width] - titled(to_uint8(frame.image), title)).max() <= 1
        if 0 < frame.index < 3:  # between its ends, which are fixed, the geodesic is another path
            assert np.abs(shown[13:, width + GAP :] - shown[13:, :width]).max() > 5


def test_a_long_plane_is_not_measured_without_end():
    long = make_lattice(plane(extent=(-2.0, 2.0, -0.004, 0.004)), 15)
    assert len(long.tiles) <= 24 * 2 and len(long.ellipses) <= 24 * 2


@pytest.mark.slow
def test_of_a_folder(invoke, images, tmp_path):
    code, out, err = invoke("curvature", images, *QUICK, "--json", "--output_path", "f.svg", "--sweep", "")
    assert code == 0, err
    assert len(list((tmp_path / "f_frames").glob("*.png"))) == 4
    left, right = json.loads(out)["paths"]["ends"]
    assert left[0] == -right[0] < 0 == left[1] == right[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "A plane goes through three images"),
        (("random:1", "random:2"), 2, "A plane goes through three images"),
        (("missing.png",), 2, "missing.png"),
        (("random:1", "--resolution", 1), 2, "--resolution must be at least 2"),
        (("random:1", "--subspace", 1), 2, "--subspace must be at least 2"),
        (("random:1", "--output_path", "c.gif"), 2, "a figure is written as .png or .svg"),
        (("random:1", "--output_path", "nowhere/c.png"), 6, "does not exist"),
        (("random:1", "--sweep", ".avi"), 2, "--sweep is one of"),
        (("random:1", "random:1", "random:2", *QUICK), 2, "lie on a line"),
        (("random:1", "--subspace", 100, *QUICK), 2, "--subspace 100: latents of this size have 36 values"),
    ],
)
def test_bad_input_is_one_line(invoke, arguments, code, message):
    found, out, err = invoke("curvature", *arguments)
    assert (found, out, err.count("\n")) == (code, "", 1) and message in err, err
