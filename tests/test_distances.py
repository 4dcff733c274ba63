"""Distances of latents: exact, in their units, and without the hubs that a plain difference has."""

import numpy as np
import pytest
import torch

from latentflow.explore import distances
from latentflow.explore.distances import DEFAULT_DISTANCE, DISTANCES, Space
from latentflow.explore.similar import nearest


def latents(count, seed=0, rows=8):
    return torch.randn(count, 4, rows, rows, generator=torch.Generator().manual_seed(seed))


def parts(values):
    """The 4 × 4 parts of values (n, c, rows, columns) with their values last, (n, c, 4, 4, values)."""
    count, channels, rows, columns = values.shape
    cells = values.reshape(count, channels, 4, rows // 4, 4, columns // 4)
    return cells.transpose(0, 1, 2, 4, 3, 5).reshape(count, channels, 4, 4, -1)


def naive(query, many, distance):
    """The same distances in numpy and double precision."""
    one, others = query.double().numpy(), many.double().numpy()
    if distance == "moments":

        def described(values):
            both = np.concatenate([parts(values).mean(-1), parts(values).std(-1)], axis=1)
            return (both + both[..., ::-1]) / 2

        one, others = described(one), described(others)
        one, others = one - others.mean(0), others - others.mean(0)
    if distance == "pooled":
        one, others = (parts(each).mean(-1) for each in (one, others))
    one, others = one.reshape(1, -1), others.reshape(len(others), -1)
    if distance in ("cosine", "moments"):
        return 1 - (others @ one[0]) / np.linalg.norm(others, axis=1) / np.linalg.norm(one)
    return np.sqrt(((others - one) ** 2).mean(axis=1))


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_nearest_are_exactly_those_of_a_naive_search(distance, monkeypatch):
    monkeypatch.setattr(distances, "CHUNK_SIZE", 64)  # several, and a part of one
    query, many = latents(1, seed=9), latents(200)
    expected = naive(query, many, distance)
    found = nearest(query, many, 20, distance)
    assert [each.index for each in found] == np.argsort(expected, kind="stable")[:20].tolist()
    np.testing.assert_allclose([each.distance for each in found], np.sort(expected)[:20], rtol=1e-5)


@pytest.mark.parametrize("distance", DISTANCES)
def test_neighbors_of_all_are_those_of_a_search_for_each(distance, monkeypatch):
    monkeypatch.setattr(distances, "CHUNK_SIZE", 64)
    many = latents(90)
    indices, found = Space(many, distance).neighbors(5)
    for row in (0, 1, 63, 64, 89):
        alone = nearest(many[row : row + 1], many, 5, distance, exclude=[row])
        assert indices[row].tolist() == [each.index for each in alone]
        assert found[row].tolist() == pytest.approx([each.distance for each in alone], rel=1e-5)
    assert Space(many[:3], distance).neighbors(9)[0].shape == (3, 2)


def test_the_median_is_that_of_all_pairs():
    many = latents(19)  # 171 pairs
    pairs = [float(naive(many[row : row + 1], many, "l2")[column]) for row in range(19) for column in range(row)]
    assert Space(many, "l2").median() == pytest.approx(np.median(pairs), rel=1e-5)
    assert np.isnan(Space(many[:1], "l2").median())


def test_near_latents_are_told_apart_at_the_last_digits():
    query = latents(1) + 10
    many = torch.cat([query + step * 1e-4 for step in (3, 1, 2)])
    found = nearest(query, many, 3, "l2")
    assert [each.index for each in found] == [1, 2, 0]
    np.testing.assert_allclose([each.distance for each in found], [1e-4, 2e-4, 3e-4], rtol=0.02)


def test_distances_are_in_the_units_they_claim():
    one = latents(1)

    def between(other, distance):
        return nearest(one, other, 1, distance)[0].distance

    assert between(one + 0.5, "l2") == pytest.approx(0.5) and between(one - 0.5, "pooled") == pytest.approx(0.5)
    assert between(one * 3, "cosine") == pytest.approx(0, abs=1e-6)
    assert between(-one, "cosine") == pytest.approx(2)
    assert between(torch.zeros_like(one), "cosine") == 1  # which has no direction


def test_pooled_cares_less_about_where_things_are():
    one = torch.zeros(1, 4, 8, 8)
    one[..., 0, 0] = 1
    moved, far = one.roll((1, 1), dims=(2, 3)), one.roll((4, 4), dims=(2, 3))  # the first within a part of 2 × 2
    by_l2, by_pooled = (
        [each.distance for each in nearest(one, torch.cat([moved, far]), 2, distance)] for distance in ("l2", "pooled")
    )
    assert by_pooled[0] == 0 < by_pooled[1] and by_l2[0] == by_l2[1] > 0


def test_a_mirror_image_is_as_near_as_the_picture_itself_by_moments():
    many = latents(30)
    found = nearest(many[4:5].flip(-1), many, 2)
    assert found[0].index == 4 and found[0].distance < 1e-6 and found[1].distance > 0.1
    assert nearest(many[4:5].flip(-1), many, 1, "l2")[0].index != 4


def hubs(space, count=5):
    """How often the one that is found most is found, and how many are never found."""
    found = torch.bincount(space.neighbors(count)[0].flatten(), minlength=len(space.vectors))
    return int(found.max()), int((found == 0).sum())


def test_a_picture_of_low_contrast_is_no_hub_by_the_default():
    """Latents of different contrast: by l2 the flattest is near to all of them, by moments to few."""
    contrasts = torch.linspace(0.2, 2, 60)[:, None, None, None]
    colors = torch.randn(60, 4, 1, 1, generator=torch.Generator().manual_seed(1)) * 0.3
    pictures = latents(60) * contrasts + colors
    largest, never = hubs(Space(pictures, "l2"))
    assert largest > 40 and never > 40
    largest, never = hubs(Space(pictures, DEFAULT_DISTANCE))
    assert largest < 25 and never < 10
