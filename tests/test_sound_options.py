"""Options of sound: each reaches the function that it is for, has the default that is documented, and does something;
what is odd in a file is said once."""

import subprocess

import numpy as np
import pytest
from test_sound import BUNDLED, clicks, encoded, samples_of, write_wav

from latentflow.base.errors import InputError
from latentflow.base.records import Frame
from latentflow.base.session import Session
from latentflow.sinks import run_sinks
from latentflow.sinks.ffmpeg import ffmpeg_executable
from latentflow.sinks.frames import open_frames
from latentflow.sound import follow as module
from latentflow.sound.config import SoundConfig
from latentflow.sound.follow import check_sound, count_frames, follow
from latentflow.sound.hearing import listen
from latentflow.sound.motions import MOTION_OPTIONS, MOTIONS
from latentflow.sound.reading import measure_clip


@pytest.fixture
def song(tmp_path):
    return str(write_wav(tmp_path / "song.wav", clicks(4.0, [0.5, 1.5, 2.5, 3.5], 22050), 22050))


@pytest.fixture
def given(monkeypatch):
    """What the functions that follow a sound are given, by their names."""
    found = {}

    def spy(name):
        real = getattr(module, name)

        def spied(*args, **kwargs):
            found[name] = (args, kwargs)
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, spied)

    for name in ("listen", "find_beats", "follow_energy", "follow_times"):
        spy(name)
    return found


@pytest.mark.parametrize(
    "option, value, motion, function, name, expected, usual",
    [
        ("from_", "0:01", "energy", "listen", 1, 1.0, 0.0),
        ("to", "3", "energy", "listen", 2, 3.0, None),
        ("margin", 5.0, "percussive", "listen", "margin", 5.0, 1.0),
        ("beats_per_bar", 3, "bars", "find_beats", 1, 3, 4),
        ("bpm", 60.0, "beats", "find_beats", "bpm", 60.0, None),
        ("first_beat", "0:01.5", "bars", "find_beats", "first_beat", 1.5, None),
        ("every", 2, "beats", "follow_times", "every", 2, None),
        ("smooth", 0.7, "percussive", "follow_energy", "smooth", 0.7, 0.15),
        ("smooth", 0.7, "energy", "follow_energy", "smooth", 0.7, 0.3),
        ("sensitivity", 0.4, "percussive", "follow_energy", "sensitivity", 0.4, 0.9),
        ("marks", ("1", "0:02"), "constant", "follow_energy", "marks", [1.0, 2.0], []),
    ],
)
def test_options_are_passed_on(option, value, motion, function, name, expected, usual, song, given):
    def value_given(config):
        follow(config, motion, Session()).position(3)
        args, kwargs = given[function]
        return args[name] if isinstance(name, int) else kwargs[name]

    assert value_given(SoundConfig(audio=song, **{option: value})) == expected
    assert value_given(SoundConfig(audio=song)) == usual


def test_marks_and_first_beat_are_times_of_the_file(song, given):
    config = SoundConfig(audio=song, from_="1", marks=("2", "3"))
    follow(config, "energy", Session()).position(3)
    assert given["follow_energy"][1]["marks"] == [1.0, 2.0]
    follow(SoundConfig(audio=song, from_="1", bpm=60.0, first_beat="1.5"), "beats", Session())
    assert given["find_beats"][1]["first_beat"] == 0.5


def test_every_option_of_a_motion_is_known():
    assert frozenset().union(*(motion.options for motion in MOTIONS.values())) == set(MOTION_OPTIONS)
    assert {name: motion.smooth for name, motion in MOTIONS.items()} == {
        **{"percussive": 0.15, "energy": 0.3, "chroma": 0.5},
        **{"beats": 0.0, "bars": 0.0, "constant": 0.0},
    }


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("option", MOTION_OPTIONS)
def test_an_option_has_an_effect_or_is_refused(motion, option, song):
    values = {"every": 1, "beats_per_bar": 2, "bpm": 90.0, "first_beat": "1", "smooth": 0.0, "margin": 9.0}
    values |= {"sensitivity": 0.1, "marks": ("0.3", "1")}
    config = SoundConfig(audio=song, motion=motion, **{option: values[option]})
    if option not in MOTIONS[motion].options:
        with pytest.raises(InputError, match=f"`{option}` would have no effect on `motion` {motion}"):
            check_sound(config, motion, 3)
        return
    check_sound(config, motion, 3)


