"""Walks and runs to a sound: clicks become flashes at the same time, curves are what was asked for, sound is under
them."""

import json
import subprocess
import wave
from fractions import Fraction
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from latentflow.base.errors import InputError
from latentflow.base.records import Frame
from latentflow.explore.config import WalkConfig
from latentflow.latents.directions import mixture
from latentflow.latents.paths import LatentPath
from latentflow.models.autoencoder import Autoencoder, LatentGeometry
from latentflow.sinks import run_sinks
from latentflow.sinks.ffmpeg import ffmpeg_executable
from latentflow.sinks.frames import open_frames
from latentflow.sound.beats import find_beats
from latentflow.sound.config import SoundConfig
from latentflow.sound.follow import check_sound
from latentflow.sound.hearing import BINS, Heard, chroma_bank, listen
from latentflow.sound.motion import chroma_weights, folded, follow_energy, follow_times, frame_count, frame_seconds
from latentflow.sound.reading import Clip, SoundReader, read_time

BUNDLED = ("--weights", "bundled", "--size", 48, "--dtype", "float32", "--quiet")
FORMATS = {
    ".wav": "-c:a pcm_s16le",
    ".flac": "-c:a flac",
    ".mp3": "-c:a libmp3lame -b:a 192k",
    ".m4a": "-c:a aac -b:a 192k",
    ".ogg": "-c:a libvorbis -q:a 6",
    ".opus": "-c:a libopus -b:a 160k",
}


def write_wav(path, samples, rate):
    samples = samples if samples.ndim == 2 else samples[:, None]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def clicks(seconds, times, rate=44100, length=0.001, channels=2):
    """Bursts of noise of a millisecond, in silence."""
    sound = np.zeros((round(seconds * rate), channels))
    burst = np.sign(np.random.default_rng(0).standard_normal(round(length * rate))) * 0.8
    for time in times:
        first = round(time * rate)
        part = sound[first : first + len(burst)]
        part += burst[: len(part), None]
    return sound


def encoded(path, suffix):
    made = path.with_suffix(suffix)
    subprocess.run([ffmpeg_executable(), "-v", "error", "-y", "-i", path, *FORMATS[suffix].split(), made], check=True)
    return made


def samples_of(path, rate=44100):
    line = [ffmpeg_executable(), "-v", "error", "-i", path, "-map", "0:a:0", "-ac", "1", "-ar", str(rate)]
    return np.frombuffer(subprocess.run([*line, "-f", "f32le", "-"], capture_output=True, check=True).stdout, "<f4")


def click_times(samples, rate=44100, apart=0.2, length=0.001):
    """Seconds at which bursts of so many seconds begin, `apart` or more from each other: by the center of their energy,
    since lossy formats begin some of them early."""
    loud = np.flatnonzero(np.abs(samples) > 0.25)
    first = loud[np.concatenate([[True], np.diff(loud) > apart * rate])]
    parts = [slice(max(0, at - round(0.004 * rate)), at + round((length + 0.004) * rate)) for at in first]
    centers = [part.start + np.average(np.arange(len(samples[part])), weights=samples[part] ** 2) for part in parts]
    return np.array(centers) / rate - length / 2


