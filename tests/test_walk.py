"""`walk`: even steps, loops, refined ends, and what is refused."""

import json

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder, picture

from latentflow.errors import InputError
from latentflow.explore.walk import even_out, picture_distance, refine, step_sizes, walk, where
from latentflow.latents.files import save_latent
from latentflow.latents.initial import initial_latent
from latentflow.latents.paths import TIMINGS, LatentPath, frame_times
from latentflow.latents.sources import check_anchors, read_anchors

BUNDLED = ("--weights", "bundled", "--size", 48, "--quiet")


class Bent:
    """A decoder under which a straight walk is anything but even: the picture is the cube of the latent's mean."""

    def decode(self, latent, size=None):
        return (latent.mean((1, 2, 3), keepdim=True) ** 3).expand(-1, 3, 8, 8)


def walked(frames, ease="linear", **budget):
    way = LatentPath(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1), "lerp")
    _, measure = picture_distance("mse")
    shares = TIMINGS[ease](frame_times(frames), 1)
    calls = []

    def look(at):
        calls.append(len(at))
        return step_sizes(walk(Bent(), way, list(at), (8, 8)), measure)

    return *even_out(look, shares, shares, **budget), calls


def test_an_evened_walk_changes_the_picture_by_the_same_amount_each_step():
    before, after, _ = walked(20)
    assert before.ratio > 100 and after.ratio < 1.2
    pictures = after.positions**3  # what the decoder makes of them
    assert np.diff(pictures) == pytest.approx(1 / 19, rel=0.2)


def test_an_eased_walk_is_evened_to_what_its_timing_wants():
    before, after, _ = walked(24, "in_out")
    assert before.ratio > 10 and after.ratio < 1.3
    shares = TIMINGS["in_out"](frame_times(24), 1)
    assert np.abs(after.positions**3 - shares).max() < 0.02


def test_a_budget_of_pictures_or_of_seconds_is_kept():
    *_, calls = walked(20, decodings=45)
    assert sum(calls) == 40
    before, after, calls = walked(20, seconds=1e-9)
    assert calls == [20] and after is before


def test_a_walk_where_nothing_changes_is_even():
    way = LatentPath(torch.ones(2, 1, 1, 1), "lerp")
    _, measure = picture_distance("mse")

    def look(at):
        return step_sizes(walk(Bent(), way, list(at), (8, 8)), measure)

    before, after = even_out(look, frame_times(5), frame_times(5))
    assert before.ratio == after.ratio == 1.0


def test_refining_comes_nearer_than_the_encoder():
    autoencoder, target = linear_autoencoder(), picture()
    latent = initial_latent("encode", autoencoder, target) + 0.3
    found, before, after = refine(autoencoder, latent, target, 30)
    assert after > before + 1.5 and found.shape == latent.shape


def test_where_is_said_in_words():
    assert where(0.25, ["a", "b", "c"]) == "a to b  25%"
    assert where(2.0, ["a", "b", "c"]) == "b to c 100%"


def test_anchors_share_one_size_of_picture(tmp_path):
    autoencoder = linear_autoencoder()
    Image.new("RGB", (40, 20), "red").save(tmp_path / "wide.png")
    Image.new("RGB", (10, 30), "blue").save(tmp_path / "tall.png")
    found = read_anchors([str(tmp_path / "wide.png"), "random:3", str(tmp_path / "tall.png")], autoencoder, 16)
    assert found.size == (8, 16) and found.latents.shape == (3, 4, 4, 8)
    assert found.names == ["wide", "random:3", "tall"] and found.targets[1] is None
    again = read_anchors(["random:3"], autoencoder, 16)
    assert again.size == (16, 16) and torch.equal(again.latents, read_anchors(["random:3"], autoencoder, 16).latents)


def test_a_saved_latent_is_an_anchor_of_its_own_size(tmp_path):
    autoencoder = linear_autoencoder()
    path = tmp_path / "saved.safetensors"
    save_latent(path, torch.ones(1, 4, 3, 5), autoencoder, (6, 10))
    found = read_anchors([str(path), "random:0"], autoencoder, 16)
    assert found.size == (6, 10) and torch.equal(found.latents[:1], torch.ones(1, 4, 3, 5))
    Image.new("RGB", (40, 20)).save(tmp_path / "other.png")
    with pytest.raises(InputError, match="one size"):
        read_anchors([str(tmp_path / "other.png"), str(path)], autoencoder, 16)


