"""Every registered loss: its declared properties, and known answers."""

import importlib.util
import math

import numpy as np
import pytest
import skimage.metrics
import torch
from toys import picture

from latentflow import losses
from latentflow.base.errors import InputError
from latentflow.models.networks import Networks

BUILT_IN = [
    *("charbonnier", "gradient", "l1", "lpips", "ms_ssim", "mse", "psnr", "sinkhorn", "ssim", "tv", "vgg"),
]
NETWORKS = ("lpips", "vgg")


@pytest.fixture(scope="module")
def load():
    return Networks("bundled")


@pytest.fixture(params=losses.names())
def loss(request, load):
    return losses.find(request.param)(load)


@pytest.fixture(params=["square", "odd"])
def size(request, loss):
    """A square, and a size that is neither square nor even, both large enough."""
    if loss.declaration.min_size > 35:
        return {"square": (164, 164), "odd": (163, 171)}[request.param]
    return {"square": (40, 40), "odd": (35, 51)}[request.param]


def smallest(loss):
    return max(40, loss.declaration.min_size)


def test_the_folder_is_the_list():
    assert losses.names() == BUILT_IN


def test_every_declaration_is_complete(loss):
    declaration = loss.declaration
    assert declaration.summary and "\n" not in declaration.summary
    low, high = declaration.input_range
    assert low < high
    for package in declaration.requires:
        assert importlib.util.find_spec(package)
    assert set(declaration.weights) <= set(NETWORKS)
    plain = {"l1", "mse", "psnr"}
    assert declaration.reference or declaration.name in plain


def test_one_value_an_image_as_of_the_image_alone(loss, size):
    image, target = picture(*size, seed=1, count=3), picture(*size, seed=2, count=3)
    before = image.clone(), target.clone()
    values = loss(image, target)
    assert values.shape == (3,) and torch.isfinite(values).all()
    assert torch.equal(image, before[0]) and torch.equal(target, before[1])
    alone = torch.stack([loss(image[i : i + 1], target[i : i + 1])[0] for i in range(3)])
    assert torch.allclose(values, alone, rtol=1e-4)


def test_ms_ssim_moves_a_picture_that_is_the_negative_of_the_target():
    target = picture(176, 176)
    image = (0.1 + 0.8 * (1 - target)).requires_grad_()
    loss = losses.find("ms_ssim")()
    value = loss(image, target)
    (slope,) = torch.autograd.grad(value.sum(), image)
    assert slope.isfinite().all() and (slope.abs().amax((0, 2, 3)) > 0).all()
    nearer = image.detach() - 0.2 * slope / slope.abs().max()
    covariance = [float(((each - each.mean()) * (target - target.mean())).mean()) for each in (image.detach(), nearer)]
    assert covariance[1] > covariance[0] and float(loss(target, target)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(161, 177), (192, 256)])
def test_ms_ssim_is_that_of_pytorch_msssim(shape):
    from pytorch_msssim import ms_ssim

    target = picture(*shape, seed=1, count=2)
    image = 0.7 * target + 0.3 * picture(*shape, seed=2, count=2)
    expected = 1 - ms_ssim(image, target, data_range=1.0, size_average=False)
    torch.testing.assert_close(losses.find("ms_ssim")()(image, target), expected, rtol=1e-4, atol=1e-5)


def test_forward_is_given_the_declared_range(loss, monkeypatch):
    seen = []
    monkeypatch.setattr(loss, "prepare", seen.append)
    monkeypatch.setattr(loss, "forward", lambda image, prepared: seen.append(image))
    black = torch.zeros(1, 3, *[smallest(loss)] * 2)
    loss(black + 1, black)
    low, high = loss.declaration.input_range
    assert [float(each.min()) for each in seen] == [float(each.max()) for each in seen] == [low, high]


