"""Every option of a training changes something, or is refused; all time counts towards the limit."""

from dataclasses import MISSING, fields, replace

import numpy as np
import pytest
import torch
from conftest import TOOL
from PIL import Image
from test_training import QUICK, TINY_DC, TINY_KL, few_statistics, train_config, trainer  # noqa: F401

from latentflow.base.errors import InputError
from latentflow.base.session import Session
from latentflow.base.state import pack, unpack
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.networks import Networks
from latentflow.training import clock as clock_module
from latentflow.training.clock import Clock
from latentflow.training.config import TrainConfig
from latentflow.training.data import Folder, Generated
from latentflow.training.optimizing import learning_rate
from latentflow.training.plan import make_train_plan
from latentflow.training.run import train
from latentflow.training.trainer import Trainer
from tools.toy.config import TrainPromptsConfig

# Options are passed on: from the command line to the config, and from there to what is trained

OTHER = {  # a value that isn't the default, by the name of the option
    "background": "gray",
    "output_dir": "m",
    "max_minutes": 3.0,
    "data": "nowhere",
    "config": "small-kl",
    "start": "somewhere",
    "loss_type": "l1",
    "plugin": "x.py",
    "kl_weight": 0.5,
    "channels": 2,
    "precision": "bf16",
    "workers": 3,
    "weights": "bundled",
    "device": "cpu",
    "clip": 0.5,
    "ema": 0.5,
    "caption_dropout": 0.5,
    "drawings": 0.5,
}


@pytest.mark.parametrize(
    "command, config, planned",
    [
        ("train", TrainConfig, "latentflow.training.plan.make_train_plan"),
        (TOOL, TrainPromptsConfig, "tools.toy.plan.make_plan"),
    ],
)
def test_the_command_passes_every_option_on(command, config, planned, run_line, monkeypatch):
    given = []

    def plan(config):
        given.append(config)
        raise InputError("enough")

    monkeypatch.setattr(planned, plan)
    for each in fields(config):
        flag = isinstance(each.default, bool)
        value = OTHER.get(each.name, not each.default if flag else 2 * (each.default or 1))
        assert each.default is not MISSING and value != each.default
        code, _, err = run_line(command, f"--{each.name}", *([] if flag else [value]))
        assert code == 2 and "enough" in err, (each.name, err)
        assert given.pop() == replace(config(), **{each.name: value}), each.name


def weights_after(images, options, model=TINY_KL, data=None, steps=2):
    """All weights, averaged ones too, after some updates."""
    config = TrainConfig(**{"data": "x", "output_dir": "y", "steps": 4} | QUICK | options)
    training = Trainer(config, model, data or Folder(images, config.seed), Networks("bundled"))
    for record in training.updates():
        if record.index == steps:
            break
    both = (training.model, training.average.module)
    return torch.cat([each.flatten() for part in both for each in part.parameters()])


@pytest.fixture(scope="module")
def plain(images):
    """The weights with default options, by model."""
    return {name: weights_after(images, {}, model) for name, model in (("kl", TINY_KL), ("dc", TINY_DC))}


