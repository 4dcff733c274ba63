"""The gradient-free refinement of latents."""

import math

import pytest
import torch
from conftest import ROOT

from latentflow import Autoencoder, InputError, load_autoencoder, read_image, to_tensor
from latentflow.models.refinement import refine_latent


@pytest.fixture(scope="module")
def bundled():
    return load_autoencoder("bundled")


@pytest.fixture(scope="module")
def picture():
    return to_tensor(read_image(ROOT / "examples" / "cat.png").image.resize((96, 96)))


def psnr(shown, picture):
    return -10 * torch.log10((shown.clamp(0, 1) - picture).square().mean((1, 2, 3)))


def linear(gain):
    """Functions of an encoder and a decoder of the picture's own size: the encoder is wrong by a factor."""
    return (lambda image: gain * image), (lambda latent: latent)


def test_a_plain_step_then_the_secant_find_the_inverse_of_a_linear_encoder():
    # E(x) = x / 2 and D(z) = z: the encoder's latent is x / 2, the right one is x. A full step takes x / 2 to 3/4 x.
    # The residuals x / 4 and x / 8 lie on a line that is zero at x, and Anderson's step goes there.
    picture = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    encode, decode = linear(0.5)
    found = refine_latent(picture, encode, decode, 2)
    torch.testing.assert_close(found.latent, picture, atol=1e-5, rtol=0)
    one = refine_latent(picture, encode, decode, 1)
    torch.testing.assert_close(one.latent, 0.75 * picture)
    torch.testing.assert_close(one.psnr, psnr(0.75 * picture, picture))
    torch.testing.assert_close(one.before, psnr(0.5 * picture, picture))


def test_a_step_that_makes_the_residual_larger_is_taken_back_and_halved():
    # E(x) = 10 x and D(z) = z / 4 − 0.2: the picture 0.5 has the latent 2.8, and the encoder gives 5.
    tried = []
    picture = torch.full((1, 3, 4, 4), 0.5)

    def decode(latent):
        tried.append(float(latent.mean()))
        return latent / 4 - 0.2

    found = refine_latent(picture, lambda image: 10 * image, decode, 12)
    assert tried[0] == pytest.approx(5)
    assert tried[1] == pytest.approx(0)  # 5 − (10 · 1 − 5): the picture of 5 is 1.05, clamped
    assert tried[2] == pytest.approx(2.5, abs=1e-4)  # D(0) is clamped to 0, its residual −5: half way between them
    assert float(found.latent.mean()) == pytest.approx(2.8, abs=0.05)
    assert float(found.psnr) > 40


@pytest.mark.parametrize("steps", [1, 3, 8, "auto"])
@pytest.mark.parametrize("gain", [-1.0, 0.0, 3.0, 50.0, math.nan])
def test_it_is_never_worse_than_the_encoder(bundled, picture, steps, gain):
    encode = bundled.encode
    found = refine_latent(
        picture, lambda image: gain * encode(image), lambda latent: bundled.decode(latent, (96, 96)), steps
    )
    own = psnr(bundled.decode(gain * encode(picture), (96, 96)), picture)
    if math.isnan(gain):
        assert found.latent.isnan().all()  # the encoder's own, and nothing hides it
    else:
        assert float(found.psnr) >= float(own) - 1e-4
        torch.testing.assert_close(found.psnr, psnr(bundled.decode(found.latent, (96, 96)), picture))


def test_ten_round_trips_lose_next_to_nothing(bundled):
    picture = to_tensor(read_image(ROOT / "examples" / "cat.png").image.resize((64, 64)))

    def round_trips(refine):
        shown = picture
        for _ in range(10):
            decoded = bundled.decode(bundled.encode(shown, refine=refine), (64, 64)).detach()
            shown = (decoded.clamp(0, 1) * 255).round() / 255
            yield float(psnr(shown, picture))

    refined = list(round_trips(3))
    assert refined[0] - refined[-1] < 0.3
    assert refined[-1] > list(round_trips(0))[-1] + 2


def test_pictures_of_a_batch_are_refined_by_themselves(bundled, picture):
    other = 1 - picture
    both = bundled.encode(torch.cat([picture, other]), refine=3)
    torch.testing.assert_close(both[:1], bundled.encode(picture, refine=3), atol=2e-3, rtol=0)
    torch.testing.assert_close(both[1:], bundled.encode(other, refine=3), atol=2e-3, rtol=0)


def test_auto_stops_where_a_step_brings_little(bundled, picture):
    made = []
    found = bundled.refined(picture, "auto", made.append)
    assert made == list(range(1, found.steps + 1))
    assert found.steps < 6
    fewer = bundled.refined(picture, found.steps - 1)
    assert float(found.psnr - fewer.psnr) < 0.1 + 1e-4
    assert not bundled.encode(picture, refine="auto").requires_grad


def test_zero_steps_are_the_encoders_own(bundled, picture):
    assert torch.equal(bundled.refined(picture, 0).latent, bundled.encode(picture))


@pytest.mark.parametrize("refine", [-1, 1.5, "many"])
def test_what_is_no_number_of_steps_is_refused(bundled, picture, refine):
    with pytest.raises(InputError, match="`refine` is a number of steps"):
        bundled.encode(picture, refine=refine)


def test_functions_of_ones_own_are_refined(picture):
    own = Autoencoder.wrap(encode=lambda x: 0.5 * x, decode=lambda z: z, channels=3, stride=1)
    assert float(psnr(own.decode(own.encode(picture, refine=2)), picture)) > 60
