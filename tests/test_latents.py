"""Saved latents: what comes back, what the file says of itself, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from standins import TINY, TINY_KL, model_files, random_model, write_folder
from toys import linear_autoencoder

from latentflow.base.errors import InputError, OutputError
from latentflow.base.pixels import to_uint8
from latentflow.latents.files import load_latent, save_latent
from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.weights import present
from latentflow.pictures.files import to_tensor


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


# Latents of other programs


LINEAR = linear_autoencoder(scale=0.5, shift=0.25)  # latent = (values − 0.25) · 0.5
LATENT = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(2))
VALUES = LATENT / 0.5 + 0.25  # as the encoder gives them
MARKER = {"latent_format_version_0": torch.zeros(0)}


def write_npy(path, values):
    with path.open("wb") as stream:  # np.save would add a suffix
        np.save(stream, values.numpy())


FOREIGN = {  # file, what writes it, latent_of
    "scaled": ("a.safetensors", lambda path: save_file({"latents": LATENT}, path), "linear:scaled"),
    "unscaled": ("a.safetensors", lambda path: save_file({"anything": VALUES}, path), "linear:unscaled"),
    "one of several": (
        "a.sft.safetensors",
        lambda path: save_file({"samples": LATENT, "x": VALUES}, path),
        "linear:scaled",
    ),
    "npy": ("a.npy", lambda path: write_npy(path, LATENT), "linear:scaled"),
    "npy, unscaled": ("a.NPY", lambda path: write_npy(path, VALUES), "linear:unscaled"),
    "npy without a batch": ("a.npy", lambda path: write_npy(path, VALUES[0].double()), "linear:unscaled"),
    "comfy": ("a.latent", lambda path: save_file({"latent_tensor": VALUES} | MARKER, path), "linear"),
    "comfy, said": ("a.latent", lambda path: save_file({"latent_tensor": VALUES} | MARKER, path), "linear:unscaled"),
    "comfy of 2023": ("a.latent", lambda path: save_file({"latent_tensor": VALUES * 0.18215}, path), "linear"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_latent_of_another_program_is_read_in_the_units_it_is_said_to_have(tmp_path, case):
    name, write, latent_of = FOREIGN[case]
    write(tmp_path / name)
    torch.testing.assert_close(load_latent(tmp_path / name, LINEAR, latent_of), LATENT, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match=r"doesn't say which autoencoder it belongs to\. Add `latent_of` NAME"):
        load_latent(tmp_path / name, LINEAR)


def test_half_precision_latents_are_read(tmp_path):
    for dtype in (torch.float16, torch.bfloat16):
        save_file({"latents": LATENT.to(dtype)}, tmp_path / "a.safetensors")
        assert torch.equal(load_latent(tmp_path / "a.safetensors", LINEAR, "linear:scaled"), LATENT.to(dtype).float())


@pytest.mark.parametrize("name", ["some/sd-vae:vae@v1", "sd-vae"])
def test_the_owner_may_be_called_by_the_last_part_of_its_name(tmp_path, name):
    save_file({"latent": LATENT}, tmp_path / "a.safetensors")
    owner = linear_autoencoder()
    owner.name = "some/sd-vae:vae@v1"
    assert torch.equal(load_latent(tmp_path / "a.safetensors", owner, f"{name}:scaled"), LATENT)
    owner.name = "/models/sd-vae.safetensors"
    assert torch.equal(load_latent(tmp_path / "a.safetensors", owner, "sd-vae.safetensors:scaled"), LATENT)


def test_a_latent_that_says_whose_it_is_needs_and_heeds_no_option(saved, tiny):
    assert torch.equal(load_latent(saved[0], tiny, "another:unscaled"), saved[1])


@pytest.mark.parametrize(
    ("tensors", "latent_of", "words"),
    [
        (
            {"latent": LATENT},
            "linear",
            "`latent_of` 'linear' doesn't say all: a name and the units",
        ),
        ({"latent": LATENT}, ":scaled", "doesn't say all"),
        ({"latent": LATENT}, "other:scaled", "`latent_of` other: the autoencoder in use is linear"),
        ({"latent_tensor": LATENT} | MARKER, "linear:scaled", "is from ComfyUI, which saves latents unscaled"),
        ({"x": LATENT, "y": VALUES}, "linear:scaled", "it has 2 tensors, none called latent"),
        ({}, "linear:scaled", "it has 0 tensors"),
        ({"latent": LATENT.expand(2, 4, 3, 5).contiguous()}, "linear:scaled", r"shape \(2, 4, 3, 5\)"),
        ({"latent": LATENT[:, :3].contiguous()}, "linear:unscaled", r"shape \(1, 3, 3, 5\)"),
        ({"latent": LATENT[..., None].contiguous()}, "linear:unscaled", r"shape \(1, 4, 3, 5, 1\)"),
        ({"latent": torch.zeros(())}, "linear:unscaled", r"shape \(\)"),
        ({"latent": LATENT * torch.nan}, "linear:scaled", "not finite"),
    ],
)
def test_what_does_not_fit_a_latent_of_another_program_is_one_line(tmp_path, tensors, latent_of, words):
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=words) as caught:
        load_latent(tmp_path / "a.safetensors", LINEAR, latent_of)
    assert "\n" not in str(caught.value)


WIDE = torch.zeros(1, 4, 3, 5) + 1  # of three rows and five columns


@pytest.mark.parametrize(
    ("values", "cause", "remedy"),
    [
        (
            WIDE.expand(2, 4, 3, 5),
            "shape (2, 4, 3, 5): 2 latents in one file; (1, 4, 3, 5) is wanted",
            "one of the two",
        ),
        (WIDE.expand(7, 4, 3, 5), "7 latents in one file; (1, 4, 3, 5) is wanted", "one of the 7"),
        (torch.zeros(0, 4, 3, 5), "0 latents in one file; (1, 4, 3, 5) is wanted", "holds none"),
        (torch.zeros(1, 16, 2, 3, 5), "a video: 2 frames of 16 channels; (1, 4, rows, columns) is", "Take one frame"),
        (WIDE[0].permute(1, 2, 0), "shape (3, 5, 4), with its channels last; (1, 4, 3, 5) is", "transpose(2, 0, 1)"),
        (WIDE.permute(0, 2, 3, 1), "(1, 3, 5, 4), with its channels last; (1, 4, 3, 5) is", "permute(0, 3, 1, 2)"),
        (WIDE.flatten(), "has the shape (60,); (1, 4, rows, columns) is wanted", "before it was flattened"),
        (torch.zeros(16, 3, 5), "shape (16, 3, 5): 16 channels, where latents of linear have 4", "it was made with"),
        (WIDE * torch.tensor([1, 1, 1, 1, torch.nan]), "12 of the 60 values of the latent", "make it anew"),
        (WIDE * 1e6, "far from any latent of linear: their RMS is 1e+06, and about 1 is usual", "scaled twice?"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_the_one_cause_is_named_with_the_shape_that_is_wanted_and_a_remedy(tmp_path, values, cause, remedy, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, values.numpy())
    else:
        save_file({"latent": values.contiguous()}, path)
    with pytest.raises(InputError) as caught:
        load_latent(path, LINEAR, "linear:scaled")
    message = str(caught.value)
    assert cause in message and remedy in message and message.count("wanted") <= 1 and "\n" not in message
    assert ("finite" in message) == ("values of the latent" in message and "12 of" in message)


def test_values_far_from_any_latent_are_bad_input_and_no_divergence(invoke, small):
    np.save(small.parent / "huge.npy", np.full((1, 4, 5, 6), 101, np.float32))
    np.save(small.parent / "large.npy", np.full((1, 4, 5, 6), 99, np.float32))
    run = ("--image_path", small, "--size", 48, "--steps", 1, "--weights", "bundled", "--latent_of", "bundled:scaled")
    code, _, err = invoke(*run, "--init", "huge.npy")
    assert code == 2 and "their RMS is 101" in err and "Check the units in --latent_of" in err and err.count("\n") == 1
    code, _, err = invoke(*run, "--init", "large.npy")
    assert "their RMS" not in err


@pytest.mark.parametrize("array", [np.array([{}]), np.array(["a"]), np.zeros(3, complex), np.zeros(())])
def test_arrays_that_are_no_latent_are_bad_input(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=r"is not a saved latent|shape"):
        load_latent(tmp_path / "a.npy", LINEAR, "linear:scaled")


def test_a_run_starts_from_a_latent_of_another_program(invoke, autoencoder, small):
    with torch.no_grad():
        latent = autoencoder.encode(to_tensor(Image.open(small)))
    values = latent / autoencoder.geometry.scale + autoencoder.geometry.shift
    save_file({"latent_tensor": values.contiguous()} | MARKER, small.parent / "comfy.latent")
    np.save(small.parent / "z.npy", latent.numpy())
    run = ("--image_path", small, "--size", 48, "--steps", 1, "--seed", 1, "--vae", "bundled")
    run += ("--dtype", "float32", "--json", "--overwrite")

    def first_loss(*start):
        code, out, err = invoke(*run, *start)
        assert code == 0, err
        return json.loads(out)["loss_first"]

    expected = first_loss("--init", "encode")
    for start in (("comfy.latent", "bundled"), ("z.npy", "bundled:scaled")):
        assert first_loss("--init", start[0], "--latent_of", start[1]) == pytest.approx(expected, rel=1e-3)
    options = json.loads((small.parent / "grad_result.gif.manifest.json").read_text())["options"]
    assert (options["init"], options["latent_of"]) == (str(small.parent / "z.npy"), "bundled:scaled")


def test_whose_a_latent_is_is_asked_for_before_torch_is_imported(small):
    np.save(small.parent / "z.npy", np.zeros((1, 4, 5, 6), "float32"))
    code = "import sys; from latentflow.cli import run; print(run(sys.argv[1:]), 'torch' in sys.modules)"
    line = [sys.executable, "-c", code, "--image_path", small, "--init", small.parent / "z.npy"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "2 False\n"
    assert (
        done.stderr.endswith("belongs to. Add --latent_of NAME:scaled or NAME:unscaled\n")
        and done.stderr.count("\n") == 1
    )


def test_views_take_latents_of_other_programs_at_their_own_size(invoke, autoencoder, tmp_path):
    latent = torch.randn(1, 4, 6, 9)
    np.save(tmp_path / "z.npy", latent.numpy())
    run = ("--vae", "bundled", "--frames", 4, "--output_path")
    assert invoke("walk", "z.npy", "random:1", *run, "w", "--latent_of", "bundled:scaled")[0] == 0
    with torch.no_grad():
        expected = to_uint8(autoencoder.decode(latent, (48, 72)))
    shown = np.asarray(Image.open(sorted((tmp_path / "w").glob("*.png"))[0]))
    assert shown.shape == (48, 72, 3) and np.abs(shown.astype(int) - expected).max() <= 1
    code, _, err = invoke("grid", "z.npy", "--vae", "bundled", "--resolution", 2)
    assert code == 2 and "Add --latent_of" in err


def test_a_pickled_latent_is_converted(invoke, small):
    torch.save(LATENT, small.parent / "z.pt")
    code, _, err = invoke("--image_path", small, "--init", "z.pt", "--vae", "bundled")
    assert code == 2 and "Convert it: latentflow weights convert z.pt" in err
    assert invoke("weights", "convert", "z.pt") == (0, "z.safetensors\n", "")
    assert torch.equal(load_latent(small.parent / "z.safetensors", LINEAR, "linear:scaled"), LATENT)


def test_a_latent_that_cannot_be_written_is_an_output_error_and_leaves_nothing(tiny, tmp_path):
    (tmp_path / "taken.safetensors").mkdir()
    with pytest.raises(OutputError, match="`save_latent`"):
        save_latent(tmp_path / "taken.safetensors", torch.zeros(1, 4, 2, 2), tiny, (4, 4))
    with pytest.raises(OutputError, match="`save_latent`"):
        save_latent(tmp_path / "no" / "a.safetensors", torch.zeros(1, 4, 2, 2), tiny, (4, 4))
    assert [path.name for path in tmp_path.iterdir()] == ["taken.safetensors"]


@pytest.mark.parametrize("start", ["normal", "random:3", "picture", "own.safetensors"])
def test_whose_a_latent_is_is_refused_where_there_is_no_latent_of_another_program(invoke, autoencoder, small, start):
    save_latent(small.parent / "own.safetensors", torch.zeros(1, 4, 5, 6), autoencoder, size=(40, 48))
    start = small if start == "picture" else start
    run = ("--image_path", small, "--vae", "bundled", "--init", start, "--latent_of", "bundled:scaled")
    code, _, err = invoke(*run)
    assert code == 2 and "--latent_of bundled:scaled would have no effect" in err and err.count("\n") == 1
    code, _, err = invoke("walk", small, small, "--vae", "bundled", "--latent_of", "bundled:scaled")
    assert code == 2 and "would have no effect" in err


def test_which_step_is_kept_is_refused_where_nothing_is_saved(invoke, small):
    code, _, err = invoke("--image_path", small, "--keep", "best")
    assert code == 2 and "--keep best goes with --save_latent or --save_image" in err
