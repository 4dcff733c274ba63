"""The loop: it finds the optimum it should, and its records are honest."""

import itertools
import math

import pytest
import torch
from toys import least_mse, linear_autoencoder, picture

from latentflow.base.errors import DivergedError, InputError
from latentflow.base.records import until
from latentflow.inversion.methods import METHODS
from latentflow.inversion.metrics import psnr
from latentflow.inversion.objective import Objective
from latentflow.inversion.optimize import SCHEDULES, optimize
from latentflow.latents.sources import initial_latent

OPTIMIZERS = [each.name for each in METHODS["gradient"].optimizers]


def run(optimizer="adam", loss="mse", steps=5, lr=0.1, count=1, schedule="constant", seed=0):
    autoencoder = linear_autoencoder()
    target = picture(count=count)
    objective = Objective(loss, target)
    latent = initial_latent("normal", autoencoder, target, seed)
    records = optimize(autoencoder, objective, latent, steps=steps, lr=lr, optimizer=optimizer, schedule=schedule)
    return autoencoder, objective, records


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_closed_form_optimum_is_reached(optimizer):
    autoencoder, objective, records = run(optimizer, steps=300)
    *_, last = records
    least = least_mse(autoencoder, objective.target)
    # adamw pulls the latent towards zero by lr · decay = 1e-3 a step, so its fixed point lies a little off
    assert float(last.loss) == pytest.approx(least, rel=0.02 if optimizer == "adamw" else 1e-3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", ["mse", "l1", "psnr", "mse + 0.5*l1"])
def test_loss_picture_and_latent_of_a_record_belong_together(optimizer, loss):
    autoencoder, objective, records = run(optimizer, loss)
    for step in records:
        image = autoencoder.decode(step.latent, (8, 8))
        assert torch.equal(image, step.image)
        total, parts = objective(image)
        assert torch.allclose(total, step.loss)
        assert all(torch.allclose(value, step.parts[label]) for label, value in parts.items())
        assert torch.allclose(psnr(image, objective.target), step.psnr)
        assert not step.latent.requires_grad and not step.image.requires_grad


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_updates_yield_one_record_more(optimizer):
    *_, records = run(optimizer, "psnr", steps=4)  # lbfgs is done with a quadratic after two
    steps = list(records)
    assert [step.index for step in steps] == [0, 1, 2, 3, 4]
    assert {step.total for step in steps} == {4}
    assert [step.lr > 0 for step in steps] == [True] * 4 + [False]
    assert [step.grad_norm is None for step in steps] == [False] * 4 + [True]
    assert all(not torch.equal(before.latent, after.latent) for before, after in itertools.pairwise(steps))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_records_are_not_changed_by_later_steps(optimizer):
    *_, records = run(optimizer)
    first = next(records)
    latent, image = first.latent.clone(), first.image.clone()
    list(records)
    assert torch.equal(first.latent, latent) and torch.equal(first.image, image)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_seed_gives_the_same_latents(optimizer):
    one, two = ([step.latent for step in run(optimizer)[2]] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    other = next(run(optimizer, seed=1)[2]).latent
    assert not torch.equal(other, one[0])


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_the_size_of_a_loss_changes_no_path(optimizer):
    plain, thousandfold = ([step.latent for step in run(optimizer, loss)[2]] for loss in ("mse", "1000*mse"))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(plain, thousandfold, strict=True))


def test_the_first_update_of_sgd_has_the_rms_of_the_rate():
    *_, records = run("sgd", steps=1, lr=0.3)
    first, second = records
    assert float((second.latent - first.latent).square().mean().sqrt()) == pytest.approx(0.3, rel=1e-4)


def test_the_start_is_the_first_record_and_is_left_alone():
    autoencoder, target = linear_autoencoder(), picture()
    latent = initial_latent("normal", autoencoder, target, 0)
    before = latent.clone()
    records = optimize(autoencoder, Objective("mse", target), latent, steps=3)
    assert torch.equal(next(records).latent, before)
    list(records)
    assert torch.equal(latent, before) and not latent.requires_grad


def test_adam_takes_one_forward_a_record():
    autoencoder, _, records = run("adam", steps=6)
    list(records)
    assert autoencoder.model.decodings == 7


def test_yielding_leaves_gradients_switched_on_for_the_consumer():
    *_, records = run(steps=2)
    for _ in records:
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_batch_goes_the_way_its_images_go_alone(optimizer):
    autoencoder, target = linear_autoencoder(), picture(count=3)
    latent = initial_latent("normal", autoencoder, target, 0)
    *_, together = optimize(autoencoder, Objective("l1", target), latent, steps=20, optimizer=optimizer)
    for index in range(3):
        one = slice(index, index + 1)
        *_, alone = optimize(autoencoder, Objective("l1", target[one]), latent[one], steps=20, optimizer=optimizer)
        assert torch.allclose(together.latent[one], alone.latent, atol=1e-6)
        assert torch.allclose(together.loss[one], alone.loss, atol=1e-6)


def test_lbfgs_refuses_a_batch():
    with pytest.raises(InputError, match="one image"):
        list(run("lbfgs", count=2)[2])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"optimizer": "adm"}, "adamw"),
        ({"schedule": "linear"}, "cosine"),
        ({"method": "magic"}, "hybrid"),
        ({"optimizer": "km"}, "adamw"),
        ({"method": "gradient_free", "optimizer": "lbfgs"}, "inertial_km"),
    ],
)
def test_unknown_names_are_input_errors(wrong, words):
    autoencoder, target = linear_autoencoder(), picture()
    with pytest.raises(InputError, match=words):
        next(optimize(autoencoder, Objective("mse", target), initial_latent("zeros", autoencoder, target), **wrong))


