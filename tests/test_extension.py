"""A package that brings one of each kind, used as pip would install it: a folder of metadata on the path."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import latentflow
from latentflow import losses
from latentflow.base.errors import InputError, MissingPackageError
from latentflow.cli import find_command
from latentflow.explore.views import VIEWS
from latentflow.inversion.methods import METHODS, OPTIMIZERS, choose
from latentflow.models.served import SERVED
from latentflow.sound.motions import MOTIONS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

THEIRS = Path(__file__).parent / "extension"
QUICK = ("--weights", "bundled", "--size", 32, "--steps", 2)


def install(folder, points, name="their-latentflow"):
    """Write the metadata of a package, as pip does."""
    information = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in each.items()) for group, each in points]
    (information / "entry_points.txt").write_text("\n".join(lines))


def forget_commands():
    """Let the commands be made anew: the choices of their options are those of when they were imported."""
    for name in [each for each in sys.modules if re.match(r"latentflow\.commands\.[a-z]", each)]:
        del sys.modules[name]


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    site = tmp_path / "site"
    for path in THEIRS.glob("*.py"):
        site.mkdir(exist_ok=True)
        shutil.copy(path, site)
    project = tomllib.loads((THEIRS / "pyproject.toml").read_text())["project"]
    install(site, project["entry-points"].items())
    monkeypatch.syspath_prepend(str(site))
    forget_commands()
    yield site
    forget_commands()
    for name in ("their_latentflow", "their_rules"):
        sys.modules.pop(name, None)
    losses._registry._registered.pop("huber", None)
    for registry in (losses.LOSSES, METHODS, OPTIMIZERS, MOTIONS, VIEWS, SERVED):
        registry._loaded.clear()


def broken(folder, group, name="broken", value="no_such_module_of_anybody:THING", package="broken-package"):
    install(folder, [(f"latentflow.{group}", {name: value})], package)


def test_a_loss_a_method_and_an_optimizer(theirs, invoke, small):
    options = {"size": 32, "steps": 2, "weights": "bundled", "seed": 3}
    run = latentflow.invert(small, "huber + 0.5*l1", method="signed", **options)
    before, after, _ = [step.latent for step in run]
    assert run.result().loss == "huber + 0.5*l1"
    moved = (after - before).abs()
    by_half = (moved - 0.005).abs() < 1e-6  # half of the rate 0.01
    assert by_half.float().mean() > 0.95 and (moved[~by_half] < 1e-6).all()  # where the gradient is 0, it has no sign
    code, out, err = invoke(
        "--image_path", small, "--loss_type", "huber", "--optimizer", "halving", "--metrics", "m.jsonl", *QUICK
    )
    assert code == 0, err
    assert "huber" in json.loads(Path("m.jsonl").read_text().splitlines()[0])["parts"]
    code, out, _ = invoke("--help")
    assert "|signed" in "".join(out.split()) and "signed: follow the signs of the gradient" in " ".join(out.split())
    assert "|halving" in "".join(out.split())


def test_an_optimizer_goes_only_with_methods_that_give_what_it_moves_by(theirs):
    assert choose("hybrid", "halving", None, 10).optimizer.name == "halving"
    with pytest.raises(InputError, match=r"`optimizer` halving is not for `method` gradient_free. It takes one of"):
        choose("gradient_free", "halving", None, 10)
    with pytest.raises(InputError, match="It takes one of halving, adam, adamw, sgd"):
        choose("signed", "lbfgs", None, 10)


def test_an_autoencoder_class(theirs, invoke, small, tmp_path):
    import their_rules

    layers = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    counts = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    their_rules.TheirAutoencoder(**layers, **counts).save_pretrained(tmp_path / "model")
    autoencoder = latentflow.load_autoencoder(tmp_path / "model")
    assert type(autoencoder.model) is their_rules.TheirAutoencoder and autoencoder.stride == 2
    code, _, err = invoke("--image_path", small, "--vae", tmp_path / "model", "--checkpointing", "on", *QUICK)
    assert code == 0, err


def test_a_view_is_a_command(theirs, invoke, small):
    code, out, _ = invoke("mirror", "--help")
    assert code == 0 and "Mirror a latent left to right" in out and "--output_path" in out
    code, out, err = invoke("mirror", small, "--vae", "bundled", "--size", 32)
    assert code == 0 and "mirror   drawn" in out, err
    assert max(Image.open("mirror.png").size) == 32 and Path("mirror.png.manifest.json").exists()
    code, out, _ = invoke("--help")
    assert "mirror " in out and "A latent mirrored left to right, decoded." in out


def test_a_view_is_a_panel_of_the_app_with_its_options(theirs):
    testing = pytest.importorskip("streamlit.testing.v1", reason="needs streamlit")
    from latentflow.app.config import AppConfig
    from latentflow.app.visits import Studio, open_studio

    studio = open_studio(Studio(AppConfig(vae="bundled", dtype="float32")))
    try:
        page = testing.AppTest.from_function(_mirror_panel, default_timeout=60).run()
        assert page.subheader[0].value == "A latent mirrored left to right, decoded."
        times = page.number_input(key="mirror_times")
        assert (times.value, times.min, times.max, times.help) == (1, 0, 9, "Number of times to mirror it.")
        times.set_value(3)
        page.number_input(key="mirror_size").set_value(32)
        page.button_group(key="mirror_examples").set_value("face").run()
        page.button(key="mirror_start").click().run()
        (user,) = (each for each in studio._visits.values())
        shown = user.things["mirror"]
        assert shown.job.ended.wait(60) and shown.job.state == "done", shown.job.error
        page.run()
        assert not page.exception and not page.error
        assert page.code[-1].value.startswith("latentflow mirror face.png --times 3 --size 32")
        assert "mirror.png" in shown.files and any("mirror   drawn" in each.value for each in page.code)
    finally:
        studio.close()


def _mirror_panel():
    from latentflow.app.panels.view import show_view

    show_view("mirror")


def test_a_motion(theirs, invoke, small):
    from scipy.io import wavfile

    wavfile.write("tone.wav", 8000, (8000 * torch.randn(8000)).short().numpy())
    line = ("walk", small, "random:3", "--vae", "bundled", "--size", 32, "--audio", "tone.wav", "--fps", 4)
    code, _, err = invoke(*line, "--motion", "swell", "--output_path", "w.gif")
    assert code == 0, err
    manifest = json.loads(Path("w.gif.manifest.json").read_text())
    assert manifest["options"]["motion"] == "swell"
    code, _, err = invoke(*line, "--motion", "swell", "--marks", "0:00.5", "--output_path", "v.gif")
    assert code == 2 and "--marks would have no effect on --motion swell" in err
    code, out, _ = invoke("walk", "--help")
    assert "|swell" in "".join(out.split()) and "swell: with the energy of all that sounds, slowly" in " ".join(
        out.split()
    )


@pytest.mark.parametrize(
    ("group", "registry", "own"),
    [
        ("losses", losses.LOSSES, "mse"),
        ("methods", METHODS, "gradient"),
        ("optimizers", OPTIMIZERS, "adam"),
        ("motions", MOTIONS, "beats"),
        ("views", VIEWS, "walk"),
        ("autoencoders", SERVED, "AutoencoderDC"),
    ],
)
def test_a_broken_package_is_named_and_breaks_nothing_else(tmp_path, monkeypatch, group, registry, own):
    broken(tmp_path, group)
    broken(tmp_path, group, "wrong", "json:loads", "wrong-package")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"broken", "wrong", own} <= set(registry) and registry[own]
    with pytest.raises(MissingPackageError, match=r"The package broken-package 1.0 brings broken to .*no_such_module"):
        registry["broken"]
    with pytest.raises(InputError, match=r"The package wrong-package 1.0 brings wrong to .*can't be used: ValueError"):
        registry["wrong"]
    told = registry.described(lambda record: "fine")
    assert told[own] == "fine" and "broken-package" in told["broken"]
    assert len(registry.usable()) == len(registry) - 2


def test_a_broken_view_is_told_in_its_place(tmp_path, monkeypatch, invoke):
    broken(tmp_path, "views")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, _ = invoke("--help")
    assert code == 0 and "The package broken-package 1.0 brings broken" in " ".join(out.split()) and "  walk " in out
    code, _, err = invoke("broken")
    assert code == 3 and err.count("\n") == 1 and "broken-package" in err


def test_a_taken_name_is_refused(tmp_path, monkeypatch):
    broken(tmp_path, "motions", "beats", "json:loads", "one")
    broken(tmp_path, "views", "batch", "json:loads", "two")
    broken(tmp_path, "methods", "double", "json:loads", "three")
    broken(tmp_path, "methods", "double", "json:loads", "four")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(UserWarning, match=r"The package one 1.0 brings beats .* taken"):
        assert list(MOTIONS).count("beats") == 1 and MOTIONS["beats"].follows == "beats"
    with pytest.warns(UserWarning, match=r"The package two 1.0 brings batch .* taken"):
        assert "batch" not in list(VIEWS)
    assert find_command("batch").name == "batch"
    with pytest.raises(InputError, match=r"three 1.0 and The package four|four 1.0 and The package three"):
        METHODS["double"]


def test_own_names_cost_no_metadata():
    code = (
        "import sys; from latentflow.cli import run; run(['--help']); run(['walk', '--help']);"
        "sys.exit('importlib.metadata' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
