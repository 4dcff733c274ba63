"""The command line over the library: parameters as options, any encoding, one guard of what may be overwritten."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from latentflow.base.errors import InputError, OutputError, as_options
from latentflow.base.files import WrittenFiles, check_outputs, manifest_path
from latentflow.base.options import options_that
from latentflow.cli import command_names, find_command
from latentflow.commands._terminal import PLAIN
from latentflow.inversion.config import RunConfig

ROOT = Path(__file__).parent.parent
QUICK = ("--weights", "bundled", "--size", 24, "--steps", 2, "--seed", 1, "--quiet")


def test_parameters_are_shown_as_options():
    assert as_options("`size` must be at least 1; a smaller `skip_step` is fine.") == (
        "--size must be at least 1; a smaller --skip_step is fine."
    )
    assert InputError("`size` is wrong.", "Give another `fit`.").parameter == "size"
    assert InputError("There is no image.").parameter is None


def test_every_command_is_a_file_or_a_view_and_has_a_line_in_the_list(invoke):
    files = {path.stem for path in (ROOT / "latentflow" / "commands").glob("[!_]*.py")}
    assert files <= set(command_names()) and command_names()[0] == "optimize"
    out = " ".join(invoke("--help")[1].split())
    for name in command_names():
        summary = find_command(name).get_short_help_str(200)
        assert f"{name} {summary}" in out and not summary.endswith("...")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "cp437"])
def test_a_stream_that_lacks_arrows_gets_plain_text_and_the_work_is_finished(command, small, encoding):
    done = command("--image_path", small, *QUICK, encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert " -> " in done.stdout and "?" not in done.stdout
    losses = command("losses", encoding=encoding)
    assert losses.returncode == 0, losses.stderr
    assert all(letter.isascii() for letter in "".join(PLAIN.values()))


RESUMABLE = {
    "--checkpointing": ("on",),
    "--no_compile": (),
    "--keep": ("best", "--save_image", "i.png"),
    "--overwrite": (),
    "--fps": ("9",),
    "--hold": ("2",),
    "--metrics": ("m.jsonl",),
    "--device": ("cpu",),
}


@pytest.fixture
def stopped(invoke, tmp_path, small):
    """A run that was stopped at its third step."""
    shutil.copytree(ROOT / "tests" / "data" / "0.1.0", tmp_path, dirs_exist_ok=True)
    return tmp_path / "stopped.gif.checkpoint.safetensors"


@pytest.mark.parametrize("option", RESUMABLE)
def test_what_changes_no_result_may_be_given_beside_resume(invoke, stopped, option):
    code, _, err = invoke("--resume", stopped.name, option, *RESUMABLE[option])
    assert code == 0 and "Going on from step 5." in err, err


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (("--steps", 20), "--steps"),
        (("--output_path", "x.gif"), "--output_path"),
        (("--side_by_side",), "--side_by_side"),
        (("--lr", 1), "--lr"),
    ],
)
def test_what_changes_a_result_is_refused_beside_resume_as_it_was_typed(invoke, stopped, typed, named):
    code, _, err = invoke("--resume", stopped.name, *typed)
    assert code == 2 and f"; {named} can't be changed." in err


def test_what_an_option_does_stands_with_the_option():
    assert options_that(RunConfig, affects="files") == {
        *("output_path", "save_latent", "save_image", "metrics", "plot", "keep", "fps", "hold"),
        *("loop", "bounce", "palette"),
    }
    assert options_that(RunConfig, may_change=True) == options_that(RunConfig, affects="files") - {"output_path"} | {
        *("device", "checkpointing", "compile", "checkpoint_every", "overwrite", "max_pixels"),
    }


def test_a_companion_that_no_command_wrote_is_never_overwritten(tmp_path):
    output, companion = tmp_path / "x.png", tmp_path / "x.csv"
    check_outputs([output, companion])
    companion.write_text("mine")
    with pytest.raises(OutputError, match=r"x.csv would be overwritten, and no earlier command wrote it"):
        check_outputs([output, companion])
    manifest_path(output).write_text(json.dumps({"format_version": 2, "options": {}, "written": ["x.png"]}))
    with pytest.raises(OutputError, match=r"x.csv would be overwritten"):
        check_outputs([output, companion])
    manifest_path(output).write_text(json.dumps({"format_version": 2, "options": {}, "written": ["x.png", "x.csv"]}))
    check_outputs([output, companion])
    manifest_path(output).write_text("damaged")
    with pytest.raises(OutputError, match=r"x.csv would be overwritten"):
        check_outputs([output, companion])
    check_outputs([output, companion], overwrite=True)
    manifest_path(output).write_text(json.dumps({"options": {}}))  # as 0.1.0 wrote them
    check_outputs([output, companion])


def test_an_output_never_replaces_or_joins_its_sources(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="in the place of what it is made from"):
        check_outputs([tmp_path / "a.png"], [tmp_path / "a.png"])
    with pytest.raises(InputError, match="which holds the input images"):
        check_outputs([tmp_path / "folder" / "b.png"], [tmp_path / "folder"])


@pytest.mark.parametrize("name", ["small.md", "small.sheet.png"])
def test_compare_keeps_files_it_did_not_make(invoke, small, tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    line = ("compare", "--image_path", small, "--losses", "mse,l1", *QUICK, "--output_path", "small.gif")
    code, _, err = invoke(*line)
    assert code == 6 and f"{name} would be overwritten" in err
    assert (tmp_path / name).read_bytes() == b"mine" and not (tmp_path / "small.gif").exists()
    (tmp_path / name).unlink()
    assert invoke(*line)[0] == 0 and invoke(*line)[0] == 0  # its own it may


def test_a_folder_of_frames_keeps_no_tail_of_an_earlier_run(invoke, small, tmp_path):
    line = ("--image_path", small, *QUICK, "--output_path", "frames")
    assert invoke(*line, "--steps", 6)[0] == 0
    for name in ("notes.txt", "20240131.png"):
        (tmp_path / "frames" / name).write_text("mine")
    assert invoke(*line, "--steps", 2)[0] == 6
    code, out, err = invoke(*line, "--steps", 2, "--overwrite")
    assert code == 0 and "3 frames" in out, err
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == ["00000.png", "00001.png", "00002.png", "20240131.png", "notes.txt"]


def test_a_folder_that_no_run_wrote_keeps_its_pictures(invoke, small, tmp_path):
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "00042.png").write_text("mine")
    assert invoke("--image_path", small, *QUICK, "--output_path", "shots", "--overwrite")[0] == 0
    assert (tmp_path / "shots" / "00042.png").read_text() == "mine"


def test_batch_never_writes_over_its_images(invoke, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (24, 20), "red").save(tmp_path / name / "a.png")
    before = (tmp_path / "two" / "a.png").read_bytes()
    code, _, err = invoke("batch", "one", "two", *QUICK, "--save_image", "two/{stem}")
    assert code == 2 and "and the image a.png would be the same file" in err.replace("two/a.png", "a.png"), err
    assert (tmp_path / "two" / "a.png").read_bytes() == before


def test_batch_refuses_results_of_a_newer_version(invoke, tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (24, 20), "red").save(tmp_path / "in" / "a.png")
    assert invoke("batch", "in", "--output_dir", "out", *QUICK)[0] == 0
    manifest = tmp_path / "out" / "a.png.gif.manifest.json"
    manifest.write_text(manifest.read_text().replace('"format_version": 2', '"format_version": 3'))
    code, _, err = invoke("batch", "in", "--output_dir", "out", *QUICK)
    assert code == 2 and "has format version 3" in err and '"format_version": 3' in manifest.read_text()


def test_reports_name_what_was_written_and_nothing_else(tmp_path):
    old, replaced, new, never = (tmp_path / name for name in ("old", "replaced", "new", "never"))
    old.write_text("x")
    replaced.write_text("x")
    written = WrittenFiles([old, replaced, new, never])
    assert written.paths == []
    new.write_text("y")
    (tmp_path / "t").write_text("x")
    (tmp_path / "t").replace(replaced)
    assert written.paths == [replaced, new]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--save_latent", "{stem}.bin"), 2, "latents are saved as .safetensors"),
        (("--plot", "{stem}.pdf"), 2, "a figure is written as .png or .svg"),
        (("--method", "gradient_free", "--loss_type", "l1"), 2, "--loss_type l1 would have no effect"),
        (("--save_image", "{stem}.png", "--plot", "{stem}.png"), 2, "would be the same file"),
        (("--save_image", "x.png"), 2, "its name needs a {stem}"),
        (("--metrics", "nowhere/{stem}.jsonl"), 6, "the folder nowhere does not exist"),
        (("--init", "nowhere.png"), 2, "there is no file 'nowhere.png'"),
        (("--optimizer", "km"), 2, "--optimizer km is not for --method gradient"),
        (("--suffix", ".gif", "--fps", 80), 2, "a GIF shows at most 50 frames per second"),
    ],
)
def test_batch_finds_wrong_options_once_and_before_a_model_is_loaded(
    invoke, tmp_path, images, monkeypatch, options, code, words
):
    from latentflow.models import loading

    def load(*args):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(loading.Models, "load", load)
    found, out, err = invoke("batch", images, "--output_dir", "out", "--weights", "bundled", *options)
    assert (found, out, err.count("\n")) == (code, "", 1) and words in err, err


def test_batch_names_the_files_it_wrote(invoke, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    code, out, err = invoke("batch", "in", "--output_dir", "out", *QUICK)
    assert code == 1 and "batch.jsonl" in out and "batch.csv" in out and "batch.png" not in out, out
    Image.new("RGB", (24, 20), "red").save(tmp_path / "in" / "red.png")
    code, out, err = invoke("batch", "in", "--output_dir", "out", *QUICK)
    assert code == 1 and "batch.png" in out, err


def test_a_users_own_losses_py_breaks_nothing(tmp_path):
    (tmp_path / "losses.py").write_text("raise SystemExit('mine')\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([".", str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-m", "latentflow", "losses"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith("charbonnier"), done.stderr


def test_a_companion_of_an_earlier_command_stays_known(tmp_path):
    from latentflow.sinks.manifest import write_manifest

    output, sweep = tmp_path / "x.png", tmp_path / "x.gif"
    sweep.touch()
    write_manifest(manifest_path(output), {"options": {}}, [output, sweep])
    write_manifest(manifest_path(output), {"options": {}}, [output])  # the same command without a sweep
    check_outputs([output, sweep])
    sweep.unlink()
    write_manifest(manifest_path(output), {"options": {}}, [output])
    sweep.write_text("mine")
    with pytest.raises(OutputError, match=r"x\.gif would be overwritten"):
        check_outputs([output, sweep])


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(48, 40), (100, 37), (64, 64)])
@pytest.mark.parametrize(("loss", "size"), [("ssim", 8), ("lpips", 24), ("ms_ssim", 32)])
def test_the_size_that_a_loss_asks_for_is_enough(invoke, tmp_path, loss, size, shape):
    Image.effect_noise(shape, 60).convert("RGB").save(tmp_path / "a.png")
    line = ("--image_path", "a.png", "--weights", "bundled", "--steps", 1, "--quiet", "--loss_type", loss)
    code, _, err = invoke(*line, "--size", size)
    named = re.search(r"Set --size to (\d+) or more", err)
    assert code == 2 and named, err
    assert invoke(*line, "--size", named[1])[0] == 0


def test_one_of_something_is_said_in_the_singular():
    from latentflow.base.options import counted

    assert [counted(1, "image", "are"), counted(2, "image", "are")] == ["1 image is", "2 images are"]
    assert [counted(1, "", "were"), counted(3, "", "were")] == ["1 was", "3 were"]
    assert [counted(0, "frame"), counted(1, "frame"), counted(1, "weight", "don't")] == [
        "0 frames",
        "1 frame",
        "1 weight doesn't",
    ]