@pytest.mark.parametrize("motion", [name for name in MOTIONS if name not in ("constant", "chroma")])
def test_every_motion_but_one_is_uneven(motion, song):
    """A motion that something forgets would move evenly."""
    times = np.arange(0, 4, 0.1)
    place = follow(SoundConfig(audio=song), motion, Session()).position(3)(times)
    assert np.abs(place - 3 * times / 4).max() > 0.1
    assert (np.diff(place) >= -1e-9).all() and place[0] == pytest.approx(0, abs=0.1)


def test_a_tenth_of_the_path_is_even_unless_one_says_otherwise(song):
    """Between 0.8 s and 1.4 s nothing is heard; a tenth of the path of 1 in 4 s are 0.015 in 0.6 s."""
    place = follow(SoundConfig(audio=song), "percussive", Session()).position(1)
    assert np.diff(place(np.array([0.8, 1.4])))[0] == pytest.approx(0.1 * 0.6 / 4, abs=2e-3)
    place = follow(SoundConfig(audio=song, sensitivity=1.0), "percussive", Session()).position(1)
    assert np.diff(place(np.array([0.8, 1.4])))[0] == pytest.approx(0, abs=2e-3)


def test_a_larger_margin_leaves_drums_alone(tmp_path):
    """Notes that are plucked every second, and a drum at 2.5 s: with a margin of 8 most of the path is the drum's."""
    rate = 22050
    time = np.arange(5 * rate) / rate
    plucked = 0.5 * np.sin(2 * np.pi * 220 * time) * np.exp(-3 * (time % 1))
    drum = clicks(5.0, [2.5], rate, length=0.02, channels=1)[:, 0] * 0.4
    path = str(write_wav(tmp_path / "x.wav", plucked + drum, rate))
    moved = []
    for margin in (0.5, 8.0):
        config = SoundConfig(audio=path, margin=margin, sensitivity=1.0, smooth=0.0)
        place = follow(config, "percussive", Session()).position(1)
        moved.append(float(np.diff(place(np.array([2.45, 2.6])))[0]))
    assert moved[1] > moved[0] + 0.05 and moved[1] > 0.8, moved


def test_three_beats_are_a_bar(tmp_path):
    path = str(write_wav(tmp_path / "x.wav", clicks(12.0, np.arange(0.2, 12, 0.5), 22050), 22050))
    beats = follow(SoundConfig(audio=path, beats_per_bar=3), "beats", Session()).beats
    assert np.diff(beats.bars) == pytest.approx(1.5, abs=0.01)


def test_channels_are_heard_each_for_itself(tmp_path):
    """A hit on the left at 1 s, one on the right at 2 s, and one out of phase at 3 s: three of the same strength."""
    sound = clicks(4.0, [1.0, 2.0, 3.0], length=0.01)
    sound[round(0.9 * 44100) : round(1.2 * 44100), 1] = 0
    sound[round(1.9 * 44100) : round(2.2 * 44100), 0] = 0
    sound[round(2.9 * 44100) :, 1] *= -1
    heard = listen(write_wav(tmp_path / "x.wav", sound, 44100))
    hits = [heard.percussive[1000 * at - 20 : 1000 * at + 40].sum() for at in (1, 2, 3)]
    assert hits[1] == pytest.approx(hits[0], rel=0.1) and hits[2] == pytest.approx(2 * hits[0], rel=0.1)
    assert sum(hits) > 0.98 * heard.percussive.sum()
    levels = [heard.onsets[np.abs(heard.times - at) < 0.04].max() for at in (1, 2, 3)]
    assert levels == pytest.approx([levels[0]] * 3, rel=0.1)


def test_pitches_out_of_phase_are_heard(tmp_path):
    time = np.arange(3 * 22050) / 22050
    tone = 0.4 * np.sin(2 * np.pi * 440 * time)
    path = write_wav(tmp_path / "x.wav", np.stack([tone, -tone], 1), 22050)
    chroma = listen(path, pitches=True).chroma
    assert (chroma[40:-40].argmax(1) == 9).all()  # A


