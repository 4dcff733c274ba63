"""`compare`: one start, one target, a panel a loss."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder, picture

from latentflow import compare, optimize
from latentflow.base.errors import DivergedError, InputError
from latentflow.base.session import Session
from latentflow.inversion.objective import Objective
from latentflow.pictures.draw import GAP, columns_for, contact_sheet
from latentflow.runs.compare import run_compare, split
from latentflow.runs.config import CompareConfig
from latentflow.sinks.contact_sheet import shown_steps

QUICK = ("--weights", "bundled", "--size", 48, "--steps", 4, "--seed", 1)


def test_every_run_goes_the_way_it_goes_alone():
    autoencoder, target = linear_autoencoder(), picture(8, 8)
    start = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    objectives = {name: Objective(name, target) for name in ("mse", "l1", "psnr")}
    records = list(compare(autoencoder, objectives, start, steps=5, lr=0.05))
    assert [record.index for record in records] == list(range(6))
    for name, objective in objectives.items():
        alone = list(optimize(autoencoder, objective, start, steps=5, lr=0.05))
        assert all(torch.equal(record.steps[name].latent, step.latent) for record, step in zip(records, alone))
    assert records[0].seconds == sum(step.seconds for step in records[0].steps.values())


def test_a_run_that_diverges_is_named():
    autoencoder, target = linear_autoencoder(), picture(8, 8)
    objectives = {name: Objective(name, target) for name in ("mse", "l1")}
    with pytest.raises(DivergedError, match=r"mse: The run diverged at step \d"):
        list(compare(autoencoder, objectives, torch.zeros(1, 4, 4, 4), steps=5, lr=1e4, optimizer="sgd"))


def test_frames_sheet_table_and_manifest(invoke, small, tmp_path):
    line = (
        "compare",
        "--image_path",
        small,
        "--losses",
        "mse,ssim, l1 + 0.1*tv",
        "--output_path",
        "{stem}.gif",
        *QUICK,
    )
    code, out, err = invoke(*line)
    assert code == 0, err
    with Image.open(tmp_path / "small.gif") as gif:
        assert gif.n_frames == 5
        width, height = gif.size
    assert (width + GAP) % (48 + GAP) == 0 and width >= 96 and height >= 80
    with Image.open(tmp_path / "small.sheet.png") as sheet:
        assert sheet.size[0] >= 48 * len(shown_steps(4)) and sheet.size[1] > 40 * 3
    table = (tmp_path / "small.md").read_text().splitlines()
    assert [row.split("|")[1].strip() for row in table[2:]] == ["mse", "ssim", "l1 + 0.1*tv", "encoder's own"]
    assert "lpips[bundled]" in table[0] and "s per step" in table[0]
    assert all(name in out for name in ("mse", "ssim", "l1 + 0.1*tv", "encoder's own", "small.sheet.png"))
    manifest = json.loads((tmp_path / "small.gif.manifest.json").read_text())
    assert manifest["outcome"] == "done" and set(manifest["result"]["runs"]) == {"mse", "ssim", "l1 + 0.1*tv"}
    before = (tmp_path / "small.gif").read_bytes()
    assert invoke(*line)[0] == 0 and (tmp_path / "small.gif").read_bytes() == before  # the same bytes again


def test_the_first_panel_is_the_target_and_the_first_frames_are_alike(invoke, small, tmp_path):
    code, _, err = invoke(
        *("compare", "--image_path", small, "--losses", "mse,l1,ssim", "--output_path", "frames"),
        *("--weights", "bundled", "--size", 48, "--steps", 3, "--skip_step", 3, "--init", "encode"),
    )
    assert code == 0, err
    first, last = (np.asarray(Image.open(path)).astype(int) for path in sorted((tmp_path / "frames").glob("*.png")))
    target = np.asarray(Image.open(small).convert("RGB")).astype(int)
    above, below = 18, 4 * 18  # a line of text, and four on pictures as narrow as these
    columns = (first.shape[1] + GAP) // (48 + GAP)
    panels = [
        first[row * (above + 40 + below) + above :][:40, column * (48 + GAP) :][:, :48]
        for row in range(first.shape[0] // (above + 40 + below))
        for column in range(columns)
    ]
    assert np.array_equal(panels[0], target)
    assert np.array_equal(panels[1], panels[2]) and np.array_equal(panels[1], panels[3])  # one start for all
    assert not np.array_equal(first, last)


def test_default_losses_on_a_small_picture_and_json(invoke, small):
    code, out, err = invoke("compare", "--image_path", small, "--json", "--quiet", *QUICK)
    assert code == 0 and err == "", err
    runs = json.loads(out)["runs"]
    names = ["mse", "l1", "ssim", "lpips[bundled]", "psnr", "vgg[bundled]", "tv", "sinkhorn"]
    assert list(runs) == names
    assert all(run["loss_last"] < run["loss_first"] for run in runs.values())


def test_a_stopped_comparison_leaves_complete_files(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = CompareConfig(
        image_path=str(small), losses="mse,l1", steps=1000, size=48, weights="bundled", output_path="c.gif", seed=0
    )

    class Stopping(Session):
        def watch(self, records):
            for record in super().watch(records):
                if record.index == 2:
                    self.stop()
                yield record

    report = run_compare([], config, Stopping())
    assert report.error.exit_code == 130
    with Image.open("c.gif") as gif:
        assert gif.n_frames == 3
    assert (tmp_path / "c.sheet.png").exists() and "mse" in (tmp_path / "c.md").read_text()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--losses", ""], 2, "names no loss"),
        (["--losses", "mse,mse"], 2, "mse is named twice"),
        (["--losses", "mse,1*mse"], 2, "1*mse is mse again"),
        (["--losses", "l1 + mse,ssim,mse+1.0*l1"], 2, "mse+1.0*l1 is l1 + mse again"),
        (["--losses", "mse,mes"], 2, "Did you mean mse?"),
        (["--losses", "mse,ms_ssim"], 2, "at least 161 × 161 pixels"),
        (["--output_path", "c.txt"], 2, "not as .txt"),
        (["--output_path", "no/c.gif"], 6, "does not exist"),
        (["--loss_type", "mse"], 2, "--loss"),
    ],
)
def test_bad_input_is_one_line(invoke, small, options, code, words):
    found, out, err = invoke("compare", "--image_path", small, *QUICK, *options)
    assert (found, out, err.count("\n")) == (code, "", 1) and words in err, err


MINE = """
from latentflow.losses import Loss, register