def test_the_command_walks_evenly_and_closes_its_loop(invoke, small, photo, tmp_path):
    code, out, err = invoke(
        *("walk", small, photo, "random:4", "--even", "--loop", "--frames", 18, "--output_path", "frames"),
        *("--method", "spline", "--refine", 2, "--json", *BUNDLED),
    )
    assert code == 0, err
    report = json.loads(out)
    assert report["frames"] == 18 and report["steps"]["ratio_after"] < report["steps"]["ratio_before"]
    assert set(report["refined"]) == {"small", "spheres"}
    frames = [np.asarray(Image.open(path), dtype=float) for path in sorted((tmp_path / "frames").glob("*.png"))]
    assert len(frames) == 18 and frames[0].shape == (40, 48, 3)
    steps = [np.sqrt(((one - two) ** 2).mean()) for one, two in zip(frames, [*frames[1:], frames[0]])]
    assert steps[-1] <= max(steps[:-1]) * 1.2  # the jump back to the first is a step like the others
    manifest = json.loads((tmp_path / "frames.manifest.json").read_text())
    assert manifest["inputs"]["anchors"] == [str(small), str(photo), "random:4"]
    assert manifest["options"]["method"] == "spline" and manifest["weights"]["sha256"]


def test_a_walk_lasts_as_long_as_asked_and_begins_and_ends_at_its_anchors(invoke, small, photo, tmp_path):
    code, _, err = invoke(
        *("walk", small, photo, "--seconds", 0.5, "--fps", 20, "--output_path", "walk.gif", "--caption", *BUNDLED)
    )
    assert code == 0, err
    frames = imageio.mimread(tmp_path / "walk.gif")
    assert len(frames) == 10 and frames[0].shape[0] > 40  # the caption below the picture
    original = np.asarray(Image.open(small), dtype=float)
    assert np.abs(frames[0][:40, :48, :3] - original).mean() < 25 < np.abs(frames[-1][:40, :48, :3] - original).mean()


def test_the_same_walk_twice_is_the_same_file(invoke, small, tmp_path):
    for name in ("one.gif", "two.gif"):
        invoke("walk", small, "random:1", "--frames", 4, "--even", "--output_path", name, *BUNDLED)
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "two.gif").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{small}"], "2 or more"),
        (["{small}", "nothing.png"], "does not exist"),
        (["{small}", "random:x"], "random:SEED"),
        (["{small}", "nothing.safetensors"], "does not exist"),
        (["{small}", "random:1", "--frames", "9", "--seconds", "2"], "Give one"),
        (["{small}", "random:1", "--seconds", "0.01"], "two"),
        (["{small}", "random:1", "--budget_frames", "9"], "--even"),
        (["{small}", "random:1", "--measure", "lpips"], "--even"),
        (["{small}", "random:1", "--even", "--budget_frames", "9", "--budget_seconds", "2"], "one of them"),
        (["{small}", "random:1", "--method", "slurp"], "slerp"),
        (["{small}", "random:1", "--output_path", "x.txt"], ".gif"),
        (["{small}", "random:1", "--measure", "ssim"], "--measure"),
    ],
)
def test_bad_input_is_one_line(invoke, small, arguments, words):
    code, out, err = invoke("walk", *(each.format(small=small) for each in arguments), *BUNDLED)
    assert code == 2 and out == "" and err.count("\n") == 1 and words in err


def test_an_output_never_takes_the_place_of_an_anchor(invoke, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.gif")
    code, _, err = invoke("walk", "a.gif", "random:1", "--output_path", "a.gif", *BUNDLED)
    assert code == 2 and "in the place" in err


def test_a_folder_is_no_anchor(tmp_path):
    with pytest.raises(InputError, match="folder"):
        check_anchors([str(tmp_path), "random:1"], 2)
