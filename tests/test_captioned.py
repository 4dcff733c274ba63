"""Scenes with captions: what is drawn is what is said."""

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from tools.toy.captioned import COLORS, KINDS, TIMES, Scene, captioned, vocabulary


def drawn(scene, seed=0):
    return np.asarray(scene.draw(np.random.default_rng(seed)), np.float64)


def test_a_seed_gives_a_scene_a_caption_and_a_picture():
    image, words, scene = captioned(7)
    again, same_words, same = captioned(7)
    assert (words, scene) == (same_words, same) and np.array_equal(image, again) and image.size == (128, 128)
    assert len({captioned(seed)[1] for seed in range(60)}) > 40
    assert captioned(7, 64)[0].size == (64, 64)


def test_all_words_of_captions_are_known():
    known, said = set(vocabulary()), Counter()
    for seed in range(3000):
        rng = np.random.default_rng(seed)
        said.update(Scene.random(rng, held_out=seed % 2 == 0).caption(rng).split())
    assert set(said) == known


def test_one_color_of_each_kind_and_time_is_held_out():
    held = [(k, c, t) for k in KINDS for c in COLORS for t in TIMES if Scene(k, c, t).held_out]
    assert len(held) == 24 and len({(kind, time) for kind, _, time in held}) == 24
    assert max(Counter(color for _, color, _ in held).values()) <= 4  # no color is missing from training
    rng = np.random.default_rng(0)
    assert not any(Scene.random(rng).held_out for _ in range(500))
    assert all(Scene.random(rng, held_out=True).held_out for _ in range(50))


@pytest.mark.parametrize(
    "scene, words",
    [
        (Scene("ball", "red", "day"), "a red ball by day"),
        (Scene("house", "orange", "night", 1), "an orange house at night"),
        (Scene("boat", "white", "dusk", 3), "three white boats at dusk"),
        (Scene("face", "orange", "day"), "a face with orange hair by day"),
        (Scene("hills", "green", "night"), "green hills at night"),
    ],
)
def test_a_complete_caption(scene, words):
    assert scene.caption() == words


@pytest.mark.parametrize("kind", KINDS)
def test_things_have_their_color(kind):
    """Where two drawings that differ in nothing but the color differ, each is nearer to its own."""
    names = [name for name in COLORS if name not in ("black", "white")]
    for one, two in zip(names, names[4:] + names[:4]):
        first, second = drawn(Scene(kind, one, "day")), drawn(Scene(kind, two, "day"))
        where = np.abs(first - second).max(2) > 30
        assert where.mean() > 0.01
        for picture, own, other in ((first, one, two), (second, two, one)):
            mean = picture[where].mean(0)
            assert np.linalg.norm(mean - COLORS[own]) < np.linalg.norm(mean - COLORS[other]), (own, other)


@pytest.mark.parametrize("kind", KINDS)
def test_nights_are_dark_and_dusks_are_warm(kind):
    day, dusk, night = (drawn(Scene(kind, "white", time)).mean((0, 1)) for time in ("day", "dusk", "night"))
    assert night.mean() < 0.65 * day.mean()
    assert dusk[0] - dusk[2] > day[0] - day[2] + 10


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_as_many_things_are_drawn_as_are_said(count, seed):
    red = drawn(Scene("ball", "red", "day", count), seed)
    mask = (red[..., 0] - red[..., 1] > 70) & (red[..., 0] - red[..., 2] > 70)
    _, found = ndimage.label(ndimage.binary_opening(mask, iterations=2))
    assert found == count
