"""MIDI files: seconds, levels and coordinates worked out by hand, odd files, and walks that notes move."""

import json
import math
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import mido
import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder

from latentflow.errors import InputError
from latentflow.explore.concept.run import Concept, write_concept
from latentflow.explore.config import WalkConfig
from latentflow.explore.music import Player, check_music, read_score
from latentflow.explore.walk import OTHER_TIMING
from latentflow.latents.directions import channel_direction, smooth_directions, with_norm_of
from latentflow.latents.paths import LatentPath
from latentflow.session import Session
from latentflow.sinks.ffmpeg import ffmpeg_executable
from latentflow.sound.midi import Note, note_name, note_number, read_mapping, read_midi
from latentflow.sound.motions import ATTACK, REACH, RELEASE
from latentflow.sound.tones import write_tones

ROOT = Path(__file__).parent.parent
BUNDLED = ("--weights", "bundled", "--size", 64, "--dtype", "float32", "--quiet")
HALF_SECOND = 480  # ticks, at 120 beats a minute and 480 ticks a beat


def midi_file(path, *tracks, kind=1, ticks_per_beat=480):
    """A file of messages, (ticks since the last, message or its type, options)."""
    file = mido.MidiFile(type=kind, ticks_per_beat=ticks_per_beat)
    for messages in tracks:
        track = mido.MidiTrack()
        for ticks, name, options in messages:
            made = mido.MetaMessage if name in ("set_tempo", "end_of_track") else mido.Message
            track.append(made(name, time=ticks, **options))
        file.tracks.append(track)
    file.save(path)
    return path


def on(ticks, note, velocity=127, channel=0):
    return ticks, "note_on", {"note": note, "velocity": velocity, "channel": channel}


def off(ticks, note, channel=0):
    return ticks, "note_off", {"note": note, "channel": channel}


def control(ticks, number, value, channel=0):
    return ticks, "control_change", {"control": number, "value": value, "channel": channel}


def test_seconds_follow_the_tempo_map_over_all_tracks(tmp_path):
    """120 beats a minute for one second, then 60: a beat of 480 ticks takes 0.5 s, then 1 s."""
    tempo = [(0, "set_tempo", {"tempo": 500_000}), (960, "set_tempo", {"tempo": 1_000_000})]
    notes = [on(480, 60, 100), on(960, 60, 0), on(0, 64, 64), off(480, 64)]  # velocity 0 ends a note
    found = read_midi(midi_file(tmp_path / "x.mid", tempo, notes))
    assert found.notes == [Note(60, 0.5, 1.0 + 1.0, 100, 0), Note(64, 2.0, 3.0, 64, 0)]
    assert found.seconds == 3.0 and found.notices == []


def test_a_note_that_is_never_released_lasts_to_the_end_and_is_said(tmp_path):
    found = read_midi(midi_file(tmp_path / "x.mid", [on(0, 60), on(480, 62), off(480, 62)]))
    assert found.notes == [Note(60, 0.0, 1.0, 127, 0), Note(62, 0.5, 1.0, 127, 0)]
    assert found.notices == ["1 note is never released in x.mid, and held to the end."]


def test_the_pedal_holds_notes_and_all_notes_off_ends_them(tmp_path):
    messages = [control(0, 64, 127), on(0, 60), off(480, 60), on(0, 62), control(480, 64, 0), off(480, 62)]
    found = read_midi(midi_file(tmp_path / "x.mid", messages))
    assert found.notes == [Note(60, 0.0, 1.0, 127, 0), Note(62, 0.5, 1.5, 127, 0)]
    messages = [on(0, 60), on(0, 64), control(480, 123, 0), on(480, 60), off(480, 60)]
    found = read_midi(midi_file(tmp_path / "x.mid", messages))
    assert [note.stop for note in found.notes] == [0.5, 0.5, 1.5] and not found.notices


