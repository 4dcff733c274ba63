"""Losses as objects: `LPIPS() + 0.1 * SSIM()` wherever a loss is taken."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import picture

import latentflow
from latentflow import losses
from latentflow.base.errors import InputError
from latentflow.inversion.objective import Objective
from latentflow.losses import LPIPS, MSE, SSIM, Sinkhorn
from latentflow.models.networks import Networks

ROOT = Path(__file__).parent.parent


def half_mask():
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:30, 5:35] = 0.5
    return mask


def test_every_built_in_loss_is_found_by_the_name_of_its_class():
    for cls in losses.built_in():
        assert getattr(losses, cls.__name__) is cls
    with pytest.raises(AttributeError, match="Lpisp"):
        _ = losses.Lpisp


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: LPIPS() + 0.1 * SSIM(), "lpips + 0.1*ssim"),
        (lambda: 2 * (MSE() * 0.5 + 0.25 * LPIPS()), "mse + 0.5*lpips"),
        (lambda: Sinkhorn(blur=0.1, points=8), "sinkhorn(blur=0.1,points=8)"),
        (lambda: np.float32(0.5) * MSE() + 0 * SSIM(), "0.5*mse + 0*ssim"),
        (lambda: sum([MSE(), 3 * SSIM()]), "mse + 3*ssim"),
    ],
)
@pytest.mark.parametrize("mask", [None, half_mask()], ids=["whole", "masked"])
def test_an_object_is_the_text_bit_for_bit(made, text, mask):
    target, image = picture(40, 40), picture(40, 40, seed=2).requires_grad_()
    networks = Networks("bundled")
    results = []
    for loss in (made(), text):
        objective = Objective(loss, target, networks, mask)
        total, parts = objective(image)
        (gradient,) = torch.autograd.grad(total.sum(), image)
        results.append((objective.label, total, gradient, parts))
    (label, total, gradient, parts), (wanted, *expected) = results
    assert label == wanted and torch.equal(total, expected[0]) and torch.equal(gradient, expected[1])
    assert parts.keys() == expected[2].keys()


def test_a_run_takes_an_object(small):
    options = {"size": 48, "steps": 2, "seed": 3, "weights": "bundled", "mask": torch.ones(40, 48)}
    said = []
    results = [
        latentflow.invert(small, loss, session=latentflow.Session(say=said.append), **options).result()
        for loss in (LPIPS() + 0.1 * SSIM(), "lpips + 0.1*ssim")
    ]
    assert torch.equal(results[0].latent, results[1].latent)
    assert results[0].loss == results[1].loss == "lpips[bundled] + 0.1*ssim"
    assert len(said) % 2 == 0 and said[: len(said) // 2] == said[len(said) // 2 :]


def test_an_object_is_left_as_it_is_by_what_takes_it():
    loss = LPIPS()
    one, two = Objective(loss, picture(40, 40)), Objective(loss, picture(48, 48, seed=3))
    assert loss.label == "lpips" and not loss.networks
    assert float(one(picture(40, 40))[0]) == pytest.approx(0) == float(two(picture(48, 48, seed=3))[0])
    twin = copy.deepcopy(0.5 * loss)
    assert twin.label == "0.5*lpips" and twin.terms[0][1] is not loss


def test_a_network_that_was_given_stays():
    class Other:
        label, heads = "other", None

        def stages(self, image):
            return [image]

    loss = LPIPS(lambda name: Other())
    assert Objective(loss, picture(40, 40), Networks("bundled")).label == "other"


def test_functions_and_modules_are_added_too():
    def brightness(image, target):
        return (image.mean(dim=(1, 2, 3)) - target.mean(dim=(1, 2, 3))).abs()

    image, target = picture(), picture(seed=4)
    for loss in (0.5 * MSE() + brightness, brightness + MSE() * 0.5):
        objective = Objective(loss, target)
        assert sorted(objective.label.split(" + ")) == ["0.5*mse", "brightness"]
        expected = 0.5 * float(MSE()(image, target)) + float(brightness(image, target))
        assert float(objective(image)[0]) == pytest.approx(expected)
    with pytest.raises(InputError, match="`mask` has no effect on the loss brightness"):
        Objective(MSE() + brightness, picture(40, 40), mask=half_mask())
    assert Objective(MSE() + torch.nn.L1Loss(), target).label == "mse + L1Loss"


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), "2", True, None])
def test_a_wrong_weight_is_refused(weight):
    with pytest.raises(InputError, match="The weight of a loss is"):
        _ = weight * MSE()


@pytest.mark.parametrize("other", [1, "l1", SSIM, None])
def test_what_is_no_loss_is_not_added(other):
    with pytest.raises(InputError, match="A loss adds to a loss"):
        _ = MSE() + other


def test_sums_that_move_nothing_or_name_a_loss_twice_are_refused():
    with pytest.raises(InputError, match="Nothing would move"):
        Objective(0 * MSE() + 0 * SSIM(), picture())
    with pytest.raises(InputError, match="two losses have the label mse"):
        Objective(MSE() + 2 * MSE(), picture())
    with pytest.raises(InputError, match=r"tv takes no `mask`|ignores|neighbor"):
        Objective(losses.TotalVariation() + MSE(), picture(40, 40), mask=torch.eye(40)[None, None])


def test_a_sum_is_a_function_of_image_and_target():
    image, target = picture(), picture(seed=4)
    loss = MSE() + 0.5 * losses.L1()
    assert torch.equal(loss(image, target), MSE()(image, target) + 0.5 * losses.L1()(image, target))
    assert repr(loss) == loss.label == "mse + 0.5*l1"
