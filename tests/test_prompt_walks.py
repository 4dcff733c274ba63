"""Walks through prompts: both ends are exact, every option arrives where it is used, and what `resume` depends on."""

import dataclasses
import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel

pytest.importorskip("transformers", reason="needs transformers")
import tiny_pipelines

from latentflow.base.errors import InputError
from latentflow.base.options import MAX_SEED
from latentflow.base.session import Session
from latentflow.latents.sources import parse_source
from latentflow.prompts import run
from latentflow.prompts.config import PromptsConfig
from latentflow.prompts.loading import load_pipeline
from latentflow.prompts.pipelines import TextToImage
from latentflow.prompts.run import run_prompts
from latentflow.prompts.stops import parse_stops
from latentflow.prompts.walk import Generation, Pictures, PromptPath, bisect
from latentflow.sound.config import MusicConfig

MASKED = [tiny_pipelines.pixart_alpha, tiny_pipelines.pixart, tiny_pipelines.sana]
OTHERS = [tiny_pipelines.stable_diffusion, tiny_pipelines.stable_diffusion_xl, tiny_pipelines.stable_diffusion_3]
LONG, SHORT = "three hills, and a boat at night@1", "ox@1"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "sd"
    tiny_pipelines.stable_diffusion().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(small):
    return load_pipeline(str(small), "cpu")


def model_of(maker):
    pipeline = maker()
    for each in pipeline.components.values():
        if isinstance(each, torch.nn.Module):
            each.requires_grad_(False)
    return TextToImage(pipeline, "m")


def walked(model, stops, steps=3):
    """Pictures (1, 3, h, w) by their place on the way."""
    path = PromptPath(model, parse_stops(stops), 64)
    return lambda place: model.generate(path.noise(place), path.embeddings(place), steps=steps)


@pytest.mark.parametrize("stops", [[LONG, SHORT], [SHORT, LONG]], ids=["shorter", "longer"])
@pytest.mark.parametrize("maker", [*MASKED, *OTHERS], ids=lambda maker: maker.__name__)
def test_both_ends_of_a_walk_are_the_pictures_of_their_prompts(maker, stops):
    model = model_of(maker)
    picture = walked(model, stops)
    for place, stop in ((0.0, stops[0]), (1.0, stops[1])):
        alone = model.generate(model.noise(1, 64), model.encode(stop.split("@")[0]), steps=3)
        assert torch.equal(picture(place), alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("maker", MASKED, ids=lambda maker: maker.__name__)
def test_a_model_with_masks_moves_on_evenly_from_each_stop(maker, dtype):
    """What a step of a thousandth changes next to a stop is about a tenth of what one of a hundredth does."""
    model = model_of(maker)
    paths = [PromptPath(model, parse_stops(stops), 64) for stops in ([LONG, SHORT], [SHORT, LONG])]
    model.pipeline.to(dtype)
    taken = []
    original = model.pipeline.transformer.forward
    for path in paths:
        outputs = []
        for place in (0.0, 0.001, 0.01, 0.99, 0.999, 1.0):
            model.pipeline.transformer.forward = lambda *given, **named: (
                taken.append(named) or original(*given, **named)
            )
            with sdpa_kernel(SDPBackend.MATH):  # torch's fused one refuses bfloat16 below AVX512 on some processors
                outputs.append(model.generate(path.noise(place), path.embeddings(place), steps=1))
        rms = [float((one - two).square().mean().sqrt()) for one, two in pairwise(outputs)]
        if dtype == torch.float32:
            assert rms[0] < 0.3 * rms[1] and rms[-1] < 0.3 * rms[-2], rms
        else:  # too coarse to see a thousandth
            assert max(rms[0], rms[-1]) < 0.05, rms
    masks = [each["encoder_attention_mask"] for each in taken]
    assert {each.ndim for each in masks} == {2, 3}  # of a stop, and a bias between


def test_a_token_that_is_repeated_counts_as_one():
    """Where attention to n tokens meets attention to more of them, of which some are copies with a share of the
    weight."""
    from latentflow.models.embeddings import mixed

    tokens = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0))
    short, long = torch.tensor([[1, 1, 0, 0, 0, 0]]), torch.tensor([[1, 1, 1, 1, 0, 0]])
    one, two = ({"prompt_embeds": tokens, "prompt_attention_mask": mask} for mask in (short, long))
    found = mixed(one, two, 1e-6, torch.lerp)
    mask = found["prompt_attention_mask"]
    assert torch.allclose(mask, torch.tensor([[1, 1 / 3, 1 / 3, 1 / 3, 0, 0]]), atol=1e-4)  # the last token, thrice
    assert torch.allclose(found["prompt_embeds"][0, 1:4], tokens[0, 1], atol=1e-4)
    words, query = found["prompt_embeds"][0], torch.ones(4)
    attended = (words @ query + mask[0].log()).softmax(0) @ words
    assert torch.allclose(attended, (tokens[0, :2] @ query).softmax(0) @ tokens[0, :2], atol=1e-4)
    half = mixed(one, two, 0.5, torch.lerp)["prompt_attention_mask"]
    assert torch.allclose(half, torch.tensor([[1, 1, 1, 1, 0, 0]]) * torch.tensor([1, 3**-0.5, 3**-0.5, 3**-0.5, 0, 0]))


