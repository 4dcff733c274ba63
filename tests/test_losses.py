"""Every registered loss, held to what it declares, and known answers."""

import math

import numpy as np
import pytest
import skimage.metrics
import torch
from toys import picture

import losses
from latentflow.perceptual import loader

BUILT_IN = ["gradient", "l1", "lpips", "mse", "psnr", "ssim"]
SIZES = [(40, 40), (35, 51)]


@pytest.fixture(scope="module")
def load():
    return loader("bundled")


@pytest.fixture(params=losses.names())
def loss(request, load):
    return losses.find(request.param)(load)


def test_the_folder_is_the_list():
    assert losses.names() == BUILT_IN


@pytest.mark.parametrize("size", SIZES)
def test_one_value_an_image_and_each_what_the_image_gives_alone(loss, size):
    image, target = picture(*size, seed=1, count=3), picture(*size, seed=2, count=3)
    before = image.clone()
    values = loss(image, target)
    assert values.shape == (3,) and torch.isfinite(values).all()
    assert torch.equal(image, before)
    alone = torch.stack([loss(image[i : i + 1], target[i : i + 1])[0] for i in range(3)])
    assert torch.allclose(values, alone, rtol=1e-4)


def test_bound_and_minimum_at_the_target(loss):
    target = picture(40, 40)
    at_target = float(loss(target, target))
    bound = loss.declaration.lower_bound
    assert bound is None or at_target >= bound - 1e-5 * max(1, abs(bound))
    for seed in range(3):
        noisy = (target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))).clamp(0, 1)
        assert float(loss(noisy, target)) > at_target


def test_symmetry_as_declared(loss):
    one, two = picture(40, 40, seed=1), picture(40, 40, seed=2)
    assert loss.declaration.symmetric == (float(loss(one, two)) == pytest.approx(float(loss(two, one)), rel=1e-4))


@pytest.mark.parametrize("kind", ["at the target", "flat", "black", "noise", "overshooting"])
def test_gradients_are_finite(loss, kind):
    target = picture(40, 40)
    image = {
        "at the target": target.clone(),
        "flat": torch.full_like(target, 0.5),
        "black": torch.zeros_like(target),
        "noise": picture(40, 40, seed=5),
        "overshooting": target * 3 - 1,
    }[kind].requires_grad_()
    (gradient,) = torch.autograd.grad(loss(image, target).sum(), image)
    assert torch.isfinite(gradient).all()
    assert kind == "at the target" or float(gradient.abs().max()) > 0


def test_the_target_is_prepared_once(loss, monkeypatch):
    prepared = []
    monkeypatch.setattr(loss, "prepare", lambda target, prepare=loss.prepare: prepared.append(1) or prepare(target))
    bound = loss.bind(picture(40, 40))
    for seed in range(3):
        bound(picture(40, 40, seed=seed))
    assert prepared == [1]


@pytest.mark.parametrize(
    ("name", "expected"),
    # image 0.75 everywhere against 0.25: the difference is one half
    [("mse", 0.25), ("l1", 0.5), ("psnr", 10 * math.log10(0.25 + (0.1 / 255) ** 2))],
)
def test_worked_out_answers(name, expected):
    image, target = torch.full((1, 3, 12, 12), 0.75), torch.full((1, 3, 12, 12), 0.25)
    assert float(losses.find(name)()(image, target)) == pytest.approx(expected, rel=1e-5)


def test_psnr_and_ssim_agree_with_scikit_image():
    image, target = picture(48, 40, seed=1) * 0.3 + 0.35, picture(48, 40, seed=2) * 0.3 + 0.35
    a, b = (np.asarray(each[0].permute(1, 2, 0), dtype=np.float64) for each in (image, target))
    psnr = skimage.metrics.peak_signal_noise_ratio(b, a, data_range=1)
    assert float(losses.find("psnr")()(image, target)) == pytest.approx(-psnr, abs=1e-3)
    # the "valid" part of scikit-image's map is what pytorch-msssim averages
    _, full = skimage.metrics.structural_similarity(
        b, a, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert float(losses.find("ssim")()(image, target)) == pytest.approx(1 - full[5:-5, 5:-5].mean(), abs=1e-4)


def test_lpips_without_a_network_says_so():
    with pytest.raises(RuntimeError, match="load="):
        losses.find("lpips")()


def test_a_loss_of_ones_own_in_five_lines(monkeypatch):
    monkeypatch.setattr("losses._registry._registered", {})

    @losses.register("huber", reference="Huber 1964")
    class Huber(losses.Loss):
        def forward(self, image, prepared):
            return torch.nn.functional.huber_loss(image, prepared, reduction="none").mean(dim=(1, 2, 3))

    assert losses.find("huber") is Huber and "huber" in losses.names()
    half = torch.full((2, 3, 4, 4), 0.5)
    assert losses.find("huber")()(half, half * 0).tolist() == [0.125, 0.125]


def test_a_taken_name_is_refused(monkeypatch):
    losses.find("mse")
    with pytest.raises(ValueError, match="already registered"):
        losses.register("mse")(type("Other", (losses.Loss,), {}))


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError):
        losses.find("lpisp")
