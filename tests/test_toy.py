"""The bundled text-to-image model: small, honest about what it is, and obedient."""

import json
import re
from functools import partial, partialmethod

import pytest
import torch

pytest.importorskip("transformers", reason="needs transformers")
from diffusers import SanaPipeline

from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.toy import bundled_vae, toy_folder
from latentflow.prompts.loading import load_pipeline, toy_words
from latentflow.training.data import to_bytes
from tools.toy import measure
from tools.toy.captioned import COLORS, KINDS, TIMES, Scene, captioned, vocabulary
from tools.toy.data import Captioned
from tools.toy.measure import accuracy, smoothness, train_classifier

LIMIT = 12 * 2**20


@pytest.fixture(scope="module")
def toy():
    return load_pipeline("toy", "cpu")


def pictures(toy, prompt, seeds=(0, 1)):
    words = toy.encode(prompt)
    noise = torch.cat([toy.noise(seed, toy.default_size) for seed in seeds])
    return toy.generate(
        noise, {name: value.expand(len(seeds), *value.shape[1:]) for name, value in words.items()}, steps=6
    )


def test_it_is_small_and_an_ordinary_pipeline(toy):
    weights = [path for path in toy_folder().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in weights) <= LIMIT
    assert toy_words() == vocabulary() and toy.default_size == 128
    assert isinstance(toy.pipeline, SanaPipeline)
    loaded = SanaPipeline.from_pretrained(toy_folder(), vae=bundled_vae(), torch_dtype=torch.float32)
    assert loaded.transformer.config.sample_size == 16
    assert toy.autoencoder.sha256 == load_autoencoder("bundled").sha256


def test_the_card_says_what_the_report_says():
    card = (toy_folder() / "README.md").read_text(encoding="utf-8")
    report = json.loads((toy_folder() / "report.json").read_text(encoding="utf-8"))
    assert "toy" in card and f"{report['steps']} steps" in card and "/" + "root" not in card
    for name in ("kind", "color", "time"):
        assert f"{report['obedience']['held_out'][name]:.1%}" in card
    assert not re.search(r"/(tmp|home|work)/", json.dumps(report))


def test_pictures_are_darker_at_night_and_have_their_color(toy):
    day, night = pictures(toy, "two houses by day"), pictures(toy, "two houses at night")
    assert night.mean() < 0.75 * day.mean()
    red, blue = pictures(toy, "a red ball by day"), pictures(toy, "a blue ball by day")
    middle = (slice(None), slice(None), slice(56, 80), slice(48, 80))
    one, two = (each[middle].mean((0, 2, 3)) for each in (red, blue))
    assert one[0] - one[2] > 0.1 > two[0] - two[2]


@pytest.mark.slow
def test_the_eight_kinds_are_told_apart_in_prompts_that_were_held_out(toy):
    """By a classifier that is trained here, on a few drawings."""
    autoencoder = load_autoencoder("bundled")
    images = torch.stack([to_bytes(captioned(index)[0]) for index in range(160)]).float() / 255
    with torch.no_grad():
        latents = torch.cat([autoencoder.encode(part) for part in images.split(32)])
    classifier = train_classifier(Captioned(latents, [], 0, []), 0)
    scenes = [
        next(Scene(kind, color, time) for time in TIMES for color in COLORS if Scene(kind, color, time).held_out)
        for kind in KINDS
    ]
    made = [autoencoder.encode(pictures(toy, scene.caption(), seeds=(0,))) for scene in scenes]
    found = accuracy(classifier, torch.cat(made), scenes)
    assert found["kind"] >= 0.75  # chance is an eighth


@pytest.mark.slow
def test_pictures_change_smoothly_between_noises_and_words(toy, monkeypatch):
    monkeypatch.setattr(measure, "SEGMENTS", 4)
    # pictures of six steps in place of twenty
    monkeypatch.setattr(measure, "generate", partial(measure.generate, steps=6))
    monkeypatch.setattr(SanaPipeline, "__call__", partialmethod(SanaPipeline.__call__, num_inference_steps=6))
    found = smoothness(toy.pipeline, ["a red ball by day", "a blue ball by day"], (4, 16, 16))
    assert found["noise"] < 0.7 and found["words"] < 0.7