@register("mine")
class Mine(Loss):
    def __init__(self, load=None):
        super().__init__(load)
        self.label = LABEL

    def forward(self, image, prepared):
        return (image - prepared).abs().amax(dim=(1, 2, 3))
"""


def test_weights_that_differ_in_the_eighth_digit_are_two_runs(invoke, small, tmp_path):
    weights = ("0.12345678*mse", "0.12345679*mse")
    code, out, err = invoke("compare", "--image_path", small, *QUICK, "--losses", ",".join(weights), "--json")
    assert code == 0 and list(json.loads(out)["runs"]) == list(weights), err


@pytest.mark.parametrize(("label", "code", "words"), [("mine", 0, "mine"), ("mse", 2, "two have the label mse")])
def test_a_loss_of_a_plugin_is_compared_unless_it_has_the_name_of_another(invoke, small, tmp_path, label, code, words):
    (tmp_path / "mine.py").write_text(MINE.replace("LABEL", repr(label)))
    found, out, err = invoke("compare", "--image_path", small, *QUICK, "--losses", "mse,mine", "--plugin", "mine.py")
    assert found == code and words in out + err


def test_the_manifest_has_every_option_as_it_was_used(invoke, small, tmp_path):
    """Each given another value than its default."""
    Image.new("L", (48, 40), 200).save(tmp_path / "mask.png")
    given = {
        "losses": "mine,l1",
        "output_path": "c.gif",
        "steps": 2,
        "skip_step": 2,
        "lr": 0.05,
        "size": 40,
        "fit": "cover",
        "init": "zeros",
        "seed": 7,
        "optimizer": "adamw",
        "betas": [0.6, 0.9],
        "schedule": "cosine",
        "vae": "bundled",
        "weights": "bundled",
        "device": "cpu",
        "dtype": "float32",
        "plugin": "mine.py",
        "fps": 10.0,
        "hold": 0.5,
        "loop": 2,
        "bounce": True,
        "palette": "global",
        "overwrite": True,
        "background": "gray",
        "max_pixels": 99_999_999,
    }
    left_out = {"image_path", "mask", "latent_of", "vae_config"}  # files, and what belongs to other files
    assert {each.name for each in fields(CompareConfig)} == set(given) | left_out
    defaults = {each.name: each.default for each in fields(CompareConfig)}
    assert not [name for name, value in given.items() if value == defaults[name] and name != "vae"]
    masked = MINE.replace('"mine")', '"mine", mask="it has no effect")').replace("prepared):", "prepared, mask):")
    (tmp_path / "mine.py").write_text(masked.replace("LABEL", "'mine'"))
    arguments = ["compare", "--image_path", small, "--mask", "mask.png"]
    for name, value in given.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        arguments += [f"--{name}"] if value is True else [f"--{name}", text]
    code, _, err = invoke(*arguments)
    assert code == 0, err
    found = json.loads((tmp_path / "c.gif.manifest.json").read_text())["options"]
    paths = {"plugin": str(tmp_path / "mine.py"), "mask": str(tmp_path / "mask.png"), "image_path": str(small)}
    assert found == given | paths | {"latent_of": None, "vae_config": None}


def test_the_manifest_has_what_was_settled(invoke, small, tmp_path):
    code, _, err = invoke("compare", "--image_path", small, *QUICK, "--losses", "mse", "--output_path", "c.gif")
    assert code == 0, err
    found = json.loads((tmp_path / "c.gif.manifest.json").read_text())["options"]
    assert (found["optimizer"], found["lr"], found["betas"]) == ("adam", 0.1, [0.7, 0.8])


def test_the_sheet_never_takes_the_place_of_the_image(invoke, tmp_path, small):
    small.rename(tmp_path / "c.sheet.png")
    code, _, err = invoke("compare", "--image_path", "c.sheet.png", "--output_path", "c.gif", *QUICK)
    assert code == 2 and "in the place of what it is made from" in err


def test_a_list_is_parted_outside_parentheses():
    assert split("mse, sinkhorn(points=8,blur=0.1) ,l1 + tv") == ["mse", "sinkhorn(points=8,blur=0.1)", "l1 + tv"]
    with pytest.raises(InputError):
        split(" , ")


def test_steps_of_a_sheet_are_at_equal_ratios():
    assert shown_steps(100) == [0, 1, 3, 6, 16, 40, 100]
    assert shown_steps(3) == [0, 1, 2, 3] and shown_steps(1) == [0, 1]


def test_columns_and_sheets_have_the_shape_of_their_pictures():
    assert columns_for(9, 100, 100) in (3, 4, 5) and columns_for(1, 10, 10) == 1
    assert columns_for(8, 400, 100) < columns_for(8, 100, 400)
    tile = np.zeros((20, 30, 3), np.uint8)
    rows, figures = {"one": [tile] * 2, "two": [tile] * 2}, {"one": ["1 dB", "2 dB"], "two": ["3 dB", "4 dB"]}
    sheet = contact_sheet("a title", tile, rows, ["0", "1"], figures)
    line = 18
    assert sheet.shape == (2 * line + 2 * (20 + 2 * line), 96 + 3 * (4 + 30), 3)  # "1 dB" takes two lines here


def test_a_wrong_loss_is_said_to_be_of_the_option_it_is_in(invoke):
    code, out, err = invoke("compare", "--image_path", "x.png", "--losses", "mse,mze")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--losses 'mze', character 1: there is no loss named 'mze'. Did you mean mse?" in err


def test_an_image_without_its_option_is_asked_about(invoke):
    code, out, err = invoke("compare", "x.png")
    assert (code, out, err.count("\n")) == (2, "", 1) and err.endswith("Did you mean --image_path x.png?\n")
    assert "Did you mean" not in invoke("similar", "a.png", "b", "c")[2]
