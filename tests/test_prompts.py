"""Pictures from prompts: stops, real pipeline classes with random weights, even walks, steps, and resuming."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("transformers", reason="needs transformers")
import diffusers
import tiny_pipelines
from standins import write_cache

from latentflow.base.errors import InputError, Interrupted, MissingPackageError, WeightsError
from latentflow.base.session import Session
from latentflow.prompts import run
from latentflow.prompts.config import DEFAULT_MODEL, SCHEDULERS, PromptsConfig
from latentflow.prompts.loading import load_pipeline
from latentflow.prompts.pipelines import TextToImage
from latentflow.prompts.run import run_prompts
from latentflow.prompts.stops import Stop, parse_stops
from latentflow.prompts.walk import Generation, Pictures, PromptPath, bisect, evenly

ROOT = Path(__file__).parent.parent
MAKERS = [
    *(tiny_pipelines.stable_diffusion, tiny_pipelines.stable_diffusion_xl, tiny_pipelines.stable_diffusion_3),
    *(tiny_pipelines.flux, tiny_pipelines.pixart_alpha, tiny_pipelines.pixart, tiny_pipelines.sana),
]


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / request.param.__name__
    request.param().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Stable Diffusion's pipeline, small."""
    path = tmp_path_factory.mktemp("model") / "sd"
    tiny_pipelines.stable_diffusion().save_pretrained(path)
    return path


def test_stops_are_words_seeds_or_both():
    assert parse_stops(["a face@7", "@8", "a street", "hills @ night@2"]) == [
        *(Stop("a face", 7), Stop("a face", 8), Stop("a street", 8), Stop("hills @ night", 2)),
    ]
    assert [stop.seed for stop in parse_stops(["a", "b@9", "c"], seeds=[5])] == [5, 9, 5]
    assert [stop.seed for stop in parse_stops(["a", "b@9", "c"], seeds=[1, 2, 3])] == [1, 9, 3]
    assert [stop.negative for stop in parse_stops(["a", "b"], negative="dark | blurred")] == ["dark", "blurred"]
    assert [stop.negative for stop in parse_stops(["a", "b"], negative="dark")] == ["dark", "dark"]


@pytest.mark.parametrize(
    "texts, options, message",
    [
        ([], {}, "No prompts"),
        (["@3"], {}, "the first prompt needs words"),
        (["a", " "], {}, "A prompt is empty"),
        (["a", "b", "c"], {"seeds": [1, 2]}, "`seeds` has 2 values for 3 prompts"),
        (["a", "b", "c"], {"negative": "x|y"}, "`negative` has 2 texts for 3 prompts"),
    ],
)
def test_stops_that_make_no_sense_are_refused(texts, options, message):
    with pytest.raises(InputError) as error:
        parse_stops(texts, **options)
    assert message in str(error.value)


