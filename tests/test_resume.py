"""Nothing is lost: trajectories, checkpoints, runs that were killed and go on, frames drawn again."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from processes import Command
from safetensors.torch import load_file, save_file
from toys import linear_autoencoder, picture

from latentflow.base.errors import InputError
from latentflow.base.files import remove_unfinished
from latentflow.base.state import pack, unpack
from latentflow.inversion.methods import METHODS
from latentflow.inversion.objective import Objective
from latentflow.inversion.optimize import optimize
from latentflow.latents.sources import initial_latent
from latentflow.runs.resume import read_checkpoint
from latentflow.sinks.trajectory import read_trajectory

ROOT = Path(__file__).parent.parent
QUICK = ("--weights", "bundled", "--size", 48, "--seed", 1)


@pytest.mark.parametrize(
    ("method", "optimizer"), [(name, each.name) for name, method in METHODS.items() for each in method.optimizers]
)
def test_a_restored_optimization_goes_on_bit_for_bit(method, optimizer, tmp_path):
    def made():
        autoencoder, target = linear_autoencoder(), picture()
        latent = initial_latent("normal", autoencoder, target, seed=0)
        options = {"steps": 12, "method": method, "optimizer": optimizer, "schedule": "cosine"}
        return optimize(autoencoder, Objective("l1" if method != "gradient_free" else "mse", target), latent, **options)

    whole = [step.latent for step in made()]
    for stop in (0, 1, 5, 11):
        broken = made()
        for step in broken:
            if step.index == stop:
                break
        (tmp_path / "x.safetensors").write_bytes(pack(broken.state()))
        again = made()
        again.restore(unpack(tmp_path / "x.safetensors"))
        rest = [step.latent for step in again]
        assert len(rest) == 12 - stop
        assert all(torch.equal(one, two) for one, two in zip(rest, whole[stop + 1 :], strict=True))


def test_a_state_of_another_run_is_an_input_error():
    autoencoder, target = linear_autoencoder(), picture()
    objective, latent = Objective("mse", target), initial_latent("zeros", autoencoder, target)
    state = optimize(autoencoder, objective, latent).state()
    larger = picture(16, 16)
    other = optimize(autoencoder, Objective("mse", larger), initial_latent("zeros", autoencoder, larger))
    for wrong in (state, {}, state | {"latent": 3}, state | {"updater": {"state": 1}}):
        with pytest.raises(InputError, match="belongs to a different run"):
            other.restore(wrong)


def arguments(image, folder, *more):
    common = ["--image_path", image, *QUICK, "--steps", 40, "--skip_step", 4, "--checkpoint_every", 3, *more]
    return [str(each) for each in [*common, "--output_path", folder / "x.gif", "--metrics", folder / "x.jsonl"]]


def killed(line, folder, rng, number):
    """Start the command and send it a signal at a random time after its checkpoint is there; was it still at work?"""
    process = Command(line, folder)
    checkpoint = folder / "x.gif.checkpoint.safetensors"
    deadline = time.monotonic() + 60
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
    while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.4))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, -number, 128 + number), err
    time.sleep(0.5)  # for its ffmpeg, which outlives it by a moment
    return process.returncode != 0


@pytest.mark.slow
def test_a_run_that_was_killed_again_and_again_ends_as_one_that_was_not(invoke, small, tmp_path):
    folders = [tmp_path / name for name in ("whole", "broken")]
    for folder in folders:
        folder.mkdir()
    code, _, err = invoke(
        *arguments(small, folders[0], "--keep", "best", "--save_latent", folders[0] / "x.safetensors")
    )
    assert code == 0, err
    line = arguments(small, folders[1], "--keep", "best", "--save_latent", folders[1] / "x.safetensors")
    rng = random.Random(int(os.environ.get("LATENTFLOW_KILLS_SEED", "5")))  # other seeds, other moments
    checkpoint = folders[1] / "x.gif.checkpoint.safetensors"
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        # a signal that comes when all is written finds no checkpoint any more
        if not killed(line, folders[1], rng, number) or not checkpoint.exists():
            break
        line = ["--resume", str(checkpoint)]
    if checkpoint.exists():
        code, _, err = invoke("--resume", checkpoint)
        assert code == 0 and "Going on from step" in err, err
    for name in ("x.gif", "x.safetensors"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    figures = [
        [json.loads(text) | {"seconds": 0} for text in (folder / "x.jsonl").read_text().splitlines()]
        for folder in folders
    ]
    assert figures[0] == figures[1] and len(figures[0]) == 41
    assert sorted(path.name for path in folders[1].iterdir()) == sorted(path.name for path in folders[0].iterdir())


def test_what_is_given_beside_resume_may_not_change_the_run(invoke, small, tmp_path):
    with_checkpoint(invoke, small, tmp_path)
    code, _, err = invoke("--resume", "x.gif.checkpoint.safetensors", "--steps", 80)
    assert code == 2 and "--steps" in err and err.count("\n") == 1
    small.write_bytes((ROOT / "examples" / "spheres.png").read_bytes())
    code, _, err = invoke("--resume", "x.gif.checkpoint.safetensors")
    assert code == 2 and "is not the image" in err


def with_checkpoint(invoke, small, tmp_path, *more):
    """A run that is stopped at a full disk's error leaves its checkpoint."""
    from latentflow.sinks.progress import Progress

    class Stop(Exception):
        pass

    def write(self, record):
        if record.index == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Progress, "write", write)
        code, _, err = invoke(*arguments(small, tmp_path, *more))
    assert code == 143, err
    assert (tmp_path / "x.gif.checkpoint.safetensors").exists()