def test_the_circle_of_fifths_is_dealt_and_strengths_are_squared():
    from test_sound import heard_of

    from latentflow.sound.motion import chroma_weights

    def weights(strengths, images):
        chroma = np.tile([strengths.get(each, 0.0) for each in range(12)], (10, 1))
        return chroma_weights(heard_of(np.ones(100), times=np.arange(10) / 100, chroma=chroma), images)(0.05)

    first, second = (0, 7, 2, 9, 4, 11), (6, 1, 8, 3, 10, 5)  # C G D A E B, and F# C# G# D# A# F
    for each in first:
        assert weights({each: 1.0}, 2) == pytest.approx([1, 0])
    for each in second:
        assert weights({each: 1.0}, 2) == pytest.approx([0, 1])
    assert weights({0: 1.0, 6: 0.5}, 2) == pytest.approx([0.8, 0.2])
    assert weights({11: 1.0}, 4) == pytest.approx([0, 1, 0, 0])  # the sixth of twelve in quarters


def test_damage_is_passed_on_once(invoke, small, photo, tmp_path):
    sound = encoded(write_wav(tmp_path / "x.wav", clicks(3.0, [0.5, 1.5, 2.5], 22050), 22050), ".mp3").read_bytes()
    hole = bytearray(sound)
    hole[len(sound) // 3 : len(sound) // 2] = bytes(len(sound) // 2 - len(sound) // 3)
    (tmp_path / "hole.mp3").write_bytes(hole)
    (tmp_path / "cut.mp3").write_bytes(sound[: len(sound) // 2])
    line = ("walk", small, photo, "--fps", 4, "--output_path", "y.gif", "--overwrite", *BUNDLED[:-1])
    for name in ("hole", "cut"):
        code, _, err = invoke(*line, "--audio", f"{name}.mp3")
        assert code == 0 and err.count(f"{name}.mp3 is damaged, and may crackle or end early. ffmpeg says: ") == 1, err
    code, _, err = invoke(*line, "--audio", "x.mp3")
    assert code == 0 and "damaged" not in err, err
    assert measure_clip(tmp_path / "hole.mp3").damage == listen(tmp_path / "hole.mp3").clip.damage != ""
    assert listen(tmp_path / "x.mp3", 0.0, 1.0).clip.damage == ""  # that ffmpeg's pipe is closed early is none


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_many_channels_are_mixed_down(suffix, tmp_path):
    sound = np.zeros((44100 * 2, 10))
    sound[:, 2] = clicks(2.0, [0.5], length=0.004, channels=1)[:, 0]  # to the left
    sound[:, 7] = clicks(2.0, [1.5], length=0.004, channels=1)[:, 0]  # to the right
    path = write_wav(tmp_path / "x.wav", sound, 44100)
    said = []
    followed = follow(SoundConfig(audio=str(path)), "energy", Session(say=said.append))
    assert said == ["The 10 channels of x.wav are mixed down to two in a video."]
    import torch

    still = Frame(index=0, total=0, latent=torch.zeros(1, 1, 1, 1), image=torch.full((1, 3, 16, 16), 0.5))
    output = tmp_path / f"y{suffix}"
    run_sinks([still] * 20, [open_frames(output, fps=10, hold=0, sound=followed.heard.clip.track)])
    line = [ffmpeg_executable(), "-v", "error", "-i", output, "-map", "0:a:0", "-f", "f32le", "-"]
    found = np.frombuffer(subprocess.run(line, capture_output=True, check=True).stdout, "<f4").reshape(-1, 2)
    loudest = np.abs(found).argmax(0) / 44100
    assert loudest == pytest.approx([0.5, 1.5], abs=0.01)
    assert len(samples_of(output)) / 44100 <= 2.0 + 1e-4


@pytest.mark.parametrize(
    "motion, sound, sentence",
    [
        ("beats", "tone", "No beats were found; the picture moves evenly."),
        ("bars", "tone", "No beats were found; the picture moves evenly."),
        ("percussive", "tone", "Hardly any hits were found; `motion` energy follows all that sounds."),
        ("percussive", "silence", "The sound is silent; the picture moves evenly."),
    ],
)
def test_what_is_not_found_is_said(motion, sound, sentence, tmp_path):
    tone = 0.4 * np.sin(2 * np.pi * 330 * np.arange(6 * 22050) / 22050)
    path = write_wav(tmp_path / "x.wav", tone * (sound == "tone"), 22050)
    said = []
    followed = follow(SoundConfig(audio=str(path)), motion, Session(say=said.append))
    assert said == [sentence]
    if motion != "percussive" or sound == "silence":
        assert followed.position(2)(np.array([0.0, 1.5, 3.0, 6.0])) == pytest.approx([0, 0.5, 1, 2])


def test_a_stop_that_never_comes_is_said(song):
    said = []
    follow(SoundConfig(audio=song, every=9, bpm=60.0), "beats", Session(say=said.append))
    assert said == ["The sound has no second stop 9 beats after the first."]


def test_doubts_are_said_with_what_helps(tmp_path):
    path = write_wav(tmp_path / "x.wav", clicks(12.0, np.arange(0.2, 12, 60 / 70), 22050), 22050)
    said = []
    followed = follow(SoundConfig(audio=str(path)), "beats", Session(say=said.append))
    assert said == [f"The beats are in doubt: {followed.beats}. `bpm` and `first_beat` say what you know better."]
    assert followed.figures()["sound"]["doubts"] == list(followed.beats.doubts) != []


@pytest.mark.parametrize(
    "seconds, words, remedy",
    [
        (0.02, "0.02 seconds at `fps` 6 are 1 frame", "more `fps`"),
        (2e4, "20000.0 seconds at", "Take less of the sound"),
    ],
)
def test_too_few_frames_and_too_many_have_a_remedy(seconds, words, remedy):
    with pytest.raises(InputError) as error:
        count_frames(seconds, 6)
    assert words in str(error.value) and remedy in str(error.value)


def test_tones_that_fade_over_each_other_do_not_clip(tmp_path):
    """Eight loud notes in turn, each of which fades for four seconds: most of them sound together at the end."""
    import wave

    from latentflow.sound.midi import Note
    from latentflow.sound.tones import write_tones

    notes = [Note(57, 0.25 * number, 0.25 * number + 0.2, 127, 0) for number in range(8)]
    write_tones(tmp_path / "x.wav", notes, 4.0, 0.0, 4.0)
    with wave.open(str(tmp_path / "x.wav")) as file:
        samples = np.frombuffer(file.readframes(-1), "<i2") / 32767
    assert 0.3 < np.abs(samples).max() <= 0.8
    assert np.abs(np.diff(samples)).max() < 0.2  # nothing wraps around


def test_a_session_that_is_stopped_listens_no_further(song):
    from latentflow.base.errors import Interrupted
    from latentflow.sound.follow import read_clip

    session, config = Session(), SoundConfig(audio=song)
    session.stop()
    with pytest.raises(Interrupted):
        follow(config, "energy", session)
    with pytest.raises(Interrupted):
        read_clip(config, session)


@pytest.mark.parametrize(
    "motion, options, stops",
    [("beats", {}, [1, 2, 3]), ("beats", {"every": 2}, [1, 3]), ("bars", {"beats_per_bar": 2}, [1, 3])],
)
def test_beats_divide_a_run_into_equal_parts(motion, options, stops, tmp_path):
    path = str(write_wav(tmp_path / "x.wav", np.zeros(4 * 8000), 8000))
    config = SoundConfig(audio=path, bpm=60.0, first_beat="1", **options)
    fractions = follow(config, motion, Session()).fractions(4.0)
    parts = len(stops) + 1
    assert fractions[[4 * stop for stop in stops]] == pytest.approx(np.arange(1, parts) / parts)
    assert fractions[0] == 0 and (np.diff(fractions) >= 0).all() and 1 - fractions[-1] < 0.3


@pytest.mark.parametrize("options", [{}, {"smooth": 1.5, "sensitivity": 0.25}])
def test_options_of_chroma_are_passed_on(options, song, monkeypatch):
    import torch

    from latentflow.explore.config import WalkConfig
    from latentflow.latents.paths import LatentPath
    from latentflow.sound import score as music

    given = []

    def weights(heard, images, **values):
        given.append((images, values))
        return lambda second: np.full(images, 1 / images)

    monkeypatch.setattr(music, "chroma_weights", weights)
    path = LatentPath(torch.arange(3.0).reshape(3, 1, 1, 1), "lerp")
    score = music.read_score(WalkConfig(audio=song, motion="chroma", **options), path, 3, 5.0, Session())
    assert given == [(3, {"smooth": 0.5, "sensitivity": 0.9} | options)] and score.weights.shape == (20, 3)


def test_a_session_that_is_stopped_writes_no_more_tones(tmp_path):
    from latentflow.base.errors import Interrupted
    from latentflow.sound.tones import write_tones

    session = Session()
    session.stop()
    with pytest.raises(Interrupted):
        write_tones(tmp_path / "x.wav", [], 2.0, 0.0, 0.1, session.check)
