"""Beats of loops that are known: where they fall, what is open and said, and what one knows better."""

import importlib.util
import sys
import tempfile
import wave
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from latentflow.base.errors import InputError
from latentflow.base.session import Session
from latentflow.explore.config import WalkConfig
from latentflow.prompts.config import PromptsConfig
from latentflow.runs.config import RenderConfig
from latentflow.sound.beats import find_beats
from latentflow.sound.config import SoundConfig
from latentflow.sound.follow import check_sound, follow
from latentflow.sound.hearing import listen
from latentflow.sound.motion import follow_times


def _benchmark(name):
    path = Path(__file__).parent.parent / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


loops = _benchmark("loops")


def write(path, samples, rate=loops.RATE):
    samples = samples if samples.ndim == 2 else samples[:, None]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture
def heard_loop(tmp_path):
    def hear(loop):
        return listen(write(tmp_path / "loop.wav", loop.samples))

    return hear


@cache
def soft_hats():
    """A loop at 128, and what is heard in it."""
    loop = loops.LOOPS["house, 128, soft hats"]()
    with tempfile.TemporaryDirectory() as folder:
        return loop, listen(write(Path(folder) / "loop.wav", loop.samples))


@pytest.mark.parametrize(
    "name, tempo",
    [
        ("house, 128", 128.0),  # the hi-hats between the beats are as loud as the drum
        ("house, 128, out of phase", 128.0),
        ("swing, 120, clipped", 120.0),
        ("breakbeat, 110, no hats", 110.0),
    ],
)
def test_the_beat_of_a_loop_is_found_where_it_falls(name, tempo, heard_loop):
    loop = loops.LOOPS[name]()
    beats = find_beats(heard_loop(loop))
    assert beats.steady and beats.tempo == pytest.approx(tempo, abs=0.05)
    assert len(beats.times) == len(loop.beats)
    assert np.abs(beats.times - loop.beats).max() < 0.02
    assert beats.doubts == ()


def test_a_soft_hat_does_not_halve_the_tempo():
    loop, heard = soft_hats()
    beats = find_beats(heard)
    assert beats.tempo == pytest.approx(128, abs=0.05) and np.abs(beats.times - loop.beats).max() < 0.02


def test_a_change_of_tempo_is_said_and_each_beat_stays_at_its_hit(heard_loop):
    loop = loops.LOOPS["house, 120 to 138"]()
    beats = find_beats(heard_loop(loop))
    assert not beats.steady and "which vary by" in str(beats)
    errors = np.abs(beats.times[:, None] - loop.beats).min(0)
    assert (errors < 0.02).mean() > 0.95 and len(beats.times) == pytest.approx(len(loop.beats), abs=1)


def test_a_small_change_of_tempo_is_not_steady(heard_loop):
    loop = loops.house(loops.two_tempos(120, 123), hats=0.3, bass=False)
    beats = find_beats(heard_loop(loop))
    assert not beats.steady
    assert (np.abs(beats.times[:, None] - loop.beats).min(0) < 0.02).mean() > 0.95


@pytest.mark.parametrize("made", [loops.pad, loops.drone, loops.speech, loops.noise])
def test_what_has_no_beat_gets_none(made, heard_loop):
    beats = find_beats(heard_loop(made(14.0)))
    assert (beats.tempo, len(beats.times), str(beats)) == (0.0, 0, "no beats found")


def test_the_first_beat_of_a_tight_loop_is_kept(heard_loop):
    loop = loops.LOOPS["house, 126, cut tightly"]()
    assert loop.beats[0] == 0
    heard = heard_loop(loop)
    beats = find_beats(heard)
    assert 0 <= beats.times[0] < 0.005 and len(beats.times) == len(loop.beats)
    around = follow_times(beats.times, heard.seconds, 2, every=2)
    assert around(beats.times[::2][:4]) == pytest.approx([0, 1, 2, 1])  # the first image is on the first beat


def test_what_cannot_be_told_is_said(heard_loop):
    """Equal clicks at 70 a minute may be every second beat of 140."""
    mixer = loops.Mixer(12.0)
    for beat in loops.evenly(70, seconds=12.0):
        mixer.put(mixer.hat(0.01), beat)
    beats = find_beats(heard_loop(loops.Loop(mixer.total, np.zeros(0))))
    assert round(beats.tempo) in (70, 140) and beats.doubts == (f"or {210 - round(beats.tempo)}",)
    assert str(beats).endswith(beats.doubts[0])


def test_a_tempo_that_is_given_is_kept_exactly():
    loop, heard = soft_hats()
    half = find_beats(heard, bpm=64.0)
    assert half.tempo == 64.0 and half.tempo_error == 0 and np.diff(half.times) == pytest.approx(60 / 64)
    assert np.abs(half.times[:, None] - loop.beats).min(1).max() < 0.02  # where the hits are
    assert str(half) == "64 beats per minute, as given"
    wrong = find_beats(heard, bpm=101.0)
    assert wrong.tempo == 101.0 and "which the hits don't keep" in wrong.doubts


