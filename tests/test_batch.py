"""Folders of images: the same as one by one, and nothing is lost or done twice."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import Command

from latentflow.base.errors import InputError
from latentflow.runs.batch import worker
from latentflow.runs.batch.plan import image_seed, make_batch_plan
from latentflow.runs.batch.table import Table
from latentflow.runs.config import BatchConfig
from latentflow.sinks.trajectory import read_trajectory

ROOT = Path(__file__).parent.parent
QUICK = ("--weights", "bundled", "--size", 48, "--steps", 6, "--quiet")


def draw(path, width, height, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Five images, three of them of one size, and two files that are none."""
    for number, (name, size) in enumerate(
        {
            "a.png": (60, 40),
            "b.jpg": (60, 40),
            "a.webp": (60, 40),
            "inner/c.png": (40, 60),
            "inner/a.png": (50, 50),
        }.items()
    ):
        draw(tmp_path / "in" / name, *size, seed=number)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "in" / "notes.md").write_text("not an image")
    return tmp_path / "in"


def rows(out):
    return {row["image"]: row for row in map(json.loads, (out / "batch.jsonl").read_text().splitlines())}


GOOD = {"a.png", "b.jpg", "a.webp", "inner/c.png", "inner/a.png"}


def test_one_bad_image_is_reported_and_the_rest_are_done(invoke, folder, tmp_path):
    code, out, err = invoke("batch", folder, "--output_dir", "out", *QUICK)
    assert code == 1 and "broken.png" in out, err
    table = rows(tmp_path / "out")
    assert {name for name, row in table.items() if row["status"] == "done"} == GOOD
    assert "is not an image" in table["broken.png"]["error"]
    with (tmp_path / "out" / "batch.csv").open() as file:
        assert {row["image"]: row["status"] for row in csv.DictReader(file)} == {
            name: row["status"] for name, row in table.items()
        }
    outputs = {row["output"] for row in table.values()} - {""}
    assert (
        outputs == {"out/a.webp.gif", "out/a.gif", "out/b.gif", "out/inner/c.gif", "out/inner/a.gif"}
        or len(outputs) == 5
    )
    for output in outputs:
        with Image.open(tmp_path / output) as frames:
            assert frames.n_frames == 7
        assert json.loads((tmp_path / f"{output}.manifest.json").read_text())["outcome"] == "done"
    with Image.open(tmp_path / "out" / "batch.png") as sheet:
        assert sheet.size[0] * sheet.size[1] >= 5 * 2 * 128 * 128


def last_latent(path):
    past = read_trajectory(path)
    *_, last = past.steps(lambda latent: torch.zeros(1, 3, 1, 1))
    return last.latent


def test_together_is_as_one_by_one(invoke, folder, tmp_path, monkeypatch):
    sizes, original = [], worker.Run
    monkeypatch.setattr(worker, "batch_size", lambda *given: 1)  # what memory has room for
    monkeypatch.setattr(worker, "Run", lambda *given, init: sizes.append(len(init)) or original(*given, init=init))
    assert invoke("batch", folder, "--output_dir", "out", *QUICK, "--seed", 5, "--batch_size", 3)[0] == 1
    assert sorted(sizes) == [1, 1, 3]
    for name, row in rows(tmp_path / "out").items():
        if row["status"] == "done":
            assert row["seed"] == image_seed(5, name)
            alone = ("--image_path", folder / name, *QUICK, "--seed", row["seed"], "--output_path", "alone.gif")
            assert invoke(*alone)[0] == 0
            one, two = (last_latent(tmp_path / f"{path}.trajectory") for path in ("alone.gif", row["output"]))
            assert torch.allclose(one, two, atol=2e-2), name  # Adam makes much of a last bit
            assert float((one - two).abs().mean()) < 1e-3


