"""The command line as people run it: the checkout, the installed wheel, repeated runs, the summary."""

import fcntl
import hashlib
import json
import os
import pty
import resource
import struct
import subprocess
import sys
import termios
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
QUICK = ("--weights", "bundled", "--size", 48, "--steps", 3)


def gif_frames(path):
    with Image.open(path) as image:
        return image.n_frames


def test_the_contract_line_from_the_checkout(small):
    line = [sys.executable, ROOT / "cli.py", "--image_path", small, "--loss_type", "l1", "--steps", 3, "--skip_step", 2]
    line += ["--lr", 0.05, "--output_path", "out.gif", "--weights", "bundled", "--size", 48]
    done = subprocess.run(list(map(str, line)), cwd=small.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert gif_frames(small.parent / "out.gif") == 3  # steps 0, 2 and 3
    assert "out.gif" in done.stdout and "l1" in done.stdout and "seed" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_the_default_falls_back_on_the_bundle_and_says_so(command, small):
    done = command("--image_path", small, "--size", 48, "--steps", 1)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1 and "bundled autoencoder instead" in done.stderr
    assert (small.parent / "grad_result.gif").exists()
    manifest = json.loads((small.parent / "grad_result.gif.manifest.json").read_text())
    assert manifest["weights"]["source"] == "bundled" and manifest["weights"]["notice"]
    assert manifest["options"]["vae"] == "bundled"


def test_dashes_work_wherever_underscores_do(invoke, small):
    code, _, err = invoke(
        *("--image-path", small, "--loss-type", "mse", "--skip-step", 2, "--output-path", "dashed.gif"),
        *("--schedule", "warmup-cosine", *QUICK),
    )
    assert code == 0, err
    manifest = json.loads((small.parent / "dashed.gif.manifest.json").read_text())
    assert manifest["options"]["schedule"] == "warmup_cosine"


def test_the_summary_as_json_is_all_there_is_on_stdout(invoke, small):
    code, out, err = invoke("--image_path", small, "--json", "--quiet", "--seed", 5, *QUICK)
    summary = json.loads(out)
    assert (code, err, summary["seed"], summary["steps"], summary["frames"]) == (0, "", 5, 3, 4)
    assert summary["written"]["grad_result.gif"] == (small.parent / "grad_result.gif").stat().st_size
    assert set(summary["metrics"]) == set(summary["encoder_metrics"]) == {"psnr", "ssim", "lpips[bundled]"}
    assert summary["loss_last"] < summary["loss_first"]


def test_every_output_can_be_asked_for_in_one_run(invoke, small):
    code, _, err = invoke(
        *(
            "--image_path",
            small,
            "--output_path",
            "{stem}_{loss}_{seed}.gif",
            "--seed",
            4,
            "--caption",
            "--side_by_side",
        ),
        *("--loss_type", "l1 + 0.1*ssim", "--save_latent", "z.safetensors", "--save_image", "last.png"),
        *("--metrics", "m.jsonl", "--plot", "p.svg", "--keep", "best", *QUICK),
    )
    assert code == 0, err
    written = {path.name for path in small.parent.iterdir()} - {"small.png"}
    gif = "small_l1+0.1xssim_4.gif"
    assert written == {
        gif,
        f"{gif}.manifest.json",
        f"{gif}.trajectory",
        "z.safetensors",
        "last.png",
        "m.jsonl",
        "p.svg",
    }
    lines = [json.loads(line) for line in (small.parent / "m.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3] and set(lines[0]["parts"]) == {"l1", "ssim"}
    assert Image.open(small.parent / "last.png").size == (48, 40)
    assert Image.open(small.parent / gif).size[0] == 2 * 48 + 4


def test_a_saved_latent_is_a_start(invoke, small):
    assert invoke("--image_path", small, "--save_latent", "z.safetensors", *QUICK)[0] == 0
    code, out, err = invoke("--image_path", small, "--init", "z.safetensors", "--json", *QUICK)
    assert code == 0, err
    first = json.loads((small.parent / "grad_result.gif.manifest.json").read_text())["result"]["loss_first"]
    assert json.loads(out)["loss_first"] == pytest.approx(first)


def test_a_saved_latent_of_another_autoencoder_is_refused(invoke, small, tmp_path):
    from safetensors.torch import load_file, save_file

    assert invoke("--image_path", small, "--save_latent", "z.safetensors", *QUICK)[0] == 0
    save_file(
        load_file(tmp_path / "z.safetensors"), tmp_path / "other.safetensors", {"autoencoder": "x", "sha256": "y"}
    )
    code, _, err = invoke("--image_path", small, "--init", "other.safetensors", *QUICK)
    assert code == 2 and "belongs to x" in err


@pytest.mark.parametrize("init", ["uniform", "zeros", "encode"])
def test_every_named_start_runs(invoke, small, init):
    assert invoke("--image_path", small, "--init", init, *QUICK)[0] == 0


def test_target_psnr_stops_early_and_keeps_the_last_frame(invoke, small):
    code, out, _ = invoke(
        *("--image_path", small, "--init", "encode", "--target_psnr", 5, "--json", "--skip_step", 50, "--steps", 100),
        *("--weights", "bundled", "--size", 48),
    )
    assert code == 0 and json.loads(out)["steps"] == 0 and json.loads(out)["frames"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["gif", "mp4", "webm", "webp"])
def test_the_same_seed_gives_the_same_bytes(invoke, small, suffix):
    digests = []
    for _ in range(2):
        code, _, err = invoke(
            *("--image_path", small, "--seed", 9, "--output_path", f"x.{suffix}", "--save_latent", "z.safetensors"),
            *("--save_image", "x.png", "--plot", "p.png", "--caption", *QUICK),
        )
        assert code == 0, err
        names = (f"x.{suffix}", "z.safetensors", "x.png", "p.png")
        digests.append([hashlib.sha256((small.parent / name).read_bytes()).hexdigest() for name in names])
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(command, invoke, small):
    arguments = ("--image_path", small, "--seed", 9, "--save_latent", "z.safetensors", *QUICK)
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    there = [(small.parent / name).read_bytes() for name in ("grad_result.gif", "z.safetensors")]
    assert invoke(*arguments)[0] == 0
    assert [(small.parent / name).read_bytes() for name in ("grad_result.gif", "z.safetensors")] == there


def test_a_manifest_repeats_its_run_to_the_byte(invoke, small):
    assert invoke("--image_path", small, "--output_path", "a.gif", "--optimizer", "sgd", "--caption", *QUICK)[0] == 0
    first = (small.parent / "a.gif").read_bytes()
    (small.parent / "a.gif").unlink()
    code, _, err = invoke("--from_manifest", "a.gif.manifest.json")
    assert code == 0 and err == ""
    assert (small.parent / "a.gif").read_bytes() == first
    code, out, err = invoke("--from_manifest", "a.gif.manifest.json", "--steps", 1, "--output_path", "b.gif", "--json")
    assert code == 0 and json.loads(out)["steps"] == 1


def test_a_manifest_refuses_another_image_in_its_images_place(invoke, small):
    assert invoke("--image_path", small, *QUICK)[0] == 0
    Image.new("RGB", (48, 40), "red").save(small)
    code, _, err = invoke("--from_manifest", "grad_result.gif.manifest.json")
    assert code == 2 and "not the image of the manifest" in err


def test_a_manifest_says_what_a_repeated_run_needs(invoke, small):
    assert invoke("--image_path", small, *QUICK)[0] == 0
    manifest = json.loads((small.parent / "grad_result.gif.manifest.json").read_text())
    assert {"options", "image", "weights", "versions", "machine", "outcome", "result"} <= set(manifest)
    assert isinstance(manifest["options"]["seed"], int) and len(manifest["weights"]["sha256"]) == 64
    assert {"torch", "latentflow", "pillow"} <= set(manifest["versions"])
    assert {"device", "processor", "threads"} == set(manifest["machine"])


def test_quiet_and_piped_runs_show_no_progress(command, small):
    done = command("--image_path", small, *QUICK)
    assert done.returncode == 0 and done.stderr == "" and "\r" not in done.stdout


@pytest.mark.slow
def test_a_terminal_shows_one_progress_line(small):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    line = [sys.executable, str(ROOT / "cli.py"), "--image_path", str(small), *map(str, QUICK)]
    process = subprocess.Popen(line, stderr=follower, stdout=subprocess.PIPE, cwd=small.parent)
    process.communicate(timeout=120)
    os.close(follower)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)
    assert process.returncode == 0
    assert "step" in shown and "loss" in shown and "dB" in shown and "left" in shown
    assert "\n" not in shown.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in [*tracked.splitlines(), *(str(p.relative_to(ROOT)) for p in (ROOT / "latentflow/bundled").iterdir())]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            (source / name).symlink_to((ROOT / name).readlink())
        elif (ROOT / name).is_file():
            (source / name).write_bytes((ROOT / name).read_bytes())
    line = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_one_package(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"latentflow"}
    assert {f"latentflow/losses/{path.name}" for path in (ROOT / "losses").glob("*.py")} <= set(names)
    assert {"config.json", "hashes.json", "diffusion_pytorch_model.safetensors", "README.md"} <= {
        name.split("/")[-1] for name in names if name.startswith("latentflow/bundled/")
    }
    assert (
        "latentflow = latentflow.cli:program"
        in zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    )


@pytest.mark.slow
def test_the_installed_wheel_runs_outside_the_checkout(wheel, small, tmp_path):
    site = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(pip, check=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ["PYTHONPATH"]])}
    where = "import latentflow; from latentflow import losses; print(latentflow.__file__, losses.__file__)"
    shown = subprocess.run([sys.executable, "-c", where], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert shown.stdout.count(str(site)) == 2
    line = [str(site / "bin" / "latentflow"), "--image_path", str(small), "--loss_type", "l1", *map(str, QUICK)]
    done = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert gif_frames(tmp_path / "grad_result.gif") == 4


@pytest.mark.slow
def test_running_out_of_memory_is_one_line_and_its_code(command, small):
    done = command(
        "--image_path",
        small,
        "--weights",
        "bundled",
        "--size",
        2500,
        "--steps",
        1,
        "--checkpointing",
        "off",
        limits={resource.RLIMIT_AS: 4 * 2**30},
    )
    assert done.returncode == 7, done.stderr
    assert done.stderr.count("\n") == 1 and "Out of memory" in done.stderr
    assert sorted(path.name for path in small.parent.iterdir()) == ["small.png"]