def test_levels_are_those_worked_out_by_hand(tmp_path):
    """A note of velocity 127 from 0.5 to 1.5 s and one of 64 from 1 to 1.1 s; attack 0.2 s, release 0.4 s."""
    notes = [on(480, 60, 127), on(480, 67, 64), off(96, 67), off(384, 60)]
    at = read_midi(midi_file(tmp_path / "x.mid", notes)).levels(0.2, 0.4)
    by_hand = {
        0.0: {},
        0.5: {},  # it begins to rise
        0.6: {60: 0.5},
        0.7: {60: 1.0},
        1.05: {60: 1.0, 67: 64 / 127 * 0.25},
        1.1: {60: 1.0, 67: 64 / 127 * 0.5},  # released before it was up
        1.3: {60: 1.0, 67: 64 / 127 * 0.5 * 0.5},
        1.5: {60: 1.0},
        1.6: {60: 0.75},
        1.9: {},
    }
    for second, wanted in by_hand.items():
        expected = np.zeros(128)
        expected[list(wanted)] = list(wanted.values())
        assert at(second) == pytest.approx(expected, abs=1e-9), second


def test_without_envelopes_a_note_is_on_or_off(tmp_path):
    at = read_midi(midi_file(tmp_path / "x.mid", [on(480, 60), off(480, 60)])).levels(0.0, 0.0)
    assert [float(at(second)[60]) for second in (0.49, 0.5, 0.99, 1.0)] == [0, 1, 1, 0]


def test_a_bend_moves_a_note_towards_its_neighbor(tmp_path):
    bend = [on(0, 60), (480, "pitchwheel", {"pitch": 2048}), (480, "pitchwheel", {"pitch": -8192}), off(480, 60)]
    at = read_midi(midi_file(tmp_path / "x.mid", bend)).levels(0.0, 0.0)
    assert at(0.1)[60] == 1
    half = at(0.6)  # a quarter of two semitones up
    assert half[60] == pytest.approx(math.cos(math.pi / 4)) and half[61] == pytest.approx(math.sin(math.pi / 4))
    assert at(1.1)[58] == 1 and at(1.1).sum() == 1


def test_running_status_is_read(tmp_path):
    track = bytes([0, 0x90, 60, 100, 0x83, 0x60, 62, 100, 0x83, 0x60, 60, 0, 0, 62, 0, 0, 0xFF, 0x2F, 0])
    header = b"MThd" + (6).to_bytes(4, "big") + bytes([0, 0, 0, 1, 1, 0xE0])
    (tmp_path / "x.mid").write_bytes(header + b"MTrk" + len(track).to_bytes(4, "big") + track)
    found = read_midi(tmp_path / "x.mid")
    assert found.notes == [Note(60, 0.0, 1.0, 100, 0), Note(62, 0.5, 1.0, 100, 0)]


def test_odd_files_are_refused_in_a_line(tmp_path):
    good = midi_file(tmp_path / "good.mid", [on(0, 60), off(480, 60)]).read_bytes()
    broken = {
        "empty": b"",
        "garbage": b"hello, this is no MIDI at all" * 20,
        "cut": good[:30],
        "no division": good[:12] + b"\0\0" + good[14:],
    }
    for name, content in broken.items():
        (tmp_path / "x.mid").write_bytes(content)
        with pytest.raises(InputError, match=r"`midi` x\.mid") as error:
            read_midi(tmp_path / "x.mid")
        assert len(str(error.value).splitlines()) == 1, name
    with pytest.raises(InputError, match="plays nothing"):
        read_midi(midi_file(tmp_path / "x.mid", []))
    with pytest.raises(InputError, match="of type 2"):
        read_midi(midi_file(tmp_path / "x.mid", [on(0, 60)], [on(0, 60)], kind=2))
    with pytest.raises(InputError, match="lasts no time"):
        read_midi(midi_file(tmp_path / "x.mid", [on(0, 60), off(0, 60)]))
    with pytest.raises(InputError, match="does not exist"):
        read_midi(tmp_path / "none.mid")


def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path):
    good = midi_file(
        tmp_path / "good.mid",
        [
            (0, "set_tempo", {"tempo": 400_000}),
            *(message for note in range(40, 60) for message in (on(20, note), off(90, note))),
        ],
        [control(10, 1, 5), (5, "pitchwheel", {"pitch": 100}), (9, "program_change", {"program": 3})],
    ).read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(good)
        for place in generator.integers(0, len(good), generator.integers(1, 6)):
            damaged[place] = generator.integers(0, 256)
        (tmp_path / "x.mid").write_bytes(bytes(damaged))
        try:
            found = read_midi(tmp_path / "x.mid")
        except InputError:
            continue
        assert np.isfinite(found.levels(0.01, 0.1)(0.5)).all()


