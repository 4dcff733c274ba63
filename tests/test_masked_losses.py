"""Losses and figures under a mask, gray ones above all: a weighted mean is Σ m·x / Σ m wherever a mask is."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from toys import linear_autoencoder, picture

from latentflow import losses
from latentflow.base.errors import InputError
from latentflow.inversion.hybrid import WORTHWHILE
from latentflow.inversion.metrics import encoder_metrics, image_metrics, psnr
from latentflow.inversion.objective import Objective
from latentflow.inversion.optimize import optimize
from latentflow.models.networks import Networks

SIDE = {"lpips": 32, "vgg": 32, "ms_ssim": 163, "ssim": 24}


@pytest.fixture(scope="module")
def load():
    return Networks("bundled")


@pytest.fixture(params=losses.names())
def loss(request, load):
    return losses.find(request.param)(load)


def pair(loss, count=1):
    """An image and its target, large enough for a loss, not square."""
    side = SIDE.get(loss.declaration.name, 12)
    return picture(side, side + 3, seed=1, count=count), picture(side, side + 3, seed=2, count=count)


def gray_mask(images, seed=0):
    """Random grays; the left third is black."""
    mask = torch.rand(len(images), 1, *images.shape[-2:], generator=torch.Generator().manual_seed(seed))
    mask[..., : images.shape[-1] // 3] = 0
    return mask


def arrays(*tensors):
    return [np.asarray(each[0], dtype=np.float64) for each in tensors]


def test_every_loss_says_how_it_takes_a_mask(loss):
    assert "each" in loss.declaration.mask


@pytest.mark.parametrize("gray", [0.1, 1 / 255, 1.0])
def test_a_mask_of_one_gray_changes_nothing(loss, gray):
    image, target = pair(loss)
    mask = torch.full_like(image[:, :1], gray)
    torch.testing.assert_close(loss(image, target, mask), loss(image, target), rtol=1e-4, atol=1e-6)


def test_grays_count_relative_to_each_other(loss):
    image, target = pair(loss)
    mask = gray_mask(image)
    torch.testing.assert_close(loss(image, target, mask), loss(image, target, mask / 10), rtol=1e-4, atol=1e-6)


def test_nothing_where_a_mask_is_black_counts(loss):
    """The value and the gradient are the same whatever the image is there."""
    image, target = pair(loss, count=2)
    mask, values, gradients = gray_mask(image), [], []
    for seed in (3, 4):
        each = torch.where(mask > 0, image, picture(*image.shape[-2:], seed=seed)).requires_grad_()
        values.append(loss(each, target, mask))
        gradients.append(torch.autograd.grad(values[-1].sum(), each)[0])
    assert torch.equal(*values) and torch.equal(*gradients)
    outside = (mask == 0).expand_as(image)
    assert float(gradients[0][outside].abs().max()) == 0 < float(gradients[0].abs().max())


@pytest.mark.parametrize("name", ["charbonnier", "gradient", "l1", "ms_ssim", "mse", "psnr", "sinkhorn", "ssim", "tv"])
def test_the_target_where_a_mask_is_black_does_not_count_either(name):
    """Of all but the losses of networks, whose activations see around them."""
    loss = losses.find(name)()
    image, target = pair(loss)
    mask = gray_mask(image)
    other = torch.where(mask > 0, target, 1 - target)
    torch.testing.assert_close(loss(image, target, mask), loss(image, other, mask), rtol=1e-4, atol=1e-6)


def test_no_mask_makes_a_loss_less_than_its_bound_nor_the_target_less_than_the_best(loss):
    image, target = pair(loss)
    for seed in range(3):
        mask = gray_mask(image, seed) ** 4
        mask[..., 4:8, -9:-6] = 1  # a spot, smaller than any window
        at_target = float(loss(target, target, mask))
        bound = loss.declaration.lower_bound
        assert float(loss(image, target, mask)) >= bound - 1e-5 * max(1, abs(bound))
        if loss.declaration.reads_target:
            assert at_target == pytest.approx(float(loss(target, target)), rel=1e-5, abs=2e-6)
            assert float(loss(image, target, mask)) > at_target


def test_images_of_a_batch_have_masks_of_their_own(loss):
    image, target = pair(loss, count=2)
    mask = torch.cat([gray_mask(image[:1], 5), gray_mask(image[:1], 6) / 3])
    each = [loss(*(part[i : i + 1] for part in (image, target, mask))) for i in range(2)]
    torch.testing.assert_close(loss(image, target, mask), torch.cat(each), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mse", lambda d: d**2),
        ("l1", abs),
        ("charbonnier", lambda d: np.sqrt(d**2 + 1e-6)),
    ],
)
def test_a_loss_of_pixels_is_their_weighted_mean(name, values):
    image, target = picture(5, 7, seed=1), picture(5, 7, seed=2)
    mask = gray_mask(image)
    one, two, weights = arrays(image, target, mask)
    expected = (weights * values(one - two)).sum() / (3 * weights.sum())
    assert float(losses.find(name)()(image, target, mask)) == pytest.approx(expected, rel=1e-5)


def test_psnr_in_figures_and_as_a_loss():
    """Half the pixels are 0.1 off and weigh 1, the others 0.4 off and weigh 1/4: (0.01 + 0.04) / 1.25 = 0.04."""
    target = torch.full((1, 3, 2, 2), 0.5)
    image = target + torch.tensor([0.1, 0.4])
    mask = torch.tensor([1.0, 0.25]).expand(1, 1, 2, 2)
    assert float(psnr(image, target, mask)) == pytest.approx(-10 * math.log10(0.04), abs=1e-4)
    assert float(losses.find("psnr")()(image, target, mask)) == pytest.approx(10 * math.log10(0.04), abs=1e-3)


def test_differences_of_neighbors_weigh_as_the_darker_of_the_two():
    """Rows of 0, 1, 3, 3 (tenths) under grays of 1, 0.5, 0.2, 0: pairs weigh 0.5, 0.2 and 0, their differences are 1, 2
    and 0; no difference along columns."""
    image = torch.tensor([0.0, 0.1, 0.3, 0.3]).expand(1, 3, 4, 4)
    mask = torch.tensor([1.0, 0.5, 0.2, 0.0]).expand(1, 1, 4, 4)
    expected = (0.5 * 0.1 + 0.2 * 0.2) / 0.7
    for name in ("tv", "gradient"):
        loss = losses.find(name)()
        assert float(loss(image, torch.zeros_like(image), mask)) == pytest.approx(expected, rel=1e-5)
        turned = loss(image.mT, torch.zeros_like(image), mask.mT)
        assert float(turned) == pytest.approx(expected, rel=1e-5)


def test_a_flat_picture_has_no_variation_whatever_is_outside_of_the_mask():
    image, target = torch.full((1, 3, 8, 8), 0.3), picture(8, 8)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    assert float(losses.find("tv")()(image, target, mask)) == 0


@pytest.mark.parametrize("name", ["tv", "gradient", "mse", "l1", "charbonnier", "psnr"])
def test_a_box_is_the_picture_that_is_cut_out(name):
    loss = losses.find(name)()
    image, target = picture(12, 12, seed=1), picture(12, 12, seed=2)
    mask = torch.zeros(1, 1, 12, 12)
    mask[..., 3:9, 2:11] = 1
    cut = [each[..., 3:9, 2:11] for each in (image, target)]
    assert float(loss(image, target, mask)) == pytest.approx(float(loss(*cut)), rel=1e-5)


def ssim_terms(one, two, weights, luminance=True):
    """SSIM's map of one channel by its definition, over 11 × 11 windows with a Gaussian of 1.5 times the weights, and
    the weight of each window."""
    places = np.arange(11) - 5
    window = np.exp(-(places[:, None] ** 2 + places**2) / (2 * 1.5**2))
    window /= window.sum()
    rows, columns = (side - 10 for side in one.shape)
    values, totals = np.zeros((2, rows, columns))
    for row in range(rows):
        for column in range(columns):
            part = np.s_[row : row + 11, column : column + 11]
            share = window * weights[part]
            totals[row, column] = share.sum()
            if not totals[row, column]:
                continue
            share = share / share.sum()
            a, b = one[part], two[part]
            mean_a, mean_b = (share * a).sum(), (share * b).sum()
            varied = [(share * (x - mean_x) * (y - mean_y)).sum() for x, mean_x, y, mean_y in
                      ((a, mean_a, a, mean_a), (b, mean_b, b, mean_b), (a, mean_a, b, mean_b))]  # fmt: skip
            value = (2 * varied[2] + 0.03**2) / (varied[0] + varied[1] + 0.03**2)
            if luminance:
                value *= (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
            values[row, column] = value
    return values, totals


def test_ssim_is_the_weighted_mean_of_weighted_windows():
    image, target = picture(20, 23, seed=1), picture(20, 23, seed=2)
    target = (image + target) / 2
    mask = gray_mask(image)
    one, two, (weights,) = arrays(image, target, mask)
    maps = [ssim_terms(a, b, weights) for a, b in zip(one, two)]
    expected = 1 - np.mean([(values * totals).sum() / totals.sum() for values, totals in maps])
    assert float(losses.find("ssim")()(image, target, mask)) == pytest.approx(expected, abs=1e-5)


def test_ms_ssim_is_the_product_of_weighted_scales():
    image, target = picture(164, 161, seed=1) * 0.2 + 0.4, picture(164, 161, seed=2) * 0.2 + 0.4
    target = (image + target) / 2
    mask = gray_mask(image)
    mask[..., 100:, :] = 0.25
    one, two, (weights,) = arrays(image, target, mask)
    product = np.ones(3)
    gaussian = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    gaussian /= gaussian.sum()

    def mean(values):
        for axis in (0, 1):
            values = ndimage.correlate1d(values, gaussian, axis=axis, mode="constant")
        return values[5:-5, 5:-5]

    def halved(values, padding):
        odd = [(side % 2, 0) for side in values.shape]
        values = np.pad(values, odd, mode=padding)
        rows, columns = (side // 2 for side in values.shape)
        return values[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean(axis=(1, 3))

    def smaller(values):
        padded = np.pad(values, [(side % 2, 0) for side in values.shape])  # zeros, as pytorch-msssim pads
        repeated = np.pad(weights, [(side % 2, 0) for side in weights.shape], mode="edge")
        below = halved(repeated, "edge")
        return np.divide(halved(padded * repeated, "edge"), below, out=np.zeros_like(below), where=below > 0)

    exponents = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    for scale, exponent in enumerate(exponents):
        total = mean(weights)
        safe = np.where(total > 0, total, 1)
        for channel in range(3):
            a, b = one[channel], two[channel]
            mean_a, mean_b = mean(weights * a) / safe, mean(weights * b) / safe
            variances = mean(weights * (a * a + b * b)) / safe - mean_a**2 - mean_b**2
            values = (2 * (mean(weights * a * b) / safe - mean_a * mean_b) + 0.03**2) / (variances + 0.03**2)
            if scale == len(exponents) - 1:
                values *= (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
            product[channel] *= ((values * total).sum() / total.sum()) ** exponent
        one, two = (np.stack([smaller(channel) for channel in each]) for each in (one, two))
        weights = halved(weights, "edge")
    assert float(losses.find("ms_ssim")()(image, target, mask)) == pytest.approx(1 - product.mean(), abs=1e-4)


@pytest.mark.parametrize("name", ["ssim", "ms_ssim"])
def test_ssim_of_half_a_picture_is_not_flattered_by_the_rest(name):
    """Noise everywhere: what half of it is, is about what all of it is, and what the half alone would be."""
    loss = losses.find(name)()
    image, target = picture(164, 340, seed=1), picture(164, 340, seed=2)
    target = (image + target) / 2
    mask = torch.zeros(1, 1, 164, 340)
    mask[..., :170] = 1
    masked = float(loss(image, target, mask))
    assert masked == pytest.approx(float(loss(image, target)), rel=0.03)
    assert masked == pytest.approx(float(loss(image[..., :170], target[..., :170])), rel=0.03)


class Blocks:
    """A network of two stages: the means of blocks of 2 × 2 and of 8 × 8 pixels, with a weight for each channel."""

    label = "blocks"
    heads = (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 0.25, 4.0]))

    def stages(self, image):
        return [torch.nn.functional.avg_pool2d(image, side) for side in (2, 8)]


def blocks(values, side):
    channels, rows, columns = values.shape
    return values.reshape(channels, rows // side, side, columns // side, side).mean(axis=(2, 4))


def test_lpips_and_vgg_are_weighted_means_over_positions():
    image, target = picture(32, 40, seed=1), picture(32, 40, seed=2)
    mask = gray_mask(image)
    one, two, weights = arrays(torch.where(mask > 0, image, target), target, mask)
    lpips = 0.0
    for side, head in ((2, [1, 2, 3]), (8, [0.5, 0.25, 4])):
        a, b = (blocks(each * 2 - 1, side) for each in (one, two))
        a, b = (each / np.sqrt((each**2).sum(0)) for each in (a, b))
        distance = ((a - b) ** 2 * np.array(head)[:, None, None]).sum(0)
        grays = blocks(weights, side)[0]
        lpips += (distance * grays).sum() / grays.sum()
        vgg = ((blocks(2 * one, side) - blocks(2 * two, side)) ** 2 * grays).sum() / (3 * grays.sum())
    for name, expected in (("lpips", lpips), ("vgg", vgg)):
        measured = float(losses.find(name)(lambda _: Blocks())(image, target, mask))
        assert measured == pytest.approx(expected, rel=1e-4)


def test_a_point_of_sinkhorn_has_the_gray_of_its_pixels_as_mass():
    """Grays of 0, 0.4 and 0.8: the same clouds with every point left out, taken once, taken twice."""
    from geomloss import SamplesLoss

    image, target = picture(6, 6, seed=1), picture(6, 6, seed=2)
    mask = torch.tensor([0.0, 0.4, 0.8, 0.8, 0.4, 0.0]).expand(1, 1, 6, 6)
    clouds = []
    for each in (image, target):
        points = [
            [(row + 0.5) / 6, (column + 0.5) / 6, *each[0, :, row, column].tolist()]
            for row in range(6)
            for column in range(6)
            for _ in range((0, 1, 2, 2, 1, 0)[column])
        ]
        clouds.append(torch.tensor(points)[None])
    divergence = SamplesLoss("sinkhorn", p=2, blur=0.05, debias=True, backend="tensorized", diameter=math.sqrt(5))
    measured = losses.find("sinkhorn")(points=6)(image, target, mask)
    torch.testing.assert_close(measured, divergence(*clouds), rtol=1e-3, atol=1e-7)


def test_a_point_of_sinkhorn_has_the_weighted_mean_of_its_pixels_as_color():
    """One point: half the squared distance of the two weighted means, (3·0.2 + 1·0.6)/4 = 0.3 in each channel."""
    image, mask = torch.zeros(1, 3, 1, 2), torch.tensor([0.75, 0.25]).expand(1, 1, 1, 2)
    image = image + torch.tensor([0.2, 0.6])
    measured = losses.find("sinkhorn")(points=1)(image, torch.zeros_like(image), mask)
    assert float(measured) == pytest.approx(0.5 * 3 * 0.3**2, rel=1e-4)


def test_a_mask_that_does_not_fit_is_black_or_out_of_range_is_refused():
    mse, images = losses.find("mse")(), (picture(16, 16), picture(16, 16, seed=2))
    for mask, words in (
        (torch.ones(1, 1, 8, 16), r"`mask` has the shape \(1, 1, 8, 16\)"),
        (torch.zeros(1, 1, 16, 16), "black everywhere"),
        (torch.full((1, 1, 16, 16), 255.0), r"outside of \[0, 1\]"),
    ):
        with pytest.raises(InputError, match=words):
            mse(*images, mask)
        with pytest.raises(InputError, match=words):
            psnr(*images, mask)


def test_a_mask_without_two_neighbors_is_refused_before_the_first_step():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., ::2, ::2] = 1
    for name in ("tv", "gradient"):
        with pytest.raises(InputError, match=f"no two neighboring pixels that count, and {name} compares neighbors"):
            Objective(f"mse + {name}", picture(8, 8), mask=mask)


def test_a_plugins_loss_without_a_word_on_masks_takes_none(invoke, tmp_path, small):
    (tmp_path / "mine.py").write_text(
        "from latentflow.losses import Loss, register\n"
        "@register('mine')\n"
        "class Mine(Loss):\n"
        "    '''A mean.'''\n"
        "    def forward(self, image, prepared):\n"
        "        return (image - prepared).abs().amax(dim=(1, 2, 3))\n"
    )
    Image.new("L", (48, 40), 128).save(tmp_path / "mask.png")
    shared = ("--image_path", small, "--weights", "bundled", "--steps", 1, "--size", 48, "--quiet", "--overwrite")
    plugin = ("--plugin", "mine.py", "--loss_type", "0.5*mine + mse")
    assert invoke(*shared, *plugin)[0] == 0
    code, _, err = invoke(*shared, *plugin, "--mask", "mask.png", "--output_path", "masked.gif")
    assert code == 2 and err.count("\n") == 1 and not (tmp_path / "masked.gif").exists()
    assert "The loss mine takes no --mask" in err and '@register(…, mask="…")' in err
    code, out, _ = invoke("losses", "--plugin", "mine.py")
    assert code == 0 and "mask: takes none" in out and "mask: mean over pixels, each weighted by its gray" in out


def test_a_plugins_loss_that_declares_a_mask_gets_its_weights():
    @losses.register("mine", mask="mean over pixels, each weighted by its gray")
    class Mine(losses.Loss):
        def forward(self, image, prepared, mask=None):
            return losses.weighted_mean((image - prepared) ** 4, mask)

    image, target = picture(seed=1), picture(seed=2)
    mask = gray_mask(image)
    one, two, weights = arrays(image, target, mask)
    expected = (weights * (one - two) ** 4).sum() / (3 * weights.sum())
    assert float(Objective("mine", target, mask=mask)(image)[0]) == pytest.approx(expected, rel=1e-5)


def test_figures_under_one_gray_are_those_without(load):
    image, target = picture(40, 40, seed=1), picture(40, 40, seed=2)
    plain = image_metrics(image, target, load)
    assert list(plain) == ["psnr", "ssim", "lpips"]
    assert image_metrics(image, target, load, torch.full((1, 1, 40, 40), 0.1)) == pytest.approx(plain, abs=1e-4)


def test_pictures_that_are_equal_within_a_mask_have_the_best_figures(load):
    target = picture(40, 40, seed=2)
    mask = gray_mask(target)
    image = torch.where(mask > 0, target, picture(40, 40, seed=1))
    figures = image_metrics(image, target, load, mask)
    assert figures["psnr"] == math.inf
    assert figures["ssim"] == pytest.approx(1, abs=1e-6) and figures["lpips"] == pytest.approx(0, abs=1e-6)
    assert image_metrics(image, target, load)["lpips"] > 0.1


def test_the_encoders_own_figures_are_of_what_the_mask_weighs():
    autoencoder, target = linear_autoencoder(), picture(12, 12)
    mask = gray_mask(target)
    mask[..., 6:, :] *= 0.1
    model = autoencoder.model
    own = (model.decode(model.encode(target * 2 - 1).latent).sample / 2 + 0.5).clamp(0, 1)
    one, two, weights = arrays(own, target, mask)
    expected = -10 * np.log10((weights * (one - two) ** 2).sum() / (3 * weights.sum()))
    figures = encoder_metrics(autoencoder, target, None, mask)
    assert figures["psnr"] == pytest.approx(expected, abs=1e-3)
    assert abs(figures["psnr"] - encoder_metrics(autoencoder, target)["psnr"]) > 0.05


def test_the_loss_of_gradient_free_counts_cells_by_their_gray():
    """The residual's mean square: cells of 2 × 2 pixels, the last column of them beyond the picture by half."""
    autoencoder, target, start = linear_autoencoder(), picture(8, 7), torch.randn(1, 4, 4, 4)
    mask = torch.zeros(1, 1, 8, 7)
    mask[..., 2:4] = 0.25
    mask[..., 6:] = 0.5
    objective = Objective("mse", target, mask=mask)
    first = next(optimize(autoencoder, objective, start, steps=1, method="gradient_free"))
    composed = torch.where(mask > 0, first.image, target)
    residual = autoencoder.encode(composed) - autoencoder.encode(target)
    squares = residual.square().mean(dim=1)[0].mean(dim=0)  # of each column of cells
    assert float(first.loss) == pytest.approx(float((0.25 * squares[1] + 0.5 * squares[3]) / 0.75), rel=1e-4)


