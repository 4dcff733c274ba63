"""Weighted sums of losses."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toys import picture

from latentflow.errors import InputError, MissingPackageError
from latentflow.inversion.objective import Objective, parse
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
        ("mse l1", 5, "expected \\+"),
        ("mse + ", 7, "expected a loss"),
        ("mse + 0.1ssim", 7, "expected a loss"),
        ("mse + 1.2.3*l1", 7, "not a number"),
        ("mse + mse", 7, "named twice"),
        ("mse - l1", 5, "expected \\+"),
        ("0.5*nothing_like_it", 5, "The losses are"),
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
        ("sinkhorn(", 10, "expected an option"),
        ("sinkhorn(blur)", 10, "expected an option"),
        ("sinkhorn(blur=0.1", 18, "expected , or \\)"),
        ("sinkhorn(blur=1,blur=2)", 17, "named twice"),
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
