"""Each thing that is chosen by name is one record: an incomplete one fails here."""

import inspect
from dataclasses import fields
from typing import get_args

import pytest
from standins import TINY
from tiny_classes import CLASSES

from latentflow import losses
from latentflow.inversion.config import RunConfig
from latentflow.inversion.methods import METHODS, OPTIMIZERS
from latentflow.models.served import SERVED
from latentflow.runs.outputs import OUTPUTS
from latentflow.sound.config import SoundConfig
from latentflow.sound.motions import MOTION_OPTIONS, MOTIONS, Source


@pytest.mark.parametrize("name", MOTIONS.own)
def test_a_motion_is_complete(name):
    motion = MOTIONS[name]
    assert motion.words and motion.follows in get_args(Source)
    assert motion.options <= set(MOTION_OPTIONS) <= {each.name for each in fields(SoundConfig)}
    assert (motion.smooth > 0) == ("smooth" in motion.options)
    assert motion.has_beats == ("every" in motion.options) and not (motion.mixes and motion.rises)


@pytest.mark.parametrize("name", METHODS.own)
def test_a_method_is_complete(name):
    method = METHODS[name]
    assert method.name == name and method.words and method.takes(OPTIMIZERS[method.optimizer])
    assert method.optimizers[0].name == method.optimizer
    assert all(method.default_lr(each, 10) > 0 for each in method.optimizers)
    needed = ("advance", "state", "restore")
    assert not [each for each in needed if getattr(method.update_rule(), each).__qualname__.startswith("UpdateRule.")]


@pytest.mark.parametrize("name", OPTIMIZERS.own)
def test_an_optimizer_is_complete(name):
    optimizer = OPTIMIZERS[name]
    assert optimizer.name == name
    assert [each for each in METHODS.own.values() if each.takes(optimizer)], "no method gives what it moves by"


@pytest.mark.parametrize("name", SERVED.own)
def test_an_autoencoder_class_is_complete(name):
    served, known = SERVED[name], [each["_class_name"] for each in (*TINY.values(), *CLASSES.values())]
    cls = served.find(name)
    keys = inspect.signature(cls.__init__).parameters
    assert cls.__name__ == name and name in known, "no tiny stand-in"
    assert served.widths in keys if served.widths else served.cells, "no stride"
    assert served.channels in keys
    assert set(served.pictures) & keys.keys()


def test_every_output_has_its_option_and_the_other_way_round():
    options = {each.name: each.metadata for each in fields(RunConfig)}
    for output in OUTPUTS:
        assert options[output.option]["affects"] == "files" and callable(output.check)
    written = {
        name
        for name, metadata in options.items()
        if metadata["affects"] == "files" and metadata["metavar"] in ("FILE", "PATH")
    }
    assert written == {output.option for output in OUTPUTS}


@pytest.mark.parametrize("cls", list(losses.built_in()))
def test_a_loss_is_complete(cls):
    assert cls.declaration.summary and cls.declaration.mask and getattr(losses, cls.__name__) is cls
