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

from latentflow.base.errors import InputError
from latentflow.base.session import Session
from latentflow.explore.concept.run import Concept, write_concept
from latentflow.explore.config import WalkConfig
from latentflow.explore.walk import OTHER_TIMING, direction_reader, where
from latentflow.latents.directions import channel_direction, smooth_directions, with_norm_of
from latentflow.latents.paths import LatentPath
from latentflow.sinks.ffmpeg import ffmpeg_executable
from latentflow.sound.midi import Mapping, Note, glides, note_name, note_number, read_mapping, read_midi
from latentflow.sound.motions import ATTACK, REACH, RELEASE
from latentflow.sound.score import Player, check_music, read_score, score_words
from latentflow.sound.tones import write_tones
from latentflow.sound.unheard import without_effect

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


def test_of_a_key_that_is_struck_twice_the_first_note_ends_first(tmp_path):
    twice = [on(0, 60, 100), on(480, 60, 50), off(480, 60), off(480, 60)]
    found = read_midi(midi_file(tmp_path / "x.mid", twice))
    assert found.notes == [Note(60, 0.0, 1.0, 100, 0), Note(60, 0.5, 1.5, 50, 0)]


def test_the_pedal_holds_notes_and_all_notes_off_ends_them(tmp_path):
    messages = [control(0, 64, 127), on(0, 60), off(480, 60), on(0, 62), control(480, 64, 0), off(480, 62)]
    found = read_midi(midi_file(tmp_path / "x.mid", messages))
    assert found.notes == [Note(60, 0.0, 1.0, 127, 0), Note(62, 0.5, 1.5, 127, 0)]
    messages = [on(0, 60), on(0, 64), control(480, 123, 0), on(480, 60), off(480, 60)]
    found = read_midi(midi_file(tmp_path / "x.mid", messages))
    assert [note.stop for note in found.notes] == [0.5, 0.5, 1.5] and not found.notices


@pytest.mark.parametrize("value, stop", [(64, 1.0), (63, 0.5), (127, 1.0)])
def test_the_pedal_is_down_from_64_on(value, stop, tmp_path):
    messages = [control(0, 64, value), on(0, 60), off(480, 60), control(480, 64, 0), on(0, 62), off(480, 62)]
    found = read_midi(midi_file(tmp_path / "x.mid", messages))
    assert found.notes[0] == Note(60, 0.0, stop, 127, 0)


@pytest.mark.parametrize(
    "command, stops",
    [
        (120, [1.0, 1.0]),  # all sound off: keys that are held and notes that the pedal holds
        (121, [1.0, 1.5]),  # reset all controllers: the pedal comes up, a held key stays
        (122, [2.0, 1.5]),  # local control is no business of notes
        (123, [2.0, 2.0]),  # all notes off: as if keys were let go, which the pedal holds
        (127, [2.0, 2.0]),
    ],
)
def test_commands_end_notes(command, stops, tmp_path):
    """The pedal holds 60, let go at 0.5 s, until 2 s; the key of 62 is held until 1.5 s; the command comes at 1 s."""
    messages = [control(0, 64, 127), on(0, 60), on(0, 62), off(480, 60), control(480, command, 0), off(480, 62)]
    if command == 122:  # without a reset the pedal holds 62 too
        stops = [2.0, 2.0]
    messages += [control(480, 64, 0), on(0, 40, channel=1), off(480, 40, channel=1)]
    found = read_midi(midi_file(tmp_path / "x.mid", messages))
    assert [note.stop for note in found.notes[:2]] == stops


def test_commands_are_for_their_channel(tmp_path):
    messages = [control(0, 64, 127), on(0, 60), off(480, 60), control(0, 120, 0, 1), control(0, 121, 0, 1), off(480, 1)]
    assert read_midi(midi_file(tmp_path / "x.mid", messages)).notes == [Note(60, 0.0, 1.0, 127, 0)]