def test_live_notes_have_the_envelopes_and_the_reach_of_files():
    live = (ROOT / "latentflow" / "widgets" / "midi.js").read_text()
    page = (ROOT / "web" / "src" / "latents.js").read_text()
    for text, name, value in ((live, "ATTACK", ATTACK), (live, "RELEASE", RELEASE), (page, "KEY_REACH", REACH)):
        assert float(re.search(rf"const {name} = ([\d.]+);", text)[1]) == value


def test_notes_have_names():
    assert note_number("C4") == note_number("60") == 60 and note_number("Bb3") == note_number("A#3") == 58
    assert note_number("C-1") == 0 and note_number("G9") == 127
    assert [note_name(pitch) for pitch in (0, 60, 70, 127)] == ["C-1", "C4", "A#4", "G9"]
    for name in ("H4", "C", "128", "-1", "G#9"):
        with pytest.raises(ValueError):
            note_number(name)


@pytest.mark.parametrize("shape", [(1, 4, 32, 32), (1, 16, 16, 24), (1, 32, 4, 4), (1, 4, 6, 6)])
def test_directions_are_orthogonal_and_smooth(shape):
    found = smooth_directions(shape, 130, 0)
    flat = found.flatten(1).double()
    assert (flat @ flat.T / flat.shape[1] - torch.eye(130, dtype=torch.float64)).abs().max() < 1e-5
    assert torch.equal(found, smooth_directions(shape, 130, 0))
    assert not torch.allclose(found, smooth_directions(shape, 130, 1))
    if min(shape[2:]) >= 16:  # neighbors are alike, as they aren't in noise
        steps = found.diff(dim=3).square().mean()
        assert steps < 0.5
    with pytest.raises(InputError, match="A larger `size` has more"):
        smooth_directions((1, 4, 2, 2), 17, 0)


def player_of(midi, config, anchors, **options):
    config = WalkConfig(midi=str(midi), **config)
    path = LatentPath(anchors, "lerp", loop=config.loop)
    score = read_score(config, path, len(anchors), config.fps, Session())
    return score, Player(score, config, path, anchors, linear_autoencoder(), (16, 16))


def test_the_latent_is_the_walk_moved_along_the_notes_with_its_norm(tmp_path):
    anchors = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    midi = midi_file(tmp_path / "x.mid", [on(0, 60, 127), on(480, 64, 64), off(480, 60), off(0, 64)])
    score, player = player_of(midi, {"attack": 0.0, "release": 0.0, "reach": 0.5, "fps": 10.0}, anchors)
    assert len(score.times) == 10
    directions = smooth_directions((1, 4, 8, 8), 130, 0)
    base = torch.lerp(anchors[:1], anchors[1:], float(score.positions[7]))
    wanted = base + 0.5 * directions[60:61] + 0.5 * 64 / 127 * directions[64:65]
    assert torch.allclose(player.latent(7), with_norm_of(wanted, base), atol=1e-5)
    assert float(player.latent(7).norm()) == pytest.approx(float(base.norm()), rel=1e-5)
    assert score.sounding(7) == ["C4", "E4"] and score.sounding(2) == ["C4"]


def test_a_chord_is_no_longer_than_the_picture(tmp_path):
    anchors = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    messages = [on(0, pitch) for pitch in range(40, 80)]
    midi = midi_file(tmp_path / "x.mid", [*messages, off(480, 40)])
    _, player = player_of(midi, {"attack": 0.0, "fps": 10.0}, anchors)
    plain = player.path(float(player.score.positions[2]))
    assert float(player.latent(2).norm()) == pytest.approx(float(plain.norm()), rel=1e-5)
    assert not torch.allclose(player.latent(2), plain, atol=0.3)


