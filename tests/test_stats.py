"""`stats`: statistics with known answers, effect sizes that don't grow with the sample, what the figure and the table
show, the posterior's divergence."""

import csv
import json
import os

import numpy as np
import pytest
import torch
from standins import TINY_KL, model_files, write_folder

from latentflow.base.errors import InputError
from latentflow.base.session import Session
from latentflow.explore.stats import draw_statistics, statistics_in_words, statistics_rows
from latentflow.latents.index import encode_folder, read_latents, read_squares
from latentflow.latents.statistics import autocorrelation, channel_statistics, effective_count, latent_statistics
from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.weights import find_weights

BUNDLED = ("--weights", "bundled", "--size", 48, "--dtype", "float32", "--quiet")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_normal_values_are_found_normal_and_others_are_not():
    rng = np.random.default_rng(0)
    found = channel_statistics(rng.normal(size=50_000))
    assert found.effect == "negligible" and abs(found.skew) < 0.05 and abs(found.kurtosis) < 0.1
    uniform = channel_statistics(rng.uniform(-np.sqrt(3), np.sqrt(3), 50_000))
    assert uniform.kurtosis == pytest.approx(-1.2, abs=0.02) and uniform.std == pytest.approx(1, abs=0.01)
    laplace = channel_statistics(rng.laplace(0, 1 / np.sqrt(2), 200_000))
    assert laplace.kurtosis == pytest.approx(3, abs=0.3)
    lognormal = channel_statistics(rng.exponential(size=200_000))
    assert lognormal.skew == pytest.approx(2, abs=0.1)


def test_distances_have_their_known_values():
    shifted = channel_statistics(np.random.default_rng(0).normal(0.5, 1, 200_000))
    assert shifted.wasserstein == pytest.approx(0.5, abs=0.01)  # of two normals with one spread: their means' distance
    assert shifted.d_normal == pytest.approx(0.1974, abs=0.005)  # 2 Φ(¼) − 1
    assert shifted.d_shape < 0.005 and shifted.effect == "large"


def test_a_p_value_rejects_what_an_effect_size_calls_negligible():
    small, large = (channel_statistics(np.random.default_rng(1).normal(0.02, 1, count)) for count in (1000, 1_000_000))
    assert large.p_value < 1e-6 < small.p_value
    assert large.effect == "negligible" and abs(large.d_normal - 0.008) < 0.002


