"""What Python users hand in: tensors, batches, functions, latents, torch's own types; and what they get back."""

import functools
import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import latentflow
from latentflow import Autoencoder, InputError, Session, invert
from latentflow.inversion.target import Target
from latentflow.losses import find


def waves(count=1, height=32, width=40, seed=0):
    """Smooth pictures (count, 3, height, width) in [0, 1] of values that 8 bits don't have."""
    numbers = torch.Generator().manual_seed(seed)
    phase = torch.rand(count, 3, 1, 1, generator=numbers) * 6
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    return torch.sin(x / 7 + y / 9 + phase) * 0.4123 + 0.5


class Halves(torch.nn.Module):
    """A linear autoencoder: a latent cell holds the mean of 4 × 4 pixels, times a weight that could be trained."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(2.0))

    def encode(self, image):
        return torch.nn.functional.avg_pool2d(image, 4) * self.gain

    def decode(self, values):
        return torch.nn.functional.interpolate(values / self.gain, scale_factor=4)


def wrapped(module, **options):
    values = {"channels": 3, "stride": 4, "scale": 0.5} | options
    return Autoencoder.wrap(encode=module.encode, decode=module.decode, **values)


def test_functions_become_an_autoencoder_in_its_own_units():
    ae = wrapped(Halves(), scale=[0.5, 0.25, 1.0], shift=1.0)
    image = torch.full((1, 3, 8, 8), 0.75)  # 0.5 in [-1, 1], so the model's own value is 1
    assert torch.equal(ae.encode(image), torch.zeros(1, 3, 2, 2))
    latent = torch.tensor([0.5, 0.25, 1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)  # one unit of the model above 1
    assert torch.allclose(ae.decode(latent), torch.ones(1, 3, 8, 8))
    assert ae.geometry.latent_shape(9, 8) == (3, 3, 2)


def test_pictures_are_given_in_the_range_that_is_said():
    seen = []

    def encode(image):
        seen.append(image)
        return image

    ae = Autoencoder.wrap(encode=encode, decode=lambda values: values, channels=3, stride=1, picture_range=(0, 255))
    image = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(ae(image), image)
    torch.testing.assert_close(seen[0], image * 255)
    for wrong in ((1, 0), (0,), "ab", 3):
        with pytest.raises(InputError, match="`picture_range`"):
            Autoencoder.wrap(encode=encode, decode=encode, channels=3, stride=1, picture_range=wrong)


@pytest.mark.parametrize(
    "decode",
    [
        lambda module: module.decode,
        lambda module: lambda z: module.decode(z),
        lambda module: functools.partial(lambda model, z: model.decode(z), module),
        lambda module: [lambda z: SimpleNamespace(sample=module.decode(z))][0],
    ],
    ids=["method", "closure", "partial", "as diffusers returns it"],
)
def test_what_functions_are_made_of_is_frozen_and_collects_no_gradient(decode):
    module = Halves().train()
    ae = Autoencoder.wrap(encode=module.encode, decode=decode(module), channels=3, stride=4)
    invert(waves(), vae=ae, steps=2, seed=0).result()
    assert module.gain.grad is None and module.gain.requires_grad and module.training


def test_a_module_out_of_sight_collects_no_gradient_either():
    hidden = {"module": Halves()}
    ae = Autoencoder.wrap(
        encode=lambda image: hidden["module"].encode(image),
        decode=lambda values: hidden["module"].decode(values),
        channels=3,
        stride=4,
    )
    invert(waves(), vae=ae, steps=2, seed=0).result()
    assert hidden["module"].gain.grad is None


def test_a_module_is_frozen_while_it_computes():
    seen = []

    class Watching(Halves):
        def decode(self, values):
            seen.append((self.training, self.gain.requires_grad))
            return super().decode(values)

    wrapped(Watching().train()).decode(torch.zeros(1, 3, 2, 2))
    assert seen == [(False, False)]


def test_to_changes_what_it_computes_in_and_keeps_scale_and_shift():
    module = Halves()
    ae = wrapped(module, scale=0.18215).to(torch.bfloat16)
    assert (ae.dtype, ae.precision, module.gain.dtype) == (torch.bfloat16, "bfloat16", torch.bfloat16)
    assert ae.scale.dtype == torch.float32 and float(ae.scale) == pytest.approx(0.18215, rel=1e-7)
    image = ae.decode(ae.encode(waves()))
    assert image.dtype == torch.float32
    assert (image - wrapped(Halves(), scale=0.18215)(waves())).abs().max() < 0.02
    assert ae.to("cpu").dtype == torch.bfloat16 and ae.float().dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encode": 3}, "`encode` is a function or a module, not 3"),
        ({"channels": 0}, "`channels` is a whole number from 1, not 0"),
        ({"stride": 2.5}, "`stride` is a whole number from 1, not 2.5"),
        ({"scale": [1.0, 2.0]}, "`scale` is one finite number, or one for each of the 3 channels"),
        ({"scale": 0}, "`scale` is 0"),
    ],
)
def test_a_wrong_part_of_an_autoencoder_is_named(options, words):
    module = Halves()
    parts = {"encode": module.encode, "decode": module.decode, "channels": 3, "stride": 4} | options
    with pytest.raises(InputError, match=words.replace("`", "\\`").replace("[", "\\[")):
        Autoencoder.wrap(**parts)


def test_a_tensor_keeps_its_size_and_its_precision(autoencoder):
    image = waves(height=30, width=41)
    run = invert(image, vae=autoencoder, steps=1, seed=0)
    assert torch.equal(run.target.image, image)
    assert run.result().image.shape == (1, 3, 30, 41)
    smaller = invert(image, vae=autoencoder, steps=1, seed=0, size=20)
    assert smaller.target.image.shape == (1, 3, 15, 20)


def test_a_tensors_mask_keeps_its_size_and_its_precision(autoencoder):
    weights = torch.linspace(0.1234, 1, 40).expand(32, 40)
    run = invert(waves(), vae=autoencoder, steps=1, seed=0, mask=weights)
    assert torch.allclose(run.target.mask[0, 0], weights, atol=1e-7)
    each = torch.stack([weights, weights.flip(1)])[:, None]
    batch = invert(waves(2), vae=autoencoder, steps=1, seed=0, mask=each)
    assert torch.allclose(batch.target.mask, each, atol=1e-7)
    with pytest.raises(InputError, match="2 masks for 3 images"):
        invert(waves(3), vae=autoencoder, mask=each)
    with pytest.raises(InputError, match="black everywhere"):
        invert(waves(2), vae=autoencoder, mask=torch.stack([weights, weights * 0])[:, None])


@pytest.mark.parametrize("loss", ["mse + 0.1*l1", lambda x, y: (x - y).abs().mean((1, 2, 3))], ids=["text", "function"])
def test_a_batch_is_so_many_single_runs(autoencoder, loss):
    images, seeds = waves(3), [5, 6, 9]
    together = invert(images, loss, vae=autoencoder, steps=3, seed=seeds).result()
    assert len(together) == 3 and together.latent.shape[0] == together.image.shape[0] == 3
    for index, seed in enumerate(seeds):
        alone = invert(images[index], loss, vae=autoencoder, steps=3, seed=seed).result()
        one = together[index]
        assert one.seed == seed and one.loss == alone.loss
        assert (one.latent - alone.latent).abs().max() < 1e-4
        assert torch.equal(one.latent[0], together.latent[index])
        assert one.loss_last == pytest.approx(alone.loss_last, rel=1e-3)
        for name, value in alone.metrics.items():
            assert one.metrics[name] == pytest.approx(value, rel=1e-3)
    assert together.metrics["psnr"] == pytest.approx(np.mean([one.metrics["psnr"] for one in together.images]))
    assert together.loss_last == pytest.approx(np.mean([one.loss_last for one in together.images]))


def test_seeds_of_a_batch(autoencoder):
    run = invert(waves(2), vae=autoencoder, seed=4)
    noise = [torch.randn(run.latent[:1].shape, generator=torch.Generator().manual_seed(seed)) for seed in (4, 5)]
    assert torch.equal(run.latent, torch.cat(noise))
    with pytest.raises(InputError, match="3 seeds for 2 images"):
        invert(waves(2), vae=autoencoder, seed=[1, 2, 3])


def test_an_image_of_a_batch_ends_where_it_would_alone(autoencoder):
    flat = torch.full((1, 3, 32, 40), 0.5)
    images = torch.cat([flat, waves(seed=3)])
    options = {"vae": autoencoder, "steps": 12, "target_psnr": 16.0}
    alone = [invert(each, seed=seed, **options).result() for seed, each in enumerate(images)]
    assert alone[0].steps != alone[1].steps
    together = invert(images, seed=0, **options).result()
    assert [one.steps for one in together.images] == [one.steps for one in alone]
    assert together.steps == max(one.steps for one in alone)
    for one, other in zip(together.images, alone):
        assert one.metrics["psnr"] == pytest.approx(other.metrics["psnr"], abs=0.01)


def test_what_couples_a_batch_is_refused(autoencoder):
    with pytest.raises(InputError, match="one image at a time"):
        invert(waves(2), vae=autoencoder, optimizer="lbfgs")


@pytest.mark.parametrize("kind", ["tensor", "array", "one for all"])
def test_a_run_starts_from_a_latent(autoencoder, kind):
    shape = autoencoder.geometry.latent_shape(32, 40)
    z = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    start = {"tensor": z, "array": z.numpy(), "one for all": z[0]}[kind]
    run = invert(waves(2), vae=autoencoder, init=start, steps=1)
    first = next(iter(run))
    assert torch.equal(first.latent, z if kind != "one for all" else torch.stack([z[0], z[0]]))
    assert torch.equal(z, torch.randn(2, *shape, generator=torch.Generator().manual_seed(1)))  # as it was


@pytest.mark.parametrize(
    ("init", "words"),
    [
        (torch.zeros(1, 4, 3, 3), r"`init` has the shape \(1, 4, 3, 3\); .* needs \(1, 8, "),
        (torch.full((8, 1, 2), torch.nan), "`init` has values that are not finite"),
        (3, "`init` is a name, a path, a tensor or an array, not int"),
    ],
)
def test_a_latent_that_does_not_fit_is_named(autoencoder, init, words):
    rows = autoencoder.geometry.latent_shape(32, 40)
    init = init.new_full(rows, torch.nan) if isinstance(init, torch.Tensor) and init.isnan().any() else init
    words = words.replace("8, ", f"{rows[0]}, ")
    with pytest.raises(InputError, match=words):
        invert(waves(), vae=autoencoder, init=init)


def test_torchs_own_types_name_device_and_type():
    run = invert(waves(), vae="bundled", device=torch.device("cpu"), dtype=torch.bfloat16, steps=1, seed=0)
    assert run.loaded.autoencoder.precision == "bfloat16" and run.config.dtype == "bfloat16"
    assert latentflow.load_autoencoder("bundled", dtype=torch.bfloat16).dtype == torch.bfloat16
    with pytest.raises(InputError, match="`dtype` is auto, float32 or bfloat16, not float16"):
        latentflow.load_autoencoder("bundled", dtype=torch.float16)


def test_an_autoencoder_that_is_handed_in_goes_where_the_options_say():
    ae, said = wrapped(Halves()), []
    options = {"device": torch.device("cpu"), "dtype": torch.bfloat16, "steps": 1}
    run = invert(waves(), vae=ae, session=Session(said.append), **options)
    assert ae.precision == run.loaded.autoencoder.precision == "bfloat16" and ae.model.parts[0].gain.dtype == ae.dtype
    assert said == ["own is on cpu and computes in bfloat16 from now on."]
    invert(waves(), vae=ae, steps=1, session=Session(said.append))
    assert ae.precision == "bfloat16" and len(said) == 1
    with ae._frozen(), pytest.raises(InputError, match="own computes in another thread, so it can't be moved"):
        invert(waves(), vae=ae, dtype="float32", steps=1)
    with pytest.raises(InputError, match="`device` cuda:99"):
        invert(waves(), vae=ae, device="cuda:99", steps=1)


def test_a_wrapped_model_stays_where_it_is_and_in_its_type():
    module = Halves().to(torch.bfloat16)
    ae = wrapped(module)
    assert ae.precision == "bfloat16" and module.gain.dtype == torch.bfloat16 and ae.device == module.gain.device
    assert wrapped(Halves(), dtype=torch.bfloat16).model.parts[0].gain.dtype == torch.bfloat16
    plain = Autoencoder.wrap(encode=lambda image: image, decode=lambda values: values, channels=3, stride=1)
    assert (plain.precision, str(plain.device)) == ("float32", "cpu")


def test_what_has_no_effect_on_a_tensor_is_refused(autoencoder):
    with pytest.raises(InputError, match="`fit` cover would have no effect: a tensor keeps its size"):
        invert(waves(), vae=autoencoder, fit="cover")
    assert invert(waves(), vae=autoencoder, fit="cover", size=16).target.size == (16, 16)
    with pytest.raises(InputError, match="`image`: a tensor is"):
        invert(torch.zeros(0, 3, 8, 8), vae=autoencoder)


def test_metrics_have_one_name_and_say_whose_they_are(autoencoder):
    result = invert(waves(height=64, width=64), vae=autoencoder, steps=1, seed=0).result()
    assert list(result.metrics) == list(result.encoder_metrics) == ["psnr", "ssim", "lpips"]
    assert result.metrics.network == find("lpips")(result_network()).label == "lpips[bundled]"
    assert result.metrics.labeled() == {
        "psnr": result.metrics["psnr"],
        "ssim": result.metrics["ssim"],
        "lpips[bundled]": result.metrics["lpips"],
    }


def result_network():
    from latentflow.models.networks import Networks

    return Networks("auto", torch.device("cpu"))


def test_a_session_forgets_an_autoencoder_that_nobody_holds():
    session, ae = Session(), wrapped(Halves())
    gone = weakref.ref(ae)
    invert(waves(), vae=ae, steps=1, seed=0, session=session).result()
    del ae
    gc.collect()
    assert gone() is None
    assert session.load("bundled") is session.load("bundled")


def test_steps_of_a_batch_have_a_figure_for_each_image(autoencoder):
    for step in invert(waves(2), vae=autoencoder, steps=1, seed=0):
        assert step.psnr.shape == step.loss.shape == (2,)


SHARED = Halves()  # as a cell of a notebook has it
MODES: list[bool] = []


def decode_shared(values):
    MODES.append(SHARED.training)
    return SHARED.decode(values)


def test_a_module_that_a_function_finds_by_name_is_frozen_and_moves_with_it():
    SHARED.train()
    ae = Autoencoder.wrap(encode=SHARED.encode, decode=decode_shared, channels=3, stride=4)
    ae.decode(torch.zeros(1, 3, 2, 2))
    assert MODES == [False] and SHARED.training
    lone = Autoencoder.wrap(encode=lambda image: image, decode=decode_shared, channels=3, stride=4).to(torch.bfloat16)
    assert lone.dtype == SHARED.gain.dtype == torch.bfloat16
    SHARED.float()


def test_targets_go_together_with_their_masks_and_come_apart_again():
    images, masks = waves(2), torch.rand(2, 1, 32, 40)
    each = [Target(image=images[i : i + 1], mask=masks[i : i + 1]) for i in range(2)]
    together = Target.together(each)
    assert torch.equal(together.image, images) and torch.equal(together.mask, masks) and len(together) == 2
    assert torch.equal(together.of_image(1).mask, masks[1:]) and together.size == (32, 40)
    assert Target.together([Target(image=images)]).mask is None
