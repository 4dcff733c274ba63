"""Sinks before other sinks: one that writes from a thread of its own, one that keeps frames by change."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import step, steps

from latentflow.base.errors import OutputError
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.background import Background
from latentflow.sinks.resample import ResampleByChange


class Recorder(Sink):
    """A sink that records what happens to it, and breaks at a record if told so."""

    def __init__(self, breaks_at=None):
        self.seen, self.breaks_at = [], breaks_at

    def open(self):
        self.seen.append("opened")

    def write(self, record):
        if record.index == self.breaks_at:
            raise OutputError("no room")
        self.seen.append((record.index, threading.get_ident()))

    def close(self, error):
        self.seen.append(error)


def test_a_sink_behind_gets_every_record_in_order_from_another_thread():
    sink = Recorder()
    run_sinks(steps(40), [Background(sink)])
    assert sink.seen[0] == "opened" and sink.seen[-1] is None
    assert [index for index, _ in sink.seen[1:-1]] == list(range(40))
    assert threading.get_ident() not in {thread for _, thread in sink.seen[1:-1]}


@pytest.mark.parametrize("at", [3, 39])
def test_what_a_sink_behind_raises_reaches_the_run(at):
    sink = Recorder(breaks_at=at)
    with pytest.raises(OutputError, match="no room"):
        run_sinks(steps(40), [Background(sink)])
    assert len(sink.seen) == at + 2  # and nothing was written after it
    assert not any(thread.name.endswith("(_write)") for thread in threading.enumerate())


def picture_at(level):
    return torch.full((1, 3, 8, 8), level)


def moving(levels):
    """Records whose latents hold the gray level of their pictures."""
    for index, level in enumerate(levels):
        yield replace(
            step(index, total=len(levels) - 1), image=picture_at(level), latent=torch.full((1, 4, 1, 1), float(level))
        )


def test_frames_follow_the_change_of_the_picture():
    levels = [0.8 * (1 - 0.7**index) for index in range(60)]  # most of it happens early
    sink = Recorder()
    shown = []
    sink.write = shown.append
    run_sinks(moving(levels), [ResampleByChange(sink, 9, lambda latent: picture_at(float(latent[0, 0])))])
    found = [float(record.image[0, 0, 0, 0]) for record in shown]
    assert shown[0].index == 0 and shown[-1].index == 59
    assert found == pytest.approx([levels[record.index] for record in shown])
    assert [record.index for record in shown][:4] == [0, 1, 2, 3]  # where it changes fast, every step
    assert len(found) <= 9 and max(np.diff(found)) < 0.25
    assert sorted({sink.seen[0], sink.seen[-1]}, key=str) == [None, "opened"]


def test_a_trajectory_takes_no_more_room_than_it_was_given():
    sink = Recorder()
    shown = []
    sink.write = shown.append
    pace = ResampleByChange(sink, 5, lambda latent: picture_at(float(latent[0, 0])))
    with pace:
        for record in moving([index / 3000 for index in range(3000)]):
            pace.write(record)
            assert len(pace.kept) <= 20 and not any(each.image.numel() for _, each in pace.kept)
    found = [float(record.image[0, 0, 0, 0]) for record in shown]
    assert len(found) == 5 and np.diff(found) == pytest.approx(0.25, abs=0.1)