@pytest.mark.parametrize("text", ["a@-1", "a@12345678901234567890", "a@4294967296", "a@1.5", "a@+7", "a@" + "9" * 5000])
def test_what_is_no_seed_is_refused(text, invoke):
    with pytest.raises(InputError, match=r"a seed is a whole number from 0 to 4294967295"):
        parse_stops([text])
    code, _, err = invoke("prompts", text, "b@2", "--model", "toy")
    assert code == 2 and "a seed is a whole number from 0 to 4294967295" in err


def test_the_largest_seed_has_noise_of_its_own(model):
    assert parse_stops([f"a@{MAX_SEED}", "b@007"])[0].seed == MAX_SEED
    assert not torch.equal(model.noise(MAX_SEED, 16), model.noise(0, 16))
    assert parse_source(f"random:{MAX_SEED}").seed == MAX_SEED


@pytest.mark.parametrize("text", ["random:4294967296", "random:-1", "random:", "random:x"])
def test_a_random_latent_has_a_seed_that_counts(text):
    with pytest.raises(InputError, match="a seed is a whole number from 0 to 4294967295"):
        parse_source(text)


def test_seeds_that_torch_would_take_for_others_are_refused(invoke, photo):
    code, _, err = invoke("--image_path", photo, "--seed", 2**32 + 7)
    assert code == 2 and "--seed" in err and "4294967295" in err
    code, _, err = invoke("prompts", "a", "b", "--seeds", 2**32 + 7)
    assert code == 2 and "--seeds" in err and "4294967295" in err


# What each option arrives as


@dataclasses.dataclass
class Seen:
    loaded: dict = dataclasses.field(default_factory=dict)
    encoded: list = dataclasses.field(default_factory=list)
    noise: list = dataclasses.field(default_factory=list)
    calls: list = dataclasses.field(default_factory=list)
    decoded: list = dataclasses.field(default_factory=list)
    bisected: dict = dataclasses.field(default_factory=dict)
    path: dict = dataclasses.field(default_factory=dict)
    sources: list = dataclasses.field(default_factory=list)
    opened: dict = dataclasses.field(default_factory=dict)
    frames: int = 0