def test_a_picture_is_the_pipelines_own(folder):
    """Words and noise given by us make the picture that the pipeline makes of the prompt and the same noise."""
    model = load_pipeline(str(folder))
    size = model.default_size
    noise, steps = model.noise(3, size), []
    made = model.generate(noise, model.encode("a face", "dark"), steps=4, guidance=3.0, watch=steps.append)
    assert made.shape == (1, 3, size, size) and 0 <= made.min() < made.max() <= 1
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    given = {"height": size, "width": size, "num_inference_steps": 4, "guidance_scale": 3.0, "output_type": "pt"}
    given |= model.family.fixed | {"negative_prompt": "dark"}
    own = pipeline._pack_latents(noise, 1, *noise.shape[1:]) if model.family.packed else noise.clone()
    wanted = pipeline("a face", latents=own, **given).images
    assert torch.allclose(made, wanted, atol=1e-5)
    other = model.generate(noise, model.encode("two hills"), steps=4, guidance=3.0)
    assert not torch.allclose(made, other, atol=1e-3)
    # what the model expects at the last step is the picture
    assert len(steps) == 4 and torch.allclose(model.decode(steps[-1].x0, size).clamp(0, 1), made, atol=0.02)
    assert not torch.allclose(model.decode(steps[0].noisy, size), model.decode(steps[-1].noisy, size), atol=0.1)


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "heun", "dpm"])
def test_a_picture_begun_from_another_is_that_of_the_image_to_image_pipeline(small, scheduler):
    model = load_pipeline(str(small), scheduler=scheduler)
    start = 0.5 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(9))
    steps = []
    words = model.encode("a face")
    made = model.generate(
        model.noise(3, 16), words, steps=6, guidance=2.0, start=start, strength=0.5, watch=steps.append
    )
    other = diffusers.StableDiffusionImg2ImgPipeline(**model.pipeline.components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    given = {"strength": 0.5, "num_inference_steps": 6, "guidance_scale": 2.0, "output_type": "pt"}
    wanted = other(image=start, generator=torch.Generator().manual_seed(3), **words, **given).images
    assert torch.allclose(made, wanted, atol=1e-5)
    whole = model.generate(model.noise(3, 16), words, steps=6, guidance=2.0)
    assert not torch.allclose(whole, made, atol=1e-3)  # and the schedule is complete again
    assert len(steps) < (12 if scheduler == "heun" else 6)
    with pytest.raises(InputError, match=r"`strength` 0\.1 leaves none of 6 steps"):
        model.generate(model.noise(3, 16), words, steps=6, start=start, strength=0.1)


def test_little_strength_keeps_the_picture(folder):
    model = load_pipeline(str(folder))
    size = model.default_size
    start = torch.zeros_like(model.noise(0, size))
    near, far = (
        model.generate(model.noise(1, size), model.encode("a face"), steps=10, guidance=1.0, start=start, strength=each)
        for each in (0.1, 1.0)
    )
    kept = model.decode(model._packed(start), size).clamp(0, 1)
    assert (near - kept).abs().mean() < (far - kept).abs().mean()


def test_an_image_or_a_saved_latent_begins_a_walk(small, invoke, tmp_path, photo):
    """What another command saved of the pipeline's autoencoder is taken; that of another is refused."""
    vae = small / "vae"
    saving = ("--vae", vae, "--size", 16, "--fit", "cover", "--steps", 2, "--quiet")
    code, _, err = invoke("--image_path", photo, *saving, "--save_latent", "z.safetensors", "--output_path", "r.gif")
    assert code == 0, err
    line = ("prompts", "a face@1", "@2", "--model", small, "--steps", 4, "--frames", 2, "--quiet", "--json")
    for number, init in enumerate((photo, "z.safetensors")):
        code, _, err = invoke(*line, "--init", init, "--strength", 0.5, "--output_path", f"{number}.gif")
        assert code == 0, err
    bundled = ("--weights", "bundled", "--size", 16, "--fit", "cover", "--steps", 1, "--quiet")
    code, _, err = invoke("--image_path", photo, *bundled, "--save_latent", "b.safetensors", "--output_path", "b.gif")
    code, _, err = invoke(*line, "--init", "b.safetensors", "--output_path", "c.gif")
    assert code == 2 and "b.safetensors" in err
    code, _, err = invoke(*line, "--strength", 0.5, "--output_path", "c.gif")
    assert code == 2 and "--strength and --latent_of go with --init" in err


def test_noise_is_the_same_everywhere_and_walks_keep_its_norm(small):
    model = load_pipeline(str(small))
    assert torch.equal(model.noise(7, 16), torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(7)))
    path = PromptPath(model, parse_stops(["a face@1", "a street@2", "@3"]), 16)
    assert path.segments == 2
    middle = path.noise(0.5)
    ends = (path.noise(0.0).norm() + path.noise(1.0).norm()) / 2
    assert float(middle.norm()) == pytest.approx(float(ends), rel=1e-4)
    one, two = (model.encode(words)["prompt_embeds"] for words in ("a face", "a street"))
    assert torch.allclose(path.embeddings(0.25)["prompt_embeds"], torch.lerp(one, two, 0.25))
    assert torch.equal(path.embeddings(1.5)["prompt_embeds"], two)
    arcs = PromptPath(model, parse_stops(["a face@1", "a street@2"]), 16, embeddings="slerp")
    assert not torch.allclose(arcs.embeddings(0.5)["prompt_embeds"], torch.lerp(one, two, 0.5))
    loop = PromptPath(model, parse_stops(["a face@1", "a street@2"]), 16, loop=True)
    assert loop.segments == 2 and torch.equal(loop.embeddings(2.0)["prompt_embeds"], one)


