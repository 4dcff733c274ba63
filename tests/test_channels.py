"""`channels`: what each channel of a latent does, as numbers, in the figure and in the sweep."""

import json

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder, picture

from latentflow.base.pixels import to_uint8
from latentflow.base.records import Labeled
from latentflow.explore.channels import (
    decode_channels,
    draw_channels,
    sweep_channels,
    sweep_offsets,
    sweep_titles,
)
from latentflow.latents.decode import decode_frames
from latentflow.latents.sources import read_anchors
from latentflow.pictures.draw import GAP, LabeledDrawing, tiled
from latentflow.pictures.text import titled

BUNDLED = ("--weights", "bundled", "--size", 48, "--dtype", "float32", "--quiet")


def noise(channels=4):
    return torch.randn(1, channels, 3, 5, generator=torch.Generator().manual_seed(0))


def test_channels_of_a_linear_decoder_add_up():
    autoencoder, latent, size = linear_autoencoder(), noise(), (6, 10)
    complete, empty = autoencoder.decode(latent, size), autoencoder.decode(torch.zeros_like(latent), size)
    found = list(decode_channels(autoencoder, latent, size, range(4), reach=2.0))
    assert [each.number for each in found] == [0, 1, 2, 3]
    assert torch.allclose(sum(each.alone - empty for each in found), complete - empty, atol=1e-5)
    for each in found:
        assert torch.allclose(each.without + each.alone, complete + empty, atol=1e-5)
        assert torch.allclose((each.up + each.down) / 2, complete, atol=1e-5)
        moved = torch.zeros_like(latent)
        moved[:, each.number] = 2.0
        assert torch.allclose(each.up, autoencoder.decode(latent + moved, size), atol=1e-5)
        assert torch.equal(each.values, latent[0, each.number])


def test_figures_of_a_channel():
    autoencoder, latent = linear_autoencoder(), noise()
    (channel,) = decode_channels(autoencoder, latent, (6, 10), [2])
    decoded = autoencoder.decode(latent, (6, 10))
    without = latent.clone()
    without[:, 2] = 0
    error = autoencoder.decode(without, (6, 10)).clamp(0, 1) - decoded.clamp(0, 1)
    assert channel.figures(decoded) == pytest.approx(
        {
            "mean": float(latent[0, 2].mean()),
            "std": float(latent[0, 2].numpy().std()),
            "rmse_without": float(error.square().mean().sqrt()),
        }
    )


def changed(latent, number, *, factor=1.0, others=1.0, offset=0.0):
    """A latent whose channel `number` is multiplied and moved, and whose other channels are multiplied."""
    moved = latent * others
    moved[:, number] = latent[:, number] * factor + offset
    return moved


def rows_of(figure):
    """The panels of the figure with a picture, by row from the top: (title, picture) each."""
    panels = [axes for axes in figure.axes if axes.images]
    rows = sorted({axes.get_subplotspec().rowspan.start for axes in panels})
    return [
        [
            (axes.get_title(), axes.images[0].get_array())
            for axes in sorted(panels, key=lambda axes: axes.get_subplotspec().colspan.start)
            if axes.get_subplotspec().rowspan.start == row
        ]
        for row in rows
    ]


def test_each_panel_of_the_figure_shows_what_its_title_says():
    autoencoder, latent, size, target = linear_autoencoder(), noise(), (6, 10), picture(6, 10)
    decoded = autoencoder.decode(latent, size)
    channels = list(decode_channels(autoencoder, latent, size, [1, 3], reach=2.0))
    top, *rows = rows_of(draw_channels("waves", target, decoded, channels, reach=2.0))
    assert [title for title, _ in top] == ["image", "reconstruction"]
    assert np.array_equal(top[0][1], to_uint8(target)) and np.array_equal(top[1][1], to_uint8(decoded))
    for number, ((title, values), *pictures) in zip([1, 3], rows, strict=True):
        assert title == f"channel {number}" and np.array_equal(values, latent[0, number])
        expected = {
            "set to zero": changed(latent, number, factor=0),
            "alone": changed(latent, number, others=0),
            "−2 sd": changed(latent, number, offset=-2),
            "+2 sd": changed(latent, number, offset=2),
        }
        assert [title for title, _ in pictures] == list(expected)
        for title, shown in pictures:
            wanted = to_uint8(autoencoder.decode(expected[title], size))
            assert np.abs(shown.astype(int) - wanted).max() <= 1, title