def test_divergence_is_found_and_what_came_before_is_kept():
    *_, records = run("sgd", lr=1e3, steps=50)
    kept = []
    with pytest.raises(DivergedError, match=r"diverged at step \d+.*RMS") as caught:
        kept.extend(records)
        kept += list(records)
    assert caught.value.exit_code == 5


def test_the_records_before_a_divergence_are_finite():
    *_, records = run("sgd", lr=1e3, steps=50)
    kept = []
    with pytest.raises(DivergedError):
        for step in records:
            kept.append(step)
    assert kept and all(torch.isfinite(step.image).all() and torch.isfinite(step.loss).all() for step in kept)


def test_divergence_of_one_image_of_a_batch_is_found():
    autoencoder, target = linear_autoencoder(), picture(count=2)
    latent = initial_latent("normal", autoencoder, target, 0)
    latent[1] *= 1e4
    with pytest.raises(DivergedError):
        next(optimize(autoencoder, Objective("mse", target), latent, steps=1))


def test_a_not_finite_loss_is_found():
    autoencoder, target = linear_autoencoder(), picture()
    latent = initial_latent("normal", autoencoder, target, 0)
    latent[0, 0, 0, 0] = math.nan
    with pytest.raises(DivergedError, match="nan"):
        next(optimize(autoencoder, Objective("mse", target), latent, steps=1))


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [1, 1, 1, 1]),
        ("cosine", [1, 0.8536, 0.5, 0.1464]),
        ("warmup_cosine", [0.0909, 0.9330, 0.5868, 0.1786]),
    ],
)
def test_schedules_at_each_quarter(schedule, shares):
    assert [SCHEDULES[schedule](k / 4) for k in range(4)] == pytest.approx(shares, abs=1e-3)
    *_, records = run(schedule=schedule, steps=4, lr=0.2)
    assert [step.lr for step in records] == pytest.approx([0.2 * share for share in shares] + [0], abs=1e-3)


def test_schedules_never_leave_zero_to_one():
    for share in SCHEDULES.values():
        assert all(0 < share(k / 1000) <= 1.01 for k in range(1000))


def test_until_passes_on_the_record_that_is_enough():
    *_, records = run(steps=9)
    assert [step.index for step in until(records, lambda step: step.index == 3)] == [0, 1, 2, 3]


@pytest.mark.parametrize(("init", "mean", "variance"), [("normal", 0, 1), ("uniform", 0, 1), ("zeros", 0, 0)])
def test_named_starts_have_the_moments_they_promise(init, mean, variance):
    target = picture(256, 256)
    latent = initial_latent(init, linear_autoencoder(), target, 7)
    assert latent.shape == (1, 4, 128, 128)
    assert float(latent.mean()) == pytest.approx(mean, abs=0.02)
    assert float(latent.var()) == pytest.approx(variance, abs=0.03)
    assert init != "uniform" or float(latent.abs().max()) <= math.sqrt(3)


def test_start_encode_is_the_encoders_own_latent():
    autoencoder, target = linear_autoencoder(), picture()
    latent = initial_latent("encode", autoencoder, target)
    decoded = autoencoder.decode(latent, (8, 8))
    assert float((decoded - target).square().mean()) == pytest.approx(least_mse(autoencoder, target), rel=1e-4)


def test_start_from_an_image_has_the_targets_size(photo):
    autoencoder, target = linear_autoencoder(), picture(10, 6)
    assert initial_latent(str(photo), autoencoder, target).shape == (1, 4, 5, 3)


def test_the_bundled_loop_lowers_every_loss(autoencoder, photo):
    from latentflow.pictures.files import fit, read_image, to_tensor

    target = to_tensor(fit(read_image(photo).image, 64))
    for loss in ("mse", "l1", "psnr", "ssim"):
        latent = initial_latent("normal", autoencoder, target, 0)
        steps = list(optimize(autoencoder, Objective(loss, target), latent, steps=15))
        assert float(steps[-1].loss) < float(steps[0].loss)
        assert float(steps[-1].psnr) > float(steps[0].psnr)


def test_lbfgs_that_moves_does_not_end_early():
    autoencoder, target = linear_autoencoder(), picture()
    latent = initial_latent("normal", autoencoder, target, seed=0)
    assert len(list(optimize(autoencoder, Objective("mse", target), latent, steps=8, optimizer="lbfgs"))) == 9