def brightness(path):
    """The mean brightness of each frame and the second at which it is shown, as the file says."""
    line = [ffmpeg_executable(), "-v", "error", "-i", path, "-map", "0:v:0", "-vf", "scale=1:1:flags=area,format=gray"]
    raw = subprocess.run([*line, "-f", "rawvideo", "-"], capture_output=True, check=True).stdout
    times = subprocess.run(
        [ffmpeg_executable(), "-v", "error", "-i", path, "-map", "0:v:0", "-c", "copy", "-f", "framemd5", "-"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.splitlines()
    base = Fraction(next(line for line in times if line.startswith("#tb 0:")).split()[-1])
    stamps = sorted(int(line.split(",")[2]) * base for line in times if line[:1] != "#")
    return np.frombuffer(raw, np.uint8).astype(float), np.array([float(stamp) for stamp in stamps])


def gray_autoencoder():
    """A decoder whose picture is the latent's mean, as gray."""

    def decode(values):
        return SimpleNamespace(sample=(2 * values.mean((1, 2, 3), keepdim=True) - 1).expand(-1, 3, 8, 8))

    one = torch.ones(1, 1, 1, 1)
    return Autoencoder(
        SimpleNamespace(decode=decode), LatentGeometry(channels=1, stride=8, scale=one, shift=0 * one), "gray"
    )


def heard_of(energy, percussive=None, **values):
    """What might be heard in as many milliseconds as `energy` has."""
    energy = np.asarray(energy, dtype=float)
    made = {"energy": energy, "percussive": energy if percussive is None else percussive}
    made |= {"waveform": np.zeros((len(energy), 2)), "times": np.zeros(0), "onsets": np.zeros(0), "bass": np.zeros(0)}
    clip = Clip("x.wav", 1000, 1, 0, len(energy))
    return Heard(clip=clip, **made | {"chroma": None} | values)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_decoded_to_the_sample(suffix, tmp_path):
    rate = 48000 if suffix == ".opus" else 44100
    sound = clicks(3.0, [0.5, 1.25, 2.9], rate)
    path = (
        encoded(write_wav(tmp_path / "x.wav", sound, rate), suffix)
        if suffix != ".wav"
        else write_wav(tmp_path / "x.wav", sound, rate)
    )
    with SoundReader(path) as reader:
        found = np.concatenate(list(reader.blocks()))
        assert (reader.rate, reader.channels) == (rate, 2)
    assert len(found) == pytest.approx(len(sound), abs=1024)  # some formats end with a full packet
    lag = np.argmax(np.correlate(found[:rate, 0], sound[:rate, 0], "same")) - rate // 2
    assert lag == 0


def test_energies_are_those_of_each_millisecond_at_any_rate(tmp_path):
    for rate in (8000, 11025, 22050, 44100, 48000):
        path = write_wav(tmp_path / "x.wav", clicks(20.0, np.arange(1, 20), rate, channels=1), rate)
        heard = listen(path)
        for curve in (heard.energy, heard.percussive):
            (at,) = np.nonzero(curve > 0.1 * curve.max())
            nearest = np.abs(at[:, None] - 1000 * np.arange(1, 20)).min(1)
            assert nearest.max() <= 1 and len(at) >= 19, rate
        assert len(heard.energy) == 20 * BINS
        with wave.open(str(path)) as file:
            values = np.frombuffer(file.readframes(-1), "<i2") / 32768
        assert heard.energy.mean() == pytest.approx((values**2).mean(), rel=1e-4)


def test_hits_are_told_from_tones(tmp_path):
    rate = 22050
    time = np.arange(10 * rate) / rate
    tone = 0.3 * np.sin(2 * np.pi * 440 * time)
    sound = clicks(10.0, [2, 4, 6, 8], rate, length=0.01, channels=1)[:, 0] * 0.6
    heard = listen(write_wav(tmp_path / "x.wav", tone + sound, rate))
    near = np.zeros(len(heard.energy), bool)
    for at in (2, 4, 6, 8):
        near[1000 * at - 30 : 1000 * at + 60] = True
    near[:100] = near[-100:] = True  # a tone that begins or ends is a hit
    assert heard.percussive[~near].sum() < 0.02 * heard.percussive.sum()
    assert heard.energy[~near].sum() > 0.5 * heard.energy.sum()
    strict = listen(tmp_path / "x.wav", margin=8.0)
    assert strict.percussive[~near].sum() < heard.percussive[~near].sum()


def test_a_part_is_cut_at_its_samples(tmp_path):
    path = write_wav(tmp_path / "x.wav", clicks(10.0, [3.0]), 44100)
    heard = listen(path, 2.5, 4.0)
    assert heard.seconds == pytest.approx(1.5) and heard.clip.first == round(2.5 * 44100)
    assert np.argmax(heard.energy) == 500
    with pytest.raises(InputError, match="holds no sound after second 12"):
        listen(path, 12.0)


@pytest.mark.parametrize(
    "text, seconds", [("12", 12), ("1:02.5", 62.5), ("0:07", 7), ("1:00:00", 3600), (" 3.25", 3.25)]
)
def test_times_are_read(text, seconds):
    assert read_time(text, "to") == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1:75", "1:2:3:4", "nan", "inf", "1.5:00"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InputError, match=r"`to` .* is no time"):
        read_time(text, "to")


@pytest.mark.parametrize("fps", [20, 24, 29.97, 60])
@pytest.mark.parametrize("seconds", [1.0, 10.0, 300.0, 299.99])
def test_frames_cover_the_sound_and_no_frame_is_lost(fps, seconds):
    count = frame_count(seconds, fps)
    assert count / fps >= seconds - 1e-6 and (count - 1) / fps < seconds
    for frames in range(1, 3000):  # int(n / fps * fps) is n - 1 for some
        assert frame_count(frames / fps, fps) == frames
    times = frame_seconds(count, fps)
    assert times[-1] == (count - 1) / fps  # no running sum


def test_a_walk_moves_with_the_energy_and_the_rest_evenly():
    energy = np.zeros(4000)
    energy[1000] = energy[3000] = 1.0
    sharp = follow_energy(energy, 4.0, 3)
    assert sharp(np.array([0.0, 0.999 - 1e-9, 1.0, 2.9, 3.0, 4.0])) == pytest.approx([0, 0, 1.5, 1.5, 3, 3], abs=1e-6)
    shared = follow_energy(energy, 4.0, 3, sensitivity=0.5)
    assert shared(np.array([0.5, 1.0, 4.0])) == pytest.approx([3 * 0.5 * 0.5 / 4, 3 * (0.25 + 0.5 * 0.25), 3])


def test_smoothing_moves_after_a_hit_and_never_before():
    energy = np.zeros(2000)
    energy[1000] = 1.0
    moved = follow_energy(energy, 2.0, 1, smooth=0.2)
    assert moved(np.array([0.9, 0.998])) == pytest.approx([0, 0], abs=1e-9)
    assert 0.2 < moved(np.array([1.05]))[0] < 0.6 and moved(np.array([1.2]))[0] == pytest.approx(1)


def test_silence_and_a_silent_stretch_are_covered_evenly():
    times = np.linspace(0, 4, 9)
    assert follow_energy(np.zeros(4000), 4.0, 2)(times) == pytest.approx(times / 2)
    energy = np.zeros(4000)
    energy[2500] = 1.0  # nothing before the mark at second 2
    marked = follow_energy(energy, 4.0, 2, marks=[2.0])
    assert marked(np.array([0.0, 1.0, 2.0, 2.4, 2.6, 4.0])) == pytest.approx([0, 0.5, 1, 1, 2, 2])


def test_marks_are_where_images_are():
    generator = np.random.default_rng(0)
    position = follow_energy(generator.random(10_000), 10.0, 4, marks=[1.0, 7.5, 8.0], sensitivity=0.9)
    assert position(np.array([0.0, 1.0, 7.5, 8.0, 10.0])) == pytest.approx([0, 1, 2, 3, 4], abs=2e-3)
    assert (np.diff(position(np.linspace(0, 10, 500))) >= 0).all()


def test_images_fall_on_beats():
    beats = np.arange(0.25, 12, 0.5)
    once = follow_times(beats, 12.0, 3)
    whole = [float(beat) for beat in beats if abs(once(np.array([beat]))[0] % 1) < 1e-9]
    assert once(np.array([0.0, 12.0])) == pytest.approx([0, 3]) and len(whole) >= 2
    again = follow_times(beats, 12.0, 2, every=4)
    assert again(beats[::4]) == pytest.approx([0, 1, 2, 1, 0, 1])
    assert again(np.array([11.25])) == pytest.approx([1.5])  # the last leg is as long as the others: it ends at 12.25
    around = follow_times(beats, 12.0, 3, every=4, loop=True)
    assert around(beats[::4][:3]) == pytest.approx([0, 1, 2])
    assert around(np.array([12.0]))[0] % 3 == pytest.approx(0)  # it closes
    between = again(np.array([beats[0] + 0.02, beats[0] + 1.0]))
    assert between[0] < 0.01 and between[1] == pytest.approx(0.5)  # slow at the image
    assert follow_times(np.zeros(0), 10.0, 4)(np.array([5.0])) == pytest.approx([2.0])


def test_positions_come_back():
    assert folded(np.array([0, 1.5, 2, 2.5, 4, 5.0]), 2, loop=False) == pytest.approx([0, 1.5, 2, 1.5, 0, 1])
    assert folded(np.array([0, 2, 2.5, 4.0]), 2, loop=True) == pytest.approx([0, 2, 0.5, 0])


def test_pitch_classes_pull_towards_their_image():
    chroma = np.zeros((100, 12))
    chroma[:50, 0] = 1.0  # C
    chroma[50:80, 6] = 1.0  # F sharp, opposite on the circle of fifths
    heard = heard_of(np.ones(1000), times=np.arange(100) / 100, chroma=chroma)
    at = chroma_weights(heard, 2)
    assert at(0.2) == pytest.approx([1, 0]) and at(0.7) == pytest.approx([0, 1])
    assert at(0.95) == pytest.approx([0.5, 0.5])  # silence
    soft = chroma_weights(heard, 2, sensitivity=0.5)
    assert soft(0.2) == pytest.approx([0.75, 0.25])


def test_pitch_classes_are_dealt_by_fifths_and_weigh_as_their_squares():
    """Of two images the first has C G D A E B and the second F sharp C sharp G sharp D sharp A sharp F."""
    chroma = np.zeros((130, 12))
    for pitch_class in range(12):
        chroma[10 * pitch_class : 10 * pitch_class + 10, pitch_class] = 1.0
    chroma[120:, 0], chroma[120:, 6] = 1.0, 0.5
    at = chroma_weights(heard_of(np.ones(1300), times=np.arange(130) / 100, chroma=chroma), 2)
    first = {0, 7, 2, 9, 4, 11}
    assert {each for each in range(12) if at(each / 10 + 0.05)[0] == pytest.approx(1)} == first
    assert at(1.25) == pytest.approx([0.8, 0.2])


def test_the_last_leg_of_a_loop_to_beats_is_not_squeezed():
    """Nine beats half a second apart around three images, and the end 0.2 s after the last of them."""
    around = follow_times(np.arange(9) / 2, 4.2, 3, every=1, loop=True)
    assert around(np.array([3.5, 3.85])) == pytest.approx([1, 2])  # 0.35 s for each of the last two legs
    assert around(np.array([3.5 + 0.175, 3.85 + 0.175])) == pytest.approx([1.5, 2.5])
    long = follow_times(np.arange(9) / 2, 4.3, 3, every=1, loop=True)  # more than half a leg stays as it is
    assert long(np.array([3.5, 4.0, 4.15])) == pytest.approx([1, 2, 2.5])


def test_a_mixture_keeps_the_norm():
    anchors = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    mixed = mixture(anchors, torch.full((4,), 0.25, dtype=torch.float64))
    assert mixed.shape == (1, 4, 8, 8)
    assert float(mixed.norm()) == pytest.approx(float(anchors.flatten(1).norm(dim=1).mean()), rel=1e-5)
    alone = mixture(anchors, torch.tensor([0.0, 1.0, 0.0, 0.0]))
    assert torch.allclose(alone, anchors[1:2])


@pytest.mark.parametrize("tempo", [120.0, 97.3])
def test_the_tempo_is_found_more_exactly_than_windows_say_it(tempo, tmp_path):
    times = np.arange(0.4, 60, 60 / tempo)
    heard = listen(write_wav(tmp_path / "x.wav", clicks(60.0, times, 22050, length=0.02, channels=1), 22050))
    beats = find_beats(heard)
    # 5 ms over a minute are 0.01 beats a minute at 120: 60 · 0.005 / 0.5² / 119 beats
    assert beats.steady and abs(beats.tempo - tempo) < 0.01 and 0.001 < beats.tempo_error < 0.02
    # what 5 ms from the first beat to the last make of a gap g is 60/g² as much of the tempo
    assert beats.tempo_error >= 0.9 * 0.005 / (len(beats.times) - 1) * tempo**2 / 60
    assert abs(beats.tempo - tempo) < abs(beats.tracked - tempo)
    inside = beats.times[(beats.times >= 0.3) & (beats.times < 59.9)]
    assert np.abs(inside[:, None] - times).min(1).max() < 0.004
    assert str(beats) == f"{tempo:.2f} ± 0.01 beats per minute"


def test_bars_begin_on_the_strong_beat(tmp_path):
    rate = 22050
    times = np.arange(0.5, 40, 0.5)
    sound = clicks(40.0, times, rate, length=0.01, channels=1)[:, 0] * 0.3
    drum = np.sin(2 * np.pi * 60 * np.arange(rate // 5) / rate) * np.exp(-np.arange(rate // 5) / (rate * 0.05))
    for time in times[3::4]:
        first = round(time * rate)
        sound[first : first + len(drum)] += 0.7 * drum[: len(sound) - first]
    beats = find_beats(listen(write_wav(tmp_path / "x.wav", sound, rate)))
    inside = beats.bars[(beats.bars > 0.3) & (beats.bars < 39)]
    assert np.abs(inside[:, None] - times[3::4]).min(1).max() < 0.02 and len(inside) >= 18


def test_silence_has_no_beats_and_a_changing_tempo_is_followed(tmp_path):
    silent = find_beats(listen(write_wav(tmp_path / "x.wav", np.zeros((22050 * 5, 1)), 22050)))
    assert silent.tempo == 0 and len(silent.times) == 0 and str(silent) == "no beats found"
    times, time = [], 0.3
    while time < 39.5:
        times.append(time)
        time += 0.6 - 0.2 * time / 40  # from 100 to 150 beats a minute
    sound = clicks(40.0, times, 22050, length=0.01, channels=1)
    beats = find_beats(listen(write_wav(tmp_path / "x.wav", sound, 22050)))
    assert not beats.steady and "vary" in str(beats)
    nearest = np.abs(beats.times[:, None] - np.array(times)).min(1)
    assert np.median(nearest) < 0.003


@pytest.mark.slow
@pytest.mark.parametrize(
    "fps, suffix, seconds",
    [
        *((20, ".wav", 120.0), (24, ".mp3", 30.0), (29.97, ".m4a", 30.0), (60, ".ogg", 20.0)),
        *((20, ".flac", 20.0), (24, ".opus", 20.0)),
    ],
)
def test_flashes_come_with_clicks_over_two_minutes(fps, suffix, seconds, tmp_path):
    """Clicks just before frames; each carries the walk from black to white or back, and the file is measured."""
    numbers = np.unique(np.round(np.arange(2.0, seconds - 1, 2.9) * fps)).astype(int)
    times = numbers / fps - 0.002
    rate = 48000 if suffix == ".opus" else 44100
    path = write_wav(tmp_path / "x.wav", clicks(seconds, times, rate), rate)
    path = path if suffix == ".wav" else encoded(path, suffix)
    heard = listen(path)
    position = follow_energy(heard.percussive, heard.seconds, len(times))
    frames = frame_count(heard.seconds, fps)
    anchors = torch.tensor([0.1, 0.9] * len(times))[: len(times) + 1].reshape(-1, 1, 1, 1)
    latent_at = LatentPath(anchors, "lerp")
    output = tmp_path / "x.mp4"

    @cache  # most frames are between two clicks and look the same
    def picture(place):
        latent = latent_at(place)
        return {"latent": latent, "image": gray_autoencoder().decode(latent, (8, 8))}

    def records():
        for index, place in enumerate(position(frame_seconds(frames, fps)).tolist()):
            yield Frame(index=index, total=frames - 1, **picture(round(place, 6)))

    run_sinks(records(), [open_frames(output, fps=fps, hold=0, sound=heard.clip.track)])
    levels, shown = brightness(output)
    assert len(levels) == frames == pytest.approx(seconds * fps, abs=2)  # a format may end with a full packet
    flashes = shown[1:][np.abs(np.diff(levels)) > 60]
    sound = samples_of(output)
    assert len(sound) / 44100 <= frames / fps + 1e-4  # no longer than the picture
    found = click_times(sound)
    assert len(flashes) == len(found) == len(times)
    assert np.abs(flashes - found).max() < 0.004
    assert np.abs(found - times).max() < 0.002


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("source", FORMATS)
def test_the_sound_is_muxed_without_lag_as_it_was(source, suffix, tmp_path):
    rate = 48000 if source == ".opus" else 44100
    times = [1.0, 2.0, 3.8]
    sound = clicks(5.0, times, rate, length=0.004)
    sound[:, 1] *= 0.5  # the channels differ
    path = write_wav(tmp_path / "x.wav", sound, rate)
    if source != ".wav":
        path = encoded(path, source)
    track = listen(path, 0.5, 4.0).clip.track
    output = tmp_path / f"y{suffix}"
    still = Frame(index=0, total=0, latent=torch.zeros(1, 1, 1, 1), image=torch.full((1, 3, 16, 16), 0.5))
    run_sinks([still] * 60, [open_frames(output, fps=20, hold=0, sound=track)])  # shorter than the sound
    said = subprocess.run([ffmpeg_executable(), "-i", output], capture_output=True, text=True, check=False).stderr
    assert f"{rate} Hz, stereo" in said
    found = samples_of(output, rate)
    assert len(found) / rate <= 3.0 + 1e-4
    assert click_times(found, rate, length=0.004) == pytest.approx([0.5, 1.5], abs=0.002)


def test_the_command_walks_to_a_sound(invoke, small, photo, tmp_path):
    write_wav(tmp_path / "song.wav", clicks(2.0, [0.5, 1.5]), 44100)
    line = ("walk", small, photo, "random:4", "--audio", "song.wav", "--fps", 10, "--smooth", 0, "--sensitivity", 1)
    code, out, err = invoke(*line, "--output_path", "walk.mp4", "--caption", "--json", *BUNDLED)
    assert code == 0, err
    report = json.loads(out)
    assert report["frames"] == 20 and report["seconds"] == 2.0
    assert report["sound"] == {"seconds": 2.0, "rate": 44100, "channels": 2, "motion": "percussive"}
    assert click_times(samples_of(tmp_path / "walk.mp4")) == pytest.approx([0.5, 1.5], abs=0.002)
    levels, shown = brightness(tmp_path / "walk.mp4")
    assert len(levels) == 20 and shown[-1] == pytest.approx(1.9)
    assert Image.open(tmp_path / "walk.heard.png").size[0] == 1200
    manifest = json.loads((tmp_path / "walk.mp4.manifest.json").read_text())
    assert manifest["inputs"]["audio"] == "song.wav" and manifest["options"]["sensitivity"] == 1
    code, out, err = invoke(
        "walk", small, photo, "--audio", "song.wav", "--output_path", "other.gif", "--fps", 10, *BUNDLED[:-1]
    )
    assert code == 0 and "A .gif is silent; an .mp4 or .webm plays the sound." in err


def test_what_was_heard_is_drawn():
    from latentflow.sound.plot import draw_heard

    energy = np.zeros(2000)
    energy[500] = 1.0
    heard = heard_of(energy, waveform=np.stack([-energy, energy], 1))
    times = frame_seconds(40, 20)
    figure = draw_heard(
        times, names=["cat", "dog"], positions=follow_energy(energy, 2.0, 1)(times), heard=heard, finding="x"
    )
    wave_panel, motion = figure.axes
    assert [text.get_text() for text in motion.get_yticklabels()] == ["cat", "dog"]
    line = motion.lines[0].get_xydata()
    assert line[9, 1] == 0 and line[10, 1] == 1 and line[10, 0] == 0.5
    hits = next(line for line in wave_panel.lines if line.get_label() == "hits").get_xydata()
    assert hits[hits[:, 1].argmax(), 0] == 0.5
    assert motion.get_xlim() == (0, 2)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"motion": "beats"}, "`motion` goes with `audio`"),
        ({"from_": "2"}, "`from_` goes with `audio`"),
        ({"audio": "none.wav"}, "`audio` none.wav does not exist"),
        (
            {"audio": "x.wav", "every": 2},
            "`every` would have no effect on `motion` percussive. It is for beats or bars",
        ),
        ({"audio": "x.wav", "motion": "energy", "margin": 2.0}, "`margin` would have no effect"),
        ({"audio": "x.wav", "from_": "3", "to": "2"}, "`to` 2 is not after `from_` 3"),
        ({"audio": "x.wav", "marks": ("1",)}, "`marks` has 1 time; 2 are wanted"),
        ({"audio": "x.wav", "marks": ("2", "1")}, "`marks` must rise"),
        ({"audio": "x.wav", "marks": ("1", "5"), "to": "4"}, "`marks` must lie between"),
    ],
)
def test_options_that_contradict_are_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "x.wav", np.zeros(100), 8000)
    with pytest.raises(InputError) as error:
        check_sound(SoundConfig(**options), options.get("motion") or "percussive", 3)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "name, value", [("frames", 10), ("seconds", 2.0), ("even", True), ("ease", "in_out"), ("hold_anchors", 1.0)]
)
def test_a_sound_times_the_walk_alone(name, value, tmp_path):
    from latentflow.explore.walk import OTHER_TIMING
    from latentflow.sound.score import check_music

    path = write_wav(tmp_path / "x.wav", np.zeros(100), 8000)
    with pytest.raises(InputError, match=f"`{name}` and `audio` both time the walk"):
        check_music(WalkConfig(audio=str(path), **{name: value}), 3, loop=False, timing=OTHER_TIMING)