def test_a_method_that_couples_images_takes_one_at_a_time(invoke, folder, tmp_path, monkeypatch):
    sizes, original = [], worker.Run
    monkeypatch.setattr(worker, "Run", lambda *given, init: sizes.append(len(init)) or original(*given, init=init))
    (folder / "broken.png").unlink()
    line = ("batch", folder, "--output_dir", "out", "--weights", "bundled", "--size", 48, "--steps", 1, "--quiet")
    assert invoke(*line, "--optimizer", "lbfgs", "--batch_size", 3)[0] == 0
    assert sizes == [1] * 5


def test_of_several_lines_for_an_image_the_last_counts(tmp_path):
    path = tmp_path / "batch.jsonl"
    path.write_text(
        '{"image": "a", "psnr": 1}\n{"image": "b", "psnr": 2}\n{"image": "a", "psnr": 3}\n{"image": "c", "p'
    )
    table = Table(path)
    assert {name: row["psnr"] for name, row in table.rows.items()} == {"a": 3, "b": 2}
    table.add({"image": "aa", "psnr": 4})  # begins a line of its own after the one that was cut off
    assert {name: row["psnr"] for name, row in Table(path).rows.items()} == {"a": 3, "b": 2, "aa": 4}
    table.write()
    assert [json.loads(line)["image"] for line in path.read_text().splitlines()] == ["a", "aa", "b"]


@pytest.mark.slow
def test_what_is_finished_is_skipped_and_other_options_are_not_mixed_in(invoke, folder, tmp_path):
    (folder / "broken.png").unlink()
    common = ("batch", folder, "--output_dir", "out", *QUICK)
    assert invoke(*common, "--json")[0] == 0
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.gif")}
    code, out, _ = invoke(*common, "--json")
    assert code == 0 and json.loads(out)["skipped"] == 5 and json.loads(out)["done"] == 0
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.gif")}
    code, _, err = invoke(*common, "--steps", 7)
    assert code == 2 and "--steps 6 → 7" in err and err.count("\n") == 1
    code, _, err = invoke(*common, "--seed", 3)
    assert code == 2 and "--seed" in err
    draw(folder / "b.jpg", 60, 40, seed=99)  # another picture under the same name
    draw(folder / "new.png", 60, 40, seed=98)
    code, out, _ = invoke(*common, "--json")
    assert code == 0 and json.loads(out)["done"] == 2 and len(rows(tmp_path / "out")) == 6
    code, out, _ = invoke(*common, "--steps", 7, "--overwrite", "--json")
    assert code == 0 and json.loads(out)["done"] == 6


def test_results_of_two_data_types_are_not_mixed(invoke, tmp_path, monkeypatch):
    image = draw(tmp_path / "a.png", 16, 16, seed=1)
    line = ("batch", image, "--output_dir", "out", "--weights", "bundled", "--size", 16, "--steps", 1, "--json")
    monkeypatch.setattr("latentflow.models.precision.timing_on", lambda device: None)
    monkeypatch.setattr("latentflow.models.precision.computes_bf16", lambda device: False)
    assert invoke(*line, "--dtype", "float32")[0] == 0
    code, _, err = invoke(*line, "--dtype", "bfloat16")
    assert code == 2 and "holds results of other options: --dtype float32 → bfloat16. Add --overwrite" in err
    assert json.loads(invoke(*line)[1])["skipped"] == 1  # auto is float32 here
    monkeypatch.setattr("latentflow.models.precision.computes_bf16", lambda device: True)
    code, _, err = invoke(*line)
    assert code == 2 and "--dtype float32 → bfloat16" in err
    manifest = tmp_path / "out" / "a.png.gif.manifest.json"
    content = json.loads(manifest.read_text())
    del content["options"]["dtype"]  # as 0.1.0 has it
    manifest.write_text(json.dumps(content))
    assert json.loads(invoke(*line)[1])["skipped"] == 1


