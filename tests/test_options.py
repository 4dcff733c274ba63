"""Every option of every command does something, or a line says why not.

An option is tried beside a short base command. Either some output differs from that of the base, or the command names
the option in what it says. Options that have an effect only beside others are listed in `BESIDE`, with these others:
there, an output must differ. So an option that a command doesn't pass on fails here, whichever command it is.
"""

import contextlib
import hashlib
import io
import json
import math
import re
import shutil
import wave

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from standins import model_files, write_folder

from latentflow.cli import command_names, find_command, run
from latentflow.models.deep_compression import AutoencoderDC
from latentflow.models.weights import bundled

# Their options are walked through elsewhere, one at a time: in test_prompt_walks, test_training_options, test_app and
# test_page_files. The last three only print and fetch.
NOT_WALKED = {"prompts", "train", "app", "page", "doctor", "losses", "weights"}
# The bundled autoencoder, but narrow, shallow and with random weights: an eighth of the time.
NARROW = {
    f"{half}_{name}": value
    for half in ("encoder", "decoder")
    for name, value in (("block_out_channels", [8, 8, 8, 8]), ("layers_per_block", [0, 1, 1, 1]))
}
FAST = ["--vae", "made/vae", "--size", "32", "--dtype", "float32"]
PLANE = ["a.png", "b.png", "c.png"]
FIGURE = ["--output_path", "o.png"]
COARSE = ["--size", "16", "--resolution", "2", "--frames", "3", "--steps", "1", "--subspace", "3"]
RUN = ["--steps", "3", "--seed", "1"]
FOLDERS = ["--positive", "images", "--negative", "others", "--apply", "a.png", "--frames", "4"]
BASES = {
    "optimize": ["--image_path", "a.png", *FAST, *RUN, "--output_path", "o.gif"],
    "batch": ["batch", "two", *FAST, *RUN, "--output_dir", "o"],
    "compare": ["compare", "--image_path", "a.png", "--losses", "mse,l1", *FAST, *RUN, "--output_path", "o.gif"],
    "render": ["render", "made/run.gif", "--output_path", "o.gif"],
    "encode": ["encode", "a.png", *FAST, "--refine", "1", "--output_path", "o.npy"],
    "decode": ["decode", "z.npy", "--latent_of", "vae:scaled", *FAST[:2], *FAST[4:], "--output_path", "o.png"],
    "composite": [
        "composite",
        "a.png",
        "b.png",
        "--mask",
        "mask.png",
        "--refine",
        "0",
        *FAST,
        "--output_path",
        "o.png",
    ],
    "cycles": ["cycles", "a.png", *FAST, "--count", "2", "--output_path", "o.gif"],
    "walk": ["walk", "a.png", "b.png", *FAST, "--frames", "5", "--output_path", "o.gif"],
    "channels": ["channels", "a.png", *FAST, "--frames", "4", *FIGURE],
    "grid": ["grid", *PLANE, *FAST, "--resolution", "2", *FIGURE],
    "curvature": ["curvature", *PLANE, *FAST, *COARSE, *FIGURE],
    "stats": ["stats", "images", *FAST, *FIGURE],
    "evaluate": ["evaluate", "images", *FAST, *FIGURE],
    "similar": ["similar", "a.png", "images", *FAST, *FIGURE],
    "concept": ["concept", *FOLDERS, *FAST, "--output_path", "o.safetensors"],
    "atlas": ["atlas", "images", *FAST, *FIGURE],
}
# What is tried of an option, in one command where that is named. Flags and choices need no entry: the last is taken.
VALUES = {
    option: value
    for line in """
        apply b.png; attack 0.4; audio song.wav; background red; beats_per_bar 3; betas 0.5,0.6; bpm 90
        budget_frames 7; by ssim; budget_seconds 1e-9; channels 1,2; clusters 3; count 2; direction made/c.safetensors
        dtype bfloat16; every 3; first_beat 0.3; fps 3; frames 7; from_ 0.5; from_manifest made/run.gif.manifest.json
        hold 3; hold_anchors 1; image_path b.png; index i.safetensors; init b.png; latent_of made/vae:scaled; loop 2
        losses mse,ssim; loss_type l1; lr 0.02; map_ map.json; margin 20; marks 0.7; mask mask.png
        metrics {stem}.m.jsonl; midi notes.mid; negative more; offset 0.5; optimize 2; optimizer sgd; order nearest
        output_dir p; plot {stem}.p.png; plugin plugin.py; positive more; reach 0.5; refine 2; release 0.9; resolution 3
        save_image {stem}.s.png; save_latent {stem}.s.safetensors; seconds 1; seed 9; sensitivity 0.2; shard 1/2
        size 40; skip_step 2; smooth 0.5; steps 1; steps@curvature 3; strengths 1,2; subspace 4; target_psnr 2; tile 16
        to 1.2; vae bundled; vae_config made/half.json; worst 1
        output_path@optimize p.gif; output_path@compare p.gif; output_path@render p.gif; output_path@walk p.gif
        count@cycles 3; refine@cycles 0; latent_of@decode made/vae:unscaled
        output_path@encode p.safetensors; output_path@decode p.png; output_path@cycles p.png
        mask@composite c.png; output_path@composite p.safetensors; refine@composite gradient:2
        output_path p.svg; output_path@concept p.safetensors
    """.strip().splitlines()
    for option, value in (pair.split() for pair in line.strip().split("; "))
}
SOUND = ["--audio", "song.wav", "--fps", "6", "-frames"]
NOTES = ["--midi", "notes.mid", "--fps", "6", "-frames", "--size", "64"]
PERCUSSIVE, BEATS, BARS = ([*SOUND, "--motion", motion] for motion in ("percussive", "beats", "bars"))
UNSCALED = ["--latent_of", "made/vae:unscaled"]
NUMBERS = [*UNSCALED, "z.npy"]
AROUND = ["-b.png", "-c.png"]
BESIDE = {
    **dict.fromkeys(("from_", "motion", "sensitivity", "to"), SOUND),
    **dict.fromkeys(("margin", "smooth"), PERCUSSIVE),
    **dict.fromkeys(("bpm", "every", "first_beat"), BEATS),
    **{f"{name}@render": BEATS for name in ("from_", "to")},
    **dict.fromkeys(("attack", "map_", "reach@walk", "release", "seed@walk"), NOTES),
    **{f"latent_of@{name}": [*NUMBERS, "-b.png", "-c.png", "-a.png"] for name in ("channels", "curvature", "grid")},
    **{name: ["--even"] for name in ("budget_frames", "budget_seconds")},
    **{f"{name}@{view}": AROUND for name in ("reach", "seed") for view in ("curvature", "grid")},
    "audio": ["--output_path", "o.mp4", "--fps", "6", "-frames"],
    "beats_per_bar": BARS,
    "keep": ["--vae", "bundled", "--save_image", "{stem}.i.png", "--init", "encode", "--lr", "3"],
    "latent_of": [*UNSCALED, "--init", "z.npy"],
    "latent_of@concept": [*UNSCALED, "--apply", "square.npy"],
    "latent_of@similar": [*UNSCALED, "-a.png", "-images", "square.npy", "images"],
    "latent_of@walk": ["-b.png", *NUMBERS],
    "latent_of@decode": [],
    "latent_of@composite": ["-b.png", *NUMBERS],
    "loss_type@encode": ["--refine", "gradient:2"],
    "loss_type@cycles": ["--refine", "gradient:2"],
    "measure": ["--even", "--size", "48"],
    "marks": [*SOUND, "c.png"],
    "marks@render": [*SOUND, "--motion", "energy"],
    "midi": ["-frames", "--fps", "6", "--size", "64"],
    "offset": [*SOUND, *NOTES],
    "order": ["-a.png", "-b.png", "others"],
    "pace": ["--skip_step", "2", "--steps", "9"],
    "pace@render": ["--skip_step", "2"],
    "plugin": ["--loss_type", "l1"],
    "seconds": ["-frames"],
    "sensitivity@render": [*SOUND, "--motion", "energy"],
    "smooth@render": PERCUSSIVE,
    "vae_config@walk": ["-b.png", "random:3"],
    "tones": [*NOTES, "--output_path", "o.mp4"],
}
# They may do nothing alone: that depends on what else is there.
SILENT = {"pace", "vae_config@walk"}
# Options that these outputs can't show, and why; tests of their own look at them.
UNSEEN = {
    **dict.fromkeys(("bounce@grid", "fps@grid", "frames@grid", "loop@grid", "palette@grid"), "a plane to pan across"),
    **{f"vae_config@{view}": "the index refuses it" for view in ("atlas", "concept", "similar", "stats")},
    "direction": "needs a second direction",
    "vae@decode": "a latent belongs to one autoencoder",
    "margin@render": "twelve frames are too few to show it",
    "address": "of Ray alone",
    "batch_size": "how many at a time",
    "checkpoint_every": "a checkpoint is gone when a run is complete",
    "checkpointing": "memory alone",
    "compile": "speed alone",
    "device": "this machine may have one device alone",
    "engine": "Ray may be missing",
    "gpus_per_worker": "of Ray alone",
    "max_failures": "nothing fails here",
    "max_pixels": "refuses, or does nothing",
    "method@atlas": "umap may be missing",
    "overwrite": "nothing is there yet",
    "plugin": "what a plugin's loss does is that loss",
    "quiet": "what is said at a terminal",
    "resume": "nothing was begun",
    "weights": "which networks measure depends on the cache",
    "workers": "how many at a time",
}
TEXT = (".json", ".jsonl", ".csv", ".md", ".txt", ".html")
AGAIN = "(again)"
TIMED = " s per step"