def test_a_mixture_has_no_loop(tmp_path):
    from latentflow.explore.walk import OTHER_TIMING
    from latentflow.sound.score import check_music

    path = write_wav(tmp_path / "x.wav", np.zeros(100), 8000)
    with pytest.raises(InputError, match="`loop` has no effect on `motion` chroma"):
        check_music(WalkConfig(audio=str(path), motion="chroma", loop=True), 3, loop=True, timing=OTHER_TIMING)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not a sound at all" * 100, b"ID3\x03" + bytes(300)])
def test_what_is_no_sound_is_one_line(content, invoke, small, photo, tmp_path):
    (tmp_path / "x.mp3").write_bytes(content)
    code, _, err = invoke("walk", small, photo, "--audio", "x.mp3", "--output_path", "y.mp4", *BUNDLED)
    assert code == 2 and len(err.strip().splitlines()) == 1 and "x.mp3 holds no sound" in err
    assert not (tmp_path / "y.mp4").exists()


def test_a_picture_is_no_sound(invoke, small, photo, tmp_path):
    code, _, err = invoke("walk", small, photo, "--audio", small, "--output_path", "y.mp4", *BUNDLED)
    assert code == 2 and "holds no sound" in err


def test_a_run_is_rendered_to_a_sound(invoke, small, tmp_path):
    """The frames of a flow follow clicks, and the last is shown at the end; without a motion they keep their time."""
    code, _, err = invoke("--image_path", small, "--steps", 10, "--output_path", "run.gif", "--seed", 3, *BUNDLED)
    assert code == 0, err
    write_wav(tmp_path / "song.wav", clicks(4.0, [1.0, 3.0]), 44100)
    line = ("render", "run.gif.trajectory", "--audio", "song.wav", "--fps", 10, "--hold", 0, "--quiet")
    code, out, err = invoke(*line, "--motion", "percussive", "--smooth", 0, "--sensitivity", 1, "--output_path", "a")
    assert code == 0, err
    frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "a").glob("*.png"))]
    assert len(frames) == 40
    changes = [index for index in range(1, 40) if not np.array_equal(frames[index], frames[index - 1])]
    assert changes == [10, 30]
    first, last = frames[0], frames[-1]
    target = np.asarray(Image.open(small).convert("RGB").resize(first.shape[1::-1]), dtype=float)
    assert np.abs(last - target).mean() < np.abs(first - target).mean()
    code, out, err = invoke(*line, "--output_path", "b.mp4")
    assert code == 0 and "11 frames" in out, err
    assert click_times(samples_of(tmp_path / "b.mp4")) == pytest.approx([1.0], abs=0.002)
    assert len(samples_of(tmp_path / "b.mp4")) / 44100 <= 1.1 + 1e-4
    for extra, message in (
        (("--motion", "chroma"), "--motion chroma mixes the images of a walk"),
        (("--motion", "energy", "--skip_step", 2), "--skip_step and --motion both time the frames"),
    ):
        code, _, err = invoke(*line, *extra, "--output_path", "c.mp4")
        assert code == 2 and message in err