def test_maps_have_one_scale_around_zero():
    autoencoder, latent = linear_autoencoder(), noise()
    channels = list(decode_channels(autoencoder, latent, (6, 10), range(4)))
    figure = draw_channels("random:1", None, autoencoder.decode(latent, (6, 10)), channels)
    top = rows_of(figure)[0]
    assert [title for title, _ in top] == ["reconstruction"]
    limit = float(latent.abs().max())
    maps = [axes.images[0] for axes in figure.axes if axes.get_title().startswith("channel")]
    assert [each.get_clim() for each in maps] == [pytest.approx((-limit, limit))] * 4
    assert figure.get_suptitle() == "The latent channels of random:1"


def test_a_sweep_is_a_loop_that_reaches_as_far_as_it_says():
    offsets = sweep_offsets(48, 3.0)
    assert offsets[0] == 0 and offsets[12] == pytest.approx(3) and offsets[36] == pytest.approx(-3)
    assert offsets.max() == pytest.approx(3) and offsets.min() == pytest.approx(-3)
    assert abs(offsets[-1] - offsets[0]) <= np.abs(np.diff(offsets)).max() + 1e-9
    autoencoder = linear_autoencoder()
    latent = torch.zeros(1, 4, 2, 2)
    frames = list(sweep_channels(autoencoder, latent, (4, 4), [1, 3], offsets))
    assert len(frames) == 48 and frames[12].image.shape == (2, 3, 4, 4)
    assert frames[12].latent[0, 1].eq(3).all() and frames[12].latent[0, [0, 2, 3]].eq(0).all()
    assert frames[12].latent[1, 3].eq(3).all()
    for frame in frames:
        assert torch.allclose(frame.image, autoencoder.decode(frame.latent, (4, 4)), atol=1e-6)