@pytest.mark.parametrize(
    ("image", "target", "words"),
    [
        ((3, 40, 41), (1, 3, 40, 41), "`image` must have the shape (n, 3, height, width), not (3, 40, 41)."),
        ((1, 1, 40, 41), (1, 3, 40, 41), "`image` must have the shape (n, 3, height, width), not (1, 1, 40, 41)."),
        ((1, 3, 40, 41), (40, 41), "`target` must have the shape (n, 3, height, width), not (40, 41)."),
        ((1, 3, 40, 40), (1, 3, 40, 41), "`image` has the shape (1, 3, 40, 40), but `target` has (1, 3, 40, 41)."),
        ((2, 3, 40, 41), (1, 3, 40, 41), "`image` has the shape (2, 3, 40, 41), but `target` has (1, 3, 40, 41)."),
    ],
)
@pytest.mark.parametrize("name", ["mse", "lpips", "ssim", "tv", "sinkhorn"])
def test_a_wrong_shape_is_an_input_error(load, name, image, target, words):
    with pytest.raises(InputError) as caught:
        losses.find(name)(load)(torch.zeros(image), torch.zeros(target))
    assert str(caught.value) == words and caught.value.parameter == words.split("`")[1]


def test_an_image_that_is_too_small_is_an_input_error(loss):
    side = loss.declaration.min_size
    if side > 1:
        with pytest.raises(InputError, match=f"at least {side} × {side} pixels; this one has {side + 3} × {side - 1}"):
            loss.bind(picture(side - 1, side + 3))
    assert torch.isfinite(loss(picture(side, side), picture(side, side, seed=2))).all()


def test_an_image_that_is_too_small_is_told_a_size_that_is_large_enough():
    with pytest.raises(InputError, match=r"Set `size` to 58 or more"):  # 11 · 50 / (10 − ½), up
        losses.find("ssim")().bind(picture(10, 50))


def test_the_command_prints_what_is_declared(invoke):
    """Worked out by hand: the range of each loss, its smallest image, and its options."""
    code, out, err = invoke("losses")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    facts = {heading.split()[0]: line.strip().split("; ") for heading, line in zip(lines[::2], lines[1::2])}
    assert list(facts) == BUILT_IN
    for name, found in facts.items():
        assert found[0] == ("input range [-1, 1]" if name in ("lpips", "vgg") else "input range [0, 1]")
    sizes = {name: found[1] for name, found in facts.items()}
    assert sizes["mse"] == "at least 1 × 1 pixels" and sizes["ssim"] == "at least 11 × 11 pixels"
    assert sizes["ms_ssim"] == "at least 161 × 161 pixels" and sizes["lpips"] == "at least 32 × 32 pixels"
    assert {name for name, found in facts.items() if "ignores the target" in found} == {"tv"}
    assert facts["sinkhorn"][2:4] == ["options points=24, blur=0.05, position=1", "package geomloss"]
    assert facts["lpips"][2:4] == ["package lpips", "network lpips"]


def test_bound_and_minimum_at_the_target(loss):
    target = picture(*[smallest(loss)] * 2)
    at_target = float(loss(target, target))
    bound = loss.declaration.lower_bound
    assert bound is None or at_target >= bound - 1e-5 * max(1, abs(bound))
    if not loss.declaration.reads_target:
        assert at_target == float(loss(target, 1 - target))
        return
    for seed in range(3):
        noisy = (target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))).clamp(0, 1)
        assert float(loss(noisy, target)) > at_target


def test_symmetry_as_declared(loss):
    one, two = (picture(*[smallest(loss)] * 2, seed=seed) for seed in (1, 2))
    two = two * 0.5  # not only other noise
    assert loss.declaration.symmetric == (float(loss(one, two)) == pytest.approx(float(loss(two, one)), rel=1e-3))


@pytest.mark.parametrize("kind", ["at the target", "flat", "black", "noise", "overshooting"])
def test_gradients_are_finite(loss, kind):
    side = smallest(loss)
    target = picture(side, side)
    image = {
        "at the target": target.clone(),
        "flat": torch.full_like(target, 0.5),
        "black": torch.zeros_like(target),
        "noise": picture(side, side, seed=5),
        "overshooting": target * 3 - 1,
    }[kind].requires_grad_()
    (gradient,) = torch.autograd.grad(loss(image, target).sum(), image)
    assert torch.isfinite(gradient).all()
    at_its_minimum = kind == "at the target" or (kind in ("flat", "black") and not loss.declaration.reads_target)
    assert at_its_minimum or float(gradient.abs().max()) > 0


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name not in (*NETWORKS, "sinkhorn")])
def test_gradients_are_those_of_the_values(name):
    loss = losses.find(name)()
    side = max(12, loss.declaration.min_size)
    image, target = (picture(side, side, seed=seed).double() for seed in (1, 2))
    bound = loss.bind(target)
    assert torch.autograd.gradcheck(
        bound, image.requires_grad_(), fast_mode=True, eps=1e-7, atol=1e-6, check_undefined_grad=False
    )