class Ramp(Pictures):
    """Pictures whose brightness is the cube of their position, made on demand."""

    def __init__(self, batch_size=1):
        self.made, self.how = [], Generation(None, None, batch_size)

    def make(self, positions):
        self.made += [position for position in positions if position not in self.made]

    def pixels(self, position):
        return np.full((2, 2, 3), round(255 * position**3), np.uint8)


def test_the_widest_gap_is_halved_and_no_picture_is_made_twice():
    ramp = Ramp()
    *_, positions = bisect(ramp, [0.0, 1.0], 17)
    assert len(positions) == 17 == len(ramp.made) and positions == sorted(positions)
    even, plain = (np.diff([place**3 for place in places]) for places in (positions, np.linspace(0, 1, 17)))
    assert even.max() < 0.6 * plain.max()
    assert evenly(5, 2, loop=False) == [0, 0.5, 1, 1.5, 2] and evenly(4, 2, loop=True) == [0, 0.5, 1, 1.5]
    together = Ramp(batch_size=4)
    *_, positions = bisect(together, [0.0, 1.0], 17)
    assert len(positions) == 17


def test_a_walk_is_written_and_resumed_to_the_same_bytes(small, tmp_path, monkeypatch):
    options = {"model": str(small), "frames": 7, "even": True, "steps": 2, "seeds": (1,), "caption": True}
    once = PromptsConfig(output_path=str(tmp_path / "once.mp4"), **options)
    report = run_prompts(["a face", "a street@2"], once, Session())
    assert report.figures["frames"] == 7 and report.figures["pictures"] == 7
    assert len(list((tmp_path / "once.pictures").glob("*.png"))) == 7
    manifest = json.loads((tmp_path / "once.mp4.manifest.json").read_text())
    assert manifest["model"]["pipeline"] == "StableDiffusionPipeline" and manifest["stops"][1]["seed"] == 2

    twice = PromptsConfig(output_path=str(tmp_path / "twice.mp4"), **options)
    session = Session()
    make = Pictures.make

    def stop_after_four(pictures, positions):
        made = make(pictures, positions)
        if len(list(pictures.folder.glob("*.png"))) == 4:
            session.stop()
        return made

    monkeypatch.setattr(Pictures, "make", stop_after_four)
    stopped = run_prompts(["a face", "a street@2"], twice, session)
    assert isinstance(stopped.error, Interrupted) and stopped.figures["pictures"] == 4
    monkeypatch.setattr(Pictures, "make", make)
    calls = []
    generate = TextToImage.generate
    monkeypatch.setattr(
        TextToImage, "generate", lambda model, *given, **named: calls.append(1) or generate(model, *given, **named)
    )
    again = PromptsConfig(output_path=str(tmp_path / "twice.mp4"), resume=True, **options)
    run_prompts(["a face", "a street@2"], again, Session())
    assert len(calls) == 3  # those that were missing
    assert (tmp_path / "once.mp4").read_bytes() == (tmp_path / "twice.mp4").read_bytes()
    names = sorted(path.name for path in (tmp_path / "once.pictures").iterdir())
    for name in names:
        one, two = ((tmp_path / part / name).read_bytes() for part in ("once.pictures", "twice.pictures"))
        assert one == two, name

    with pytest.raises(InputError, match="were made with a different `steps`"):
        other = options | {"steps": 3}
        run_prompts(
            ["a face", "a street@2"], PromptsConfig(output_path=twice.output_path, resume=True, **other), Session()
        )
    more = options | {"frames": 9}  # more frames are no other walk
    report = run_prompts(
        ["a face", "a street@2"], PromptsConfig(output_path=twice.output_path, resume=True, **more), Session()
    )
    assert report.figures["pictures"] == 9 and len(calls) == 5


def test_a_loop_has_its_first_picture_once_and_stops_are_held(small, tmp_path):
    options = {"model": str(small), "loop": True, "frames": 6, "steps": 1, "fps": 10.0, "hold_stops": 0.2}
    config = PromptsConfig(output_path=str(tmp_path / "frames"), **options)
    report = run_prompts(["a face@1", "a street@2", "@3"], config, Session())
    assert report.figures["pictures"] == 6 and report.figures["frames"] == 6 + 3 * 2
    even = PromptsConfig(output_path=str(tmp_path / "even"), even=True, **options | {"frames": 5})
    assert run_prompts(["a face@1", "a street@2"], even, Session()).figures["pictures"] == 5
    assert len(list((tmp_path / "even.pictures").glob("*.png"))) == 5  # the end was not generated again
    frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "frames").glob("*.png"))]
    assert all(np.array_equal(frames[0], frame) for frame in frames[1:3]) and not np.array_equal(*frames[2:4])


