"""The ground: options and their checks, names of packages, settings around a call, targets; values by hand."""

import threading
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentflow.base import registry as module
from latentflow.base.errors import InputError, OutputError
from latentflow.base.files import replacing
from latentflow.base.options import Options, counted, option, parse_seed
from latentflow.base.registry import Registry, record_of
from latentflow.base.surroundings import single_precision, undisturbed
from latentflow.inversion.metrics import image_metrics
from latentflow.inversion.target import Target


@dataclass(frozen=True, kw_only=True)
class Kitchen(Options):
    heat: float = option(1.0, "Heat.", above=0, maximum=9, many=True)


@dataclass(frozen=True)
class Dish:
    name: str


@pytest.mark.parametrize("wrong", [(1.0, 0.0), (9.5, 1.0), (1.0, 9.5), (1.0, float("inf"))])
def test_each_of_several_values_is_checked(wrong):
    assert Kitchen(heat=(0.1, 9)).heat == (0.1, 9)
    with pytest.raises(InputError, match="`heat` must be"):
        Kitchen(heat=wrong)


def test_seeds_have_32_bits():
    assert parse_seed("4294967295") == 4294967295 and parse_seed("0") == 0 and parse_seed("007") == 7
    assert [parse_seed(each) for each in ("4294967296", "-1", "1.5", "", "9" * 40)] == [None] * 5


def test_one_thing_is_and_two_are():
    assert counted(1, "image", "are") == "1 image is" and counted(2, "image", "are") == "2 images are"
    assert counted(1, "weight", "don't") == "1 weight doesn't" and counted(0, "frame") == "0 frames"


@pytest.fixture
def bring(monkeypatch):
    """Let packages bring dishes: pairs of a name and an object."""

    def install(*brought):
        points = [
            SimpleNamespace(
                name=name,
                value=f"package{number}:dish",
                dist=SimpleNamespace(name=f"package{number}", version="1"),
                load=lambda found=found: found,
            )
            for number, (name, found) in enumerate(brought)
        ]
        monkeypatch.setattr(module, "_is_extended", lambda: True)
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
        return Registry("dishes", {"soup": Dish("soup")}, record_of(Dish))

    return install


def test_of_two_packages_that_bring_one_name_neither_is_taken(bring):
    dishes = bring(("stew", Dish("stew")), ("stew", Dish("stew")), ("pie", Dish("pie")))
    assert dishes["pie"] == Dish("pie") and dishes["soup"] == Dish("soup")
    with pytest.raises(InputError, match=r"package0 1 and The package package1 1 both bring stew"):
        dishes["stew"]


@pytest.mark.parametrize("found, words", [(Dish("pie"), "is named pie"), ("stew", "it is a str, not a Dish")])
def test_a_record_has_the_name_and_the_kind_that_it_is_brought_under(bring, found, words):
    with pytest.raises(InputError, match=words):
        bring(("stew", found))["stew"]


def test_a_call_has_torchs_and_numpys_usual_settings():
    settings = undisturbed(lambda: (torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
    for around in (torch.no_grad(), torch.inference_mode()):
        with around:
            assert settings() == (True, False)
    divided = undisturbed(lambda: np.ones(1) / np.zeros(1))
    with np.errstate(all="raise"), pytest.warns(RuntimeWarning, match="divide by zero"):
        assert divided() == np.inf


def test_the_default_type_comes_back_after_loads_that_overlap():
    entered, leave = threading.Event(), threading.Event()

    def load():
        with single_precision():
            entered.set()
            leave.wait(10)

    torch.set_default_dtype(torch.float64)
    try:
        other = threading.Thread(target=load)
        with single_precision():
            other.start()
            assert entered.wait(10) and torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float32  # the other load goes on
        leave.set()
        other.join()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_mask_keeps_a_share_relative_to_its_brightest_value():
    image = torch.zeros(1, 3, 2, 2)
    assert Target(image=image, mask=torch.full((1, 1, 2, 2), 0.5)).share == 1.0
    assert Target(image=image, mask=torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]])).share == 0.5
    assert Target(image=image).share is None


def test_a_target_goes_to_another_device_with_its_mask():
    moved = Target(image=torch.zeros(1, 3, 2, 2), mask=torch.ones(1, 1, 2, 2)).to(torch.device("meta"))
    assert moved.image.device.type == moved.mask.device.type == "meta"


def test_figures_are_those_of_the_clamped_picture():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(1, 3, 24, 24, generator=generator)
    image = target + 0.6 * torch.randn(1, 3, 24, 24, generator=generator)
    found, clamped = image_metrics(image, target), image_metrics(image.clamp(0, 1), target)
    assert found == clamped and set(found) == {"psnr", "ssim"}


def test_a_file_that_is_not_finished_leaves_nothing(tmp_path):
    (tmp_path / "x.png").write_bytes(b"before")
    with pytest.raises(OutputError, match="No space"), replacing(tmp_path / "x.png", "`output_path`") as unfinished:
        unfinished.write_bytes(b"half")
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == b"before"
