"""`channels`: what each channel of a latent does."""

import json

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder

from latentflow.explore.channels import decode_channels, offsets, sweep

BUNDLED = ("--weights", "bundled", "--size", 48, "--quiet")


def test_channels_of_a_linear_decoder_add_up():
    autoencoder = linear_autoencoder()
    latent = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    size = (6, 10)
    whole, nothing = autoencoder.decode(latent, size), autoencoder.decode(torch.zeros_like(latent), size)
    found = list(decode_channels(autoencoder, latent, size, range(4), reach=2.0))
    assert torch.allclose(sum(each.alone - nothing for each in found), whole - nothing, atol=1e-5)
    for each in found:
        assert torch.allclose(each.without + each.alone, whole + nothing, atol=1e-5)
        assert torch.allclose((each.up + each.down) / 2, whole, atol=1e-5)
        moved = torch.zeros_like(latent)
        moved[:, each.number] = 2.0
        assert torch.allclose(each.up, autoencoder.decode(latent + moved, size), atol=1e-5)
        assert torch.equal(each.values, latent[0, each.number])


def test_a_sweep_is_a_loop_that_reaches_as_far_as_it_says():
    moved = offsets(48, 3.0)
    assert moved[0] == 0 and moved.max() == pytest.approx(3) and moved.min() == pytest.approx(-3)
    assert abs(moved[-1] - moved[0]) <= np.abs(np.diff(moved)).max() + 1e-9
    autoencoder = linear_autoencoder()
    latent = torch.zeros(1, 4, 2, 2)
    frames = list(sweep(autoencoder, latent, (4, 4), [1, 3], moved))
    assert len(frames) == 48 and frames[12].image.shape == (2, 3, 4, 4)
    assert frames[12].latent[0, 1].eq(3).all() and frames[12].latent[0, [0, 2, 3]].eq(0).all()
    assert frames[12].latent[1, 3].eq(3).all()


def test_the_command_writes_a_figure_and_a_sweep(invoke, small, tmp_path):
    code, out, err = invoke(
        *("channels", small, "--output_path", "c.png", "--frames", 6, "--channels", "2,0", "--json", *BUNDLED)
    )
    assert code == 0, err
    report = json.loads(out)
    assert list(report["channels"]) == ["0", "2"]
    assert report["channels"]["2"]["rmse_without"] > report["channels"]["0"]["rmse_without"]  # brightness
    assert Image.open(tmp_path / "c.png").width > 600
    frames = imageio.mimread(tmp_path / "c.gif")
    assert len(frames) == 6 and frames[0].shape[1] in (48, 96)
    assert (tmp_path / "c.png.manifest.json").exists()


def test_the_frames_can_be_a_folder(invoke, tmp_path):
    code, _, err = invoke(
        *("channels", "random:2", "--output_path", "c.svg", "--sweep", "", "--frames", 4, *BUNDLED[:-1], "--quiet")
    )
    assert code == 0, err
    assert len(list((tmp_path / "c_frames").glob("*.png"))) == 4 and (tmp_path / "c.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "1 images"),
        (["{small}", "{small}"], "2 were given"),
        (["{small}", "--channels", "4"], "0 to 3"),
        (["{small}", "--channels", "-1"], "at least 0"),
        (["{small}", "--channels", "a"], "integer"),
        (["{small}", "--output_path", "c.gif"], ".png"),
        (["{small}", "--output_path", "nowhere/c.png"], "does not exist"),
        (["nothing.png"], "does not exist"),
    ],
)
def test_bad_input_is_one_line(invoke, small, arguments, words):
    code, out, err = invoke("channels", *(each.format(small=small) for each in arguments), *BUNDLED)
    assert code in (2, 6) and out == "" and err.count("\n") == 1 and words in err