@pytest.fixture
def seen(model, monkeypatch):
    """What the parts of a run were given, with pictures that cost nothing."""
    found = Seen()

    def load(name, device, dtype, **named):
        found.loaded = {"model": name, "device": device, "dtype": dtype, **named}
        return model

    def generate(_, noise, embeddings, watch=None, **named):
        found.calls.append({"count": len(noise), "embeddings": embeddings, **named})
        for step in range(named["steps"] or 2) if watch else ():
            watch(run.DenoisingStep(torch.full_like(noise, 10.0 + step), torch.full_like(noise, step)))
        level = torch.as_tensor((2 * noise[:, :1, :1, 1:2]).sigmoid())
        return level.expand(len(noise), 3, 16, 16).clone()

    def spy(name, kept):
        original = getattr(run, name)
        monkeypatch.setattr(run, name, lambda *given, **named: kept.update(named) or original(*given, **named))

    def record(name, kept):
        original = getattr(TextToImage, name)

        def call(model, *given):
            kept.append(given)
            return original(model, *given)

        monkeypatch.setattr(TextToImage, name, call)

    original_frames = run.run_sinks

    def run_sinks(frames, sinks):
        frames = list(frames)
        found.frames = len(frames)
        return original_frames(frames, sinks)

    monkeypatch.setattr(run, "load_pipeline", load)
    monkeypatch.setattr(TextToImage, "generate", generate)
    monkeypatch.setattr(run, "run_sinks", run_sinks)
    record("encode", found.encoded)
    record("noise", found.noise)
    monkeypatch.setattr(
        TextToImage,
        "decode",
        lambda _, latents, size: found.decoded.append(float(latents.mean())) or torch.zeros(1, 3, 16, 16),
    )
    spy("bisect", found.bisected)
    spy("PromptPath", found.path)
    spy("open_frames", found.opened)
    original_source = run.parse_source
    monkeypatch.setattr(run, "parse_source", lambda *given: found.sources.append(given) or original_source(*given))
    return found


STEPS = {"show_steps": True}
ARRIVES = {  # option → value, other options, what arrives, and as what
    "model": ("somewhere", {}, lambda seen: seen.loaded["model"], "somewhere"),
    "device": ("cpu", {}, lambda seen: seen.loaded["device"], "cpu"),
    "dtype": ("bfloat16", {}, lambda seen: seen.loaded["dtype"], "bfloat16"),
    "scheduler": ("euler", {}, lambda seen: seen.loaded["scheduler"], "euler"),
    "offload": (True, {}, lambda seen: seen.loaded["offload"], True),
    "seeds": ((5, 6), {}, lambda seen: [seed for seed, _ in seen.noise], [5, 6]),
    "negative": ("dark|dull", {}, lambda seen: [text for _, text in seen.encoded], ["dark", "dull"]),
    "guidance": (3.0, {}, lambda seen: {each["guidance"] for each in seen.calls}, {3.0}),
    "steps": (7, {}, lambda seen: {each["steps"] for each in seen.calls}, {7}),
    "size": (32, {}, lambda seen: {size for _, size in seen.noise}, {32}),
    "init": ("{photo}", {}, lambda seen: {tuple(each["start"].shape) for each in seen.calls}, {(1, 4, 8, 8)}),
    "strength": (0.25, {"init": "{photo}"}, lambda seen: {each["strength"] for each in seen.calls}, {0.25}),
    "latent_of": ("sd", {"init": "{photo}"}, lambda seen: set(seen.sources), {("{photo}", "sd")}),
    "embeddings": ("slerp", {}, lambda seen: seen.path["embeddings"], "slerp"),
    "loop": (True, {"frames": 4}, lambda seen: seen.path["loop"], True),
    "frames": (5, {}, lambda seen: sum(each["count"] for each in seen.calls), 5),
    "even": (True, {"frames": 4}, lambda seen: "budget_seconds" in seen.bisected, True),
    "budget_seconds": (1e9, {"even": True, "frames": 3}, lambda seen: seen.bisected["budget_seconds"], 1e9),
    "hold_stops": (0.5, {"frames": 3, "fps": 10.0}, lambda seen: seen.frames, 3 + 2 * 5),
    "show_steps": (True, {}, lambda seen: len(seen.decoded), 4),
    "shown": ("noisy", STEPS, lambda seen: seen.decoded, [10, 11, 10, 11]),
    "caption": (True, {}, lambda seen: seen.opened["draw"].caption, True),
    "batch_size": (2, {"frames": 5}, lambda seen: [each["count"] for each in seen.calls], [2, 2, 2]),
    "fps": (7.0, {}, lambda seen: seen.opened["fps"], 7.0),
    "hold": (2.0, {}, lambda seen: seen.opened["hold"], 2.0),
    "bounce": (True, {}, lambda seen: seen.opened["bounce"], True),
    "palette": ("global", {}, lambda seen: seen.opened["palette"], "global"),
}
ELSEWHERE = {"output_path", "resume", "overwrite"}  # tested by the files that are written