def test_a_loop_closes_at_the_end_of_the_sound(tmp_path):
    from latentflow.base.session import Session
    from latentflow.sound.score import read_score

    path = write_wav(tmp_path / "x.wav", clicks(4.0, [0.5, 1.5, 2.5, 3.5]), 44100)
    anchors = torch.arange(3.0).reshape(3, 1, 1, 1)
    for motion, extra in (("percussive", {"sensitivity": 0.5}), ("energy", {}), ("constant", {})):
        config = WalkConfig(audio=str(path), motion=motion, loop=True, fps=10.0, **extra)
        score = read_score(config, LatentPath(anchors, "lerp", loop=True), 3, config.fps, Session())
        assert score.positions[0] == 0 and set(score.positions) >= {0.0, 1.0, 2.0}
        assert (np.diff(score.positions) >= 0).all()
        assert 3 - score.positions[-1] <= 2 * max(np.diff(score.positions))  # the first frame comes again, not twice


def test_a_video_that_is_stopped_has_its_sound_so_far(tmp_path):
    track = listen(write_wav(tmp_path / "x.wav", clicks(5.0, [0.5, 3.0]), 44100)).clip.track
    frame = Frame(index=0, total=99, latent=torch.zeros(1, 1, 1, 1), image=torch.full((1, 3, 16, 16), 0.5))

    def stopped():
        yield from [frame] * 20
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sinks(stopped(), [open_frames(tmp_path / "y.mp4", fps=20, hold=0, sound=track)])
    found = samples_of(tmp_path / "y.mp4")
    assert click_times(found) == pytest.approx([0.5], abs=0.002) and len(found) / 44100 <= 1.0 + 1e-4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.wav", "y.mp4"]


