"""The language of --loss_type."""

import pytest
import torch
from toys import picture

from latentflow.errors import InputError
from latentflow.objective import Objective, parse
from latentflow.perceptual import loader


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("mse", [(1, "mse")]),
        (" l1 + 0.1*ssim ", [(1, "l1"), (0.1, "ssim")]),
        ("1e-2 * mse+.5*l1 + 2*psnr", [(0.01, "mse"), (0.5, "l1"), (2, "psnr")]),
    ],
)
def test_sums_are_read(text, terms):
    assert parse(text) == terms


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 1, "expected a loss"),
        ("mes", 1, "Did you mean mse"),
        ("mse l1", 5, "expected \\+"),
        ("mse + ", 7, "expected a loss"),
        ("mse + 0.1ssim", 7, "expected a loss"),
        ("mse + 1.2.3*l1", 7, "no number"),
        ("mse + mse", 7, "stands twice"),
        ("mse - l1", 5, "expected \\+"),
        ("0.5*nothing_like_it", 5, "The losses are"),
    ],
)
def test_errors_point_at_the_character(text, position, words):
    with pytest.raises(InputError, match=f"character {position}: .*{words}"):
        parse(text)


def test_a_sum_is_the_sum_of_its_terms():
    image, target = picture(count=2), picture(seed=4, count=2)
    total, parts = Objective("mse + 0.5*l1", target)(image)
    assert total.shape == (2,) and list(parts) == ["mse", "l1"]
    assert torch.allclose(total, parts["mse"] + 0.5 * parts["l1"])


def test_stand_ins_are_marked_in_every_label():
    objective = Objective("mse + 0.1*lpips", picture(40, 40), loader("bundled"))
    assert objective.label == "mse + 0.1*lpips[bundled]"
    assert list(objective(picture(40, 40))[1]) == ["mse", "lpips[bundled]"]


def test_a_picture_too_small_for_a_loss_is_an_input_error():
    with pytest.raises(InputError, match="ssim needs pictures of at least 11 × 11"):
        Objective("ssim", picture(8, 40))