def test_a_reset_puts_bend_and_wheel_back(tmp_path):
    messages = [on(0, 60), bent(0, 8191), control(0, 1, 127), control(480, 121, 0), off(480, 60)]
    found = read_midi(midi_file(tmp_path / "x.mid", messages))
    assert found.bends[0][1].tolist() == [pytest.approx(2.0, abs=1e-3), 0.0]
    assert found.control(1, 0.4) == 127 and found.control(1, 0.6) == 0


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
    bend = [on(0, 60), *(bent(480, each) for each in (1024, -8192, -3072)), off(480, 60)]
    at = read_midi(midi_file(tmp_path / "x.mid", bend)).levels(0.0, 0.0)
    assert at(0.1)[60] == 1
    quarter = at(0.6)  # an eighth of two semitones up: cos and sin of an eighth of half a turn
    assert quarter[60] == pytest.approx(math.cos(math.pi / 8)) and quarter[61] == pytest.approx(math.sin(math.pi / 8))
    assert at(1.1)[58] == 1 and at(1.1).sum() == 1
    assert at(1.6)[59] == pytest.approx(math.cos(math.pi / 8))  # ¾ down: ¼ of the way from 59 to 60
    assert at(1.6)[60] == pytest.approx(math.sin(math.pi / 8))


def test_a_wheel_has_fourteen_bits(tmp_path):
    """Both bytes of a bend count: 3000 is 23 · 128 + 56 above the center, 87 · 128 + 56 in the file."""
    found = read_midi(midi_file(tmp_path / "x.mid", [on(0, 60), bent(0, 3000), bent(240, -1), off(240, 60)]))
    assert b"\xe0\x38\x57" in (tmp_path / "x.mid").read_bytes()
    assert found.bends[0][1] == pytest.approx([2 * 3000 / 8192, -2 / 8192])


def bent(ticks, pitch, channel=0):
    return ticks, "pitchwheel", {"pitch": pitch, "channel": channel}


def test_running_status_is_read(tmp_path):
    track = bytes([0, 0x90, 60, 100, 0x83, 0x60, 62, 100, 0x83, 0x60, 60, 0, 0, 62, 0, 0, 0xFF, 0x2F, 0])
    header = b"MThd" + (6).to_bytes(4, "big") + bytes([0, 0, 0, 1, 1, 0xE0])
    (tmp_path / "x.mid").write_bytes(header + b"MTrk" + len(track).to_bytes(4, "big") + track)
    found = read_midi(tmp_path / "x.mid")
    assert found.notes == [Note(60, 0.0, 1.0, 100, 0), Note(62, 0.5, 1.0, 100, 0)]


def test_files_that_play_nothing_are_refused_in_a_line(tmp_path):
    with pytest.raises(InputError, match="plays nothing"):
        read_midi(midi_file(tmp_path / "x.mid", []))
    with pytest.raises(InputError, match="of type 2"):
        read_midi(midi_file(tmp_path / "x.mid", [on(0, 60)], [on(0, 60)], kind=2))
    with pytest.raises(InputError, match="lasts no time"):
        read_midi(midi_file(tmp_path / "x.mid", [on(0, 60), off(0, 60)]))
    with pytest.raises(InputError, match="does not exist"):
        read_midi(tmp_path / "none.mid")


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
    return score, Player(score, config, path, anchors, direction_reader(linear_autoencoder(), (16, 16)))


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


def program(ticks, number, channel=0):
    return ticks, "program_change", {"program": number, "channel": channel}


