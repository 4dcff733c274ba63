"""Losses of a user: from a file, from an installed package, and broken ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from latentflow import losses
from latentflow.base.errors import InputError
from latentflow.inversion.plugins import load_plugin

ROOT = Path(__file__).parent.parent
HUBER = '''\
import torch
from latentflow.losses import Loss, register

@register("huber", reference="Huber 1964")
class Huber(Loss):
    """Quadratic near zero, linear far away."""
    def forward(self, image, prepared):
        return torch.nn.functional.huber_loss(image, prepared, reduction="none").mean(dim=(1, 2, 3))
'''
QUICK = ("--weights", "bundled", "--size", 48, "--steps", 2)


@pytest.fixture
def plugin(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_loss_from_a_file(invoke, small, plugin, tmp_path):
    path = plugin(HUBER)
    line = ("--image_path", small, "--plugin", path, "--loss_type", "huber + 0.5*l1", "--metrics", "m.jsonl", *QUICK)
    code, out, err = invoke(*line)
    assert code == 0, err
    assert "huber + 0.5*l1" in out
    assert set(json.loads((tmp_path / "m.jsonl").read_text().splitlines()[0])["parts"]) == {"huber", "l1"}
    manifest = json.loads((tmp_path / "grad_result.gif.manifest.json").read_text())
    assert manifest["options"]["plugin"] == str(path)
    code, _, err = invoke("--from_manifest", "grad_result.gif.manifest.json", "--output_path", "again.gif")
    assert code == 0, err
    assert (tmp_path / "again.gif").read_bytes() == (tmp_path / "grad_result.gif").read_bytes()


def test_a_file_is_run_once(plugin):
    path = plugin(HUBER)
    assert load_plugin(path) == load_plugin(path) == ["huber"]


def test_a_plugin_is_listed(invoke, plugin):
    code, out, _ = invoke("losses", "--plugin", plugin(HUBER))
    assert code == 0 and "huber       Quadratic near zero, linear far away." in out and "Huber 1964" in out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import torch\n\nraise RuntimeError('not today')\n", "mine.py, line 3: RuntimeError: not today"),
        ("def f(:\n", "mine.py, line 1: invalid syntax"),
        ("x = 1\nimport no_such_package_at_all\n", "mine.py, line 2: ModuleNotFoundError"),
        ("x = 1\n", "registers no loss"),
        (HUBER.replace('"huber"', '"mse"'), "mine.py, line 4: ValueError: a loss named 'mse' is built in"),
        (HUBER.replace("register(", "register(range=(0, 1), name="), "mine.py, line 4: TypeError"),
    ],
)
def test_a_plugin_that_is_broken_is_one_line_with_its_place(invoke, small, plugin, text, words):
    code, _, err = invoke("--image_path", small, "--plugin", plugin(text), "--loss_type", "huber", *QUICK)
    assert code == 2 and err.count("\n") == 1 and words in err, err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (".mean(dim=(1, 2, 3))", ".mean()", "returns the shape (), not one value an image: (1,)"),
        ("torch.nn.functional.huber_loss", "torch.nn.functional.hubert", "mine.py, line 8: AttributeError"),
        ("image, prepared, red", "image[..., 2:], prepared, red", "mine.py, line 8: RuntimeError"),
    ],
)
def test_a_plugin_that_fails_in_the_run_is_one_line_with_its_place(invoke, small, plugin, old, new, words):
    path = plugin(HUBER.replace(old, new))
    code, _, err = invoke("--image_path", small, "--plugin", path, "--loss_type", "huber", *QUICK)
    assert code == 2 and err.count("\n") == 1 and words in err, err


def test_no_such_plugin(invoke, small, tmp_path):
    code, _, err = invoke("--image_path", small, "--plugin", "none.py", *QUICK)
    assert code == 2 and "the file does not exist" in err
    with pytest.raises(InputError):
        load_plugin(tmp_path)


def test_a_loss_of_an_installed_package(plugin, monkeypatch, tmp_path):
    """The entry-point group, as pip writes it."""
    plugin(HUBER, "their_losses.py")
    information = tmp_path / "their_losses-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: their-losses\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[latentflow.losses]\nhuber = their_losses:Huber\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "huber" in losses.names()
    assert losses.find("huber").declaration.reference == "Huber 1964"


def test_the_list_as_json_has_all_declarations(invoke):
    code, out, _ = invoke("losses", "--json")
    found = {each["name"]: each for each in json.loads(out)}
    assert code == 0 and list(found) == losses.names()
    assert found["tv"]["reads_target"] is False and found["sinkhorn"]["options"]["points"] == 24
    assert found["lpips"]["weights"] == ["lpips"] and found["psnr"]["lower_bound"] < -60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "on_path", "shadow"),
    [
        (["-m", "latentflow"], False, "losses.py"),
        (["-m", "latentflow"], True, "losses.py"),
        (["-m", "latentflow"], False, "losses/__init__.py"),
        ([str(ROOT / "cli.py")], True, "losses/__init__.py"),
    ],
    ids=["in the folder", "on the path", "a package in the folder", "a package on the path, cli.py"],
)
def test_a_module_of_the_user_named_losses_breaks_nothing(tmp_path, shadow, line, on_path):
    theirs = tmp_path / "theirs"
    (theirs / shadow).parent.mkdir(parents=True)
    (theirs / shadow).write_text("def my_loss(x): return x\n")
    here = tmp_path if on_path else theirs
    paths = [*([str(theirs)] if on_path else []), str(ROOT), os.environ["PYTHONPATH"]]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, *line, "losses"], cwd=here, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("charbonnier ") and "\nvgg " in done.stdout
