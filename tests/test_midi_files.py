"""MIDI files as people's programs write them: damaged ones are read as far as they go, and that is said."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentflow.base.errors import InputError
from latentflow.sound.midi import Note, read_midi

END = b"\0\xff\x2f\0"
TEMPO = b"\0\xff\x51\x03\x07\xa1\x20"  # half a second for a beat of 96 ticks
FOUR = (60, 64, 67, 72)


def number(value):
    """A number of variable length, for up to 14 bits."""
    return bytes([value]) if value < 128 else bytes([value >> 7 | 128, value & 127])


def notes(*pitches, gap=96, channel=0, velocity=90):
    """Notes one after the other, `gap` ticks each."""
    parts = (
        b"\0" + bytes([0x90 | channel, pitch, velocity]) + number(gap) + bytes([0x80 | channel, pitch, 0])
        for pitch in pitches
    )
    return b"".join(parts)


def meta(kind, content):
    return b"\0\xff" + bytes([kind]) + number(len(content)) + content


def track(body, off=0, end=END):
    """A track whose length is wrong by `off` bytes."""
    return b"MTrk" + struct.pack(">I", (len(body + end) + off) % 2**32) + body + end


def head(tracks, kind=1, division=96):
    return b"MThd" + struct.pack(">IHHh", 6, kind, tracks, division)


def riff(content, before=b""):
    inner = b"RMID" + before + b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


N = notes(*FOUR)
SONG = head(2) + track(TEMPO) + track(N)
WRONG_LENGTH = "track 1 has a wrong length"
ODD = {  # what is wrong with it, None where a program may write so
    "plain": (SONG, None),
    "key_of_8_sharps": (head(1) + track(meta(0x59, b"\x08\0") + N), None),
    "key_of_mode_255": (head(1) + track(meta(0x59, b"\xfe\xff") + N), None),
    "key_empty": (head(1) + track(meta(0x59, b"") + N), None),
    "offset_short": (head(1) + track(meta(0x54, b"\x60\0\x03") + N), None),
    "text_in_shift_jis": (head(1) + track(meta(3, "春".encode("shift_jis")) + N), None),
    "tempo_empty": (head(1) + track(meta(0x51, b"") + N), "track 1 has a tempo without a value"),
    "tempo_0": (head(1) + track(meta(0x51, b"\0\0\0") + N), "track 1 has a tempo without a value"),
    "tempo_of_two_bytes": (head(1) + track(meta(0x51, b"\7\7") + N), "track 1 has a tempo without a value"),
    "words_like_a_track": (head(1) + track(meta(1, b"MTrk and MThd") + N), None),
    "riff": (riff(SONG), None),
    "riff_with_a_chunk_of_odd_length": (riff(SONG, b"DISP\x05\0\0\0hello\0"), None),
    "length_too_long": (head(2) + track(TEMPO, 4) + track(N), WRONG_LENGTH),
    "length_beyond_the_file": (head(1) + track(N, 3), WRONG_LENGTH),
    "length_too_short": (head(1) + track(N, -2), WRONG_LENGTH),
    "length_0": (head(1) + track(N, -len(N + END)), WRONG_LENGTH),
    "length_without_the_end": (head(1) + track(N, -4), WRONG_LENGTH),
    "no_end_of_track": (head(2) + track(TEMPO, end=b"") + track(N, end=b""), None),
    "no_end_and_a_wrong_length": (head(2) + track(TEMPO, 30, end=b"") + track(N), None),
    "bytes_between": (head(2) + track(TEMPO) + b"\x85\0\0" + track(N), None),
    "another_chunk_first": (head(2) + b"XFIH\0\0\0\x04abcd" + track(TEMPO) + track(N), None),
    "a_longer_header": (b"MThd" + struct.pack(">IHHHI", 10, 1, 1, 96, 0) + track(N), None),
    "a_track_too_few": (head(3) + track(TEMPO) + track(N), "its header says 3 tracks, and there are 2"),
    "a_track_too_many": (head(1) + track(TEMPO) + track(N), "its header says 1 track, and there are 2"),
    "several_tracks_of_type_0": (head(2, kind=0) + track(TEMPO) + track(N), None),
    "cut_off": (head(1) + track(N + notes(50))[:-12], "track 1 breaks off after 8 events"),
    "a_status_that_files_cannot_have": (head(1) + track(N + b"\0\xf4\0"), "track 1 breaks off after 8 events"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_read_as_far_as_they_go_and_it_is_said(name, tmp_path):
    content, wrong = ODD[name]
    (tmp_path / "x.mid").write_bytes(content)
    found = read_midi(tmp_path / "x.mid")
    assert found.notes == [Note(pitch, index / 2, index / 2 + 0.5, 90, 0) for index, pitch in enumerate(FOUR)]
    assert found.seconds == 2.0
    said = f"x.mid is damaged, and what can be read of it is played: {wrong}. If notes are missing, "
    assert found.notices == ([said + "open it in a sequencer and save it again."] if wrong else [])


def test_running_status_goes_on_after_system_messages_and_metadata(tmp_path):
    """A note on, then an exclusive message and a word between it and its end in running status."""
    body = b"\0\x90\x3c\x5a\x60\xf0\x03\x7e\x7f\xf7" + meta(5, b"la") + b"\x60\x3c\0"
    (tmp_path / "x.mid").write_bytes(head(1) + track(body))
    found = read_midi(tmp_path / "x.mid")
    assert found.notes == [Note(60, 0.0, 1.0, 90, 0)] and not found.notices


def test_values_beyond_127_are_127(tmp_path):
    (tmp_path / "x.mid").write_bytes(head(1) + track(b"\0\xb0\x07\xc0\0\x90\x3c\xc0\x60\x80\x3c\0"))
    found = read_midi(tmp_path / "x.mid")
    assert found.notes == [Note(60, 0.0, 0.5, 127, 0)] and found.control(7, 0.1) == 127


def test_what_is_left_out_keeps_its_time(tmp_path):
    body = notes(60) + number(96) + meta(6, b"pause")[1:] + number(480) + b"\xf0\x01\xf7"
    body += notes(62) + number(96) + END[1:]
    (tmp_path / "x.mid").write_bytes(head(1) + track(body, end=b""))
    found = read_midi(tmp_path / "x.mid")
    assert [(note.start, note.stop) for note in found.notes] == [(0, 0.5), (3.5, 4.0)] and found.seconds == 4.5


@pytest.mark.parametrize(
    "frames, ticks, wanted",
    [(29, 100, 100.1001), (25, 40, 300.0), (24, 100, 125.0), (30, 80, 125.0)],
)
def test_film_time(frames, ticks, wanted, tmp_path):
    """300 000 ticks of so many a frame; 29 stands for 29.97 frames a second."""
    body = b"\0\x90\x3c\x5a" + b"\x92\xa7\x60" + b"\x80\x3c\0"  # 18 · 2¹⁴ + 39 · 2⁷ + 96
    (tmp_path / "x.mid").write_bytes(head(1, division=(-frames << 8) + ticks) + track(body))
    assert read_midi(tmp_path / "x.mid").seconds == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is no MIDI file that can be read: it has no header"),
        (b"hello, this is no MIDI" * 20, "is no MIDI file that can be read: it has no header"),
        (SONG[:12], "is no MIDI file that can be read: it has no header"),
        (head(1, division=0) + track(N), "doesn't say how long a tick is"),
        (SONG[:48], r"lasts no time\. It is damaged: track 2 breaks off after 1 event"),
        (head(0), "plays nothing"),
        (head(3), r"plays nothing: .* It is damaged: its header says 3 tracks, and there are 0"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_a_remedy(content, message, tmp_path):
    (tmp_path / "x.mid").write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_midi(tmp_path / "x.mid")
    assert len(str(error.value).splitlines()) == 1
    assert ("save it again" in str(error.value)) == (content != head(0))


def test_many_faults_are_counted(tmp_path):
    (tmp_path / "x.mid").write_bytes(head(6) + track(N, 1) * 6)
    (notice,) = read_midi(tmp_path / "x.mid").notices
    assert notice.count("has a wrong length") == 3 and "track 3 has a wrong length; 3 faults more." in notice


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=200), st.integers(0, 3), st.integers(0, 5), st.integers(-32768, 32767))
def test_any_bytes_are_notes_or_refused(tmp_path_factory, body, kind, tracks, division):
    path = tmp_path_factory.getbasetemp() / "any.mid"
    path.write_bytes(head(tracks, kind, division) + b"MTrk\0\0\0\x20" + body)
    _read_or_refuse(path)


def test_damaged_files_are_notes_or_refused(tmp_path):
    generator = random.Random(0)
    good = [content for content, _ in ODD.values()]
    for _ in range(700):
        content = bytearray(generator.choice(good))
        for _ in range(generator.randint(1, 6)):
            place = generator.randrange(len(content))
            match generator.randrange(3):
                case 0:
                    content[place] = generator.randrange(256)
                case 1:
                    del content[place : place + generator.randint(1, 9)]
                    content = content or bytearray(1)
                case _:
                    content[place:place] = generator.randbytes(generator.randint(1, 9))
        (tmp_path / "x.mid").write_bytes(bytes(content))
        _read_or_refuse(tmp_path / "x.mid")


def _read_or_refuse(path):
    try:
        found = read_midi(path)
    except InputError:
        return
    assert found.seconds > 0
    assert all(0 <= note.start <= note.stop <= found.seconds and 0 <= note.pitch < 128 for note in found.notes)
