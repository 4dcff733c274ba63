"""The figure of what was heard: every panel shows what its label says, where it was heard."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from latentflow.sound.beats import Beats
from latentflow.sound.hearing import Heard
from latentflow.sound.midi import Note
from latentflow.sound.plot import draw_heard
from latentflow.sound.reading import Clip

TIMES = np.arange(40) / 20  # of the frames of two seconds
NAMES = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]


def heard(**values):
    """Two seconds in which nothing is heard but what is given."""
    made = {"energy": np.zeros(2000), "percussive": np.zeros(2000), "waveform": np.zeros((2000, 2)), "chroma": None}
    made |= {"times": np.arange(100) / 50, "onsets": np.zeros(100), "bass": np.zeros(100)}
    return Heard(**{"clip": Clip("x.wav", 1000, 1, 0, 2000)} | made | values)


def test_pitch_classes_stand_from_c_upwards_where_they_sound():
    chroma = np.zeros((100, 12))
    chroma[:50, 0] = 1.0  # C in the first second
    chroma[50:, 9] = 1.0  # A in the second
    figure = draw_heard(TIMES, positions=TIMES, heard=heard(chroma=chroma))
    panel = figure.axes[1]
    assert panel.get_ylabel() == "pitch class"
    labels = {round(place): text.get_text() for place, text in zip(panel.get_yticks(), panel.get_yticklabels())}
    assert [labels[place] for place in range(12)] == NAMES
    (image,) = panel.images
    left, right, bottom, top = image.get_extent()
    assert (left, right) == pytest.approx((0, 99 / 50)) and image.origin == "lower"

    def bright(second, place):
        shown = np.asarray(image.get_array())
        row = int((place - bottom) / (top - bottom) * shown.shape[0])
        return shown[row, int((second - left) / (right - left) * shown.shape[1])]

    assert [bright(0.5, 0), bright(0.5, 9), bright(1.5, 0), bright(1.5, 9)] == [1, 0, 0, 1]


def test_weights_are_stacked_under_the_names_of_their_images():
    weights = np.stack([0.5 - TIMES / 8, 0.2 + TIMES / 8, np.full(40, 0.3)], 1)
    panel = draw_heard(TIMES, names=["cat", "dog", "owl"], weights=weights, label="weight").axes[-1]
    legend = panel.get_legend()
    areas = {text.get_text(): area for text, area in zip(legend.get_texts(), panel.collections, strict=True)}
    colors = {
        text.get_text(): to_rgb(key.get_facecolor()) for text, key in zip(legend.get_texts(), legend.get_patches())
    }
    floor = np.zeros(40)
    for name, share in zip(["cat", "dog", "owl"], weights.T, strict=True):
        border = areas[name].get_paths()[0].vertices
        at = border[np.isclose(border[:, 0], TIMES[10])][:, 1]
        assert (at.min(), at.max()) == pytest.approx((floor[10], floor[10] + share[10]))
        assert to_rgb(areas[name].get_facecolor()[0]) == colors[name]
        floor += share
    assert panel.get_ylim() == (0, 1) and panel.get_ylabel() == "weight" and panel.get_xlabel() == "seconds"


def test_beats_and_bars_are_lines_at_their_seconds():
    times = np.array([0.25, 0.75, 1.25, 1.75])
    beats = Beats(times=times, bars=times[1::2], tempo=120.0, tempo_error=0.1, steady=True, tracked=120.0)
    panel = draw_heard(TIMES, positions=TIMES, heard=heard(), beats=beats).axes[0]
    drawn = {lines.get_label(): lines for lines in panel.collections if lines.get_label() in ("beats", "bars")}
    for kind, seconds in (("beats", times), ("bars", times[1::2])):
        segments = np.array(drawn[kind].get_segments())
        assert segments[:, :, 0] == pytest.approx(np.stack([seconds, seconds], 1))
        assert segments[:, :, 1] == pytest.approx(np.tile([0, 1], (len(seconds), 1)))  # from bottom to top
    assert to_rgb(drawn["bars"].get_color()[0]) == to_rgb("tab:red") and panel.get_ylabel() == "sound"
    assert drawn["bars"].get_linewidth()[0] > drawn["beats"].get_linewidth()[0]
    assert {text.get_text() for text in panel.get_legend().get_texts()} == {"waveform", "beats", "bars"}  # no hits


def test_a_waveform_of_more_columns_keeps_its_extremes():
    waveform = np.zeros((10_000, 2))
    waveform[5003] = -0.7, 0.9  # one millisecond among five
    percussive = np.zeros(10_000)
    percussive[5004], percussive[8000] = 1.0, 0.25
    clip = Clip("x.wav", 1000, 1, 0, 10_000)
    panel = draw_heard(
        np.arange(200) / 20,
        positions=np.arange(200) / 20,
        heard=heard(clip=clip, percussive=percussive, waveform=waveform),
    ).axes[0]
    border = panel.collections[0].get_paths()[0].vertices
    assert (border[:, 1].min(), border[:, 1].max()) == pytest.approx((-0.7, 0.9))
    hits = next(line for line in panel.lines if line.get_label() == "hits").get_xydata()
    assert hits[:, 1].max() == pytest.approx(0.9)  # as high as the waveform
    assert hits[np.isclose(hits[:, 0], 8.0), 1] == pytest.approx(0.45)  # the root of a quarter
    assert panel.get_xlim() == (0, 10)


def test_notes_are_bars_from_the_second_at_which_the_file_begins():
    notes = [Note(60, 0.0, 0.5, 127, 0), Note(67, 0.25, 1.0, 0, 0)]
    figure = draw_heard(TIMES, positions=TIMES, names=["a", "b"], notes=notes, offset=0.75, finding="two notes")
    panel, motion = figure.axes
    bars = [(bar.get_x(), bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in panel.patches]
    assert np.array(bars) == pytest.approx(np.array([(0.75, 0.5, 60), (1.0, 0.75, 67)]))
    assert [bar.get_facecolor()[3] for bar in panel.patches] == pytest.approx([1.0, 0.3])  # loud and soft
    assert panel.get_ylabel() == "MIDI note" and motion.get_ylabel() == "position"
    assert motion.get_xlim() == pytest.approx((0, TIMES[-1])) and figure._supxlabel.get_text() == "two notes"
    assert [line.get_ydata()[0] for line in motion.lines[1:]] == [0, 1]  # a line for each image
