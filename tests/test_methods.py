"""Ways to a latent without the gradient, and with both; what they cost, and what they compute in."""

import functools
from pathlib import Path

import pytest
import torch
from standins import TINY, model_files, write_folder
from toys import least_mse, linear_autoencoder, picture

from latentflow import invert
from latentflow.base.errors import DivergedError, InputError
from latentflow.inversion.hybrid import walk_length
from latentflow.inversion.methods import METHODS, choose
from latentflow.inversion.objective import Objective
from latentflow.inversion.optimize import optimize
from latentflow.latents.sources import initial_latent
from latentflow.models import memory as cost
from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.device import computes_bf16
from latentflow.models.weights import find_weights, present
from latentflow.pictures.files import fit, read_image, to_tensor


def steps_of(method, loss="mse", count=1, **options):
    autoencoder, target = linear_autoencoder(), picture(count=count)
    objective = Objective(loss, target)
    latent = initial_latent("normal", autoencoder, target, seed=0)
    return autoencoder, objective, list(optimize(autoencoder, objective, latent, method=method, **options))


def test_a_residual_shrinks_as_worked_out():
    """Encoding undoes decoding here, so z − ρ·(E(D(z)) − E(x)) goes the share ρ of the way at every step."""
    autoencoder, objective, steps = steps_of("gradient_free", lr=0.3, steps=6)
    goal = autoencoder.encode(objective.target)
    for index, step in enumerate(steps):
        assert torch.allclose(step.latent - goal, (steps[0].latent - goal) * 0.7**index, atol=1e-5)
        assert float(step.loss) == pytest.approx(float((step.latent - goal).square().mean()), rel=1e-4)
        assert step.parts.keys() == {"residual"}
    assert [step.passes for step in steps] == [2] * 7
    assert steps[-1].grad_norm is None and steps[-1].lr == 0


def test_one_whole_step_arrives():
    autoencoder, objective, steps = steps_of("gradient_free", lr=1, steps=1)
    error = float((steps[-1].image - objective.target).square().mean())
    assert error == pytest.approx(least_mse(autoencoder, objective.target), rel=1e-4)