def test_a_signal_while_the_past_is_replayed_changes_nothing(invoke, small, tmp_path, monkeypatch):
    from latentflow.sinks.trajectory import Trajectory

    with_checkpoint(invoke, small, tmp_path, "--save_latent", tmp_path / "x.safetensors")
    latent, checkpoint = (tmp_path / name for name in ("x.safetensors", "x.gif.checkpoint.safetensors"))
    assert load_file(latent)["latent"].shape[1] == 4
    with monkeypatch.context() as patched:
        original = Trajectory.write

        def signalled(self, record):
            original(self, record)
            if record.index == 2:  # which was not kept
                os.kill(os.getpid(), signal.SIGINT)

        patched.setattr(Trajectory, "write", signalled)
        code, _, err = invoke("--resume", checkpoint)
    assert code == 130 and "Stopped at step 4" in err and "Traceback" not in err, err
    assert load_file(latent)["latent"].shape[1] == 4
    code, _, err = invoke("--resume", checkpoint)
    assert code == 0 and not checkpoint.exists(), err
    assert len(gif_frames(tmp_path / "x.gif")) == 11


@pytest.mark.slow
def test_a_checkpoint_is_not_joined_to_another_runs_trajectory(invoke, small, tmp_path):
    with_checkpoint(invoke, small, tmp_path)
    kept = (tmp_path / "x.gif.checkpoint.safetensors").read_bytes()
    assert invoke("--image_path", small, *QUICK[:-1], 2, "--steps", 40, "--output_path", "x.gif")[0] == 0
    (tmp_path / "x.gif.checkpoint.safetensors").write_bytes(kept)
    before = (tmp_path / "x.gif").read_bytes()
    code, _, err = invoke("--resume", "x.gif.checkpoint.safetensors")
    assert code == 2 and "belong to different runs" in err and (tmp_path / "x.gif").read_bytes() == before


