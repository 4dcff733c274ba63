"""Saved latents: what comes back, what the file says of itself, and what is refused."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from standins import TINY, TINY_KL, model_files, random_model, write_folder

from latentflow.errors import InputError, OutputError
from latentflow.latents.files import load_latent, save_latent
from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.weights import present


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_autoencoder(present(str(write_folder(tmp_path_factory.mktemp("tiny"), model_files(TINY_KL)))))


@pytest.fixture
def saved(tiny, tmp_path):
    latent = torch.randn(1, 4, 5, 7)
    save_latent(tmp_path / "a.safetensors", latent, tiny, (9, 13))
    return tmp_path / "a.safetensors", latent


def metadata(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_a_saved_latent_comes_back_exactly(saved, tiny):
    path, latent = saved
    assert torch.equal(load_latent(path, tiny), latent)


def test_a_saved_latent_says_whose_it_is_and_of_what_size(saved, tiny):
    found = metadata(saved[0])
    assert found["autoencoder"] == tiny.name and found["sha256"] == tiny.sha256
    assert (found["height"], found["width"], found["channels"], found["stride"]) == ("9", "13", "4", "2")
    assert float(found["scale"].strip("[]")) == pytest.approx(0.18215)


def test_the_same_latent_is_the_same_file(saved, tiny, tmp_path):
    for attempt in range(5):  # safetensors itself orders metadata at random
        path = tmp_path / f"{attempt}.safetensors"
        save_latent(path, saved[1], tiny, (9, 13))
        assert path.read_bytes() == saved[0].read_bytes()


def test_a_latent_in_the_middle_of_an_optimization_can_be_saved(tiny, tmp_path):
    latent = torch.randn(1, 4, 7, 5, requires_grad=True).transpose(2, 3)
    save_latent(tmp_path / "b.safetensors", latent, tiny, (10, 14))
    assert torch.equal(load_latent(tmp_path / "b.safetensors", tiny), latent)


def test_a_latent_is_refused_under_other_weights_of_the_same_shape(saved, tmp_path):
    files = model_files(TINY_KL, random_model(TINY_KL, seed=1).state_dict())
    other = load_autoencoder(present(str(write_folder(tmp_path / "other", files))))
    with pytest.raises(InputError, match="belongs to") as caught:
        load_latent(saved[0], other)
    assert caught.value.exit_code == 2


def test_a_latent_moves_with_its_weights_to_another_folder(saved, tmp_path):
    moved = load_autoencoder(present(str(write_folder(tmp_path / "moved", model_files(TINY_KL)))))
    assert torch.equal(load_latent(saved[0], moved), saved[1])


def test_a_latent_is_refused_under_the_same_weights_at_another_scale(saved, tmp_path):
    files = model_files(TINY_KL | {"scaling_factor": 0.13025}, random_model(TINY_KL).state_dict())
    other = load_autoencoder(present(str(write_folder(tmp_path / "other", files))))
    with pytest.raises(InputError, match=r"saved with scale \[0\.18"):
        load_latent(saved[0], other)


def test_a_saved_latent_is_held_as_it_is_per_channel(tmp_path):
    folder = write_folder(tmp_path / "vae", model_files(TINY["per-channel"]))
    autoencoder = load_autoencoder(present(str(folder)))
    latent = torch.randn(1, 4, 3, 3)
    save_latent(tmp_path / "a.safetensors", latent, autoencoder, (6, 6))
    assert metadata(tmp_path / "a.safetensors")["shift"].count(",") == 3
    assert torch.equal(load_latent(tmp_path / "a.safetensors", autoencoder), latent)


def owned(tiny):
    scale, shift = tiny.geometry.scale, tiny.geometry.shift
    return {
        "autoencoder": tiny.name,
        "sha256": tiny.sha256,
        "scale": str(scale.flatten().tolist()),
        "shift": str(shift.flatten().tolist()),
    }


def test_files_that_are_no_latent_are_bad_input(tiny, saved, tmp_path):
    path = tmp_path / "broken.safetensors"
    content = saved[0].read_bytes()
    for broken in (b"", b"no safetensors", content[:-4], content[:20], b"\xff" * 100):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="is not a saved latent"):
            load_latent(path, tiny)
    with pytest.raises(InputError, match="does not exist"):
        load_latent(tmp_path / "nothing.safetensors", tiny)
    with pytest.raises(InputError, match="is not a saved latent"):
        load_latent(tmp_path, tiny)


@pytest.mark.parametrize(
    "tensors,words",
    [
        ({"other": torch.zeros(1, 4, 2, 2)}, "is not a saved latent"),
        ({"latent": torch.zeros(4, 2, 2)}, "shape"),
        ({"latent": torch.zeros(1, 3, 2, 2)}, "shape"),
        ({"latent": torch.full((1, 4, 2, 2), torch.nan)}, "not finite"),
        ({"latent": torch.full((1, 4, 2, 2), torch.inf)}, "not finite"),
    ],
    ids=["another name", "no batch", "channels", "nan", "inf"],
)
def test_tensors_that_are_no_latent_are_bad_input(tiny, tmp_path, tensors, words):
    save_file(tensors, tmp_path / "a.safetensors", owned(tiny))
    with pytest.raises(InputError, match=words):
        load_latent(tmp_path / "a.safetensors", tiny)


def test_a_tensor_file_of_nobody_is_refused(tiny, tmp_path):
    save_file({"latent": torch.zeros(1, 4, 2, 2)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="an unnamed autoencoder"):
        load_latent(tmp_path / "a.safetensors", tiny)


def test_a_latent_that_cannot_be_written_is_an_output_error_and_leaves_nothing(tiny, tmp_path):
    (tmp_path / "taken.safetensors").mkdir()
    with pytest.raises(OutputError, match="`save_latent`"):
        save_latent(tmp_path / "taken.safetensors", torch.zeros(1, 4, 2, 2), tiny, (4, 4))
    with pytest.raises(OutputError, match="`save_latent`"):
        save_latent(tmp_path / "no" / "a.safetensors", torch.zeros(1, 4, 2, 2), tiny, (4, 4))
    assert [path.name for path in tmp_path.iterdir()] == ["taken.safetensors"]