def test_a_tempo_goes_without_hits(heard_loop):
    heard = heard_loop(loops.Loop(np.zeros(4 * loops.RATE), np.zeros(0)))
    assert find_beats(heard, bpm=120.0).times == pytest.approx(np.arange(0, 4, 0.5))
    assert find_beats(heard, bpm=120.0, first_beat=1.3).times == pytest.approx(np.arange(1.3, 4, 0.5))
    assert find_beats(heard, first_beat=1.3).tempo == 0


def test_the_first_beat_moves_all_others_and_begins_a_bar(heard_loop):
    loop, heard = soft_hats()
    gap, at = 60 / 128, float(loop.beats[2]) + 30 / 128
    beats = find_beats(heard, 3, first_beat=at)
    assert beats.times[0] == at and np.diff(beats.times) == pytest.approx(gap, abs=1e-3)
    assert beats.bars == pytest.approx(beats.times[::3]) and beats.times[-1] < loops.PLAYED
    assert len(beats.times) == int((loops.PLAYED - at) / gap) + 1
    changing = loops.LOOPS["house, 120 to 138"]()
    moved = find_beats(heard_loop(changing), first_beat=float(changing.beats[:2].mean()))
    between = (changing.beats[1:] + changing.beats[:-1]) / 2
    assert np.abs(moved.times[:, None] - between).min(1)[:-1].max() < 0.02


@pytest.mark.parametrize("config", [WalkConfig, RenderConfig, PromptsConfig])
@pytest.mark.parametrize("values", [{"bpm": 100.0}, {"first_beat": "0:01"}])
def test_what_one_knows_better_is_an_option_of_all_that_follow_a_sound(config, values, tmp_path):
    path = str(write(tmp_path / "x.wav", np.zeros(loops.RATE * 3)))
    (name,) = values
    for motion in ("percussive", "energy", "chroma", "constant"):
        with pytest.raises(InputError, match=f"`{name}` would have no effect on `motion` {motion}. It is for beats or"):
            check_sound(config(audio=path, motion=motion, **values), motion)
    with pytest.raises(InputError, match=f"`{name}` goes with `audio`"):
        check_sound(config(**values), None)
    for motion in ("beats", "bars"):
        check_sound(config(audio=path, motion=motion, **values), motion)
    with pytest.raises(InputError, match="`bpm` must be"):
        config(audio=path, motion="beats", bpm=0.0)


def test_a_first_beat_outside_the_part_is_refused(tmp_path):
    path = str(write(tmp_path / "x.wav", np.zeros(loops.RATE * 3)))
    for values in ({"from_": "2", "first_beat": "1"}, {"to": "2", "first_beat": "2"}):
        with pytest.raises(InputError, match="`first_beat` must lie between the beginning and the end of the sound"):
            check_sound(SoundConfig(audio=path, motion="beats", **values), "beats")
    with pytest.raises(InputError, match="`first_beat`: the sound ends before 4 s"):
        follow(SoundConfig(audio=path, motion="beats", bpm=60.0, first_beat="4"), "beats", Session())


def test_the_first_beat_is_a_time_of_the_file(tmp_path):
    path = str(write(tmp_path / "x.wav", np.zeros(loops.RATE * 6)))
    config = SoundConfig(audio=path, from_="2", first_beat="3.25", bpm=60.0, beats_per_bar=2)
    followed = follow(config, "bars", Session())
    assert followed.beats.times == pytest.approx([1.25, 2.25, 3.25])
    assert followed.beats.bars == pytest.approx([1.25, 3.25])
    assert followed.figures()["sound"]["tempo"] == 60.0


def test_a_walk_to_a_tempo_that_is_given(invoke, small, photo, tmp_path):
    import json

    write(tmp_path / "x.wav", np.zeros(4 * 8000), 8000)
    line = ("walk", small, photo, "--audio", "x.wav", "--motion", "beats", "--every", 2, "--bpm", 60, "--first_beat", 1)
    shown = ("--weights", "bundled", "--size", 48, "--fps", 4, "--json", "--output_path", "walk.gif")
    code, out, err = invoke(*line, *shown)
    assert code == 0, err
    assert json.loads(out)["sound"]["beats"] == [1, 2, 3]
    code, _, err = invoke(*line[:4], "x.wav", "--bpm", 60, *shown, "--overwrite")
    assert code == 2 and "--bpm would have no effect on --motion percussive. It is for beats or bars." in err


def test_a_tempo_that_a_few_bars_leave_is_not_steady(heard_loop):
    """Two in three beats are at 120, the others at 130."""
    mixer = loops.Mixer()
    times = loops.at_tempo(lambda second: 120 if second < 17 else 130)
    for beat in times:
        mixer.put(mixer.hat(0.02), beat)
    beats = find_beats(heard_loop(loops.Loop(mixer.total, times)))
    assert not beats.steady and (np.abs(beats.times[:, None] - times).min(0) < 0.02).mean() > 0.95


def test_equal_hits_on_the_beat_and_between_are_in_doubt(heard_loop):
    mixer = loops.Mixer(16.0)
    for half in loops.evenly(190, seconds=16.0):
        mixer.put(mixer.hat(0.02), half)
    beats = find_beats(heard_loop(loops.Loop(mixer.total, np.zeros(0))))
    assert round(beats.tempo) == 95 and beats.doubts == ("or 190", "or half a beat later")