@pytest.mark.parametrize("name", ARRIVES)
def test_an_option_arrives_where_it_is_used(seen, tmp_path, photo, name):
    value, others, found, wanted = ARRIVES[name]
    filled = {key: str(photo) if each == "{photo}" else each for key, each in ({name: value} | others).items()}
    usual = {} if "show_steps" in filled else {"frames": 2}
    run_prompts(["a face", "two"], PromptsConfig(output_path=str(tmp_path / "w.gif"), **usual | filled), Session())
    if name == "latent_of":
        wanted = {(str(photo), "sd")}
    assert found(seen) == wanted


@pytest.mark.parametrize("name, value", [("guidance", 3.0), ("steps", 7), ("size", 32), ("negative", "dark")])
def test_options_arrive_with_show_steps(seen, tmp_path, name, value):
    _, _, found, _ = ARRIVES[name]
    run_prompts(
        ["a face"], PromptsConfig(output_path=str(tmp_path / "w.gif"), show_steps=True, **{name: value}), Session()
    )
    assert found(seen) in ({value}, [value])


@pytest.mark.parametrize(("loop", "count"), [(False, 3), (True, 4)])
def test_a_walk_has_so_many_pictures_a_segment_and_a_loop_its_first_once(seen, tmp_path, monkeypatch, loop, count):
    monkeypatch.setattr(run, "FRAMES_PER_SEGMENT", 2)
    run_prompts(["a face", "two"], PromptsConfig(output_path=str(tmp_path / "w.gif"), loop=loop), Session())
    assert sum(each["count"] for each in seen.calls) == count


def test_every_option_is_in_the_table():
    music = {each.name for each in dataclasses.fields(MusicConfig)}
    assert {each.name for each in dataclasses.fields(PromptsConfig)} - music == set(ARRIVES) | ELSEWHERE


class Words:
    """A model whose words are points of a plane, to be computed with by hand."""

    def encode(self, prompt, negative):
        return {"prompt_embeds": torch.tensor([[[3.0, 0.0]]] if prompt == "east" else [[[0.0, 3.0]]])}

    def noise(self, seed, size):
        return torch.ones(1, 1, 2, 2)


@pytest.mark.parametrize(("embeddings", "middle"), [("lerp", 1.5), ("slerp", 3 * 0.5**0.5)])
def test_words_move_along_a_line_or_an_arc(embeddings, middle):
    path = PromptPath(Words(), parse_stops(["east", "north"]), 16, embeddings=embeddings)
    assert path.embeddings(0.5)["prompt_embeds"][0, 0].tolist() == pytest.approx([middle, middle])


def test_a_walk_that_begins_anew_has_none_of_the_pictures_before(tmp_path):
    pictures = Pictures(tmp_path / "p", None, None, Generation(1, None, 1))
    identity = {"steps": 1, "stops": [], "model": "m"}
    assert pictures.begin(identity, resume=False) == 0
    for position in (0.0, 0.5):
        Image.new("RGB", (4, 4)).save(tmp_path / "p" / f"{position:012.8f}.png")
    assert pictures.begin(identity, resume=True) == 2
    assert pictures.begin(identity, resume=False) == 0 and not list((tmp_path / "p").glob("*.png"))


def test_pictures_differ_by_gray_levels(tmp_path):
    pictures = Pictures(tmp_path, None, PromptPath(Words(), parse_stops(["east", "north"]), 16), None)
    for position, color in ((0.0, (10, 20, 30)), (1.0, (14, 23, 30))):
        Image.new("RGB", (4, 4), color).save(pictures.file(position))
    assert pictures.difference(0.0, 1.0) == pytest.approx((25 / 3) ** 0.5)  # RMS of 4, 3 and 0


# What `resume` depends on