def test_the_gradient_of_sinkhorn_is_nearly_that_of_its_values():
    """geomloss differentiates the potentials it arrived at, which is exact only if they have converged: here the
    gradient is off by a seventh."""
    bound = losses.find("sinkhorn")().bind(picture(24, 24, seed=2).double())
    image = picture(24, 24, seed=1).double().requires_grad_()
    (gradient,) = torch.autograd.grad(bound(image).sum(), image)
    direction = gradient / gradient.norm()
    with torch.no_grad():
        change = float(bound(image.detach() + 1e-3 * direction) - bound(image.detach() - 1e-3 * direction)) / 2e-3
    assert change == pytest.approx(float(gradient.norm()), rel=0.2)


def test_the_networks_stay_as_they_are(loss):
    if not loss.declaration.weights:
        return
    parameters = list(next(iter(loss.networks.values())).autoencoder.model.parameters())
    assert parameters and not any(each.requires_grad for each in parameters)
    loss(picture(40, 40).requires_grad_(), picture(40, 40, seed=2)).sum().backward()
    assert all(each.grad is None for each in parameters)


def test_bf16_autocast_is_finite_and_near(loss):
    side = smallest(loss)
    image, target = picture(side, side, seed=1) * 0.6, picture(side, side, seed=2)
    plain = float(loss(image, target))
    with torch.autocast("cpu", torch.bfloat16):
        rough = float(loss(image, target))
    assert math.isfinite(rough) and rough == pytest.approx(plain, rel=0.05, abs=1e-3)


def test_the_target_is_prepared_once(loss, monkeypatch):
    prepared = []
    monkeypatch.setattr(loss, "prepare", lambda target, prepare=loss.prepare: prepared.append(1) or prepare(target))
    side = smallest(loss)
    bound = loss.bind(picture(side, side))
    for seed in range(3):
        bound(picture(side, side, seed=seed))
    assert prepared == [1]