@pytest.mark.parametrize(
    "tracks, cues",
    [
        ([[program(0, 2), on(0, 60), off(960, 60)]], []),  # instruments
        ([[program(0, 2), on(0, 60), program(480, 1), off(480, 60)]], [1]),
        # a band: each instrument is chosen before its first note, also while others play
        ([[program(0, 2), on(0, 60), off(1920, 60)], [program(480, 1, 1), on(9, 50, channel=1), off(9, 50, 1)]], []),
        ([[on(0, 60), off(1920, 60)], [on(480, 50, channel=1), program(480, 1, 1), off(480, 50, 1)]], [1]),
        ([[on(0, 36, channel=9), program(480, 1, 9), off(480, 36, 9)]], []),  # drum kits
        ([[on(0, 60), program(0, 3, 5), program(480, 1, 5), off(480, 60)]], [1]),  # a channel for nothing else
        ([[program(480, 1), program(480, 2)]], [1, 2]),  # and a file
    ],
)
def test_programs_that_choose_instruments_are_no_cues(tracks, cues, tmp_path):
    found = read_midi(midi_file(tmp_path / "x.mid", *tracks))
    assert found.cues[1].tolist() == cues


def test_programs_before_the_first_note_leave_the_walk_even(tmp_path):
    anchors = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 4, 8, 8) + 1
    midi = midi_file(tmp_path / "i.mid", [program(0, 2), on(0, 60), off(960, 60)])
    score, _ = player_of(midi, {"release": 0.0, "fps": 4.0}, anchors)
    assert score.positions == pytest.approx([0, 0.5, 1, 2])


def test_programs_after_the_first_note_of_their_channel_lead_to_images(tmp_path):
    messages = [on(0, 60), off(480, 60), program(0, 2), on(480, 62), off(480, 62)]
    found = read_midi(midi_file(tmp_path / "x.mid", messages))
    assert [each.tolist() for each in found.cues] == [[0.5], [2]]


def test_programs_beyond_the_images_begin_again(tmp_path):
    """Of 3 images program 7 leads to image 1, and one that the mapping has to what it says."""
    anchors = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 4, 8, 8) + 1
    midi = midi_file(tmp_path / "x.mid", [on(0, 60), program(480, 7), program(960, 9), off(960, 60)])
    (tmp_path / "map.json").write_text('{"programs": {"9": 2}}')
    options = {"release": 0.0, "fps": 2.0, "map_": str(tmp_path / "map.json")}
    score, _ = player_of(midi, options, anchors)
    assert score.positions == pytest.approx([0, 0, 1, 1, 2])


def test_a_program_change_on_the_way_turns_around():
    """At 1 s to place 2, half a second long; a quarter of a second later, at 1, to 0, and then from 0.5 to 3."""
    place = glides((np.array([1.0, 1.25, 1.5]), np.array([2.0, 0.0, 3.0])), float)
    assert place(np.array([0.9, 1.0, 1.125, 1.25, 1.375, 1.5, 1.75, 2.0, 9.0])) == pytest.approx(
        [0, 0, 0.5, 1, 0.75, 0.5, 1.75, 3, 3]
    )


def heard_of(tmp_path, messages, config=None, mapping=None):
    """The score of three images to the messages, and what was said."""
    said = []
    config = dict(config or {})
    if mapping is not None:
        (tmp_path / "map.json").write_text(json.dumps(mapping))
        config["map_"] = str(tmp_path / "map.json")
    config = WalkConfig(midi=str(midi_file(tmp_path / "x.mid", messages)), **{"fps": 4.0, "release": 0.0} | config)
    path = LatentPath(torch.randn(3, 4, 8, 8), "lerp")
    return read_score(config, path, 3, config.fps, Session(said.append)), said


FOUR_NOTES = [each for pitch in (60, 64, 67, 72) for each in (on(0, pitch), off(480, pitch))]


@pytest.mark.parametrize(
    "wheel, said",
    [
        ([control(0, 1, 0)], []),  # as sequencers reset it before the first note
        ([control(0, 121, 0)], []),
        ([control(0, 1, 48), control(240, 1, 20)], ["Controller 1 moves by 28 of 127 only, as for vibrato"]),
        ([control(10, 1, 63)], ["Controller 1 moves by 63 of 127 only"]),  # from 0, where it is before
    ],
)
def test_a_wheel_that_never_moves_far_leaves_the_walk_alone(wheel, said, tmp_path):
    score, found = heard_of(tmp_path, wheel + FOUR_NOTES)
    steps = np.diff(score.positions)
    assert score.positions[-1] == 2 and (steps > 0).all()
    assert len(found) == len(said) and all(map(str.startswith, found, said))


