"""Training a text-to-image model: its words, what it learns, its resumption, and the folder it writes."""

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import asdict
from functools import partial, partialmethod

import pytest
import torch
from conftest import ROOT
from PIL import Image
from safetensors.torch import load_file

pytest.importorskip("transformers", reason="needs transformers")
from diffusers import DiffusionPipeline, SanaPipeline

from latentflow.base.errors import InputError, Interrupted
from latentflow.base.session import Session
from latentflow.base.state import unpack
from latentflow.prompts.loading import load_pipeline
from latentflow.prompts.pipelines import TextToImage
from latentflow.training.provenance import of_drawn
from tools.toy import measure
from tools.toy.__main__ import toy
from tools.toy.config import TrainPromptsConfig
from tools.toy.models import flow_loss, make_tokenizer
from tools.toy.plan import make_plan
from tools.toy.run import train_prompts

SMALL = {"size": 32, "width": 64, "layers": 2, "batch": 16, "device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Plain red, green and blue images with captions, and one without."""
    made = tmp_path_factory.mktemp("captioned")
    for index in range(24):
        name, color = (("red", (220, 30, 30)), ("green", (30, 180, 30)), ("blue", (30, 30, 220)))[index % 3]
        Image.new("RGB", (40 + index, 48), color).save(made / f"{index}.png")
        (made / f"{index}.txt").write_text(f"A {name.upper()} picture,\n number {index}", encoding="utf-8")
    Image.new("RGB", (40, 40)).save(made / "without.png")
    return made


def trained(tmp_path, folder, session=None, **options):
    config = TrainPromptsConfig(**SMALL | {"data": str(folder), "output_dir": str(tmp_path)} | options)
    return train_prompts(make_plan(config), session or Session())


def test_words_are_known_in_any_case_and_others_are_not():
    tokenizer = make_tokenizer(["a", "house", "red"])
    assert tokenizer("A red,  house!").input_ids == [1, 4, 6, 5, 2]
    assert tokenizer("").input_ids == [1, 2]
    assert tokenizer("a blue house").input_ids == [1, 4, 3, 5, 2]
    assert tokenizer.model_max_length == 32 and make_tokenizer(["a"], 50).model_max_length == 52
    assert make_tokenizer(["a"], 5000).model_max_length == 300


def test_the_loss_is_zero_for_the_velocity_of_the_straight_path():
    latent, noise = torch.randn(2, 3, 4, 4, 4)
    assert flow_loss(noise - latent, latent, noise).abs().max() == 0
    assert flow_loss(noise - latent + 2, latent, noise) == pytest.approx(torch.full((3,), 4.0))


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    """A model of the plain images, and what was said while it was trained."""
    made, said = tmp_path_factory.mktemp("trained"), []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(measure, "SEGMENTS", 2)
        report = trained(made, folder, Session(said.append), steps=150, lr=3e-3, ema=0.95)
    return made, report, said


@pytest.mark.slow
def test_it_draws_what_the_words_say(model):
    made, report, said = model
    assert "1 image without a caption left out." in said
    assert report.images == 23 and report.words == 6 + 24 and report.obedience is None
    loaded = load_pipeline(str(made), "cpu")
    for channel, name in enumerate(("red", "green", "blue")):
        noise = torch.cat([loaded.noise(seed, 32) for seed in range(2)])
        words = loaded.encode(f"a {name} picture")
        pictures = loaded.generate(noise, {key: value.expand(2, *value.shape[1:]) for key, value in words.items()})
        assert pictures.mean((0, 2, 3)).argmax() == channel, name
    assert loaded.unknown_words("a red zebra and a Picture") == ["zebra", "and"]


@pytest.mark.slow
def test_the_folder_is_an_ordinary_pipeline(model):
    made, report, _ = model
    pipeline = DiffusionPipeline.from_pretrained(made)
    image = pipeline(
        "a red picture",
        complex_human_instruction=None,
        num_inference_steps=4,
        height=32,
        width=32,
        use_resolution_binning=False,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
    ).images
    ours = TextToImage(pipeline, "it")
    found = ours.generate(ours.noise(3, 32), ours.encode("a red picture"), steps=4)
    assert torch.allclose(found, image, atol=1e-4)
    card = (made / "README.md").read_text(encoding="utf-8")
    assert "A toy" in card and f"`{report.command()}`" in card and "150 steps" in card
    words = shlex.split(report.command())
    given = toy.make_context("toy", words[3:]).params
    assert words[:3] == ["python", "-m", "tools.toy"]
    assert {key: given[key] for key in asdict(report.plan.config)} == asdict(report.plan.config)
    assert json.loads((made / "report.json").read_text())["steps"] == report.step == 150
    assert json.loads((made / "tokenizer" / "tokenizer.json").read_text())["truncation"] is None
    weights = load_file(made / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tools.toy.run.smoothness", lambda *given: {"noise": 0.1})

    class Stopping(Session):
        def watch(self, records, state=""):
            for record in super().watch(records, state):
                if record.index == 3:
                    self.stop()
                yield record

    options = {"steps": 6, "validate_every": 2, "layers": 1}
    trained(tmp_path / "one", folder, **options)
    stopped = trained(tmp_path / "two", folder, Stopping(), **options)
    assert isinstance(stopped.error, Interrupted) and stopped.step == 3 and stopped.smoothness is None
    said = []
    trained(tmp_path / "two", folder, Session(said.append), resume=True, **options)
    assert any("Resuming from step 3" in line for line in said)
    for name in ("transformer/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

    def figures(name):
        lines = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]

    assert figures("one") == figures("two") and len(figures("one")) == 6
    assert sorted(path.name for path in (tmp_path / "two" / "samples").iterdir()) == [
        *("0000002.png", "0000004.png", "0000006.png")
    ]
    with pytest.raises(InputError, match="belongs to a different training: `width` 64 → 32"):
        trained(tmp_path / "two", folder, resume=True, **options | {"width": 32})


def test_captions_longer_than_a_text_model_can_read_are_cut(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(2):
        Image.new("RGB", (40, 40)).save(images / f"{index}.png")
        (images / f"{index}.txt").write_text("word " * 400, encoding="utf-8")
    report = trained(tmp_path / "m", images, steps=1)
    assert report.step == 1 and report.words == 1


@pytest.mark.slow
def test_generated_scenes_are_trained_on_and_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "PICTURES_EACH", 1)
    monkeypatch.setattr(measure, "DRAWN", 24)
    monkeypatch.setattr(measure, "SEGMENTS", 2)
    # pictures of two steps in place of twenty: nobody asks how good they are
    monkeypatch.setattr(measure, "generate", partial(measure.generate, steps=2))
    monkeypatch.setattr(SanaPipeline, "__call__", partialmethod(SanaPipeline.__call__, num_inference_steps=2))
    report = trained(tmp_path / "m", "generated", size=128, pictures=128, steps=2, width=32, layers=1)
    found = report.summary()["obedience"]
    assert found["held_out"]["pictures"] == 24 and found["chance"] == {"kind": 0.125, "color": 0.1, "time": 0.3333}
    assert found["drawn"]["kind"] > 0.5  # though there were few to learn from
    assert "of held-out prompts" in str(report)
    drawn_by = unpack(tmp_path / "m" / "checkpoint.safetensors")["data"]["drawn_by"]
    assert drawn_by == of_drawn(ROOT / "tools" / "toy" / "captioned.py")["drawn_by"] != of_drawn()["drawn_by"]
    assert Image.open(tmp_path / "m" / "samples" / "0000002.png").size == (8 * 128, 2 * 128)


def test_it_runs_from_the_root_of_a_checkout(tmp_path):
    line = [sys.executable, "-m", "tools.toy", "--output_dir", str(tmp_path / "m")]
    for more, code, said in ((["--help"], 0, ""), ([], 2, "Missing option --data"), (["--dat"], 2, "no option --dat")):
        done = subprocess.run([*line, *more], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == code and said in done.stderr, done.stderr
        assert done.stderr.count("\n") == bool(code) and ("Usage: python -m tools.toy" in done.stdout) == (not code)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("number, code, word", [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "terminated")])
def test_a_signal_before_anything_is_loaded_ends_it(tool, monkeypatch, number, code, word):
    monkeypatch.setattr("tools.toy.plan.make_plan", lambda config: os.kill(os.getpid(), number))
    assert tool("--data", "generated", "--output_dir", "m") == (code, "", f"latentflow: Stopped ({word}).\n")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"data": None}, "Missing option `data`"),
        ({"data": "generated", "size": 100}, "`size` must be a multiple of 32, not 100"),
        ({"data": "generated", "width": 48}, "`width` must be a multiple of 32"),
        ({"data": "nowhere"}, "`data` nowhere does not exist"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        make_plan(TrainPromptsConfig(output_dir=str(tmp_path / "m"), **options))


def test_a_folder_without_captions_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    for index in range(3):
        Image.new("RGB", (40, 40)).save(tmp_path / "images" / f"{index}.png")
    with pytest.raises(InputError, match=r"holds 0 images with a caption; .* photo.txt beside it"):
        trained(tmp_path / "m", tmp_path / "images", steps=1)
