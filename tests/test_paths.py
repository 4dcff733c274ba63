"""Latent paths: arcs, lines, splines, timing, and how frames are spread along them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentflow.base.errors import InputError
from latentflow.base.records import Frame
from latentflow.latents.paths import TIMINGS, LatentPath, frame_times, pass_through, place_evenly, slerp, step_sizes


def point(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)


def noise(count, seed=0, scale=1.0):
    return torch.randn(count, 4, 6, 5, generator=torch.Generator().manual_seed(seed)) * scale


def test_slerp_follows_the_circle_at_equal_angles():
    one, two = point(1, 0), point(0, 1)
    for fraction in (0, 0.25, 0.5, 1):
        angle = fraction * math.pi / 2
        assert torch.allclose(slerp(one, two, fraction).flatten(), torch.tensor([math.cos(angle), math.sin(angle)]))


def test_slerp_interpolates_norms():
    one, two = noise(1), noise(1, seed=1, scale=3)
    middle = slerp(one, two, 0.5)
    assert float(middle.norm()) == pytest.approx(float(one.norm() + two.norm()) / 2, rel=1e-5)
    assert float(torch.lerp(one, two, 0.5).norm()) < float(middle.norm())  # where a line dips


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (point(1, 2, 3), point(1, 2, 3)),
        (point(1, 2, 3), point(2, 4, 6)),
        (point(1, 2, 3), point(-1, -2, -3)),
        (point(1, 0, 0), point(-2, 1e-9, 0)),
        (point(0, 0, 0), point(1, 2, 3)),
        (point(0, 0, 0), point(0, 0, 0)),
        (point(1, 2, 3), point(1, 2, 3.000001)),
    ],
)
def test_slerp_is_finite_and_hits_its_ends(one, two):
    points = [slerp(one, two, fraction / 8) for fraction in range(9)]
    assert all(bool(torch.isfinite(each).all()) for each in points)
    assert torch.allclose(points[0], one, atol=1e-5) and torch.allclose(points[-1], two, atol=1e-5)
    norms = [float(each.norm()) for each in points]
    assert np.allclose(norms, np.linspace(norms[0], norms[-1], 9), atol=1e-5)  # opposite ends go round, not through 0


@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0.01, 100))
@settings(max_examples=60, deadline=None)
def test_slerp_is_the_same_backwards_and_scales(seed, fraction, scale):
    one, two = noise(1, seed), noise(1, seed + 1)
    assert torch.allclose(slerp(one, two, fraction), slerp(two, one, 1 - fraction), atol=1e-4)
    assert torch.allclose(
        slerp(one * scale, two * scale, fraction), slerp(one, two, fraction) * scale, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("method", ["slerp", "lerp", "spline"])
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("count", [2, 4])
def test_paths_pass_through_their_anchors(method, loop, count):
    anchors = noise(count)
    path = LatentPath(anchors, method, loop=loop)
    assert path.segments == (count if loop else count - 1)
    for index in range(path.segments + 1):
        assert torch.allclose(path(index), anchors[index % count : index % count + 1], atol=1e-4)


@pytest.mark.parametrize("loop", [False, True])
def test_a_spline_has_no_corners(loop):
    anchors = noise(5)
    spline, line = LatentPath(anchors, "spline", loop=loop), LatentPath(anchors, "lerp", loop=loop)
    step = 1e-2
    places = [1, 2, 3] + ([0] if loop else [])

    def corner(path, at):
        before = path(at - step if at else path.segments - step)
        return float(((path(at + step) - path(at)) - (path(at) - before)).norm()) / step

    for at in places:
        assert corner(spline, at) < 0.05 * corner(line, at)


def test_a_spline_keeps_the_length_of_latents():
    path = LatentPath(noise(4), "spline")
    norms = [float(path(at).norm()) for at in np.linspace(0, 3, 31)]
    anchors = [float(path(at).norm()) for at in range(4)]
    assert min(anchors) * 0.99 <= min(norms) and max(norms) <= max(anchors) * 1.01


def test_a_spline_through_the_origin_is_finite():
    path = LatentPath(torch.cat([point(1, 0), point(-1, 0)]), "spline", loop=True)
    assert all(bool(torch.isfinite(path(at)).all()) for at in np.linspace(0, 2, 41))


def test_the_last_frame_of_a_loop_is_not_the_first_again():
    assert frame_times(4).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert frame_times(4, loop=True).tolist() == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("name", TIMINGS)
@pytest.mark.parametrize("segments", [1, 3])
def test_timings_go_from_start_to_end_and_never_back(name, segments):
    time = np.linspace(0, 1, 61)
    found = TIMINGS[name](time, segments)
    assert found[0] == 0 and found[-1] == pytest.approx(1) and (np.diff(found) >= 0).all()


def test_stops_are_slow_at_every_anchor():
    time = np.linspace(0, 1, 301)
    found = TIMINGS["stops"](time, 3)
    speed = np.diff(found)
    assert found[[100, 200]] == pytest.approx([1 / 3, 2 / 3])
    assert max(speed[[0, 99, 100, 199, 200, 299]]) < 0.1 * speed.max()


def test_frames_are_spread_by_length():
    positions = np.array([0.0, 1.0, 2.0, 3.0])
    assert place_evenly(positions, [1, 1, 2], np.array([0, 0.25, 0.5, 0.75, 1])).tolist() == [0, 1, 2, 2.5, 3]
    assert place_evenly(positions, [0, 2, 0], np.array([0, 0.5, 1])).tolist() == [0, 1.5, 3]
    assert place_evenly(np.arange(5.0), [0, 0, 1, 1], np.array([0, 0.25, 0.5, 1])).tolist() == [0, 2.5, 3, 4]
    still = place_evenly(positions, [0, 0, 0], np.array([0, 0.5, 1]))
    assert still.tolist() == [0, 1.5, 3]


def test_steps_are_measured_between_neighboring_frames():
    frames = [
        Frame(index=index, total=3, latent=point(0), image=torch.full((1, 3, 2, 2), value))
        for index, value in enumerate((0.0, 0.5, 0.25, 1.0))
    ]
    assert step_sizes(frames, lambda one, two: float((two - one).mean())) == [0.5, -0.25, 0.75]
    assert step_sizes(frames[:1], lambda one, two: 1.0) == []


def test_positions_pass_through_stops_and_keep_their_shares_between_them():
    positions = np.linspace(0, 2, 6)  # 0, 0.4, 0.8, 1.2, 1.6, 2
    assert pass_through(positions, [0, 1, 2]) == pytest.approx([0, 0.5, 1, 4 / 3, 5 / 3, 2])
    assert pass_through(np.linspace(0, 2, 5), [0, 1, 2]).tolist() == [0, 0.5, 1, 1.5, 2]  # which had them all
    crowded = pass_through(np.array([0.0, 0.1, 0.2, 4.0]), [0, 1, 2, 4])  # each stop its own
    assert crowded.tolist() == [0, 1, 2, 4]
    assert pass_through(positions, range(9)) is positions  # fewer than stops
    loop = pass_through(np.arange(4) / 2, [0, 1])  # what comes after the last stop goes on
    assert loop.tolist() == [0, 0.5, 1, 1.5]
    frames = np.arange(10) * 0.3  # of a loop that ends at 3; the nearest to 2 is 2.1, and what follows is spread
    around = pass_through(frames, [0, 1, 2], end=3.0)
    assert around == pytest.approx([0, 1 / 3, 2 / 3, 1, 1.25, 1.5, 1.75, 2, 2 + 1 / 3, 2 + 2 / 3])
    assert pass_through(frames[:2], [0, 1, 2], end=3.0).tolist() == [0, 0.3]


@pytest.mark.parametrize("seed", range(20))
def test_any_positions_stay_ascending_and_have_every_stop(seed):
    rng = np.random.default_rng(seed)
    stops = np.arange(int(rng.integers(2, 8)))
    inner = np.sort(rng.uniform(0, stops[-1], int(rng.integers(len(stops), 40)) - 2))
    positions = np.concatenate([[0], inner, [stops[-1]]])
    moved = pass_through(positions, stops)
    assert len(moved) == len(positions) and (np.diff(moved) >= 0).all() and np.isin(stops, moved).all()


def test_slerp_of_a_batch_is_that_of_each_sample():
    """Each has its own angle and its own norm: quarter circles of radius 1 and 2 in other planes, and a line."""
    one, two = torch.zeros(3, 1, 1, 3), torch.zeros(3, 1, 1, 3)
    one[0, ..., 0], two[0, ..., 1] = 1.0, 1.0
    one[1, ..., 1], two[1, ..., 2] = 2.0, 4.0
    two[2, ..., 2] = 6.0
    middle, half = slerp(one, two, 0.5)[:, 0, 0], math.sqrt(0.5)
    expected = torch.tensor([[half, half, 0.0], [0.0, 3 * half, 3 * half], [0.0, 0.0, 3.0]])
    assert torch.allclose(middle, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: slerp(torch.zeros(2, 1, 1, 2), torch.zeros(1, 1, 1, 2), 0.5), "`one` has the shape"),
        (lambda: slerp(torch.zeros(2), torch.zeros(2), 0.5), r"`one` must have the shape \(n, c, rows"),
        (lambda: slerp(torch.ones(1, 1, 1, 2).int(), torch.ones(1, 1, 1, 2), 0.5), "`one` must be a tensor of floats"),
        (lambda: slerp(torch.ones(1, 1, 1, 2), [1.0, 2.0], 0.5), "`two` must be a tensor of floats, not list"),
        (lambda: slerp(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2), 1.5), "`fraction` must be"),
        (lambda: LatentPath(torch.zeros(1, 1, 1, 2)), "`anchors` must hold at least 2 latents, not 1"),
        (lambda: LatentPath(torch.zeros(2, 3)), "`anchors` must have the shape"),
        (lambda: LatentPath(torch.zeros(2, 1, 1, 2), "arc"), "`method` is one of slerp, lerp, spline, not 'arc'"),
        (lambda: LatentPath(torch.zeros(2, 1, 1, 2))("one"), "`position` must be a number"),
    ],
)
def test_what_is_no_path_is_an_input_error(call, words):
    with pytest.raises(InputError, match=words):
        call()