ASIDE = {  # options that no picture of a walk depends on, and why
    "output_path": "where files go",
    "model": "the hash of its files counts",
    "seeds": "they are in `stops`",
    "negative": "it is in `stops`",
    "frames": "which pictures there are, each by its position",
    "even": "which pictures there are",
    "budget_seconds": "which pictures there are",
    "hold_stops": "how long they stay",
    "show_steps": "has no pictures to resume",
    "shown": "goes with `show_steps`",
    "caption": "written on frames, not on pictures",
    "offload": "where weights wait",
    "fps": "how long they stay",
    "hold": "how long they stay",
    "bounce": "the order of frames",
    "palette": "the frames' colors",
    "resume": "is what asks",
    "overwrite": "is another way to begin",
}
BASE = {"frames": 2, "steps": 2, "strength": 0.5, "size": 16, "device": "cpu"}
CHANGES = {  # key of the identity → other options, or another value in the file
    "stops": {"negative": "dark"},
    "guidance": {"guidance": 2.0},
    "steps": {"steps": 3},
    "scheduler": {"scheduler": "euler"},
    "strength": {"strength": 0.75},
    "embeddings": {"embeddings": "slerp"},
    "loop": {"loop": True},
    "batch_size": {"batch_size": 2},
    "latent_of": {"latent_of": "sd"},
    "size": {"size": 32},
    "init": {"init": "other"},
    "device": "cuda",
    "dtype": "torch.float16",
    "threads": 99,
    "torch": "1.0",
    "diffusers": "0.1",
    "model": "0" * 64,
    "notes": "0" * 64,
    "format": 1,
}
WORDS = {"stops": "list of prompts", "threads": "number of threads", "notes": "set of notes"}
WORDS |= {"torch": "version of torch", "diffusers": "version of diffusers", "format": "version of latentflow"}


@pytest.fixture(scope="module")
def begun(small, tmp_path_factory):
    """A walk that is done, its model, and two images to begin from."""
    folder = tmp_path_factory.mktemp("walk")
    for name, level in (("init", 90), ("other", 160)):
        Image.new("RGB", (16, 16), (level, 60, 30)).save(folder / f"{name}.png")
    model = load_pipeline(str(small), "cpu")
    config = PromptsConfig(output_path=str(folder / "w.gif"), init=str(folder / "init.png"), **BASE)
    run_prompts(["a face@1", "two@2"], config, Session(), model)
    return folder, model


def resumed(begun, tmp_path, texts=("a face@1", "two@2"), **options):
    folder, model = begun
    init = folder / f"{options.pop('init', 'init')}.png"
    shutil.copytree(folder / "w.pictures", tmp_path / "w.pictures", dirs_exist_ok=True)
    config = PromptsConfig(output_path=str(tmp_path / "w.gif"), init=str(init), resume=True, **BASE | options)
    return run_prompts(list(texts), config, Session(), model)


def test_a_walk_with_the_same_options_is_resumed(begun, tmp_path, monkeypatch):
    monkeypatch.setattr(TextToImage, "generate", lambda *_, **__: pytest.fail("a picture was made again"))
    report = resumed(begun, tmp_path, fps=3.0, hold=1.0, caption=True, bounce=True)
    assert report.figures["pictures"] == 2


@pytest.mark.parametrize("key", CHANGES)
def test_pictures_of_another_walk_are_not_mixed_in(begun, small, tmp_path, key):
    change = CHANGES[key]
    if key == "scheduler":  # of a model that is loaded anew
        begun = (begun[0], load_pipeline(str(small), "cpu", **change))
    if not isinstance(change, dict):
        shutil.copytree(begun[0] / "w.pictures", tmp_path / "changed")
        said = json.loads((tmp_path / "changed" / "pictures.json").read_text())
        assert said[key] != change
        (tmp_path / "changed" / "pictures.json").write_text(json.dumps(said | {key: change}))
        begun = (tmp_path, begun[1])
        Image.new("RGB", (16, 16), (90, 60, 30)).save(tmp_path / "init.png")
        (tmp_path / "changed").rename(tmp_path / "w.pictures")
        folder = tmp_path / "again"
        folder.mkdir()
        with pytest.raises(InputError, match=f"were made with a different {WORDS.get(key, f'`{key}`')}"):
            resumed(begun, folder)
        return
    with pytest.raises(InputError, match=f"were made with a different .*{WORDS.get(key, f'`{key}`')}"):
        resumed(begun, tmp_path, **change)


@pytest.mark.parametrize("texts", [("a face@3", "two@2"), ("a house@1", "two@2"), ("a face@1", "two@2", "@3")])
def test_other_prompts_and_seeds_are_another_walk(begun, tmp_path, texts):
    with pytest.raises(InputError, match="were made with a different list of prompts"):
        resumed(begun, tmp_path, texts)