def test_controllers_and_programs_move_the_walk(tmp_path):
    anchors = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 4, 8, 8) + 1
    wheel = midi_file(tmp_path / "wheel.mid", [control(0, 1, 0), control(480, 1, 127), control(480, 1, 64)])
    score, _ = player_of(wheel, {"release": 0.5, "fps": 4.0}, anchors)
    assert score.positions == pytest.approx([0, 0, 2, 2, 128 / 127, 128 / 127])
    program = [
        on(0, 60),
        (480, "program_change", {"program": 2}),
        (480, "program_change", {"program": 0}),
        off(480, 60),
    ]
    score, _ = player_of(midi_file(tmp_path / "program.mid", program), {"release": 0.0, "fps": 4.0}, anchors)
    assert score.positions == pytest.approx([0, 0, 0, 1, 2, 1])  # half a second from each to the next
    instruments = [(0, "program_change", {"program": 2}), on(0, 60), off(960, 60)]
    score, _ = player_of(midi_file(tmp_path / "i.mid", instruments), {"release": 0.0, "fps": 4.0}, anchors)
    assert score.positions == pytest.approx([0, 0.5, 1, 2])  # they only choose instruments: the walk is even, and ends


def test_a_mapping_says_what_moves(tmp_path):
    mapping = {
        "notes": {"C4": {"channel": 2}, "62": {"seed": 5}},
        "controls": {"7": {"channel": 1}, "8": "x", "9": "position"},
    }
    (tmp_path / "map.json").write_text(json.dumps(mapping | {"programs": {"5": 1}}))
    anchors = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    messages = [
        control(0, 7, 127),
        control(0, 8, 1),
        control(0, 9, 0),
        on(0, 60),
        on(0, 62, 64),
        off(480, 60),
        off(0, 62),
    ]
    midi = midi_file(tmp_path / "x.mid", messages)
    options = {"map_": str(tmp_path / "map.json"), "attack": 0.0, "reach": 0.5, "fps": 10.0}
    _, player = player_of(midi, options, anchors)
    shape = (1, 4, 8, 8)
    moved = anchors[:1] + 0.5 * channel_direction(shape, 2) + 0.5 * channel_direction(shape, 1)
    moved = moved + 0.5 * 64 / 127 * smooth_directions(shape, 1, 5) - 0.5 * smooth_directions(shape, 130, 0)[128:129]
    assert torch.allclose(player.latent(0), with_norm_of(moved, anchors[:1]), atol=1e-5)


def test_a_note_may_move_along_a_saved_concept(tmp_path):
    from test_concept import SCORE

    shape, directions = (1, 4, 8, 8), torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    for name, size, direction in (("smile", (16, 16), directions[:1]), ("wide", (16, 8), directions[1:, ..., :4])):
        concept = Concept(direction=direction, size=size, names=("a", "b"), kind="difference of means", held_out=SCORE)
        write_concept(tmp_path / f"{name}.safetensors", concept, linear_autoencoder())
    (tmp_path / "map.json").write_text('{"notes": {"C4": {"direction": "smile.safetensors"}}}')
    midi = midi_file(tmp_path / "x.mid", [on(0, 60), off(480, 60)])
    options = {"map_": str(tmp_path / "map.json"), "attack": 0.0, "reach": 0.5, "fps": 10.0}
    anchors = torch.randn(2, *shape[1:], generator=torch.Generator().manual_seed(1))
    _, player = player_of(midi, options, anchors)
    wanted = with_norm_of(anchors[:1] + 0.5 * directions[:1], anchors[:1])
    assert torch.allclose(player.latent(0), wanted, atol=1e-5)
    (tmp_path / "map.json").write_text('{"notes": {"C4": {"direction": "wide.safetensors"}}}')
    with pytest.raises(InputError, match="is for pictures of 8 × 16 pixels, not 16 × 16"):
        player_of(midi, options, anchors)


@pytest.mark.parametrize(
    "content, message",
    [
        ("[]", "it is no object"),
        ('{"keys": {}}', "'keys' is none of notes, controls and programs"),
        ('{"notes": {"H2": {"channel": 1}}}', "'H2' is no number from 0 to 127"),
        ('{"notes": {"60": "x"}}', "60 has no target"),
        ('{"notes": {"60": {"channel": -1}}}', "60 has no target"),
        ('{"controls": {"300": "x"}}', "'300' is no number"),
        ('{"programs": {"1": "cat"}}', "program 1 has no number of an image"),
        ("{", "is no mapping"),
    ],
)
def test_what_is_no_mapping_is_said(content, message, tmp_path):
    (tmp_path / "map.json").write_text(content)
    with pytest.raises(InputError) as error:
        read_mapping(tmp_path / "map.json")
    assert message in str(error.value)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"reach": 1.0}, "`reach` goes with `midi`"),
        ({"tones": True}, "`tones` goes with `midi`"),
        ({"midi": "x.mid", "offset": 1.0}, "`offset` places a MIDI file in a sound"),
        ({"midi": "x.mid", "frames": 10}, "`frames` and `midi` both time the walk"),
        ({"midi": "x.mid", "map_": "map.json"}, "`map_`: there is no image 7"),
        ({"midi": "x.mid", "motion": "beats"}, "`motion` goes with `audio`"),
    ],
)
def test_options_that_contradict_are_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    midi_file(tmp_path / "x.mid", [on(0, 60), off(480, 60)])
    (tmp_path / "map.json").write_text('{"programs": {"0": 7}}')
    with pytest.raises(InputError) as error:
        check_music(WalkConfig(**options), 2, loop=False, timing=OTHER_TIMING)
    assert message in str(error.value)


