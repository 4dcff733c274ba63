"""`examples/digits.py`: its formulas, what training does, and that a seed repeats."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributions import Normal, kl_divergence

SCRIPT = Path(__file__).parent.parent / "examples" / "digits.py"
spec = importlib.util.spec_from_file_location("examples_digits", SCRIPT)
script = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = script  # dataclasses look their module up
spec.loader.exec_module(script)


@pytest.fixture(scope="module")
def digits():
    return script.read_digits(seed=0)


def test_divergence_is_the_one_of_gaussians():
    assert script.divergence(torch.zeros(3, 2), torch.zeros(3, 2)) == 0
    one, spread = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, np.log(4.0)]], dtype=torch.float32)
    assert float(script.divergence(one, spread)) == pytest.approx(0.5 * 1 + 0.5 * (4 - 1 - np.log(4)))
    mean, log_variance = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0))
    known = kl_divergence(Normal(mean, torch.exp(log_variance / 2)), Normal(0.0, 1.0)).sum(dim=1).mean()
    assert torch.allclose(script.divergence(mean, log_variance), known, atol=1e-6)


def test_cross_entropy_is_a_sum_over_pixels_and_a_mean_over_pictures():
    pictures = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert float(script.cross_entropy(torch.zeros(5, 1, 8, 8), pictures)) == pytest.approx(64 * np.log(2), rel=1e-6)


def test_classes_are_split_evenly_and_no_digit_is_on_both_sides(digits):
    assert len(digits.train) + len(digits.test) == 1797
    assert digits.train.min() == 0 and digits.train.max() == 1
    fractions = [np.bincount(labels) / len(labels) for labels in (digits.train_labels, digits.test_labels)]
    assert np.abs(fractions[0] - fractions[1]).max() < 0.003
    assert digits.nearest(digits.test)[0].min() > 0


def test_a_digit_is_near_itself_and_noise_is_near_none(digits):
    distance, classes = digits.nearest(digits.train[:50])
    assert distance.max() < 1e-3 and np.array_equal(classes, digits.train_labels[:50])
    moved = (digits.train[:50] + 0.01).flatten(1)
    assert digits.nearest(moved)[0].max() == pytest.approx(0.01, abs=1e-4)  # RMSE of a shift by 0.01
    near = digits.nearest(digits.test)[0] <= digits.limit
    assert float(near.float().mean()) == pytest.approx(0.95, abs=0.005)
    noise = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert digits.nearest(noise)[0].min() > digits.limit


def test_digits_shown_are_counted_by_entropy():
    assert script.shown(np.arange(10)) == pytest.approx(10)
    assert script.shown(np.array([3, 3, 3])) == pytest.approx(1)
    assert script.shown(np.array([0, 1] * 4)) == pytest.approx(2)


def test_the_decoded_plane_lies_as_its_axes_say():
    centers = script.centers((-2, 2, -1, 3), 4).reshape(4, 4, 2)
    assert centers[0, 0].tolist() == [-1.5, 2.5]  # the upper left
    assert centers[0, 3].tolist() == [1.5, 2.5] and centers[3, 0].tolist() == [-1.5, -0.5]


def test_reconstruction_improves_over_the_first_epoch(digits):
    for variational in (False, True):
        untrained = script.held_out(script.Network(variational), digits)
        assert script.held_out(script.train(digits, variational, 1), digits) < 0.9 * untrained


def test_kl_pulls_the_codes_to_the_normal_distribution(digits):
    weak, strong = (script.measure(script.train(digits, True, 3, beta=beta), digits, 500) for beta in (0.0, 4.0))
    assert strong["KL, nats a picture"] < weak["KL, nats a picture"]


@pytest.mark.slow
def test_pictures_and_a_table_that_a_seed_repeats(tmp_path, capsys):
    script.main(["--output_dir", str(tmp_path / "new"), "--epochs", "1", "--seed", "5"])
    table = (tmp_path / "new" / "table.txt").read_text(encoding="utf-8")
    assert table in capsys.readouterr().out
    for name, ratio in (("latents.png", 1.05), ("holes.png", 1.64)):
        with Image.open(tmp_path / "new" / name) as picture:
            assert picture.width / picture.height == pytest.approx(ratio, abs=0.01) and picture.width > 1000
            assert np.asarray(picture.convert("L")).std() > 30  # something is drawn

    digits = script.read_digits(5)
    networks = [script.train(digits, variational, 1, 5) for variational in (False, True)]
    assert table == script.make_table(networks, [script.measure(network, digits) for network in networks])
    assert not torch.equal(digits.test, script.read_digits(6).test)


@pytest.mark.parametrize(
    "arguments", [["--epochs", "0"], ["--beta", "-1"], ["--seed", "-1"], ["--output_dir", str(SCRIPT)]]
)
def test_wrong_options_are_told_in_a_line(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        script.main(arguments)
    assert arguments[0] in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def write_mnist(folder, train=300, test=80):
    """Digits of 28 × 28 pixels in the files that MNIST comes in."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    large = np.pad(np.kron((pixels.reshape(-1, 8, 8) * 15.9).astype(np.uint8), np.ones((1, 3, 3), np.uint8)), 2)[2:-2]
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, part in (("train", slice(train)), ("t10k", slice(train, train + test))):
        count = len(labels[part])
        header = np.array([2051, count, 28, 28], ">i4").tobytes()
        (raw / f"{name}-images-idx3-ubyte").write_bytes(header + large[part].tobytes())
        header = np.array([2049, count], ">i4").tobytes()
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(header + labels[part].astype(np.uint8).tobytes())


def test_mnist_is_read_from_its_own_files_and_drawn_at_its_own_size(tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    write_mnist(tmp_path / "data")
    digits = script.read_mnist(tmp_path / "data")
    assert digits.train.shape == (300, 1, 28, 28) and digits.test.shape == (80, 1, 28, 28)
    assert digits.train.min() == 0 and 0.9 < digits.train.max() <= 1 and set(digits.train_labels) == set(range(10))
    distance, classes = digits.nearest(digits.train[:20] + 0.01)
    assert distance.max() == pytest.approx(0.01, abs=1e-3) and np.array_equal(classes, digits.train_labels[:20])
    network = script.train(digits, True, 1)
    assert network.pictures(torch.zeros(3, 2)).shape == (3, 1, 28, 28)
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    sheet = script.draw_decoded(axes, network, (-2, 2, -2, 2), tiles=3).get_array()
    assert sheet.shape == (90, 90)
    middle = network.pictures(script.centers((-2, 2, -2, 2), 3))[4, 0].numpy()
    assert np.allclose(sheet[31:59, 31:59], middle, atol=1e-6)


def test_mnist_that_is_not_there_and_cannot_be_downloaded_is_one_line(tmp_path, monkeypatch, capsys):
    datasets = pytest.importorskip("torchvision.datasets")

    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.MNIST, "download", offline)
    with pytest.raises(SystemExit) as stopped:
        script.main(["--data", "mnist", "--data_dir", str(tmp_path / "none"), "--output_dir", str(tmp_path / "out")])
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "can't be downloaded: no route to host" in last and "none" in last
