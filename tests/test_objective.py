"""Weighted sums of losses."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toys import picture

from latentflow import losses
from latentflow.base.errors import InputError, MissingPackageError
from latentflow.inversion.objective import Objective, parse, same_sum
from latentflow.models import weights
from latentflow.models.networks import Networks


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("mse", [(1, "mse")]),
        (" l1 + 0.1*ssim ", [(1, "l1"), (0.1, "ssim")]),
        ("1e-2 * mse+.5*l1 + 2*psnr", [(0.01, "mse"), (0.5, "l1"), (2, "psnr")]),
    ],
)
def test_sums_are_read(text, terms):
    assert [(term.weight, term.name) for term in parse(text)] == terms


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 1, "expected a loss"),
        ("mes", 1, "Did you mean mse"),
        ("mse l1", 5, "no sum of losses .*Write it as in"),
        ("mse + ", 7, "no sum of losses"),
        ("mse + 0.1ssim", 9, "invalid decimal"),
        ("mse + 1.2.3*l1", 10, "no sum of losses"),
        ("mse + mse", 7, "named twice"),
        ("mse - l1", 7, "only added"),
        ("-1*mse", 1, "the weight -1 is below 0"),
        ("mse + -0.5 * l1", 7, "the weight -0.5 is below 0"),
        ("0*mse", 1, "the weight of mse is 0.*Nothing would move"),
        ("0*mse + 0.0*l1", 1, "the weight of mse and of l1 is 0"),
        ("mse + 1e999*l1", 7, "too large"),
        ("sinkhorn(blur=1e999)", 15, "too large"),
        ("0.5*nothing_like_it", 5, "The losses are"),
        ("mse # + l1", 5, "expected \\+"),
        ("mse,l1", 1, "expected a loss"),
        ("mse*0.5", 1, "expected a weight before \\*"),
        ("2*3*mse", 1, "expected a weight"),
        ("True*mse", 1, "expected a weight"),
        ("2*(mse + l1)", 4, "expected a loss"),
        ("__import__('os').getcwd()", 1, "expected a loss"),
        ("  mse/l1", 7, "only added"),
        ("é*mse", 1, "expected a weight"),
        ("ééé + 2*nothing_like_it", 1, "no loss named 'ééé'"),
        ("mse" + "+mse" * 9000, 1, "no sum of losses"),
    ],
)
def test_errors_point_at_the_character(text, position, words):
    with pytest.raises(InputError, match=f"character {position}: .*{words}"):
        parse(text)


def test_options_are_read_and_shown():
    (term,) = parse("2*sinkhorn( points = 8, blur=1e-1 )")
    assert (term.weight, term.name, term.options) == (2, "sinkhorn", {"points": 8, "blur": 0.1})
    objective = Objective("2*sinkhorn(points=8,blur=0.1) + l1", picture())
    assert objective.label == "2*sinkhorn(points=8,blur=0.1) + l1"


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("sinkhorn(", 9, "never closed"),
        ("sinkhorn(blur)", 10, "expected an option"),
        ("sinkhorn(blur=0.1", 9, "never closed"),
        ("sinkhorn(blur=1,blur=2)", 17, "named twice"),
        ("sinkhorn(0.1)", 10, "expected an option"),
        ("sinkhorn(blur=l1)", 15, "expected a number after blur="),
        ("sinkhorn(**l1)", 10, "expected an option"),
        ("sinkhorn(blur=-1)", 1, "blur of sinkhorn must be from 0.001"),
        ("l1 + sinkhorn(reach=1)", 6, "no option 'reach'; its options: points, blur, position"),
        ("l1(power=2)", 1, "no option 'power'; its options: none"),
        ("sinkhorn(points=99)", 1, "from 1 to 64"),
    ],
)
def test_errors_in_options_point_at_the_character(text, position, words):
    with pytest.raises(InputError, match=f"character {position}: .*{words}"):
        Objective(text, picture())


def test_a_sum_is_the_sum_of_its_terms():
    image, target = picture(count=2), picture(seed=4, count=2)
    total, parts = Objective("mse + 0.5*l1", target)(image)
    assert total.shape == (2,) and list(parts) == ["mse", "l1"]
    assert torch.allclose(total, parts["mse"] + 0.5 * parts["l1"])


def test_a_weight_of_zero_beside_another_is_shown_and_moves_nothing():
    image, target = picture(), picture(seed=4)
    total, parts = Objective("mse + 0*l1", target)(image)
    assert torch.equal(total, parts["mse"]) and float(parts["l1"]) > 0


def test_labels_tell_weights_and_options_apart_that_differ_in_the_eighth_digit():
    objectives = [Objective(f"{weight}*mse", picture()) for weight in ("0.12345678", "0.12345679", "1e-06", "2.50")]
    assert [each.label for each in objectives] == ["0.12345678*mse", "0.12345679*mse", "1e-06*mse", "2.5*mse"]
    assert Objective("sinkhorn(blur=0.12345678,points=8)", picture()).label == "sinkhorn(blur=0.12345678,points=8)"


def test_two_losses_with_one_label_are_refused():
    """Their values would be told under one name."""

    @losses.register("other")
    class Other(losses.Loss):
        def __init__(self, load=None):
            super().__init__(load)
            self.label = "mse"

    with pytest.raises(InputError, match="two losses have the label mse"):
        Objective("mse + other", picture())


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("mse", "1*mse", True),
        ("mse+l1", " 1.0*l1 + mse", True),
        ("sinkhorn(blur=0.1,points=8)", "sinkhorn(points=8, blur=1e-1)", True),
        ("mse", "2*mse", False),
        ("mse", "mse + l1", False),
        ("sinkhorn(blur=0.1)", "sinkhorn(blur=0.2)", False),
    ],
)
def test_sums_that_are_written_differently(one, two, same):
    assert same_sum(one, two) is same


def test_stand_ins_are_marked_in_every_label():
    objective = Objective("mse + 0.1*lpips", picture(40, 40), Networks("bundled"))
    assert objective.label == "mse + 0.1*lpips[bundled]"
    assert list(objective(picture(40, 40))[1]) == ["mse", "lpips[bundled]"]


def test_without_networks_the_bundled_one_is_used_and_nothing_is_downloaded(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights.Checkpoint, "fetch", lambda *args, **kwargs: pytest.fail("a download"))
    target, image = picture(40, 40), picture(40, 40, seed=2)
    objective = Objective("lpips + 0.5*vgg", target)
    assert objective.label == "lpips[bundled] + 0.5*vgg[bundled]"
    assert torch.equal(objective(image)[0], Objective("lpips + 0.5*vgg", target, Networks("bundled"))(image)[0])


def test_a_loss_without_a_network_loads_none():
    code = (
        "import sys, torch; from latentflow.inversion.objective import Objective;"
        "Objective('mse', torch.rand(1, 3, 4, 4)); sys.exit('latentflow.models.networks' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent).returncode == 0


def test_an_image_too_small_for_a_loss_is_an_input_error():
    with pytest.raises(InputError, match="ssim needs images of at least 11 × 11 pixels; this one has 40 × 8"):
        Objective("ssim", picture(8, 40))


@pytest.mark.parametrize(
    ("image", "target", "words"),
    [
        ((1, 3, 8, 8), (3, 8, 8), r"`target` must have the shape \(n, 3, height, width\), not \(3, 8, 8\)"),
        ((3, 8, 8), (1, 3, 8, 8), r"`image` must have the shape \(n, 3, height, width\), not \(3, 8, 8\)"),
        ((1, 3, 8, 9), (1, 3, 8, 8), r"`image` has the shape \(1, 3, 8, 9\), but `target` has \(1, 3, 8, 8\)"),
        ((2, 3, 8, 8), (1, 3, 8, 8), r"`image` has the shape \(2, 3, 8, 8\), but `target` has \(1, 3, 8, 8\)"),
    ],
)
def test_a_wrong_shape_is_an_input_error(image, target, words):
    with pytest.raises(InputError, match=words):
        Objective("mse + l1", torch.zeros(target))(torch.zeros(image))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "geomloss", None)
    with pytest.raises(MissingPackageError, match=r"sinkhorn needs a package: .*geomloss.* pip install geomloss"):
        Objective("sinkhorn", picture())