def test_tones_sound_when_the_notes_do(tmp_path):
    notes = [Note(69, 0.5, 1.0, 127, 0), Note(76, 1.5, 2.0, 64, 0)]
    count = write_tones(tmp_path / "x.wav", notes, 2.5, 0.0, 0.1)
    sound = np.frombuffer((tmp_path / "x.wav").read_bytes()[44:], "<i2") / 32768
    assert len(sound) == count == round(2.5 * 44100)
    loud = np.abs(sound).reshape(-1, 441).max(1) > 0.01  # every hundredth of a second
    assert loud[51:109].all() and not loud[:49].any() and not loud[112:149].any() and loud[151:205].all()
    spectrum = np.abs(np.fft.rfft(sound[round(0.6 * 44100) : round(0.9 * 44100)]))
    assert spectrum.argmax() / 0.3 == pytest.approx(440, abs=2)
    assert np.abs(sound).max() < 1 and np.abs(np.diff(sound)).max() < 0.2  # nothing clicks


def test_the_command_plays_notes_with_tones(invoke, small, photo, tmp_path):
    midi_file(tmp_path / "x.mid", [on(480, 60), off(480, 60), on(480, 64, 100)])
    line = (
        "walk",
        small,
        photo,
        "--midi",
        "x.mid",
        "--tones",
        "--fps",
        10,
        "--release",
        0.2,
        "--reach",
        2,
        *BUNDLED[:-1],
    )
    code, out, err = invoke(*line, "--output_path", "w.mp4", "--caption", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["midi"]["notes"] == 2 and report["frames"] == 17
    assert "1 note is never released in x.mid, and held to the end." in err
    said = subprocess.run([ffmpeg_executable(), "-i", tmp_path / "w.mp4"], capture_output=True, text=True, check=False)
    assert "44100 Hz, mono" in said.stderr
    code, _, err = invoke(*line[:-2][:4], "x.mid", "--fps", 10, "--reach", 2, *BUNDLED, "--output_path", "frames")
    assert code == 0, err
    frames = [np.asarray(Image.open(path), dtype=float) for path in sorted((tmp_path / "frames").glob("*.png"))]
    steps = [np.abs(one - two).mean() for one, two in pairwise(frames)]
    assert steps[5] > 3 * max(steps[:4])  # the key at half a second


def test_a_midi_file_may_start_later_in_a_sound(tmp_path):
    from test_sound import write_wav

    write_wav(tmp_path / "x.wav", np.zeros((44100 * 3, 1)), 44100)
    midi = midi_file(tmp_path / "x.mid", [on(0, 60), off(480, 60)])
    anchors = torch.randn(2, 4, 8, 8)
    options = {"audio": str(tmp_path / "x.wav"), "attack": 0.0, "release": 0.0, "fps": 10.0}
    score, _ = player_of(midi, options | {"offset": 1.0}, anchors)
    assert np.flatnonzero(score.levels[:, 60]).tolist() == [10, 11, 12, 13, 14]
    score, _ = player_of(midi, options | {"offset": 1.0, "from_": "0.5"}, anchors)
    assert np.flatnonzero(score.levels[:, 60]).tolist() == [5, 6, 7, 8, 9]


def test_without_the_package_it_is_said(tmp_path, monkeypatch):
    import sys

    from latentflow.errors import MissingPackageError

    monkeypatch.setitem(sys.modules, "mido", None)
    with pytest.raises(MissingPackageError, match=r"pip install latentflow\[sound\]"):
        read_midi(tmp_path / "x.mid")