def test_another_model_is_another_walk(begun, tmp_path, monkeypatch):
    monkeypatch.setattr(TextToImage, "fingerprint", lambda _: "another")
    with pytest.raises(InputError, match="were made with a different `model`"):
        resumed(begun, tmp_path)


def test_every_option_is_in_the_identity_or_aside_with_a_reason(begun):
    """A new option that changes pictures can't be forgotten."""
    said = set(json.loads((begun[0] / "w.pictures" / "pictures.json").read_text()))
    assert said == set(CHANGES)
    music = {
        each.name for each in dataclasses.fields(MusicConfig)
    }  # notes are in `notes`, sound chooses among pictures
    options = {each.name for each in dataclasses.fields(PromptsConfig)} - music
    assert not said & set(ASIDE) - {"model"} and options <= said | set(ASIDE)


# Figures


def test_the_seed_of_a_scheduler_is_that_of_the_stop_before(model):
    path = PromptPath(model, parse_stops(["a@1", "b@2", "c@3"]), 16)
    assert [path.seed(place) for place in (0.0, 0.75, 1.0, 1.99, 2.0)] == [1, 1, 2, 2, 3]


class Ramp(Pictures):
    """Pictures whose brightness is their position."""

    def __init__(self):
        self.made, self.how = [], Generation(None, None, 1)

    def make(self, positions):
        self.made += positions

    def pixels(self, position):
        return np.full((2, 2, 3), round(255 * position), np.uint8)


def test_a_budget_ends_an_even_walk(monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("latentflow.prompts.walk.time.monotonic", lambda: next(clock))
    *_, positions = bisect(Ramp(), [0.0, 1.0], 1000, budget_seconds=25)
    assert len(positions) == 4  # at 10 and 20 seconds there was time
    assert len([*bisect(Ramp(), [0.0, 1.0], 9, budget_seconds=1)][-1]) == 2


def test_captions_count_up_and_the_ratio_is_of_the_largest_to_the_smallest(seen, tmp_path, monkeypatch):
    captions = []
    original = run._frames
    monkeypatch.setattr(
        run, "_frames", lambda *given: [captions.append(each.caption) or each for each in original(*given)]
    )
    config = PromptsConfig(output_path=str(tmp_path / "w.gif"), frames=5)
    report = run_prompts(["a face@1", "two@2"], config, Session())
    assert captions[1] == ["a face@1", "to two@2", "25%"]
    levels = [Image.open(path).getpixel((0, 0))[0] for path in sorted((tmp_path / "w.pictures").glob("*.png"))]
    steps = [abs(one - two) for one, two in pairwise(levels)]
    assert report.figures["widest_over_narrowest"] == pytest.approx(max(steps) / min(steps), rel=1e-5)
    assert max(steps) > min(steps)


def test_the_end_of_a_loop_is_its_beginning_for_music(model):
    loop = PromptPath(model, parse_stops(["a@1", "b@2"]), 16, loop=True)
    line = PromptPath(model, parse_stops(["a@1", "b@2", "c@3"]), 16)
    assert run._nearest([0.0, 1.5], np.array([1.95]), loop) == [0.0]
    assert run._nearest([0.0, 1.5], np.array([1.95]), line) == [1.5]


def test_options_without_effect_are_refused_or_said(seen, tmp_path):
    with pytest.raises(InputError, match="`batch_size` would have no effect with `show_steps`"):
        run_prompts(["a"], PromptsConfig(show_steps=True, batch_size=2), Session())
    with pytest.raises(InputError, match="`seeds` would have no effect: each prompt names its own"):
        run_prompts(["a@1", "b@2"], PromptsConfig(seeds=(3,)), Session())
    for alone in ({"strength": 0.5}, {"latent_of": "sd"}):
        with pytest.raises(InputError, match="`strength` and `latent_of` go with `init`"):
            run_prompts(["a@1", "@2"], PromptsConfig(**alone), Session())
    said = []
    config = PromptsConfig(output_path=str(tmp_path / "w.gif"), frames=2, embeddings="slerp")
    run_prompts(["a@1", "@2"], config, Session(said.append))
    assert "`embeddings` has no effect: all prompts have the same words." in said