def options():
    return [
        (name, parameter.name)
        for name in command_names()
        if name not in NOT_WALKED
        for parameter in find_command(name).params
        if parameter.param_type_name == "option" and entry(UNSEEN, name, parameter.name) is None
    ]


def entry(table, command, option):
    return table.get(f"{option}@{command}", table.get(option))


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A folder with all that the base commands and values name."""
    made = tmp_path_factory.mktemp("material")
    y, x = np.mgrid[0:24, 0:32]
    alpha = np.where(x < 16, 255, 0).astype("uint8")
    for folder, count in (("images", 5), ("others", 4), ("more", 6), ("two", 2)):
        (made / folder).mkdir()
        for index in range(count):
            rng = np.random.default_rng(index + 10 * count)
            waves = [128 + 100 * np.sin((x * rng.normal() + y * rng.normal()) / 5 + rng.uniform(0, 6)) for _ in "rgb"]
            pixels = np.stack([*waves, *([] if index else [alpha])], -1).astype("uint8")
            Image.fromarray(pixels).save(made / folder / f"{index}.png")
    for name, source in (("a", "images/0"), ("b", "images/1"), ("c", "others/2")):
        shutil.copy(made / f"{source}.png", made / f"{name}.png")
    Image.fromarray(alpha).save(made / "mask.png")
    np.save(made / "z.npy", np.random.default_rng(1).standard_normal((1, 4, 3, 4)).astype("float32"))
    np.save(made / "square.npy", np.random.default_rng(2).standard_normal((1, 4, 4, 4)).astype("float32"))
    write_song(made / "song.wav")
    write_notes(made / "notes.mid")
    (made / "map.json").write_text(json.dumps({"notes": {"60": {"channel": 2}}}))
    (made / "made").mkdir()
    config = json.loads((bundled().path / "config.json").read_text()) | NARROW
    write_folder(made / "made" / "vae", model_files(config, random_weights(AutoencoderDC(config))))
    (made / "made" / "half.json").write_text(json.dumps(config | {"scaling_factor": 0.5}))
    with contextlib.chdir(made), contextlib.redirect_stdout(io.StringIO()):
        longer = ["--steps", "12", "--seed", "1", "--lr", "0.05", "--output_path", "made/run.gif", "--quiet"]
        assert run(["--image_path", "a.png", *FAST, *longer]) == 0
        folders = ["--positive", "others", "--negative", "images", *FAST, "--quiet"]
        assert run(["concept", *folders, "--output_path", "made/c.safetensors"]) == 0
    return made


def random_weights(network):
    """Values for a network, so large that its pictures are neither gray nor black and white."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    return {
        name: torch.randn(shape, generator=generator) / max(1, math.prod(shape[1:])) ** 0.5
        for name, shape in shapes.items()
    }