def test_a_wheel_that_moves_far_or_is_mapped_leads_the_walk(tmp_path):
    score, said = heard_of(tmp_path, [control(0, 1, 0), control(480, 1, 64), off(480, 1), *FOUR_NOTES])
    assert score.positions[3] == pytest.approx(64 / 127 * 2) and not said
    score, said = heard_of(tmp_path, [control(0, 1, 20), *FOUR_NOTES], mapping={"controls": {"1": "position"}})
    assert score.positions == pytest.approx([20 / 127 * 2] * 8)
    assert said == ["All frames are at the same place on the walk: nothing that is played moves it."]


WHEEL = [control(0, 1, 0), control(240, 1, 127)]
CHORD = {"notes": {"60": {"seed": 1}, "64": {"seed": 2}, "67": {"seed": 3}, "72": {"channel": 0}}}


@pytest.mark.parametrize(
    "messages, options, mapping, said",
    [
        (FOUR_NOTES, {"attack": 0.1, "release": 0.1, "reach": 1.0, "seed": 3, "tones": True}, None, []),
        ([*WHEEL, off(480, 1)], {"release": 0.5}, None, []),  # the walk is longer
        ([*WHEEL, off(480, 1)], {"attack": 0.1}, None, ["`attack`: without effect"]),
        ([*WHEEL, off(480, 1)], {"tones": True, "seed": 1}, None, ["`seed`, `tones`: without effect"]),
        ([*WHEEL, off(480, 1)], {"reach": 1.0}, None, ["`reach`: without effect"]),
        ([*WHEEL, control(480, 16, 9)], {"reach": 1.0, "seed": 1}, None, []),
        (FOUR_NOTES, {"seed": 3}, CHORD, ["`seed`: without effect"]),
        (FOUR_NOTES, {}, CHORD, []),
        (FOUR_NOTES, {}, {}, ["`map_` is empty and has no effect."]),
        (FOUR_NOTES, {}, {"notes": {"C4": {"seed": 1}, "C2": {"seed": 1}}}, ["MIDI file doesn't play: note C2."]),
        (FOUR_NOTES, {}, {"controls": {"74": "x"}, "programs": {"5": 0}}, ["play: controller 74, program 5."]),
        (
            [*WHEEL, *FOUR_NOTES, program(0, 1), off(480, 1)],
            {},
            None,
            ["The walk follows controller 1: program changes have no effect."],
        ),
        (
            [*WHEEL, control(0, 2, 127), *FOUR_NOTES],
            {},
            {"controls": {"1": "position", "2": "position"}},
            ["The walk follows controller 1: controller 2 has no effect."],
        ),
        ([*FOUR_NOTES, program(0, 3), off(480, 1)], {}, None, ["All frames are at the same place"]),
    ],
)
def test_what_has_no_effect_is_said(messages, options, mapping, said, tmp_path):
    _, found = heard_of(tmp_path, messages, options, mapping)
    assert len(found) == len(said) and all(part in line for part, line in zip(said, found)), found


@pytest.mark.parametrize(
    "options, said",
    [
        ({}, []),  # the last one begins before the end
        ({"offset": 3.0}, ["4 notes are outside the walk, which shows -3.0 to -1.2 s of the MIDI file."]),
        ({"offset": -1.0}, ["2 notes are outside the walk, which shows 1.0 to 2.8 s of the MIDI file."]),
    ],
)
def test_notes_beyond_the_sound_are_said(options, said, tmp_path):
    from test_sound import write_wav

    write_wav(tmp_path / "x.wav", np.random.default_rng(0).normal(0, 0.1, (79380, 1)), 44100)  # 1.8 s
    sound = {"audio": str(tmp_path / "x.wav"), "motion": "constant"}
    notes = [*FOUR_NOTES[:-2], on(240, 72), off(480, 72)]  # from 0, 0.5, 1 and 1.75 s on
    _, found = heard_of(tmp_path, notes, sound | options)
    assert found == said