def test_no_more_pictures_are_decoded_together_than_asked_for():
    """A frame of a sweep holds a picture for each channel, of which an autoencoder may have many."""
    autoencoder, sizes = linear_autoencoder(), []
    decode = autoencoder.model.decode

    def counting(values):
        sizes.append(len(values))
        return decode(values)

    autoencoder.model.decode = counting
    latents = [torch.randn(5, 4, 2, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    frames = list(decode_frames(autoencoder, latents, (4, 4), batch=2))
    assert sizes == [2, 2, 1] * 3 and [frame.index for frame in frames] == [0, 1, 2]
    for frame, latent in zip(frames, latents):
        assert torch.equal(frame.latent, latent)
        assert torch.allclose(frame.image, autoencoder.decode(latent, (4, 4)), atol=1e-6)
    sizes.clear()
    list(decode_frames(autoencoder, latents, (4, 4), batch=12))
    assert sizes == [10, 5]


def test_a_frame_of_the_sweep_names_each_channel_and_how_far_it_is_moved():
    images = picture(40, 64, count=2)
    expected = tiled(
        [titled(to_uint8(images[:1]), ["channel 1", "-1.5 sd"]), titled(to_uint8(images[1:]), ["channel 3", "-1.5 sd"])]
    )
    frame = Labeled(index=0, total=0, latent=images, image=images, titles=sweep_titles([1, 3], -1.5))
    assert np.array_equal(LabeledDrawing()(frame), expected)


def test_the_command_writes_a_figure_and_a_sweep(invoke, small, tmp_path, saved_figures):
    code, out, err = invoke(
        *("channels", small, "--output_path", "c.png", "--frames", 6, "--channels", "2,0", "--json", *BUNDLED)
    )
    assert code == 0, err
    report = json.loads(out)
    assert list(report["channels"]) == ["0", "2"]
    assert report["channels"]["2"]["rmse_without"] > report["channels"]["0"]["rmse_without"]  # brightness
    (figure,) = saved_figures
    titles = [[title for title, _ in row] for row in rows_of(figure)]
    panels = ["set to zero", "alone", "−3 sd", "+3 sd"]
    assert titles == [["image", "reconstruction"], ["channel 0", *panels], ["channel 2", *panels]]
    assert figure.get_suptitle() == "The latent channels of small"
    frames = imageio.mimread(tmp_path / "c.gif")
    assert len(frames) == 6 and frames[0].shape[:2] == (40 + 4 * 18, 2 * 48 + GAP)
    names = ["c.png", "c.gif", "c.gif.trajectory", "c.png.manifest.json"]
    assert report["written"] == names
    assert json.loads((tmp_path / names[3]).read_text())["inputs"] == {"image": str(small)}


def test_the_frames_of_a_sweep_go_up_first(invoke, autoencoder, tmp_path):
    code, _, err = invoke(
        *("channels", "random:2", "--output_path", "c.svg", "--sweep", "", "--frames", 4, "--reach", 2, *BUNDLED)
    )
    assert code == 0, err
    anchors = read_anchors(["random:2"], autoencoder, 48)
    paths = sorted((tmp_path / "c_frames").glob("*.png"))
    for path, offset, words in zip(paths, (0, 2, 0, -2), ("+0.0", "+2.0", "+0.0", "-2.0"), strict=True):
        latents = torch.cat([changed(anchors.latents, number, offset=offset) for number in range(4)])
        with torch.no_grad():
            images = autoencoder.decode(latents, anchors.size)
        titles = [
            titled(to_uint8(image[None]), [f"channel {number}", f"{words} sd"], 4)
            for number, image in enumerate(images)
        ]
        assert np.abs(np.asarray(Image.open(path)).astype(int) - tiled(titles)).max() <= 1
    assert len(list((tmp_path / "c_frames").iterdir())) == 4 and (tmp_path / "c.svg").exists()


def test_lines_say_the_figures(invoke, small, tmp_path):
    line = ("channels", small, "--output_path", "c.png", "--frames", 4, *BUNDLED)
    code, out, err = invoke(*line)
    assert code == 0, err
    figures = json.loads((tmp_path / "c.png.manifest.json").read_text())["result"]["channels"]
    for number, found in figures.items():
        words = f"mean {found['mean']:+.2f}, sd {found['std']:.2f}; without it the picture changes by"
        assert f"channel  {number}: {words} {255 * found['rmse_without']:.1f} gray levels RMS" in out.splitlines()


def test_a_sweep_that_nobody_typed_is_not_overwritten(invoke, small, tmp_path):
    (tmp_path / "c.gif").write_bytes(b"mine")
    code, _, err = invoke("channels", small, "--output_path", "c.png", *BUNDLED)
    assert code == 6 and "c.gif would be overwritten" in err and err.count("\n") == 1
    assert (tmp_path / "c.gif").read_bytes() == b"mine" and not (tmp_path / "c.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "1 images"),
        (["{small}", "{small}"], 2, "2 were given"),
        (["{small}", "--channels", "4"], 2, "--channels 4: this autoencoder has channels 0 to 3"),
        (["{small}", "--channels", "-1"], 2, "at least 0"),
        (["{small}", "--channels", "a"], 2, "integer"),
        (["{small}", "--output_path", "c.gif"], 2, ".png"),
        (["{small}", "--output_path", "nowhere/c.png"], 6, "does not exist"),
        (["nothing.png"], 2, "does not exist"),
    ],
)
def test_bad_input_is_one_line(invoke, small, arguments, code, words):
    found, out, err = invoke("channels", *(each.format(small=small) for each in arguments), *BUNDLED)
    assert (found, out, err.count("\n")) == (code, "", 1) and words in err, err