def write_song(path, rate=22050, seconds=2.0):
    """Clicks four times a second, on a tone that grows louder and changes its pitch; stereo."""
    time = np.arange(round(rate * seconds)) / rate
    sound = np.sin(2 * np.pi * np.where(time < 1, 262, 392) * time) * (0.1 + 0.2 * time / seconds)
    for beat in np.arange(0.1, seconds, 0.25):
        hit = (time >= beat) & (time < beat + 0.01)
        sound[hit] += np.sign(np.sin(9000 * time[hit])) * (0.6 if beat < 1 else 0.4)
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, rate, 0, "NONE", ""))
        file.writeframes((np.repeat(np.clip(sound, -1, 1), 2) * 32767).astype("<i2").tobytes())


def write_notes(path):
    """Three notes, one after the other."""
    mido = pytest.importorskip("mido", reason="needs mido")
    file = mido.MidiFile()
    track = mido.MidiTrack()
    for note in (60, 64, 67):
        track.append(mido.Message("note_on", note=note, velocity=100, time=60))
        track.append(mido.Message("note_off", note=note, velocity=0, time=400))
    file.tracks.append(track)
    file.save(path)


def tried(command, parameter):
    """The words that set an option to something else."""
    if parameter.is_flag:
        return [parameter.opts[-1]]
    choices = (parameter.metavar or "").split("|")
    others = [each for each in choices if each != parameter.default] if len(choices) > 1 else []
    value = entry(VALUES, command, parameter.name) or (others[-1] if others else None)
    assert value is not None, f"VALUES has nothing to try for {parameter.name}"
    return [parameter.opts[-1], value]