def turns_after(images, target, mask):
    """The number of jumps a hybrid run of these pictures makes: until PSNR rises by less than is worth its passes."""
    one, weights = np.asarray(target[0], dtype=np.float64), np.broadcast_to(mask, target[0].shape)
    before = None
    for count, image in enumerate(images):
        errors = (np.asarray(image[0].clamp(0, 1), dtype=np.float64) - one) ** 2
        reached = -10 * np.log10((weights * errors).sum() / weights.sum())
        if before is not None and (reached - before) / 2 < WORTHWHILE:
            return count + 1
        before = reached
    return len(images)


def test_hybrid_turns_by_the_psnr_within_the_mask(autoencoder, photo):
    """A checkerboard outside of the mask: the PSNR of the complete picture hardly rises, that within does."""
    small = Image.open(photo).convert("RGB").resize((64, 64))
    inside = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 255
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 8:56, 8:56] = 1
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    target = torch.where(mask > 0, inside, board.float())
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    run = optimize(autoencoder, Objective("mse", target, mask=mask), start, steps=10, method="hybrid")
    images = [step.image for step in run]
    within, whole = turns_after(images, target, mask[0].numpy()), turns_after(images, target, np.ones(1))
    assert whole < within < 10 and run.phases == {"walk": 0, "jump": within, "gradient": 10 - within}