def test_pitch_classes_are_those_that_librosa_computes():
    """At 441, 262 and 439 Hz, from C to B: values of its `filters.chroma` (0.11)."""
    bank = chroma_bank(22050, 8192)
    assert bank.shape == (12, 4097)
    expected = {
        97: [0.668439, 0.0784973, 0.000168838, 0, 0, 0, 0, 0, 0, 0, 0.000297811, 0.104253],
        163: [0, 0, 0, 0, 0, 0, 0, 0.000431628, 0.142745, 0.864644, 0.0959255, 0.000194919],
        700: [0.00117183, 0, 0, 0, 0, 0, 0, 0, 6.56653e-05, 0.0544483, 0.826904, 0.230011],
        4096: [0, 0, 4.54e-8, 0.00039171, 0.0618721, 0.178998, 0.00948466, 9.20e-6, 0, 0, 0, 0],
    }
    for frequency, shares in expected.items():
        assert bank[:, frequency] == pytest.approx(shares, rel=1e-4, abs=2e-7)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    code = (
        "import sys, resource; from pathlib import Path; from latentflow.sound.hearing import listen;"
        "from latentflow.sound.beats import find_beats; find_beats(listen(Path(sys.argv[1])));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    import sys

    used = []
    for seconds in (10, 120):
        path = tmp_path / f"{seconds}.wav"
        line = [ffmpeg_executable(), "-v", "error", "-y", "-f", "lavfi", "-i", f"anoisesrc=d={seconds}:r=44100", path]
        subprocess.run(line, check=True)
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
        used.append(float(done.stdout))
    assert used[1] < used[0] + 15, used  # samples alone would be 19 MB more, and their spectrogram 80