@pytest.mark.parametrize("more", [(), ("--checkpoint_every", "2")])
@pytest.mark.slow
def test_a_killed_batch_goes_on(invoke, folder, tmp_path, more):
    (folder / "broken.png").unlink()
    options = [str(each) for each in ("--weights", "bundled", "--size", 32, "--steps", 16, "--batch_size", 1, *more)]
    process = Command(["batch", folder, "--output_dir", "out", *options], tmp_path)
    deadline = time.monotonic() + 90
    marks = "*.checkpoint.safetensors" if more else "batch.jsonl"
    while not list((tmp_path / "out").rglob(marks)) or len(list((tmp_path / "out").rglob("*.trajectory"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.communicate()
    time.sleep(1)  # its ffmpeg, which only now finds its pipe closed, may yet begin the file it was asked for
    code, out, err = invoke("batch", folder, "--output_dir", "out", *options, "--json")
    assert code == 0 and json.loads(out)["done"] + json.loads(out)["skipped"] == 5, err
    assert not more or "Going on from step" in err or json.loads(out)["skipped"] >= 1
    assert invoke("batch", folder, "--output_dir", "whole", *options, "--quiet")[0] == 0
    for path in (tmp_path / "whole").rglob("*.gif"):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes()
    assert not [path for path in (tmp_path / "out").rglob("*") if ".part" in path.name or "checkpoint" in path.name]


def test_ctrl_c_leaves_a_table_and_a_way_to_go_on(invoke, folder, tmp_path, monkeypatch):
    original = worker.Worker._optimized

    def stopping(self, group):
        rows = original(self, group)
        os.kill(os.getpid(), signal.SIGINT)
        return rows

    (folder / "broken.png").unlink()
    common = ("batch", folder, "--output_dir", "out", *QUICK, "--batch_size", 1)
    with monkeypatch.context() as patched:
        patched.setattr(worker.Worker, "_optimized", stopping)
        code, _, err = invoke(*common)
    assert code == 130 and "Stopped" in err
    done = sum(row["status"] == "done" for row in rows(tmp_path / "out").values())
    assert 1 <= done < 5
    code, out, _ = invoke(*common, "--json")
    assert code == 0 and json.loads(out)["skipped"] == done


def test_ctrl_c_ends_a_batch_after_the_step_in_hand(invoke, folder, monkeypatch):
    seen = []

    def stopping(inversion, ended):
        for step in inversion:
            seen.append(step.index)
            if step.index == 1:
                os.kill(os.getpid(), signal.SIGINT)
            yield step

    monkeypatch.setattr(worker, "until", stopping)
    code, _, err = invoke("batch", folder, "--output_dir", "out", *QUICK, "--steps", 5, "--batch_size", 1)
    assert code == 130 and "Stopped" in err
    assert seen == [0, 1]


def test_memory_that_runs_out_makes_smaller_batches(invoke, folder, tmp_path, monkeypatch):
    original, sizes = worker.Run, []

    def small(*given, init):
        sizes.append(len(init))
        if len(init) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return original(*given, init=init)

    monkeypatch.setattr(worker, "Run", small)
    (folder / "broken.png").unlink()
    options = [each for each in QUICK if each != "--quiet"]
    code, _, err = invoke("batch", folder, "--output_dir", "out", *options, "--batch_size", 3)
    assert code == 0 and "too many for the memory" in err
    assert sizes.count(1) == 5 and max(sizes) == 3


def test_one_that_diverges_does_not_take_the_others_with_it(invoke, folder, tmp_path, monkeypatch):
    original = worker.Worker._prepared

    def poisoned(self, item, plan):
        job = original(self, item, plan)
        if item.name == "b.jpg":
            job.latent.mul_(1e6)
        return job

    monkeypatch.setattr(worker.Worker, "_prepared", poisoned)
    (folder / "broken.png").unlink()
    code, _, _ = invoke("batch", folder, "--output_dir", "out", *QUICK, "--batch_size", 3)
    table = rows(tmp_path / "out")
    assert code == 1 and "diverged" in table["b.jpg"]["error"]
    assert sum(row["status"] == "done" for row in table.values()) == 4


def test_max_failures_stops_early(invoke, folder, tmp_path):
    for number in range(3):
        (folder / f"0{number}.png").write_bytes(b"")
    code, out, _ = invoke("batch", folder, "--output_dir", "out", *QUICK, "--max_failures", 2, "--json")
    assert code == 1 and len(json.loads(out)["failed"]) == 2 and json.loads(out)["left"] > 0


def test_each_image_stops_at_its_own_psnr(invoke, folder, tmp_path):
    (folder / "broken.png").unlink()
    code, _, err = invoke(
        *("batch", folder, "--output_dir", "out", *QUICK, "--steps", 40, "--target_psnr", 14, "--batch_size", 3)
    )
    assert code == 0, err
    steps = {name: row["steps"] for name, row in rows(tmp_path / "out").items()}
    assert len(set(steps.values())) > 1 and all(row["psnr"] >= 13.9 for row in rows(tmp_path / "out").values())


def plan(tmp_path, *sources, **options):
    return make_batch_plan([str(each) for each in sources], BatchConfig(output_dir=str(tmp_path / "out"), **options))


def test_shards_are_all_the_images_and_each_once(folder, tmp_path):
    whole = [item.output for item in plan(tmp_path, folder).items]
    names = [item.name for item in plan(tmp_path, folder).items]
    assert [item.name for item in plan(tmp_path, folder, shard="2/3").items] == names[1::3]  # by turns
    parts = [[item.output for item in plan(tmp_path, folder, shard=f"{index}/3").items] for index in (1, 2, 3)]
    assert sorted(chain(*parts)) == sorted(whole) and len(set(whole)) == len(whole) == 6
    for wrong in ("0/3", "4/3", "a/3", "3", "1/0"):
        with pytest.raises(InputError, match="shard"):
            plan(tmp_path, folder, shard=wrong)


def test_sources_are_folders_files_and_lists(folder, tmp_path):
    (tmp_path / "list.txt").write_text("# some\nin/a.png\n\n../" + tmp_path.name + "/in/inner/c.png\n")
    found = plan(tmp_path, tmp_path / "list.txt", folder / "a.png", folder / "b.jpg").items
    assert [item.name for item in found] == ["a.png", "b.jpg", "c.png"]
    assert all((tmp_path / "out") in item.output.parents for item in found)
    with pytest.raises(InputError, match="no images"):
        plan(tmp_path)


def test_bad_usage_is_one_line_before_the_first_image(invoke, folder, tmp_path):
    for options, words in (
        (("--loss_type", "mes"), "mse"),
        (("--save_latent", "x.safetensors"), "{stem}"),
        (("--output_dir", "no/such/folder"), "does not exist"),
        (("--engine", "slurm"), "ray"),
    ):
        code, _, err = invoke("batch", folder, "--output_dir", "out", *options)
        assert code in (2, 6) and words in err and err.count("\n") == 1, err


@pytest.mark.slow
def test_the_scripts_of_the_examples_work(folder, tmp_path):
    """With `latentflow` on the path, as it is once installed."""
    shim = tmp_path / "bin" / "latentflow"
    shim.parent.mkdir()
    shim.write_text(f'#!/usr/bin/env bash\nexec "{sys.executable}" "{ROOT / "cli.py"}" "$@" --steps 2 --size 48\n')
    shim.chmod(0o755)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    paths = {"PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}"}
    array = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "3"}
    (folder / "broken.png").unlink()
    for script, arguments in (
        ("job_array.sh", ["in", "array"]),
        ("smoke.sh", ["in/a.png"]),
        ("loop.sh", ["in", "loop"]),
    ):
        if script == "loop.sh":  # two images suffice, and a.webp would be written over a.png
            (folder / "a.png").unlink()
        done = subprocess.run(
            ["bash", str(ROOT / "examples" / script), *arguments],
            **{"cwd": tmp_path, "env": os.environ | paths | array, "capture_output": True, "text": True},
        )
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "loop").glob("*.gif"))) == 2
    assert len(list((tmp_path / "array").rglob("*.gif"))) == 2