def test_a_walk_goes_to_music_with_the_pictures_that_are_there(small, tmp_path):
    from test_sound import click_times, clicks, samples_of, write_wav

    song = write_wav(tmp_path / "song.wav", clicks(2.0, [0.5, 1.5]), 44100)
    options = {"model": str(small), "frames": 5, "steps": 1, "fps": 10.0, "audio": str(song), "smooth": 0.0}
    config = PromptsConfig(output_path=str(tmp_path / "w.mp4"), sensitivity=1.0, **options)
    report = run_prompts(["a face@1", "a street@2", "@3"], config, Session())
    assert report.figures["pictures"] == 5 and report.figures["frames"] == 20
    assert click_times(samples_of(tmp_path / "w.mp4")) == pytest.approx([0.5, 1.5], abs=0.002)
    config = PromptsConfig(output_path=str(tmp_path / "v"), sensitivity=1.0, **options)
    run_prompts(["a face@1", "a street@2", "@3"], config, Session())
    frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "v").glob("*.png"))]
    changes = [index for index in range(1, 20) if not np.array_equal(frames[index], frames[index - 1])]
    assert changes == [5, 15]  # half of the way with each click
    with pytest.raises(InputError, match="`hold_stops` and `audio` both time the walk"):
        run_prompts(["a@1", "@2"], PromptsConfig(audio=str(song), hold_stops=1.0), Session())


def melody(tmp_path):
    """Half a second of nothing, C4 for half a second, nothing, C4 again, E4 to the end of the third second."""
    from test_midi import midi_file, off, on

    notes = [on(480, 60), off(480, 60), on(480, 60), off(480, 60), on(0, 64), off(960, 64)]
    return midi_file(tmp_path / "x.mid", notes)


def test_notes_move_the_noise_and_frames_that_are_the_same_share_a_picture(small, tmp_path):
    options = {"model": str(small), "midi": str(melody(tmp_path)), "frames": 2, "steps": 1, "fps": 10.0}
    options |= {"attack": 0.0, "release": 0.0, "size": 64, "output_path": str(tmp_path / "w")}
    report = run_prompts(["a face@1", "@2"], PromptsConfig(**options), Session())
    frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "w").glob("*.png"))]
    assert report.figures["frames"] == len(frames) == 30
    changes = [index for index in range(1, 30) if not np.array_equal(frames[index], frames[index - 1])]
    assert changes == [5, 10, 15, 20]  # the notes; half of the way, at 1.5 s, with one of them
    assert report.figures["pictures"] == len(list((tmp_path / "w.pictures").glob("*.png"))) == 4  # silence is the same
    assert any("3 notes, 2 of them different" in line for line in report.lines)

    shutil.rmtree(tmp_path / "w")
    again = run_prompts(["a face@1", "@2"], PromptsConfig(**options, resume=True), Session())
    assert again.figures["pictures"] == 4
    shutil.rmtree(tmp_path / "w")
    with pytest.raises(InputError, match="were made with a different set of notes"):
        run_prompts(["a face@1", "@2"], PromptsConfig(**options, resume=True, reach=0.5), Session())


def test_a_walk_to_notes_that_was_stopped_goes_on_to_the_same_bytes(small, tmp_path):
    options = {"model": str(small), "midi": str(melody(tmp_path)), "steps": 1, "fps": 4.0, "size": 64}
    run_prompts(["a face@1", "@2"], PromptsConfig(**options, output_path=str(tmp_path / "one.gif")), Session())

    class Stopping(Session):
        def check(self):
            if len(list((tmp_path / "two.pictures").glob("*.png"))) == 3:
                self.stop()
            super().check()

    two, said = PromptsConfig(**options, output_path=str(tmp_path / "two.gif")), []
    with pytest.raises(Interrupted):
        run_prompts(["a face@1", "@2"], two, Stopping(said.append))
    assert "The pictures so far are kept; `resume` uses them." in said and not (tmp_path / "two.gif").exists()
    run_prompts(["a face@1", "@2"], PromptsConfig(**options, output_path=two.output_path, resume=True), Session())
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "two.gif").read_bytes()
    louder = PromptsConfig(**options, output_path=two.output_path, resume=True, reach=3.0)
    with pytest.raises(InputError, match="were made with a different set of notes"):
        run_prompts(["a face@1", "@2"], louder, Session())