def test_a_trajectory_that_ends_too_early_is_said(invoke, small, tmp_path):
    with_checkpoint(invoke, small, tmp_path)
    trajectory = tmp_path / "x.gif.trajectory"
    whole = trajectory.read_bytes()
    trajectory.write_bytes(whole[: len(whole) // 2])
    code, _, err = invoke("--resume", "x.gif.checkpoint.safetensors")
    assert code == 2 and "ends before the checkpoint" in err
    trajectory.unlink()
    code, _, err = invoke("--resume", "x.gif.checkpoint.safetensors")
    assert code == 2 and err.count("\n") <= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.gif", "x.mp4", "frames"])
def test_an_output_folder_that_vanishes_is_one_line_and_the_rest_is_intact(invoke, small, tmp_path, monkeypatch, name):
    from latentflow.sinks.progress import Progress

    (tmp_path / "out").mkdir()
    assert invoke("--image_path", small, *QUICK, "--steps", 2, "--output_path", "kept.gif")[0] == 0
    before = (tmp_path / "kept.gif").read_bytes()
    monkeypatch.setattr(
        Progress, "write", lambda self, record: Path("out").rename("gone") if record.index == 5 else None
    )
    code, _, err = invoke("--image_path", small, *QUICK, "--steps", 30, "--output_path", f"out/{name}")
    assert code == 6 and err.count("\n") == 1 and "can't be written" in err, err
    assert (tmp_path / "kept.gif").read_bytes() == before and not (tmp_path / "out").exists()


def gif_frames(path):
    return [np.asarray(frame) for frame in imageio.get_reader(path)]


def animation(path):
    """The frames of a GIF, (n, h, w, 3)."""
    with Image.open(path) as file:
        return np.stack([np.asarray(frame.convert("RGB"), int) for frame in ImageSequence.Iterator(file)])


def test_frames_are_rendered_again_in_another_form(invoke, small, tmp_path):
    options = ("--steps", 20, "--skip_step", 2, "--caption", "--side_by_side")
    assert invoke("--image_path", small, *QUICK, *options, "--output_path", "x.gif")[0] == 0
    code, out, err = invoke(
        *("render", "x.gif.trajectory", "--output_path", "again.gif", "--caption", "--side_by_side", "--quiet")
    )
    assert code == 0 and "11 frames" in out, err
    before, again = (animation(tmp_path / name) for name in ("x.gif", "again.gif"))
    assert before.shape == again.shape and abs(before - again).mean() < 0.5  # frames decoded together round otherwise
    code, out, err = invoke("render", "x.gif.manifest.json", "--output_path", "large", "--size", 96, "--skip_step", 3)
    assert code == 0, err
    names = sorted((tmp_path / "large").iterdir())
    assert [path.name for path in names] == [f"{step:05d}.png" for step in (0, 6, 12, 18, 20)]
    assert Image.open(names[0]).size == (96, 80)
    code, out, err = invoke("render", "x.gif.trajectory", "--output_path", "x.mp4", "--pace", "change", "--json")
    assert code == 0 and 2 < json.loads(out)["frames"] <= 11, err


def test_what_cannot_be_rendered_is_one_line(invoke, small, tmp_path):
    assert invoke("--image_path", small, *QUICK, "--steps", 2, "--output_path", "x.gif")[0] == 0
    content = (tmp_path / "x.gif.trajectory").read_bytes()
    (tmp_path / "empty").write_bytes(content[: content.index(b"\n") + 1])
    code, _, err = invoke("render", "empty")
    assert code == 2 and "no frames yet" in err


def test_a_run_that_was_broken_off_can_be_rendered(invoke, small, tmp_path):
    with_checkpoint(invoke, small, tmp_path)
    code, out, err = invoke("render", "x.gif.trajectory", "--output_path", "y.gif")
    assert code == 0 and "6 frames" in out, err  # 0, 4, …, 20


def test_a_trajectory_cut_anywhere_is_good_up_to_there(invoke, small, tmp_path):
    assert invoke("--image_path", small, *QUICK, "--steps", 6, "--output_path", "x.gif")[0] == 0
    content = (tmp_path / "x.gif.trajectory").read_bytes()
    begin = content.index(b"\n") + 1
    counts = []
    for end in sorted(random.Random(1).sample(range(begin, len(content)), 40)):
        (tmp_path / "cut").write_bytes(content[:end])
        counts.append(len(read_trajectory(tmp_path / "cut").records))
    assert counts == sorted(counts) and set(counts) <= set(range(8)) and counts[-1] >= 5


class Payload:
    """Code that would run if it were unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("owned"),))


def test_no_file_that_is_handed_in_runs_code_or_shows_a_traceback(invoke, small, tmp_path):
    assert invoke("--image_path", small, *QUICK, "--steps", 3, "--output_path", "x.gif")[0] == 0
    (tmp_path / "evil.safetensors").write_bytes(pickle.dumps(Payload()))
    torch.save({"facts": Payload()}, tmp_path / "evil.pt")
    save_file({"0": torch.zeros(1)}, tmp_path / "empty.safetensors", {"tree": '{"$pairs": [["facts", 1]]}'})
    save_file({"0": torch.zeros(1)}, tmp_path / "deep.safetensors", {"tree": "[" * 100_000})
    for name in ("evil.safetensors", "evil.pt", "empty.safetensors", "deep.safetensors", "x.gif", "absent"):
        code, _, err = invoke("--resume", name)
        assert code == 2 and err.count("\n") == 1, (name, err)
        code, _, err = invoke("render", name, "--output_path", "y.gif", "--quiet")
        assert name == "x.gif" or (code == 2 and err.count("\n") == 1), (name, err)
        code, _, err = invoke("--image_path", small, *QUICK, "--steps", 1, "--init", tmp_path / name)
        assert name == "x.gif" or code == 2, (name, err)
    assert not (tmp_path / "owned").exists()


def test_mutated_checkpoints_and_trajectories_are_refused_or_read(invoke, small, tmp_path):
    with_checkpoint(invoke, small, tmp_path)
    rng = random.Random(3)
    for name, read in (("x.gif.checkpoint.safetensors", read_checkpoint), ("x.gif.trajectory", read_trajectory)):
        content = (tmp_path / name).read_bytes()
        refused = 0
        for _ in range(150):
            broken = bytearray(content)
            for _ in range(rng.choice((1, 3, 20))):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
            (tmp_path / "broken").write_bytes(broken[: rng.choice((len(broken), rng.randrange(len(broken))))])
            try:
                read(tmp_path / "broken")
            except InputError:
                refused += 1
        assert refused > 20


def test_trees_come_back_as_they_were(tmp_path):
    tree = {"a": [1, 2.5, None, True, "x", {3: torch.arange(4)}], "b": torch.zeros(()), "c": 0.1 + 0.2}
    (tmp_path / "x").write_bytes(pack(tree))
    back = unpack(tmp_path / "x")
    assert back["a"][:5] == tree["a"][:5] and torch.equal(back["a"][5][3], torch.arange(4))
    assert back["b"].shape == () and back["c"] == tree["c"]
    assert load_file(tmp_path / "x").keys() == {"0", "1"}


def test_only_what_the_dead_left_is_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = [f".x.{gone.pid}.part.gif", f".x.{os.getpid()}.part.gif", f".y.{gone.pid}.part.gif", "x.gif"]
    for name in names:
        (tmp_path / name).touch()
    remove_unfinished(tmp_path / "x.gif")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