@pytest.mark.parametrize(
    ("name", "expected"),
    # image 0.75 everywhere against 0.25: the difference is one half
    [
        ("mse", 0.25),
        ("l1", 0.5),
        ("psnr", 10 * math.log10(0.25 + (0.1 / 255) ** 2)),
        ("charbonnier", math.sqrt(0.25 + 1e-6)),
        ("gradient", 0.0),
        ("tv", 0.0),
        ("sinkhorn", 3 * 0.5 * 0.25),  # every point moves by one half in three color channels: ½‖v‖²
    ],
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


def test_differences_of_neighbors():
    """Columns 0, 1, 0, 1 and a flat target: every difference along a row is 1, none along a column."""
    stripes = torch.tensor([0.0, 1.0, 0.0, 1.0]).expand(1, 3, 4, 4)
    for name in ("tv", "gradient"):
        assert float(losses.find(name)()(stripes, stripes * 0)) == 1


def test_ms_ssim_is_the_product_of_its_scales():
    """Wang et al.'s definition with scikit-image's contrast-structure maps, at the published weights."""
    image, target = picture(176, 192, seed=1) * 0.2 + 0.4, picture(176, 192, seed=2) * 0.2 + 0.4
    image = (image + target) / 2  # similar enough for every factor to be positive
    expected = torch.ones(3, dtype=torch.float64)
    a, b = image[0].double(), target[0].double()
    window = torch.exp(-((torch.arange(11.0, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = (window[:, None] * window[None, :] / window.sum() ** 2)[None, None]

    def blurred(values):
        return torch.nn.functional.conv2d(values[:, None], window)[:, 0]

    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    for index, weight in enumerate(weights):
        mean_a, mean_b = blurred(a), blurred(b)
        variances = blurred(a * a) - mean_a**2 + blurred(b * b) - mean_b**2
        structure = (2 * (blurred(a * b) - mean_a * mean_b) + 0.03**2) / (variances + 0.03**2)
        if index == len(weights) - 1:
            structure = structure * (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        expected *= structure.mean(dim=(1, 2)) ** weight
        a, b = (torch.nn.functional.avg_pool2d(each, 2) for each in (a, b))
    measured = float(losses.find("ms_ssim")()(image, target))
    assert measured == pytest.approx(1 - float(expected.mean()), abs=1e-4)


def test_sinkhorn_of_colors_alone_ignores_positions():
    colors = losses.find("sinkhorn")(position=0.0, points=8)
    target = picture(8, 8)
    shuffled = target.flatten(2)[..., torch.randperm(64, generator=torch.Generator().manual_seed(0))].view_as(target)
    assert float(colors(shuffled, target)) == pytest.approx(0, abs=1e-6)
    assert float(losses.find("sinkhorn")(points=8)(shuffled, target)) > 1e-3


def test_sinkhorn_of_a_moved_cloud_is_half_the_squared_distance():
    sinkhorn = losses.find("sinkhorn")(points=8)
    target = picture(8, 8) * 0.5
    moved = target + torch.tensor([0.1, 0.2, 0.3])[None, :, None, None]
    assert float(sinkhorn(moved, target)) == pytest.approx(0.5 * (0.01 + 0.04 + 0.09), rel=1e-3)


def test_sinkhorn_between_gaussians_approaches_the_distance_of_bures():
    """Two normal clouds of colors: W₂² = ‖m₁ − m₂‖² + Σ(s₁ − s₂)² where the axes are the same."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, 3, 40, 40, generator=generator) * 0.05
    one, two = drawn[:1] + 0.3, drawn[1:] * 2 + 0.6
    expected = 0.5 * 3 * (0.3**2 + 0.05**2)
    measured = float(losses.find("sinkhorn")(position=0.0, points=40, blur=0.01)(one, two))
    assert measured == pytest.approx(expected, rel=0.03)


def test_an_image_has_at_most_as_many_points_as_pixels():
    tall = picture(6, 3)
    assert losses.find("sinkhorn")(points=64).cloud(tall).shape == (1, 18, 5)
    cloud = losses.find("sinkhorn")(points=3).cloud(tall)
    assert cloud.shape == (1, 6, 5) and float(cloud[..., :2].max()) < 1


@pytest.mark.parametrize(
    "options", [{"points": 65}, {"points": 2.5}, {"blur": 0.0}, {"position": -1.0}, {"reach": 1.0}, {"blur": "0.1"}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="sinkhorn"):
        losses.Sinkhorn(**options)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_perceptual_loss_without_a_network_says_so(name):
    with pytest.raises(InputError, match="load="):
        losses.find(name)()(picture(40, 40), picture(40, 40))


def test_a_loss_of_ones_own_in_five_lines(monkeypatch):
    monkeypatch.setattr("latentflow.losses._registry._registered", {})

    @losses.register("huber", reference="Huber 1964")
    class Huber(losses.Loss):
        def forward(self, image, prepared):
            return torch.nn.functional.huber_loss(image, prepared, reduction="none").mean(dim=(1, 2, 3))

    assert losses.find("huber") is Huber and "huber" in losses.names()
    half = torch.full((2, 3, 4, 4), 0.5)
    assert losses.find("huber")()(half, half * 0).tolist() == [0.125, 0.125]


def test_a_taken_name_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="built in"):
        losses.register("mse")(type("Other", (losses.Loss,), {}))
    monkeypatch.setattr("latentflow.losses._registry._registered", {})
    losses.register("mine")(type("One", (losses.Loss,), {}))
    with pytest.raises(ValueError, match="already registered"):
        losses.register("mine")(type("Two", (losses.Loss,), {}))


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError):
        losses.find("lpisp")