def test_a_hybrid_checkpoint_of_before_there_was_a_walk_goes_on_without_one():
    """0.1.0's state has neither `walk` nor `phases`: it goes on jumping by whole differences."""
    autoencoder, target, start = linear_autoencoder(), picture(), torch.randn(1, 4, 4, 4)

    def made():
        return optimize(autoencoder, Objective("mse", target), start, steps=40, method="hybrid")

    walking = made()
    next(walking)
    state = walking.state()
    assert state.pop("walk") == 7 and state.pop("phases")["walk"] == 1
    earlier = made()
    earlier.restore(state)
    next(earlier)
    assert earlier.phases == {"walk": 0, "jump": 1, "gradient": 0}
    goal = autoencoder.encode(target)  # a whole jump of a linear autoencoder arrives
    torch.testing.assert_close(next(earlier).latent, goal, rtol=0, atol=1e-4)


def test_a_run_under_one_gray_is_the_run_without_a_mask(invoke, small, tmp_path):
    Image.new("L", (48, 40), 26).save(tmp_path / "mask.png")
    shared = ("--image_path", small, "--weights", "bundled", "--steps", 3, "--seed", 1, "--size", 48, "--json")
    reports = []
    for option in ((), ("--mask", "mask.png", "--output_path", "masked.gif")):
        code, out, err = invoke(*shared, *option, "--quiet")
        assert code == 0, err
        reports.append(json.loads(out))
    plain, masked = reports
    assert masked.pop("mask_share") == 1
    for key in ("metrics", "encoder_metrics"):
        assert masked[key] == pytest.approx(plain[key], abs=0.01)
    assert masked["loss_last"] == pytest.approx(plain["loss_last"], rel=1e-3)


def test_networks_see_the_target_where_the_mask_is_black_and_the_image_in_any_gray():
    seen = []
    network = SimpleNamespace(label="spy", stages=lambda image: seen.append(image) or [image[..., ::8, ::8]])
    image, target = picture(32, 32, seed=1), picture(32, 32, seed=2)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 16:] = 0.01
    losses.find("vgg")(lambda _: network)(image, target, mask)
    expected = torch.cat([target[..., :16], image[..., 16:]], dim=-1) * 2 - 1
    torch.testing.assert_close(seen[-1], expected, rtol=0, atol=1e-6)