def test_a_note_moves_the_noise_along_its_direction_and_keeps_its_norm(small, tmp_path):
    from latentflow.latents.directions import smooth_directions, with_norm_of

    options = {"model": str(small), "midi": str(melody(tmp_path)), "frames": 2, "steps": 1, "fps": 10.0, "reach": 2.0}
    options |= {"attack": 0.0, "release": 0.0, "size": 64, "output_path": str(tmp_path / "w")}
    run_prompts(["a face@1", "@2"], PromptsConfig(**options), Session())
    model = load_pipeline(str(small), "cpu")
    noise = model.noise(1, 64)
    direction = smooth_directions(tuple(noise.shape), 130, 0)[60:61]
    moved = with_norm_of(noise + 2.0 * direction, noise)
    wanted = model.generate(moved, model.encode("a face"), steps=1, seeds=[1])
    frame = np.asarray(Image.open(sorted((tmp_path / "w").glob("*.png"))[7]), np.float32)  # within the first note
    assert np.abs(frame / 255 - wanted[0].permute(1, 2, 0).numpy()).max() <= 1.5 / 255
    assert moved.norm() == pytest.approx(float(noise.norm()))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"even": True}, "`even` and `midi` both say which pictures are made"),
        ({"hold_stops": 1.0}, "`hold_stops` and `midi` both time the walk"),
        ({"show_steps": True}, "`show_steps` and `midi` both time the walk"),
        ({"map_": "map.json"}, "the direction smile.safetensors is one of latents, and notes move the noise"),
    ],
)
def test_midi_has_its_limits(small, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "map.json").write_text('{"notes": {"C4": {"direction": "smile.safetensors"}}}')
    config = PromptsConfig(model=str(small), midi=str(melody(tmp_path)), steps=1, **options)
    with pytest.raises(InputError, match=message):
        run_prompts(["a face@1", "@2"], config, Session())


def test_words_that_the_model_has_never_seen_are_said(invoke):
    code, _, err = invoke(
        *("prompts", "a red zebra@1", "@2", "--model", "toy", "--frames", 2, "--steps", 2, "--output_path", "w.gif")
    )
    assert code == 0, err
    assert "toy has never seen: zebra." in err and "not in the cache" not in err


@pytest.mark.parametrize("shown", ["x0", "noisy"])
def test_steps_are_shown_side_by_side_and_as_a_grid(small, tmp_path, saved_figures, shown):
    options = {"model": str(small), "show_steps": True, "shown": shown, "steps": 3}
    config = PromptsConfig(output_path=str(tmp_path / "steps"), **options)
    report = run_prompts(["a face@1", "a street@2"], config, Session())
    assert report.figures["frames"] == 4
    frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "steps").glob("*.png"))]
    assert len(frames) == 4 and frames[0].shape[1] > 32
    assert Image.open(tmp_path / "steps.steps.png").size[0] > 300
    (figure,) = saved_figures
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:4] == ["a face@1\nstep 0", "step 1", "step 2", "picture"] and titles[4] == "a street@2\nstep 0"


def test_the_latent_as_it_is_looks_different_from_what_the_model_expects(small, tmp_path, monkeypatch):
    shown = {}
    for kind in ("x0", "noisy"):
        monkeypatch.setattr(run, "run_sinks", lambda frames, sinks, kind=kind: shown.update({kind: list(frames)}))
        path = str(tmp_path / kind)
        config = PromptsConfig(output_path=path, model=str(small), show_steps=True, steps=3, shown=kind)
        run_prompts(["a face@1"], config, Session())
    first = [shown[kind][0].image for kind in ("x0", "noisy")]
    last = [shown[kind][-1].image for kind in ("x0", "noisy")]
    assert not torch.equal(*first) and torch.equal(*last)