@pytest.mark.parametrize("optimizer", [each.name for each in METHODS["gradient_free"].optimizers])
@pytest.mark.parametrize("count", [20, 100])
def test_a_road_without_a_rate_uses_all_its_steps(optimizer, count):
    _, _, steps = steps_of("gradient_free", optimizer=optimizer, steps=count)
    left = [float(step.loss) ** 0.5 / float(steps[0].loss) ** 0.5 for step in steps]
    assert left[-1] < 0.2 and left[count // 10] > 0.5 and left[count // 3] > 0.1


def test_inertia_is_that_of_the_inertial_iteration():
    """y = x + α·(x − x before), x = y − ρ·(y − goal) (Maingé 2008): records hold the points y that are evaluated."""
    autoencoder, objective, steps = steps_of("gradient_free", optimizer="inertial_km", lr=0.2, steps=5)
    goal = autoencoder.encode(objective.target)
    before = point = steps[0].latent
    for step in steps[1:]:
        now = point - 0.2 * (point - goal)
        point = now + 0.5 * (now - before)
        before = now
        assert torch.allclose(step.latent, point, atol=1e-5)


def test_a_batch_without_gradient_goes_the_way_its_images_go_alone():
    autoencoder, target = linear_autoencoder(), picture(count=3)
    latent = initial_latent("normal", autoencoder, target, seed=0)
    *_, together = optimize(autoencoder, Objective("mse", target), latent, steps=9, method="gradient_free")
    for one in range(3):
        single = slice(one, one + 1)
        *_, alone = optimize(
            *(autoencoder, Objective("mse", target[single]), latent[single]), steps=9, method="gradient_free"
        )
        assert torch.allclose(alone.latent, together.latent[single], atol=1e-6)


def test_hybrid_begins_without_the_gradient_and_goes_on_with_the_loss_that_was_chosen():
    autoencoder, objective, steps = steps_of("hybrid", "l1", steps=20)
    assert [step.passes for step in steps] == [2] * 3 + [3] * 17 + [1]  # the second step found nothing more to gain
    for step in steps:
        loss, parts = objective(step.image)
        assert torch.allclose(step.loss, loss) and parts.keys() == step.parts.keys() == {"l1"}
        assert torch.equal(step.image, autoencoder.decode(step.latent, (8, 8)))
    assert float(steps[-1].loss) < 0.98 * float(steps[2].loss)  # the nearest by squares is not the nearest by l1


def test_a_long_hybrid_run_goes_evenly_to_the_picture():
    """Encoding undoes decoding here, so each of the K steps goes one K-th of the whole distance."""
    autoencoder, objective, steps = steps_of("hybrid", steps=100)
    goal, walk = autoencoder.encode(objective.target), walk_length(100)
    whole = steps[0].latent - goal
    assert walk == 28 and walk_length(20) == walk_length(1) == 0
    for index in range(walk + 1):
        assert torch.allclose(steps[index].latent - goal, whole * (1 - index / walk), atol=1e-4)


def test_the_phases_of_a_hybrid_run_are_counted_and_shown(invoke, small):
    run = invert(small, method="hybrid", size=32, steps=30, seed=1)
    passes = [step.passes for step in run]
    phases = run.inversion.phases
    assert sum(phases.values()) == 30 and phases["walk"] == walk_length(30) == 4
    assert passes == [2] * (4 + phases["jump"]) + [3] * phases["gradient"] + [1]
    options = ("--method", "hybrid", "--size", 32, "--steps", 30, "--seed", 1, "--weights", "bundled")
    code, out, _ = invoke("--image_path", small, *options, "--output_path", "a.gif")
    shown = f"4 even steps to the picture, {phases['jump']} jumps, {phases['gradient']} by the gradient"
    assert code == 0 and f"method   hybrid: {shown}" in out


@pytest.mark.slow
def test_no_step_of_a_long_hybrid_run_changes_the_picture_by_leaps(autoencoder, target):
    latent = initial_latent("normal", autoencoder, target, seed=0)
    steps = list(optimize(autoencoder, Objective("mse", target), latent, steps=100, method="hybrid"))
    images = torch.cat([step.image.clamp(0, 1) for step in steps])
    changes = (images[1:] - images[:-1]).square().mean((1, 2, 3)).sqrt()
    assert changes.max() < 4 * changes[:50].median()


def test_hybrid_refuses_a_batch():
    with pytest.raises(InputError, match="hybrid takes one image"):
        steps_of("hybrid", count=2, steps=2)


def test_a_residual_that_grows_is_found():
    with pytest.raises(DivergedError, match=r"diverged at step \d+"):
        steps_of("gradient_free", lr=5, steps=50)


def test_each_method_has_its_own_optimizer_and_rate():
    for method, lr, expected in (("gradient", None, ("adam", 0.1)), ("hybrid", 0.2, ("adam", 0.2))):
        choice = choose(method, None, lr, 100)
        assert (choice.optimizer.name, choice.lr) == expected
    choice = choose("gradient_free", None, None, 100)
    assert choice.optimizer.name == "km" and (1 - choice.lr) ** 100 == pytest.approx(0.01)


@pytest.fixture(scope="module")
def target(request):
    return to_tensor(fit(read_image(Path(__file__).parent.parent / "examples" / "spheres.png").image, 64))


@pytest.mark.slow
def test_hybrid_is_as_near_after_fifteen_steps_as_the_gradient_after_sixty(autoencoder, target):
    latent = initial_latent("normal", autoencoder, target, seed=0)
    ends = {}
    for method, steps in (("gradient", 60), ("hybrid", 15), ("gradient_free", 6)):
        rate = 1.0 if method == "gradient_free" else None
        *_, last = optimize(autoencoder, Objective("mse", target), latent, steps=steps, method=method, lr=rate)
        ends[method] = float(last.psnr)
    assert ends["hybrid"] > ends["gradient"] - 0.1 and ends["gradient_free"] > ends["gradient"] - 2, ends


@pytest.mark.slow
@pytest.mark.skipif(not computes_bf16(torch.device("cpu")), reason="this processor doesn't compute with bfloat16")
@pytest.mark.parametrize("method", ["gradient", "hybrid"])
def test_bfloat16_goes_the_way_of_float32(autoencoder, target, method):
    rough = load_autoencoder(find_weights("bundled"), dtype="auto")
    assert rough.precision == "bfloat16" and autoencoder.precision == "float32"
    latent = initial_latent("normal", autoencoder, target, seed=0)
    curves = [
        [float(step.psnr) for step in optimize(each, Objective("mse", target), latent, steps=25, method=method)]
        for each in (autoencoder, rough)
    ]
    assert curves[1] == pytest.approx(curves[0], abs=0.1)


@pytest.mark.parametrize("kind", TINY)
def test_checkpointing_changes_memory_and_no_gradient(kind, tmp_path):
    folder = write_folder(tmp_path / kind, model_files(TINY[kind]))
    found = []
    for on in (False, True):
        autoencoder = load_autoencoder(present(str(folder)))
        if on:
            autoencoder.checkpoint_decoder()
        latent = torch.randn(1, autoencoder.geometry.channels, 8, 8, generator=torch.Generator().manual_seed(0))
        latent.requires_grad_()
        autoencoder.decode(latent).square().sum().backward()
        found.append((latent.grad, cost.update_bytes(autoencoder, 64, 64)))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert found[1][1] < 0.9 * found[0][1]


def test_memory_is_foreseen_in_proportion(autoencoder):
    small, large = cost.update_bytes(autoencoder, 128, 128), cost.update_bytes(autoencoder, 512, 256)
    assert large == pytest.approx(8 * small, rel=0.06)
    kept = 0

    def count(tensor):
        nonlocal kept
        kept += 0 if tensor.numel() < 1000 else tensor.numel() * tensor.element_size()
        return tensor

    latent = torch.zeros(1, 4, 24, 24, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        autoencoder.decode(latent)
    assert 0.3 < cost.update_bytes(autoencoder, 192, 192) / kept < 2  # what is saved twice counts once


def test_checkpointing_is_for_pictures_that_need_it(autoencoder, monkeypatch):
    needed = cost.update_bytes(autoencoder, 512, 512)
    for free, tight in ((needed, True), (2 * needed, False), (None, False)):
        monkeypatch.setattr(cost, "free_memory", lambda device, free=free: free)
        assert cost.is_tight(autoencoder, 512, 512) == tight
    monkeypatch.setattr(cost, "free_memory", lambda device: 1)
    assert not cost.is_tight(autoencoder, 64, 64)


def test_compiling_pays_for_many_steps_on_a_gpu_alone(autoencoder):
    assert not cost.compiling_pays(autoencoder, 64, 64, 10**9)
    assert cost.saves(0.1, 10_000) and not cost.saves(0.1, 100)


@pytest.mark.slow
def test_a_compiled_decoder_decodes_the_same(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "tiny", model_files(TINY["tiny"]))
    autoencoder = load_autoencoder(present(str(folder)))
    latent = torch.randn(1, autoencoder.geometry.channels, 4, 4, generator=torch.Generator().manual_seed(0))
    plain = autoencoder.decode(latent)
    quick = functools.partial(torch.compile, backend="aot_eager")  # inductor would call a C++ compiler for a minute
    monkeypatch.setattr(torch, "compile", quick)
    autoencoder.compile_decoder()
    latent.requires_grad_()
    compiled = autoencoder.decode(latent)
    assert torch.allclose(plain, compiled.detach(), atol=1e-4)
    compiled.sum().backward()
    assert float(latent.grad.abs().max()) > 0


def test_a_loss_of_ones_own_is_not_for_the_gradient_free_method(invoke, small):
    code, _, err = invoke("--image_path", small, "--method", "gradient-free", "--loss_type", "l1")
    assert code == 2 and "hybrid" in err and err.count("\n") == 1
    code, _, err = invoke("--image_path", small, "--method", "gradient_free", "--optimizer", "adamw")
    assert code == 2 and "inertial_km" in err


@pytest.mark.parametrize("method", ["gradient_free", "hybrid"])
def test_a_run_of_every_method_has_its_frames_and_repeats_exactly(invoke, small, tmp_path, method):
    common = ("--weights", "bundled", "--size", 48, "--steps", 5, "--seed", 1, "--method", method)
    for name in ("one.gif", "two.gif"):
        code, out, err = invoke("--image_path", small, *common, "--output_path", name, "--metrics", f"{name}.jsonl")
        assert code == 0, err
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "two.gif").read_bytes()
    assert len((tmp_path / "one.gif.jsonl").read_text().splitlines()) == 6
    assert ("residual" in out) == (method == "gradient_free")
    code, _, err = invoke("--from_manifest", "one.gif.manifest.json", "--output_path", "three.gif")
    assert code == 0, err
    assert (tmp_path / "three.gif").read_bytes() == (tmp_path / "one.gif").read_bytes()


def test_frames_can_be_paced_by_change(invoke, small, tmp_path):
    common = ("--image_path", small, "--weights", "bundled", "--size", 48, "--steps", 12, "--skip_step", 3, "--seed", 1)
    assert invoke(*common, "--output_path", "steps")[0] == 0
    code, _, err = invoke(*common, "--pace", "change", "--output_path", "change")
    assert code == 0, err
    paced = sorted(path.name for path in (tmp_path / "change").iterdir())
    assert paced[0] == "00000.png" and paced[-1] == "00012.png" and 3 <= len(paced) <= 5
    for name in ("00000.png", "00012.png"):
        assert (tmp_path / "change" / name).read_bytes() == (tmp_path / "steps" / name).read_bytes()
