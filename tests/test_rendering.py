"""`render`: the frames of runs, comparisons and views again, from any file they wrote; what it never replaces."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentflow.sinks.trajectory import read_trajectory

QUICK = ("--weights", "bundled", "--size", 48, "--dtype", "float32", "--quiet")


def frames_in(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path).convert("RGB"), int) for path in sorted(folder.glob("*.png"))])


@pytest.fixture
def three(images):
    return [images / "0.png", images / "2.png", "random:7"]


def moving(view, three, folder):
    """A line that writes moving pictures as PNGs into the folder `frames`."""
    return {
        "walk": ("walk", *three, "--frames", 7, "--caption", "--output_path", folder / "frames", *QUICK),
        "channels": ("channels", three[0], "--frames", 4, "--sweep", "", "--output_path", folder / "x.png", *QUICK),
        "concept": (
            *("concept", "--positive", folder / "a", "--negative", folder / "b", "--apply", three[0]),
            *("--frames", 4, "--sweep", "", "--output_path", folder / "x.safetensors", *QUICK),
        ),
        "grid": ("grid", three[0], "--resolution", 3, "--frames", 6, "--output_path", folder / "frames", *QUICK),
        "compare": (
            *("compare", "--image_path", three[0], "--losses", "mse,l1", "--steps", 4, "--seed", 3),
            *("--output_path", folder / "frames", *QUICK),
        ),
    }[view]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("view", "options"),
    [
        ("walk", ("--caption",)),
        ("channels", ()),
        ("concept", ("--caption",)),
        ("grid", ()),
        ("compare", ("--side_by_side",)),
    ],
)
def test_moving_views_are_drawn_again_as_they_were(invoke, images, three, tmp_path, monkeypatch, view, options):
    monkeypatch.setattr("latentflow.explore.grid.WINDOW", 100)
    for group, suffix in (("a", "0"), ("b", "1")):
        (tmp_path / group).mkdir()
        for number in range(4):
            Image.new("RGB", (48, 48), (40 * number, 200 * int(suffix), 90)).save(tmp_path / group / f"{number}.png")
    code, out, err = invoke(*moving(view, three, tmp_path), "--json")
    assert code == 0, err
    written = json.loads(out)["written"]
    (trajectory,) = [path for path in written if path.endswith(".trajectory")]
    frames = tmp_path / Path(trajectory.removesuffix(".trajectory")).name
    code, out, err = invoke("render", frames, "--output_path", "again", *options, "--quiet")
    assert code == 0, err
    before, again = frames_in(frames), frames_in(tmp_path / "again")
    if view == "compare":  # whose panels also have the distance that only a network knows
        before, again = before[..., :48, :], again[..., :48, :]
        before, again = before[:, 18:58], again[:, 54:94]  # the target: its title has as many lines as the others'
    assert before.shape == again.shape and np.abs(before - again).max() <= 2
    assert f"{len(before)} frames" in out


@pytest.mark.slow
def test_a_rendering_begins_at_any_file_of_a_command(invoke, three, tmp_path):
    line = ("channels", three[0], "--frames", 4, "--output_path", tmp_path / "c.png", *QUICK)
    assert invoke(*line)[0] == 0
    assert invoke("walk", *three, "--frames", 5, "--output_path", "w.gif", *QUICK)[0] == 0
    for source, count in {
        **dict.fromkeys(("c.png", "c.gif", "c.gif.trajectory", "c.png.manifest.json"), 4),
        **dict.fromkeys(("w.gif", "w.gif.trajectory", "w.gif.manifest.json"), 5),
    }.items():
        code, out, err = invoke("render", source, "--output_path", "again.gif", "--fps", 5, "--quiet")
        assert code == 0 and f", {count} frames)" in out, (source, err)
    code, _, err = invoke("render", "w.gif", "--output_path", "small", "--size", 24, "--skip_step", 2, "--quiet")
    assert code == 0 and frames_in(tmp_path / "small").shape[0] == 3, err
    assert max(frames_in(tmp_path / "small").shape[1:3]) == 24


def test_a_rendering_at_an_even_pace_leaves_out_what_hardly_changes(invoke, three, tmp_path):
    assert invoke("walk", *three[:2], "--frames", 9, "--ease", "in_out", "--output_path", "w.gif", *QUICK)[0] == 0
    code, out, err = invoke("render", "w.gif", "--pace", "change", "--output_path", "even", "--json")
    assert code == 0 and 2 < json.loads(out)["frames"] <= 9, err
    even = frames_in(tmp_path / "even")
    assert invoke("render", "w.gif", "--output_path", "all", "--quiet")[0] == 0
    every = frames_in(tmp_path / "all")
    assert np.abs(even[0] - every[0]).max() <= 1 and np.abs(even[-1] - every[-1]).max() <= 1


@pytest.mark.parametrize("output", ["w.gif", "./w.gif"])
def test_a_rendering_never_replaces_a_file_of_the_walk_silently(invoke, three, tmp_path, output):
    assert invoke("walk", *three, "--frames", 5, "--output_path", "w.gif", *QUICK)[0] == 0
    before = (tmp_path / "w.gif").read_bytes()
    code, _, err = invoke("render", "w.gif.trajectory", "--output_path", output, "--fps", 5)
    assert code == 6 and "is a file of the run that is rendered" in err and err.count("\n") == 1
    assert (tmp_path / "w.gif").read_bytes() == before
    code, _, err = invoke("render", "w.gif", "--output_path", output, "--fps", 5, "--overwrite", "--quiet")
    assert code == 0 and (tmp_path / "w.gif").read_bytes() != before, err


def test_a_rendering_never_replaces_a_file_of_a_run(invoke, small, tmp_path):
    line = ("--image_path", small, *QUICK, "--steps", 3, "--output_path", "x.gif", "--save_image", "i.png")
    assert invoke(*line)[0] == 0
    code, _, err = invoke("render", "i.png", "--output_path", "x.gif")
    assert code == 6 and "is a file of the run" in err, err
    assert invoke("render", "i.png", "--output_path", "y.gif", "--quiet")[0] == 0


def test_a_stopped_walk_has_a_trajectory_of_the_frames_it_has(invoke, three, tmp_path):
    assert invoke("walk", *three, "--frames", 9, "--output_path", "w.gif", *QUICK)[0] == 0
    past = read_trajectory(tmp_path / "w.gif.trajectory")
    content = past.path.read_bytes()[: past.records[4].begin + 10]
    (tmp_path / "cut.gif.trajectory").write_bytes(content)
    code, out, err = invoke("render", "cut.gif.trajectory", "--output_path", "y.gif", "--quiet")
    assert code == 0 and ", 4 frames)" in out, (out, err)


def test_what_has_no_trajectory_is_one_line(invoke, images, three, tmp_path):
    assert invoke("grid", three[0], "--resolution", 2, "--output_path", "g.png", *QUICK)[0] == 0
    shutil.copy(three[0], tmp_path / "photo.png")
    for source in ("g.png", "g.png.manifest.json", "photo.png", images):
        code, _, err = invoke("render", source)
        assert code == 2 and err.count("\n") == 1 and "No trajectory belongs to" in err, source
    code, _, err = invoke("render", "nothing.gif")
    assert code == 2 and "nothing.gif does not exist" in err
    assert invoke("walk", *three, "--frames", 5, "--output_path", "w.gif", *QUICK)[0] == 0
    code, _, err = invoke("render", "w.gif", "--side_by_side")
    assert code == 2 and "--side_by_side would have no effect: only runs and comparisons have a target" in err


@pytest.mark.parametrize("damage", [b'"titles": 3', b'"titles": [[3]]', b'"caption": [7]', b'"tilted": []'])
def test_a_damaged_trajectory_of_a_view_is_one_line(invoke, three, tmp_path, damage):
    assert invoke("walk", *three, "--frames", 5, "--output_path", "w.gif", *QUICK)[0] == 0
    path, key = tmp_path / "w.gif.trajectory", b'"caption": [' if b"caption" in damage else b'"titles": []'
    content = path.read_bytes()
    if key.endswith(b"["):
        damage = damage.replace(b"]", b", ")
    path.write_bytes(content.replace(key, damage))
    code, _, err = invoke("render", "w.gif")
    assert code == 2 and err.count("\n") == 1 and "can't be read" in err