def test_a_picture_that_is_too_small_for_the_loss_is_a_line_in_the_table(invoke, tmp_path):
    draw(tmp_path / "in" / "flat.png", 200, 20, seed=1)
    draw(tmp_path / "in" / "square.png", 60, 60, seed=2)
    code, _, err = invoke("batch", "in", "--output_dir", "out", *QUICK, "--loss_type", "ssim")
    table = rows(tmp_path / "out")
    assert code == 1 and table["square.png"]["status"] == "done", err
    assert table["flat.png"]["status"] == "failed" and "ssim" in table["flat.png"]["error"]


def test_the_same_call_again_is_the_same_whatever_it_names(invoke, folder, tmp_path):
    (folder / "broken.png").unlink()
    draw(tmp_path / "begin.png", 50, 50, seed=3)
    (tmp_path / "mine.py").write_text(
        "from latentflow.losses import Loss, register\n\n\n@register('mine')\nclass Mine(Loss):\n"
        "    def forward(self, image, prepared):\n        return (image - prepared).square().mean(dim=(1, 2, 3))\n"
    )
    common = ("batch", folder, "--output_dir", "out", *QUICK, "--init", "begin.png", "--plugin", "./mine.py")
    common += ("--loss_type", "mine", "--metrics", "{stem}.jsonl", "--save_latent", "{stem}.safetensors")
    assert invoke(*common, "--json")[0] == 0
    code, out, err = invoke(*common, "--json")
    assert code == 0 and json.loads(out)["skipped"] == 5, err
    names = {path.name for path in tmp_path.glob("*.safetensors")}  # two are called a.png, and none is lost
    assert names == {f"{name}.safetensors" for name in ("a.png", "a.webp", "b.jpg", "inner-a.png", "inner-c.png")}