@pytest.mark.parametrize(
    "model, options",
    [
        ("kl", {"lr": 2e-3}),
        ("kl", {"ema": 0.05}),
        ("kl", {"clip": 1e-7}),
        ("kl", {"steps": 3}),  # the schedule
        ("kl", {"batch": 3}),
        ("kl", {"crop": 40}),
        ("kl", {"kl_weight": 1.0}),
        ("kl", {"loss_type": "l1"}),
        ("kl", {"seed": 1}),
        ("kl", {"precision": "bf16"}),
        ("kl", {"gan_weight": 1.0, "gan_start": 1}),
        ("dc", {"latent_weight": 1.0}),
        ("dc", {"latent_noise": 0.3}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_an_option_changes_what_is_trained(model, options, images, plain):
    found = weights_after(images, options, {"kl": TINY_KL, "dc": TINY_DC}[model])
    assert not torch.equal(found, plain[model])
    assert torch.isfinite(found).all()


def test_the_options_of_generated_images_change_them():
    def drawn(**options):
        given = {"count": 1, "seed": 0, "workers": 0} | options
        return Generated(**given).images

    assert not torch.equal(drawn(), drawn(seed=1)) and len(drawn(count=2)) == 2
    assert not all(torch.equal(drawn(drawings=0.0, seed=seed), drawn(drawings=1.0, seed=seed)) for seed in range(2))


def test_the_learning_rate_by_hand(images):
    """The first update is at 1/300 of the warm-up; at half of the steps that is over, and the cosine is at a half."""
    records = list(trainer(images, steps=4, lr=2e-3).updates())
    assert [record.lr for record in records] == pytest.approx(
        [2e-3 / 300, 2e-3 * (0.5 + 0.5**1.5), 1e-3, 2e-3 * (0.5 - 0.5**1.5)]
    )
    assert learning_rate(1.0, 149, 0.0) == 0.5 and learning_rate(1.0, 0, 0.025) == pytest.approx(0.5, abs=2e-3)


def test_validations_and_checkpoints_come_when_they_should(images, tmp_path):
    config = train_config(images, TINY_KL, tmp_path / "made", steps=5, validate_every=2, checkpoint_every=3)
    seen = {}

    class Watching(Session):
        def watch(self, records, state=""):
            for record in super().watch(records, state):
                seen[record.index] = [bool(record.validation), (tmp_path / "made" / "checkpoint.safetensors").exists()]
                yield record

    train(make_train_plan(config), Watching())
    assert seen == {1: [False, False], 2: [True, False], 3: [False, False], 4: [True, True], 5: [True, True]}


def test_compile_and_workers_reach_torch(images, monkeypatch):
    compiled, asked = [], []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    training = trainer(images, compile=True, steps=1)
    assert compiled == ["Autoencoding"]

    def batches(crops, **options):
        asked.append(options["workers"])
        yield from ()

    monkeypatch.setattr("latentflow.training.trainer.batches", batches)
    list(training.updates(workers=3))
    assert asked == [3]


def test_the_background_lies_behind_transparent_images(tmp_path):
    for index in range(3):
        Image.new("RGBA", (40, 40), (10, 20, 30, 0)).save(tmp_path / f"{index}.png")
    from latentflow.pictures.reader import Reader

    config = TrainConfig(background="red")
    image, _ = Folder(tmp_path, 0, Reader(config)).take(np.random.default_rng(0))
    assert image.getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize(
    "command, options, message",
    [
        ("train", ["--pictures", 9], "--pictures is for --data generated"),
        ("train", ["--drawings", 0.5], "--drawings is for --data generated"),
        ("train", ["--gan_start", 5], "--gan_start goes with --gan_weight"),
        ("train", ["--config", "small-kl", "--latent_noise", 1], "--latent_noise is for models without a posterior"),
        ("train", ["--config", "small-kl", "--latent_weight", 1], "--latent_weight is for models without a posterior"),
        ("train", ["--data", "generated", "--background", "red"], "--background is for a folder of images"),
        ("train", ["--data", "generated", "--max_pixels", 9], "--max_pixels is for a folder of images"),
        (TOOL, ["--pictures", 9], "--pictures is for --data generated"),
        (TOOL, ["--data", "generated", "--background", "red"], "--background is for a folder of images"),
    ],
)
def test_an_option_without_effect_is_refused(command, options, message, run_line, images):
    code, out, err = run_line(command, "--data", images, "--output_dir", "m", *options)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err, err


def test_weights_without_a_network_are_said(images, tmp_path):
    said = []
    config = train_config(images, TINY_KL, tmp_path / "made", steps=1, weights="bundled", loss_type="l1")
    train(make_train_plan(config), Session(said.append))
    assert said == ["`weights` has no effect: `loss_type` l1 has no network."]
    again = train_config(images, TINY_KL, tmp_path / "made", steps=1, loss_type="lpips", weights="bundled")
    train(make_train_plan(replace(again, overwrite=True)), Session(said.append))
    assert len(said) == 1


# Time


@pytest.fixture
def now(monkeypatch):
    """A clock that is moved by hand: a list of one second."""
    second = [1000.0]
    monkeypatch.setattr(clock_module.time, "perf_counter", lambda: second[0])
    return second


def test_all_time_counts_towards_the_limit(now):
    clock = Clock(1.0)  # 60 s
    now[0] += 20  # images
    clock.reserved = 10
    assert clock.progress() == 0 and clock.seconds == 20
    now[0] += 15
    clock.trained += 15  # of 30 s that are left for updates
    assert clock.progress() == pytest.approx(0.5)
    now[0] += 10  # a validation, which leaves 20
    assert clock.progress() == pytest.approx(0.75)
    now[0] += 6
    assert clock.progress() == 1.0


def test_no_update_begins_that_would_end_too_late(now):
    clock = Clock(1.0)
    now[0] += 40
    clock.took(25.0)  # of 60 s, of which 15 went into other things: another one would need 25, and 20 are left
    assert clock.progress() == 1.0 and clock.trained == 25
    again = Clock(1.0)
    again.restore(clock.state())
    assert again.progress() == pytest.approx(25 / 45)


def test_a_resumed_training_has_what_is_left_of_its_time(now):
    first = Clock(1.0)
    now[0] += 30
    first.trained += 12
    again = Clock(1.0)
    again.restore(first.state())
    assert again.seconds == 30 and again.trained == 12 and again.progress() == pytest.approx(12 / (60 - 18))
    old = Clock(1.0)
    old.restore({"seconds": 12.0})  # of 0.1.0
    assert old.seconds == 12
    assert Clock().progress() == 0


def test_a_training_without_time_ends_before_it_begins(now):
    clock = Clock(1.0)
    now[0] += 40
    clock.reserved = 30
    with pytest.raises(InputError, match="`max_minutes` 1 is over before the first step: images and model took 40 s"):
        clock.require_time()


def test_images_that_take_longer_than_the_limit_are_refused_early(now):
    checks = []
    prepared = Clock(1.0).preparing(1000, 10, lambda: checks.append(1))
    for _ in range(5):
        now[0] += 0.5  # 50 s for all of them
        prepared()
    now[0] += 3
    with pytest.raises(InputError, match=r"Preparing 1000 images takes about 1\.5 minutes, and `max_minutes` is 1\."):
        prepared()
    assert len(checks) == 6
    Clock().preparing(10**6, 1, lambda: None)()


def test_drawing_takes_part_of_the_time(tmp_path):
    options = {"config": str(tmp_path / "made.json"), "max_minutes": 0.001}
    config = train_config("generated", TINY_KL, tmp_path / "made", **options)
    with pytest.raises(InputError, match=r"Preparing 6000 images takes about .* and `max_minutes` is 0\.001"):
        train(make_train_plan(config), Session())


def test_little_time_leaves_fewer_statistics(images, tmp_path, monkeypatch):
    """An encoder of 0.1 s and a decoder of 0.2 s, by a clock that only they move, with 1 validation image."""
    monkeypatch.setattr("latentflow.training.compression.STATISTICS_IMAGES", 64)
    second = [0.0]
    monkeypatch.setattr(clock_module.time, "perf_counter", lambda: second[0])

    def slowed(seconds, made):
        second[0] += seconds
        return made

    for name, seconds in (("encode", 0.1), ("decode", 0.2)):
        plain = getattr(Autoencoder, name)
        monkeypatch.setattr(
            Autoencoder, name, lambda *given, plain=plain, seconds=seconds: slowed(seconds, plain(*given))
        )
    training = trainer(images, max_minutes=0.1)  # 3 s of 6: 1.2 for the validation image, and 18 of 0.1 s
    assert training.statistics == pytest.approx(18, abs=1)
    assert training.clock.reserved == pytest.approx(3.0, abs=0.1)
    assert trainer(images, max_minutes=1.0).clock.reserved == pytest.approx(1.2 + 6.4)
    monkeypatch.undo()
    said = []
    config = train_config(images, TINY_KL, tmp_path / "made", steps=1, max_minutes=1.0)
    monkeypatch.setattr("latentflow.training.compression.STATISTICS_IMAGES", 9)
    monkeypatch.setattr(
        "latentflow.training.trainer.Trainer._reserve_time", lambda self: setattr(self, "statistics", 8)
    )
    train(make_train_plan(config), Session(said.append))
    assert said == ["The statistics of the latents come from 8 images: `max_minutes` 1 leaves no time for 9."]


def test_the_limit_runs_from_the_plan_on(images, tmp_path):
    plan = make_train_plan(train_config(images, TINY_KL, tmp_path / "made", max_minutes=1.0))
    with pytest.raises(InputError, match=r"is over before the first step: images and model took 1\d\d seconds"):
        train(replace(plan, began=plan.began - 100), Session())
    pytest.importorskip("transformers")
    from tools.toy.plan import make_plan
    from tools.toy.run import train_prompts

    folder = tmp_path / "captioned"
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", (40, 40), (80 * index, 90, 100)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text("a picture", encoding="utf-8")
    options = {"size": 32, "width": 32, "layers": 1, "device": "cpu", "max_minutes": 1.0}
    config = TrainPromptsConfig(data=str(folder), output_dir=str(tmp_path / "prompts"), **options)
    planned = make_plan(config)
    with pytest.raises(InputError, match="is over before the first step"):
        train_prompts(replace(planned, began=planned.began - 100), Session())


def test_a_training_that_has_used_its_time_is_only_written(images, tmp_path):
    config = train_config(images, TINY_KL, tmp_path / "made", steps=2)
    train(make_train_plan(config), Session())
    path = tmp_path / "made" / "checkpoint.safetensors"
    content = unpack(path)
    content["training"] |= {"seconds": 70.0, "other_seconds": 5.0}
    path.write_bytes(pack(content))
    said = []
    again = replace(config, steps=50, resume=True, max_minutes=1.0)
    report = train(make_train_plan(again), Session(said.append))
    assert report.step == 2 and report.seconds == 70
    assert said[-1] == "No time is left of `max_minutes` 1: nothing more is trained."


# The training of a text-to-image model


@pytest.fixture(scope="module")
def captioned():
    """Latents of noise, each with a word of its own."""
    pytest.importorskip("transformers")
    from tools.toy.data import Captioned

    words = [f"w{index}" for index in range(8)]
    latents = torch.randn(8, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    return Captioned(latents, words, 1, words)


def prompt_trainer(captioned, **options):
    from tools.toy.trainer import PromptTrainer

    given = {"data": "x", "size": 32, "width": 32, "layers": 1, "batch": 4, "steps": 4, "validate_every": 10**6}
    return PromptTrainer(TrainPromptsConfig(**given | options), captioned, torch.device("cpu"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 2e-3},
        {"ema": 0.05},
        {"clip": 1e-7},
        {"steps": 3},
        {"batch": 3},
        {"width": 64},
        {"layers": 2},
        {"caption_dropout": 1.0},
        {"seed": 1},
    ],
    ids=lambda options: next(iter(options), "none"),
)
def test_an_option_changes_a_text_to_image_model(options, captioned):
    def weights(**given):
        training = prompt_trainer(captioned, **given)
        for record in training.updates():
            if record.index == 2:
                break
        both = (training.model, training.average.module)
        return torch.cat([each.detach().flatten() for part in both for each in part.parameters()])

    assert torch.equal(weights(**options), weights()) == (not options)


@pytest.mark.parametrize("dropout, wanted", [(0.0, 0.0), (1.0, 1.0), (0.25, 0.25), (0.1, 0.1)])
def test_so_many_captions_are_left_out(dropout, wanted, captioned):
    """The rows of tokens that the model is given: the empty caption has but its beginning and its end."""
    training = prompt_trainer(captioned, caption_dropout=dropout, batch=400)
    rows = []
    training.model.register_forward_pre_hook(lambda model, given: rows.append(given[2]))
    training._update(1e-3)
    empty = (rows[0][:, 1] == training.tokenizer.eos_token_id).float().mean()
    assert float(empty) == pytest.approx(wanted, abs=0.0 if wanted in (0, 1) else 0.06)


def test_images_that_are_held_out_are_not_trained_on(captioned, monkeypatch):
    training = prompt_trainer(captioned, batch=400)
    seen, loss = [], training._loss
    monkeypatch.setattr(training, "_loss", lambda *given: seen.append(given[1]) or loss(*given))
    training._update(1e-3)
    held = training.data.validation
    assert held > 0 and set(seen[0].tolist()) == set(range(held, len(training.data.latents)))


def test_samples_are_drawn_from_two_noises(captioned, monkeypatch):
    seen = []

    def made(pipeline, prompts, noise):
        seen.append(noise)
        return [noise[place] for place in range(len(prompts))]

    monkeypatch.setattr("tools.toy.trainer.generate", made)
    prompt_trainer(captioned).sheet()
    assert len(seen) == 2 and not torch.equal(*seen)


def test_a_text_to_image_training_ends_in_time(captioned, monkeypatch):
    monkeypatch.setattr("tools.toy.trainer.MOST_MEASURING", 0)
    training = prompt_trainer(captioned, steps=10**6, max_minutes=0.2)
    assert not training.measures  # which takes longer
    reserved = training.clock.reserved
    assert 0 < reserved < 12
    training.clock.reserved = 12 - training.clock.seconds - 0.4
    records = list(training.updates())
    assert 1 <= len(records) < 10**5 and records[-1].validation
    ended = prompt_trainer(captioned, max_minutes=0.2)
    ended.restore(training.state() | {"seconds": 13.0})
    assert list(ended.updates()) == [] and ended.clock.seconds >= 13