def smooth_fields(images, seed, cells=2.0):
    """Random fields of N(0, 1) whose values depend on those up to a few cells away."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).normal(size=(images, 16, 16))
    fields = np.stack([gaussian_filter(each, cells, mode="wrap") for each in noise])
    return (fields * 2 * np.sqrt(np.pi) * cells).reshape(images, -1)  # the filter's norm, so that the variance is 1


def test_the_effective_count_is_that_of_the_values_that_are_independent():
    rng = np.random.default_rng(0)
    assert effective_count(rng.normal(size=(200, 64))) == pytest.approx(200 * 64, rel=0.15)
    repeated = np.repeat(rng.normal(size=(200, 8)), 16, axis=1)  # eight values an image, each 16 times
    assert effective_count(repeated) == pytest.approx(200 * 8, rel=0.2)
    assert effective_count(rng.normal(size=(200, 1)) * np.ones(64)) == pytest.approx(200, rel=0.05)
    assert effective_count(rng.normal(size=(4, 1000))) == 0


@pytest.mark.slow
@pytest.mark.parametrize("images", [5, 20, 100])
def test_correlated_samples_of_the_normal_are_seldom_called_anything_else(images):
    """At most one in 20 has a larger gap than `noise`, give or take; taken for independent, nearly all have."""
    found = [channel_statistics(smooth_fields(images, seed)) for seed in range(60)]
    assert np.mean([each.d_normal > each.noise for each in found]) < 0.12
    assert np.mean([each.p_value < 0.05 for each in found]) > 0.8
    assert sum(each.effect == "too few images to say" for each in found) > 50 or images == 100


def test_an_effect_beyond_chance_has_its_name_and_one_within_has_none():
    far, near = (channel_statistics(shift + smooth_fields(100, 1)) for shift in (0.5, 0.1))
    assert far.effect == "large" and far.d_normal == pytest.approx(0.1974, abs=0.04)  # 2 Φ(¼) − 1
    assert near.effect == "too few images to say" and 0.02 < near.d_normal < near.noise
    assert channel_statistics(3 + smooth_fields(4, 1)).effect == "too few images to say"  # no image to spare
    exact = channel_statistics(np.random.default_rng(0).normal(size=20_000))
    assert exact.noise == pytest.approx(1.358 / np.sqrt(20_000), rel=0.02)  # Kolmogorov's limit


def test_the_finding_is_one_sentence():
    noise = torch.randn(400, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    words = statistics_in_words(latent_statistics(noise))
    assert words.startswith("No channel is far from N(0, 1) (gaps of 0.02 at most); neighboring cells")
    noise[:, 1] = 0.4 + 1.5 * noise[:, 1]
    words = statistics_in_words(latent_statistics(noise))
    assert words.startswith("1 of 2 channels differ from N(0, 1), most of all channel 1 (large gap, 0.19")
    assert "; mean +0.39, sd 1.51); neighboring cells are correlated by 0.00, those of N(0, 1) not at all." in words
    assert statistics_in_words(latent_statistics(noise[:3])) == (
        "Too few images to say how far the channels are from N(0, 1)."
    )


def test_a_channel_that_never_varies_has_figures_too():
    found = channel_statistics(np.full(100, 2.0))
    assert (found.mean, found.std, found.skew, found.kurtosis) == (2, 0, 0, 0)


def test_channels_are_correlated_as_they_were_made():
    one, other = normal(20, 1, 16, 16), normal(20, 1, 16, 16, seed=1)
    found = latent_statistics(torch.cat([one, 0.6 * one + 0.8 * other, torch.zeros_like(one)], 1))
    assert found.correlation[0, 1] == pytest.approx(0.6, abs=0.03)
    assert found.correlation[2].tolist() == pytest.approx([0, 0, 1])
    assert found.count == 20 * 256 and found.kl is None
    assert np.abs(found.quantiles[0] - found.normal_quantiles).max() < 0.4


def test_autocorrelation_of_noise_of_a_moving_average_and_of_stripes():
    noise = normal(30, 1, 32, 32)
    assert np.abs(autocorrelation(noise, 4)[0, 1:]).max() < 0.03
    across = (noise[..., 1:] + noise[..., :-1])[..., 1:, :]  # ½ at lag 1 across, 0 down
    assert autocorrelation(across, 2)[0].tolist() == pytest.approx([1, 0.25, 0], abs=0.03)
    stripes = torch.ones(1, 1, 8, 8)
    stripes[..., ::2, :] = -1
    assert autocorrelation(stripes, 2)[0].tolist() == pytest.approx([1, 0, 1])
    assert autocorrelation(torch.ones(2, 3, 4, 5), 8).shape == (3, 4)


def test_latents_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"Latents are \(n, c, rows, columns\), not \(4, 8, 8\)"):
        latent_statistics(normal(4, 8, 8))


@pytest.fixture(scope="module")
def known():
    """Statistics of three channels that differ in everything: N(0, 1), N(2, ½) and N(−1, 2), the last smooth in space
    and correlated with the first."""
    one, other, third = (normal(40, 1, 16, 16, seed=seed) for seed in range(3))
    smooth = 0.6 * one + 0.8 * (third + third.roll(1, 3)) / 2**0.5
    return latent_statistics(torch.cat([one, 2 + 0.5 * other, 2 * smooth - 1], 1))


def lines(axes, labels):
    """x and y of the lines with these labels."""
    found = {line.get_label(): np.stack(line.get_data()) for line in axes.lines}
    return [found[label] for label in labels]


CHANNELS = ["channel 0", "channel 1", "channel 2"]


def test_the_figure_shows_each_channels_own_density(known):
    axes = draw_statistics(known).axes[0]
    for (x, y), mean, std in zip(lines(axes, CHANNELS), (0, 2, -1), (1, 0.5, 2)):
        expected = np.exp(-(((x - mean) / std) ** 2) / 2) / std / np.sqrt(2 * np.pi)
        assert y == pytest.approx(expected, abs=0.06)
        assert np.abs(np.diff(y, 2)).max() < 0.02  # smooth
    ((x, y),) = lines(axes, ["N(0, 1)"])
    assert y == pytest.approx(np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [*CHANNELS, "N(0, 1)"]
    assert axes.get_ylabel() == "density" and axes.get_xlabel() == "latent value, in standard deviations"


def test_the_figure_shows_the_channels_quantiles_over_those_of_the_normal(known):
    axes = draw_statistics(known).axes[1]
    for (x, y), mean, std in zip(lines(axes, CHANNELS), (0, 2, -1), (1, 0.5, 2)):
        assert x == pytest.approx(known.normal_quantiles) and len(x) == 201
        slope, intercept = np.polyfit(x, y, 1)
        assert (slope, intercept) == (pytest.approx(std, abs=0.05), pytest.approx(mean, abs=0.05))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("quantile of N(0, 1)", "quantile of the channel")


def test_the_figure_shows_the_correlations_of_the_channels_and_in_space(known):
    figure = draw_statistics(known)
    matrix, apart = figure.axes[2:4]
    assert np.array(matrix.images[0].get_array()) == pytest.approx(known.correlation)
    written = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in matrix.texts}
    assert written == {
        (row, column): f"{known.correlation[row, column]:.2f}" for row in range(3) for column in range(3)
    }
    assert float(written[0, 2]) == pytest.approx(0.6, abs=0.05) and abs(float(written[0, 1])) < 0.05
    for axes in (*figure.axes[:2], apart):
        assert [text.get_text() for text in axes.get_legend().get_texts()][:3] == CHANNELS
    for (x, y), beside in zip(lines(apart, CHANNELS), (0, 0, 0.16)):  # ½ · 0.8² · ½: across alone
        assert x.tolist() == list(range(9)) and y[0] == 1 and y[1] == pytest.approx(beside, abs=0.03)
    assert apart.get_ylabel() == "correlation"
    colors = [
        [line.get_color() for line in axes.get_lines() if line.get_label() in CHANNELS]
        for axes in (*figure.axes[:2], apart)
    ]
    assert colors == [["C0", "C1", "C2"]] * 3  # a channel has its own in all panels


def test_the_figure_of_the_command_is_that_of_the_folders_latents(invoke, images, tmp_path, autoencoder, saved_figures):
    code, _, err = invoke("stats", images, "--output_path", "s.png", "--index", "i.safetensors", *BUNDLED)
    assert code == 0, err
    (figure,) = saved_figures
    assert figure.get_suptitle() == f"Latents of 10 images of {images.name}, by bundled"
    found = encode_folder(images, vae=autoencoder, size=48, index=tmp_path / "i.safetensors")
    values = found.latents.transpose(0, 1).flatten(1).double().numpy()
    for (x, y), channel in zip(lines(figure.axes[1], [f"channel {number}" for number in range(4)]), values):
        assert (x[100], y[100]) == (pytest.approx(0, abs=1e-12), pytest.approx(np.median(channel)))
        assert y == pytest.approx(np.quantile(channel, (np.arange(201) + 0.5) / 201))


def test_the_divergence_is_torchs_and_stored_in_the_index(images, tmp_path):
    autoencoder = load_autoencoder(find_weights(str(write_folder(tmp_path / "kl", model_files(TINY_KL)))))
    found = read_latents(images, autoencoder, 32, Session(), path=tmp_path / "index.safetensors")
    latent, posterior = autoencoder.encode_with_posterior(read_squares(found.paths[:1], 32))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(posterior.mean, posterior.std), torch.distributions.Normal(0.0, 1.0)
    )
    assert torch.allclose(found.kl[:1], expected.mean((2, 3)), rtol=1e-3)
    assert torch.equal(autoencoder.encode(read_squares(found.paths[:1], 32)), latent)
    again = read_latents(images, autoencoder, 32, Session(), path=tmp_path / "index.safetensors")
    assert again.encoded == 0 and torch.equal(again.kl, found.kl)
    rows = statistics_rows(latent_statistics(found.latents, found.kl))
    assert [row["kl_nats"] for row in rows] == pytest.approx(found.kl.double().mean(0).tolist())


def test_an_autoencoder_without_a_posterior_has_no_divergence(autoencoder, images):
    found = encode_folder(images, vae=autoencoder, size=32)
    assert found.kl is None
    assert {row["kl_nats"] for row in statistics_rows(latent_statistics(found.latents))} == {None}


COLUMNS = ["channel", "mean", "std", "skew", "kurtosis", "d_normal", "noise", "d_shape", "wasserstein"]
COLUMNS += ["effect", "kl_nats"]


def test_the_table_has_one_number_a_cell_in_full_precision(invoke, images, tmp_path):
    code, out, err = invoke("stats", images, "--output_path", "s.png", "--index", "i.safetensors", "--json", *BUNDLED)
    assert code == 0, err
    report = json.loads(out)
    assert report["images"] == 10 and report["values_per_channel"] == 360
    with (tmp_path / "s.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == COLUMNS and [row["channel"] for row in rows] == ["0", "1", "2", "3"]
    for row, channel in zip(rows, report["channels"], strict=True):
        assert {name: float(row[name]) for name in COLUMNS[1:9]} == {name: channel[name] for name in COLUMNS[1:9]}
        assert (row["effect"], row["kl_nats"]) == (channel["effect"], "")


def test_people_are_told_the_numbers_and_how_many_images_are_new(invoke, images, tmp_path):
    line = ("stats", images, "--output_path", "s.png", "--index", "i.safetensors", *BUNDLED)
    code, out, err = invoke(*line)
    assert (code, err) == (0, "")
    assert "latents  10 images, 10 newly encoded; 360 values per channel" in out
    assert "wrote    i.safetensors" in out
    with (tmp_path / "s.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    head = next(number for number, text in enumerate(out.splitlines()) if text.startswith("channel "))
    for text, row in zip(out.splitlines()[head + 1 : head + 5], rows, strict=True):
        cells = text.split()
        expected = [row["channel"], f"{float(row['mean']):+.3f}", f"{float(row['std']):.3f}"]
        expected += [f"{float(row[name]):+.2f}" for name in ("skew", "kurtosis")]
        expected += [f"{float(row[name]):.3f}" for name in ("d_normal", "noise", "d_shape", "wasserstein")]
        assert cells == [*expected, *row["effect"].split()]
    first = (tmp_path / "s.png").read_bytes()
    code, out, _ = invoke(*line)
    assert code == 0 and "0 newly encoded" in out and (tmp_path / "s.png").read_bytes() == first
    written = [text.split()[1] for text in out.splitlines() if text.startswith("wrote")]
    assert written == ["s.png", "s.csv", "s.png.manifest.json"]
    manifest = json.loads((tmp_path / "s.png.manifest.json").read_text())
    assert manifest["result"]["written"] == ["s.png", "s.csv"] and manifest["inputs"] == {"folder": str(images)}


def test_names_are_neither_formulas_nor_always_utf8(invoke, small, tmp_path):
    folder = tmp_path / "a$_{b"
    folder.mkdir()
    for name in (b"$x_{", b"bad\xff", "\u65e5\u672c".encode()):
        (folder / (os.fsdecode(name) + ".png")).write_bytes(small.read_bytes())
    code, _, err = invoke("stats", folder, "--output_path", "s.png", *BUNDLED)
    assert code == 0 and not err, err
    code, _, err = invoke("similar", small, folder, "--output_path", "n.png", *BUNDLED)
    assert code == 0 and not err, err


def test_what_others_left_beside_the_figure_is_not_overwritten(invoke, images, tmp_path):
    (tmp_path / "table.csv").write_text("mine")
    code, _, err = invoke("stats", images, "--output_path", "table.png", "--index", "i.safetensors", *BUNDLED)
    assert code == 6 and "and no earlier command wrote it" in err and (tmp_path / "table.csv").read_text() == "mine"


@pytest.mark.parametrize("view", ["stats", "grid", "atlas", "evaluate", "curvature"])
def test_a_view_of_a_folder_never_writes_into_it(invoke, small, tmp_path, view):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.png").write_bytes(small.read_bytes())
    code, _, err = invoke(view, folder, "--output_path", folder / "a.png", *BUNDLED)
    assert code == 2 and err.count("\n") == 1 and (folder / "a.png").read_bytes() == small.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "FOLDER"),
        (["nothing"], 2, "does not exist"),
        (["{small}"], 2, "is a file"),
        (["empty"], 2, "no images"),
        (["{images}", "--output_path", "x.gif"], 2, ".png"),
        (["{images}", "--index", "no/where.safetensors"], 6, "does not exist"),
    ],
)
def test_bad_input_is_one_line(invoke, images, small, tmp_path, arguments, code, words):
    (tmp_path / "empty").mkdir()
    found, out, err = invoke("stats", *(each.format(small=small, images=images) for each in arguments), *BUNDLED)
    assert (found, out, err.count("\n")) == (code, "", 1) and words in err