def test_steps_are_counted_in_captions(small, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(run, "run_sinks", lambda frames, sinks: shown.extend(frames))
    config = PromptsConfig(
        output_path=str(tmp_path / "steps"), model=str(small), show_steps=True, steps=2, caption=True
    )
    run_prompts(["a face@1"], config, Session())
    assert [frame.caption for frame in shown] == [["step 0 of 2"], ["step 1 of 2"], ["step 2 of 2"]]
    assert shown[0].titles == [["a face@1"]]


def test_the_command_line(invoke, small, tmp_path):
    line = ("prompts", "a face@1", "@2", "--model", small, "--steps", 1, "--frames", 3, "--quiet")
    code, out, err = invoke(*line, "--output_path", "w.gif", "--json")
    assert code == 0 and json.loads(out)["pictures"] == 3, err
    code, _, err = invoke(*line, "--output_path", "w.gif")
    assert code == 6 and "--resume uses them, --overwrite starts over" in err
    code, _, err = invoke(*line, "--output_path", "w.gif", "--overwrite", "--size", 17)
    assert code == 2 and "multiples of" in err
    code, _, err = invoke("prompts", "a face", "--model", small, "--output_path", "x.gif")
    assert code == 2 and "A walk needs two prompts" in err
    code, _, err = invoke(*line[:3], "--model", tmp_path / "none", "--output_path", "x.gif")
    assert code == 4 and len(err.strip().splitlines()) == 1
    code, _, err = invoke(*line, "--scheduler", "flow_euler", "--output_path", "y.gif")
    assert code == 2 and "--scheduler flow_euler doesn't go with StableDiffusionPipeline" in err


def test_nothing_is_downloaded_that_was_not_asked_for(tmp_path):
    said = []
    assert load_pipeline(device="cpu", say=said.append).name == "toy"  # loudly
    assert [line.split(":")[0] for line in said] == [f"No `model` is named, and {DEFAULT_MODEL} is not in the cache"]
    with pytest.raises(WeightsError, match="can't be loaded"):
        load_pipeline("somebody/something")


@pytest.mark.slow
def test_the_default_is_taken_from_the_cache_without_a_network(command, small, tmp_path):
    files = {path.relative_to(small).as_posix(): path.read_bytes() for path in small.rglob("*") if path.is_file()}
    write_cache(tmp_path / "hub", DEFAULT_MODEL, files)
    line = ["prompts", "a face@1", "@2", "--steps", "1", "--frames", "2", "--json", "--quiet"]
    done = command(*line, env={"HF_HUB_CACHE": str(tmp_path / "hub")})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == DEFAULT_MODEL
    manifest = json.loads((tmp_path / "prompts.mp4.manifest.json").read_text())
    assert manifest["model"]["sha256"] == load_pipeline(str(small)).fingerprint()


def test_a_default_that_is_cached_but_incomplete_is_an_error_and_not_the_toy(tmp_path, monkeypatch):
    write_cache(tmp_path / "hub", DEFAULT_MODEL, {"model_index.json": b'{"_class_name": "StableDiffusionPipeline"}'})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    said = []
    with pytest.raises(WeightsError, match=f"{DEFAULT_MODEL} is in the cache, but not complete: .* has no tokenizer"):
        load_pipeline(device="cpu", say=said.append)
    assert not said


def test_the_seed_of_notes_is_not_that_of_prompts(small):
    with pytest.raises(InputError, match=r"`seed` is of the directions of notes\. The noise of prompts has `seeds`"):
        run_prompts(["a@1", "@2"], PromptsConfig(model=str(small), seed=7), Session())


def test_other_schedulers_are_taken_with_the_pipelines_settings(small):
    for name in ("euler", "euler_a", "lms", "heun", "dpm", "unipc", "pndm"):
        model = load_pipeline(str(small), scheduler=name)
        assert type(model.pipeline.scheduler).__name__ == SCHEDULERS[name]
        assert model.pipeline.scheduler.config.beta_schedule == "scaled_linear"
        one, two = (model.generate(model.noise(1, 16), model.encode("a face"), steps=5, seeds=[5]) for _ in range(2))
        assert torch.equal(one, two)


def test_without_transformers_it_is_said(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"pip install latentflow\[prompts\]"):
        load_pipeline(str(small))