def together(base, beside):
    """A command line with more words; -WORD takes away WORD, or the option --WORD with its value."""
    words = list(base)
    for each in beside:
        if not each.startswith("-") or each.startswith("--"):
            words.append(each)
        elif f"-{each}" in words:
            place = words.index(f"-{each}")
            del words[place : place + 2]
        elif each[1:] in words:
            words.remove(each[1:])
    return words


def lines_of(path):
    """What a file holds, as lines. What repeats the options doesn't count: a manifest says what was written, and a
    trajectory that it is there."""
    if path.name.endswith(".manifest.json"):
        return sorted(json.loads(path.read_text())["written"])
    if path.suffix == ".trajectory":
        return []
    if path.suffix == ".safetensors":
        return [
            f"{name} {hashlib.sha256(each.float().numpy().tobytes()).hexdigest()}"
            for name, each in load_file(path).items()
        ]
    return path.read_text().splitlines() if path.suffix in TEXT else [hashlib.sha256(path.read_bytes()).hexdigest()]


def without_figures(line):
    return re.sub(r"[\d.]+(e-\d+)?", "#", line)


class Outcome:
    """The exit code of a command, what it said, and the lines of the files it wrote, all by name."""

    def __init__(self, code, said, files):
        self.code, self.said = code, said
        self.lines = {"what is said": said.splitlines(), **files}

    def names(self, option):
        return re.search(rf"--(no_)?{option.rstrip('_')}\b", self.said) is not None

    def differs(self, other, noise):
        """The names of what differs from another outcome, apart from the figures of lines that are noise."""

        def known(outcome, name):
            lines = outcome.lines.get(name, ["absent"])
            return [pattern if (pattern := without_figures(line)) in noise else line for line in lines]

        return [name for name in {*self.lines, *other.lines} if known(self, name) != known(other, name)]


@pytest.fixture(scope="module")
def outcomes():
    return {}


@pytest.fixture
def outcome(material, outcomes, tmp_path, monkeypatch, capfd):
    """Run a command line beside the material; equal ones run once."""

    def of(*line):
        if line not in outcomes:
            folder = tmp_path / str(len(outcomes))
            folder.mkdir()
            for each in material.iterdir():
                (folder / each.name).symlink_to(each)
            monkeypatch.chdir(folder)
            # figures are compared: they need no good layout and few pixels, which are half of the time to draw one
            monkeypatch.setattr("latentflow.pictures.figure.DPI", 40)
            monkeypatch.setattr("matplotlib.layout_engine.ConstrainedLayoutEngine.execute", lambda self, figure: None)
            monkeypatch.setattr("latentflow.explore.curvature.run.MEASURED", np.linspace(0, 1, 3))
            for side in ("TILES_ON_SHORT_SIDE", "MAX_TILES_ON_LONG_SIDE"):
                monkeypatch.setattr(f"latentflow.explore.curvature.figure.{side}", 2)
            capfd.readouterr()
            code = run([word for word in line if word != AGAIN])
            said = "".join(capfd.readouterr())
            made = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
            outcomes[line] = Outcome(code, said, {str(path.relative_to(folder)): lines_of(path) for path in made})
        return outcomes[line]

    return of


@pytest.fixture
def noise(outcome):
    """Lines whose figures differ when a command is repeated, known by the rest of the line: times, which may also be
    the same twice and differ the third time."""

    def of(*line):
        once, again = outcome(*line), outcome(*line, AGAIN)
        timed = {without_figures(each) for lines in once.lines.values() for each in lines if TIMED in each}
        return timed | {
            without_figures(each)
            for name, lines in once.lines.items()
            for each, other in zip(lines, again.lines[name], strict=True)
            if each != other
        }

    return of


@pytest.mark.slow
@pytest.mark.parametrize(("command", "option"), options())
def test_an_option_has_an_effect_or_is_refused_by_name(command, option, outcome, noise):
    (parameter,) = (each for each in find_command(command).params if each.name == option)
    words, base, beside = tried(command, parameter), BASES[command], entry(BESIDE, command, option)
    before, alone = outcome(*base), outcome(*base, *words)
    assert before.code == 0, before.said
    if not SILENT & {option, f"{option}@{command}"}:
        assert alone.names(option) or alone.differs(before, noise(*base)), f"{words} does nothing, and nothing is said"
    if beside is not None:
        base = together(base, beside)
        before, alone = outcome(*base), outcome(*base, *words)
        assert before.code == 0, before.said
    assert alone.code == 0, alone.said
    assert alone.differs(before, noise(*base)), f"{words} does nothing beside {base}"