def test_results_among_the_images_are_no_images(invoke, folder, tmp_path):
    (folder / "broken.png").unlink()
    for _ in range(2):
        code, out, err = invoke("batch", folder, "--output_dir", folder / "out", *QUICK, "--suffix", "", "--json")
        assert code == 0 and json.loads(out)["done"] + json.loads(out)["skipped"] == 5, err
    code, _, err = invoke("batch", folder, "--output_dir", folder, *QUICK)
    assert code == 2 and "folder of their own" in err


def test_images_of_one_name_in_two_folders_have_a_row_each(invoke, tmp_path):
    for number, name in enumerate(("one", "two")):
        draw(tmp_path / name / "cat.v2.png", 50, 50, seed=number)
    code, _, err = invoke("batch", "one", "two", "--output_dir", "out", *QUICK, "--suffix", "")
    assert code == 0, err
    outputs = [row["output"] for row in rows(tmp_path / "out").values()]
    assert len(outputs) == 2 == len(set(outputs)) and all((tmp_path / each).is_dir() for each in outputs)


def test_what_was_finished_but_not_written_down_gets_its_row(invoke, folder, tmp_path):
    (folder / "broken.png").unlink()
    common = ("batch", folder, "--output_dir", "out", *QUICK)
    assert invoke(*common)[0] == 0
    whole = rows(tmp_path / "out")
    (tmp_path / "out" / "batch.jsonl").write_text('{"image": "a.png", "sta')  # killed in the middle of a line
    assert invoke(*common)[0] == 0
    again = rows(tmp_path / "out")
    assert again.keys() == whole.keys() and all(again[name]["psnr"] == whole[name]["psnr"] for name in whole)


def test_a_checkpoint_goes_on_with_every_output(invoke, folder, tmp_path, monkeypatch):
    from latentflow.sinks.trajectory import Trajectory

    (folder / "broken.png").unlink()
    common = ("batch", folder, "--output_dir", "out", "--weights", "bundled", "--size", 48, "--steps", 12)
    common += ("--checkpoint_every", 2, "--metrics", "{stem}.jsonl")
    original = Trajectory.write

    def stopping(self, record):
        original(self, record)
        if record.index == 7 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Trajectory, "write", stopping)
        assert invoke(*common)[0] == 143
    code, _, err = invoke(*common)
    assert code == 0 and "Going on from step 8" in err and "anew" not in err, err
    assert all(len(path.read_text().splitlines()) == 13 for path in tmp_path.glob("*.jsonl"))
