"""The bytes of MIDI files, cleaned for mido: what is damaged is read as far as it goes.

Files of thirty years of programs have wrong lengths, tracks that the header doesn't count, chunks and metadata of their
own. mido takes a file whole or raises, also over a key signature that nobody needs here. So the events are walked
through first, and what goes on to mido are channel messages and tempos alone, in chunks of the right lengths.
"""

from __future__ import annotations

import struct

from latentflow.base.options import counted

HEADER, TRACK = b"MThd", b"MTrk"
META, TEMPO, END_OF_TRACK = 0xFF, 0x51, 0x2F
SYSEX = (0xF0, 0xF7)
ONE_BYTE = (0xC0, 0xD0)  # messages with one byte of data; other channel messages have two
LONGEST_NUMBER = 4  # bytes of a number of variable length
MOST_TRACKS = 0xFFFF
NAMED = 3  # faults in words; others are counted


def cleaned(content: bytes) -> tuple[bytes, list[str]]:
    """Return a well-formed MIDI file with the channel messages and tempos of `content`, and what was wrong with that.
    Raises ValueError where there is no header.

    The header may stand anywhere, as in RIFF files; chunks that are no tracks are skipped.
    """
    start = content.find(HEADER)
    if start < 0 or len(content) < start + 14:
        raise ValueError("it has no header")
    kind, promised = struct.unpack(">HH", content[start + 8 : start + 12])
    tracks: list[bytes] = []
    faults: list[str] = []
    at = content.find(TRACK, start + 14)
    while at >= 0 and len(tracks) < MOST_TRACKS:
        events, end, wrong = _track(content, at)
        tracks.append(TRACK + len(events).to_bytes(4, "big") + events)
        faults += [f"track {len(tracks)} {each}" for each in wrong]
        at = content.find(TRACK, end)
    if len(tracks) != promised:
        faults.append(f"its header says {counted(promised, 'track')}, and there are {len(tracks)}")
    header = struct.pack(">4sIHH", HEADER, 6, 2 if kind == 2 else 1, len(tracks)) + content[start + 12 : start + 14]
    more = [counted(len(faults) - NAMED, "fault") + " more"] if len(faults) > NAMED else []
    return header + b"".join(tracks), [*faults[:NAMED], *more]


def _track(content: bytes, start: int) -> tuple[bytes, int, list[str]]:
    """The events of the track at `start` that are needed, where it ends, and what is wrong with it.

    It ends with its own event, and its length decides only where that event is missing, since lengths are wrong most
    often.
    """
    at = start + 8
    stated = at + int.from_bytes(content[start + 4 : at], "big")
    made, waited, running, count = bytearray(), 0, 0, 0
    wrong: list[str] = []
    while not _is_over(content, at, stated):
        try:
            ticks, status, data, after = _event(content, at, running)
        except (IndexError, ValueError):
            wrong.append(f"breaks off after {counted(count, 'event')}")
            break
        at, waited, count = after, waited + ticks, count + 1
        if status == META and data[0] == END_OF_TRACK:
            wrong += ["has a wrong length"] if at != stated else []
            break
        if status == META and data[0] == TEMPO and (len(data) != 4 or not any(data[1:])):
            wrong.append("has a tempo without a value")
        elif status == META and data[0] == TEMPO:
            made += _written(waited) + bytes([META, TEMPO, 3]) + data[1:]
            waited = 0
        elif status < SYSEX[0]:
            running = status  # also after metadata and system messages, which should end it and often don't
            made += _written(waited) + bytes([status, *(min(byte, 127) for byte in data)])
            waited = 0
    return bytes(made) + _written(waited) + bytes([META, END_OF_TRACK, 0]), at, wrong


def _is_over(content: bytes, at: int, stated: int) -> bool:
    """Tell whether a track without an event for its end is over at a place between two events."""
    name = content[at : at + 4]
    return name == TRACK or (at == stated and (not name or name.isalpha()))


def _event(content: bytes, at: int, running: int) -> tuple[int, int, bytes, int]:
    """Ticks, status and data of the event at a place, and the place after it; data of metadata begin with their kind.

    Raises IndexError where the bytes end, ValueError for a status that files can't have.
    """
    ticks, at = _number(content, at)
    status = content[at]
    at, status = (at + 1, status) if status >= 0x80 else (at, running)
    first = at
    if status == META or status in SYSEX:
        size, at = _number(content, at + (status == META))
    elif 0x80 <= status < SYSEX[0]:
        size = 1 if status & 0xF0 in ONE_BYTE else 2
    else:
        raise ValueError
    kind = content[first : first + 1] if status == META else b""
    if at + size > len(content):
        raise IndexError
    return ticks, status, kind + content[at : at + size], at + size


def _number(content: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and the place after it."""
    value = 0
    for place in range(at, at + LONGEST_NUMBER):
        value = value << 7 | content[place] & 0x7F
        if content[place] < 0x80:
            return value, place + 1
    raise ValueError


def _written(number: int) -> bytes:
    """A number as files have it; sums may be longer than four bytes, which mido reads."""
    found = [number & 0x7F]
    while number := number >> 7:
        found.append(number & 0x7F | 0x80)
    return bytes(reversed(found))