def test_a_motion_that_notes_replace_is_said(tmp_path):
    from test_sound import write_wav

    write_wav(tmp_path / "x.wav", np.random.default_rng(0).normal(0, 0.1, (88200, 1)), 44100)
    sound = {"audio": str(tmp_path / "x.wav")}
    _, found = heard_of(tmp_path, [*WHEEL, *FOUR_NOTES], sound)
    assert found == ["The walk follows controller 1 of the MIDI file, not the sound."]
    _, found = heard_of(tmp_path, [*WHEEL, *FOUR_NOTES], sound | {"motion": "energy", "smooth": 0.5})
    assert len(found) == 1 and found[0].endswith(", not the sound: `motion`, `smooth` without effect.")
    config = WalkConfig(midi="x.mid", audio="x.wav", motion="chroma")
    (said,) = without_effect(config, Mapping(), read_midi(tmp_path / "x.mid"), (0.0, 2.0))
    assert said == "The images are mixed by `motion` chroma: controller 1 of the MIDI file has no effect."


def test_the_seed_chooses_the_directions_of_notes(tmp_path):
    anchors = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    midi = midi_file(tmp_path / "x.mid", [on(0, 60), off(480, 60)])
    options = {"attack": 0.0, "reach": 0.5, "fps": 10.0}
    latents = {}
    for seed in (None, 0, 1):
        _, player = player_of(midi, options | {"seed": seed}, anchors)
        moved = anchors[:1] + 0.5 * smooth_directions((1, 4, 8, 8), 130, seed or 0)[60:61]
        latents[seed] = player.latent(0)
        assert torch.allclose(latents[seed], with_norm_of(moved, anchors[:1]), atol=1e-5)
    assert torch.equal(latents[None], latents[0]) and not torch.allclose(latents[0], latents[1], atol=0.05)


def test_captions_say_the_place_and_the_notes(tmp_path):
    midi = midi_file(tmp_path / "x.mid", [on(0, 60), on(480, 64), off(480, 60), off(0, 64)])
    score, _ = player_of(midi, {"attack": 0.0, "release": 0.0, "fps": 10.0}, torch.randn(2, 4, 8, 8))
    words = score_words(score, ["spheres", "cat"], where)
    assert words(0) == ["spheres to cat   0%", "C4"]
    assert words(9) == ["spheres to cat 100%", "C4 E4"]


def test_the_last_leg_of_a_loop_has_the_steps_of_the_others(tmp_path):
    """Ten frames around three images: 0, 1 and 2 are among them, and 3 is where the first comes again."""
    midi = midi_file(tmp_path / "x.mid", [on(0, 60), off(480, 60)])
    score, _ = player_of(midi, {"release": 0.0, "fps": 20.0, "loop": True}, torch.randn(3, 4, 8, 8))
    assert score.positions == pytest.approx([0, 1 / 3, 2 / 3, 1, 1.25, 1.5, 1.75, 2, 2 + 1 / 3, 2 + 2 / 3])


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
        ('{"keys": {}}', "'keys' is not one of notes, controls and programs"),
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
    one, other = (np.abs(sound[round(begin * 44100) :][:17640]).max() for begin in (0.55, 1.55))
    assert other / one == pytest.approx(64 / 127, rel=0.02)  # as loud as its key was struck


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

    from latentflow.base.errors import MissingPackageError

    monkeypatch.setitem(sys.modules, "mido", None)
    with pytest.raises(MissingPackageError, match=r"pip install latentflow\[sound\]"):
        read_midi(tmp_path / "x.mid")
