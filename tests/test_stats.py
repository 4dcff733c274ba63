"""`stats`: figures with known answers, effect sizes that don't grow with the sample, the posterior's divergence."""

import csv
import json
import os

import numpy as np
import pytest
import torch
from standins import TINY_KL, model_files, write_folder

from latentflow.interrupts import Interrupts
from latentflow.latents.index import read_latents, read_squares
from latentflow.latents.statistics import autocorrelation, channel_statistics, latent_statistics
from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.weights import find_weights

BUNDLED = ("--weights", "bundled", "--size", 48, "--quiet")


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
    assert shifted.d_standard == pytest.approx(0.1974, abs=0.005)  # 2 Φ(¼) − 1
    assert shifted.d_shape < 0.005 and shifted.effect == "large"


def test_a_p_value_rejects_what_an_effect_size_calls_negligible():
    small, large = (channel_statistics(np.random.default_rng(1).normal(0.02, 1, count)) for count in (1000, 1_000_000))
    assert large.p_value < 1e-6 < small.p_value
    assert large.effect == "negligible" and abs(large.d_standard - 0.008) < 0.002


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


def test_the_divergence_is_torchs_and_kept_in_the_index(images, tmp_path):
    autoencoder = load_autoencoder(find_weights(str(write_folder(tmp_path / "kl", model_files(TINY_KL)))))
    asked = {"path": tmp_path / "index.safetensors", "quiet": True}
    found = read_latents(images, autoencoder, 32, Interrupts(), print, **asked)
    latent, posterior = autoencoder.encode_whole(read_squares(found.paths[:1], 32))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(posterior.mean, posterior.std), torch.distributions.Normal(0.0, 1.0)
    )
    assert torch.allclose(found.kl[:1], expected.mean((2, 3)), rtol=1e-3)
    assert torch.equal(autoencoder.encode(read_squares(found.paths[:1], 32)), latent)
    again = read_latents(images, autoencoder, 32, Interrupts(), print, **asked)
    assert again.encoded == 0 and torch.equal(again.kl, found.kl)


def test_an_autoencoder_without_a_posterior_has_no_divergence(autoencoder, images, tmp_path):
    found = read_latents(images, autoencoder, 32, Interrupts(), print, path=tmp_path / "i.safetensors", quiet=True)
    assert found.kl is None


def test_the_command_writes_figure_and_table(invoke, images, tmp_path):
    code, out, err = invoke("stats", images, "--output_path", "s.png", "--index", "i.safetensors", "--json", *BUNDLED)
    assert code == 0, err
    report = json.loads(out)
    assert report["images"] == 10 and report["values_a_channel"] == 360 and len(report["channels"]) == 4
    rows = list(csv.reader((tmp_path / "s.csv").open()))
    assert rows[0][:3] == ["channel", "mean", "sd"] and len(rows) == 5
    assert float(rows[1][1]) == pytest.approx(report["channels"][0]["mean"], abs=1e-3)
    assert (tmp_path / "s.png").stat().st_size > 20_000 and (tmp_path / "i.safetensors").exists()
    first = (tmp_path / "s.png").read_bytes()
    code, out, _ = invoke("stats", images, "--output_path", "s.png", "--index", "i.safetensors", *BUNDLED)
    assert code == 0 and "0 newly encoded" in out and (tmp_path / "s.png").read_bytes() == first


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
    assert code == 6 and "which no earlier view" in err and (tmp_path / "table.csv").read_text() == "mine"


@pytest.mark.parametrize("view", ["stats", "grid", "atlas", "evaluate", "curvature"])
def test_a_view_of_a_folder_never_writes_into_it(invoke, small, tmp_path, view):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.png").write_bytes(small.read_bytes())
    code, _, err = invoke(view, folder, "--output_path", folder / "a.png", *BUNDLED)
    assert code == 2 and err.count("\n") == 1 and (folder / "a.png").read_bytes() == small.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "FOLDER"),
        (["nothing"], "does not exist"),
        (["{small}"], "is a file"),
        (["empty"], "no images"),
        (["{images}", "--output_path", "x.gif"], ".png"),
        (["{images}", "--index", "no/where.safetensors"], "does not exist"),
    ],
)
def test_bad_input_is_one_line(invoke, images, small, tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    code, out, err = invoke("stats", *(each.format(small=small, images=images) for each in arguments), *BUNDLED)
    assert code in (2, 6) and out == "" and err.count("\n") == 1 and words in err
