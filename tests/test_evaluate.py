"""`evaluate`: figures of reconstruction over a folder, verdicts, resuming, rFID."""

import csv
import hashlib
import json
import math
import os
import signal
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from toys import least_mse, linear_autoencoder

from latentflow import losses
from latentflow.errors import Interrupted, WeightsError
from latentflow.explore.config import EvaluateConfig
from latentflow.explore.evaluate import fidelity
from latentflow.explore.evaluate import run as module
from latentflow.explore.evaluate.metrics import PERFECT, ReconstructionMetrics, find_metrics
from latentflow.explore.evaluate.run import evaluate, run_evaluate
from latentflow.explore.evaluate.scores import FIGURES, Row, cells, summarize
from latentflow.explore.evaluate.worst import difference
from latentflow.interrupts import Interrupts
from latentflow.models import weights
from latentflow.models.networks import BundledFeatures
from latentflow.pictures.files import to_tensor

QUICK = ("--weights", "bundled", "--size", 48, "--quiet")
SAMPLES = torch.randn(400, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="module")
def judges():
    return ReconstructionMetrics(lpips=BundledFeatures("lpips"), extract=None, missing="none here")


@pytest.fixture
def few(tmp_path):
    """Six noisy pictures of 40 × 48 pixels, and a file that is none."""
    folder = tmp_path / "few"
    folder.mkdir()
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 40 + 40 * index, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_figures_are_those_of_the_decoded_mean_and_the_optimum_is_the_encoder(few, judges):
    """The linear encoder is the decoder's pseudo-inverse: no latent does better."""
    autoencoder = linear_autoencoder()
    paths = sorted(few.glob("[0-9].png"))
    records = list(evaluate(autoencoder, paths, size=48, steps=3, judges=judges))
    assert [record.index for record in records] == list(range(1, 7)) and {record.total for record in records} == {6}
    for record in records:
        target = to_tensor(Image.open(record.path))
        exact = autoencoder.decode(autoencoder.encode(target)).clamp(0, 1)
        figures = record.scores[0].figures
        assert figures["psnr"] == pytest.approx(-10 * math.log10(float((exact - target).square().mean())), abs=1e-4)
        assert figures["psnr"] >= -10 * math.log10(least_mse(autoencoder, target)) - 1e-4  # clamping only helps
        assert record.scores[3].figures["psnr"] == pytest.approx(figures["psnr"], abs=1e-3)
        assert set(figures) == {"psnr", "ssim", "lpips"}  # too small for MS-SSIM


def test_ms_ssim_and_what_has_no_error(judges):
    target = torch.rand(1, 3, 170, 176, generator=torch.Generator().manual_seed(1))
    perfect = judges.score(target, target).figures
    assert perfect["psnr"] == PERFECT and perfect["ms_ssim"] == pytest.approx(1, abs=1e-6) and perfect["lpips"] == 0
    noisy = (target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    found = judges.score(noisy, target).figures
    assert found["ms_ssim"] == pytest.approx(1 - float(losses.find("ms_ssim")()(noisy, target)[0]))
    assert found["ms_ssim"] > found["ssim"]  # coarse scales lose less to fine noise


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("psnr", (25.0, 25.01, 30.01)),
        ("ssim", (0.90, 0.901, 0.951)),
        ("lpips", (0.15, 0.149, 0.099)),
        ("rfid", (5.0, 4.99, 1.99)),
    ],
)
def test_verdicts_change_at_their_thresholds(name, values):
    assert [FIGURES[name].verdict(value) for value in values] == ["below good", "good", "excellent"]
    assert FIGURES["ms_ssim"].verdict(1.0) == ""


def test_means_deviations_and_no_verdict_but_on_alex():
    scores = [{"psnr": 20.0, "lpips": 0.05}, {"psnr": 26.0, "lpips": 0.15, "ms_ssim": 0.9}]
    found = summarize(scores, "alex", 4.0)
    assert (found["psnr"].mean, found["psnr"].std) == (23, pytest.approx(math.sqrt(18)))
    assert (found["ms_ssim"].count, found["ms_ssim"].std) == (1, None)
    assert (found["lpips"].verdict, found["rfid"].verdict, found["rfid"].std) == ("good", "good", None)
    for network in ("vgg", "bundled stand-in"):
        assert summarize(scores, network)["lpips"].verdict == "" and "rfid" not in summarize(scores, network)
    head, lines = cells([Row(autoencoder="a", steps=7, figures=summarize(scores, "vgg"))], "vgg")
    assert head == ["autoencoder", "PSNR dB", "verdict", "SSIM", "MS-SSIM", "LPIPS (vgg)", "rFID"]
    assert lines == [["a, 7 steps", "23.00 ± 4.24", "below good", "", "0.9000", "0.1000 ± 0.0707", ""]]


def test_the_difference_is_amplified_and_black_where_pictures_agree():
    one, two = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 100, np.uint8)
    two[0, 0], two[1, 1] = 90, 250
    assert difference(one, two)[..., 0].tolist() == [[40, 0], [0, 255]]


def test_table_figure_and_manifest_and_the_second_row_is_better(invoke, images, tmp_path):
    code, out, err = invoke("evaluate", images, "--optimize", 4, "--worst", 2, *QUICK)
    assert (code, err) == (0, ""), err
    with Image.open(tmp_path / "evaluate.png") as figure:
        assert figure.width > 1.5 * figure.height > 450  # five strips beside each other, for two images
    table = (tmp_path / "evaluate.md").read_text().splitlines()
    assert "LPIPS (bundled stand-in)" in table[0] and any("rFID: empty; " in line for line in table)
    found = rows(tmp_path / "evaluate.csv")
    assert len(found) == 20 and found[0]["image"] == "0.png" and found[-1]["image"] == "deeper/9.jpg"
    result = json.loads((tmp_path / "evaluate.png.manifest.json").read_text())["result"]
    plain, better = result["rows"]
    assert (plain["steps"], better["steps"]) == (0, 4)
    assert better["figures"]["psnr"]["mean"] > plain["figures"]["psnr"]["mean"]
    values = [float(row["psnr"]) for row in found if row["steps"] == "0"]
    assert plain["figures"]["psnr"]["mean"] == pytest.approx(np.mean(values))
    assert plain["figures"]["lpips"]["verdict"] == "" and "rfid" not in plain["figures"]
    lowest = min(found[:10], key=lambda row: float(row["psnr"]))
    assert result["worst"]["images"][0] == lowest["image"]
    assert "bundled, 4 steps" in out and "MS-SSIM" in out


def test_several_autoencoders_have_a_row_each(invoke, few, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    folder = weights.bundled().path
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        (copy / name).write_bytes((folder / name).read_bytes())
    code, out, err = invoke("evaluate", few, "--vae", f"bundled,{copy}", "--json", *QUICK)
    assert code == 0, err
    result = json.loads(out)
    assert [row["autoencoder"] for row in result["rows"]] == ["bundled", str(copy)]
    assert result["rows"][0]["figures"] == result["rows"][1]["figures"]  # the same weights: nothing is measured twice
    manifest = json.loads((tmp_path / "evaluate.png.manifest.json").read_text())
    assert manifest["options"]["vae"] == f"bundled,{copy}" and len(manifest["weights"]) == 2
    assert result["images"] == 6 and "broken.png" in result["problems"][0] and "left out" in err


class Stopping(Interrupts):
    """Ctrl-C in the middle."""

    def watch(self, records, *left):
        for record in super().watch(records, *left):
            if record.index == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield record


def test_a_stopped_evaluation_goes_on_and_ends_the_same(few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = EvaluateConfig(weights="bundled", size=48, optimize=2, output_path="whole.png")
    stopped = EvaluateConfig(weights="bundled", size=48, optimize=2, output_path="stopped.png")
    once = run_evaluate(few, whole, Interrupts(), lambda line: None, quiet=True)
    with pytest.raises(Interrupted, match=r"stopped\.csv") as caught, Stopping() as interrupts:
        run_evaluate(few, stopped, interrupts, lambda line: None, quiet=True)
    assert caught.value.exit_code == 130 and len(rows(tmp_path / "stopped.csv")) == 6
    measured = []
    monkeypatch.setattr(
        module, "evaluate", lambda autoencoder, paths, **options: _counted(measured, autoencoder, paths, **options)
    )
    twice = run_evaluate(few, stopped, Interrupts(), lambda line: None, quiet=True)
    assert measured == ["3.png", "4.png", "5.png", "broken.png"]
    assert twice.figures == once.figures
    assert (tmp_path / "stopped.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "stopped.png").read_bytes() == (tmp_path / "whole.png").read_bytes()


def _counted(measured, autoencoder, paths, **options):
    measured += [path.name for path in paths]
    return evaluate(autoencoder, paths, **options)


def test_what_changed_is_measured_again(invoke, few, tmp_path):
    (few / "broken.png").unlink()
    assert invoke("evaluate", few, *QUICK)[0] == 0
    before = {row["image"]: row for row in rows(tmp_path / "evaluate.csv")}
    Image.new("RGB", (48, 40), "teal").save(few / "2.png")
    assert invoke("evaluate", few, *QUICK)[0] == 0
    after = {row["image"]: row for row in rows(tmp_path / "evaluate.csv")}
    assert {name for name in after if after[name] != before[name]} == {"2.png"}
    assert float(after["2.png"]["psnr"]) > float(before["2.png"]["psnr"]) + 5
    assert invoke("evaluate", few, *QUICK, "--size", 32)[0] == 0
    assert {row["size"] for row in rows(tmp_path / "evaluate.csv")} == {"32"}


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--vae", "bundled,bundled"], 2, "stands twice"),
        (["--vae", "bundled,,x"], 2, "empty name"),
        (["--vae", "bundled,no/such/folder/at/all"], 4, "no such folder"),
        (["--output_path", "e.gif"], 2, ".png or .svg"),
        (["--output_path", "no/e.png"], 6, "does not exist"),
        (["--output_path", "few/1.png"], 2, "is in the folder"),
        (["--optimize", "-1"], 2, "--optimize must be at least 0"),
        (["--by", "beauty"], 2, "--by"),
        (["--output_path", "mine.png"], 2, "no table of an evaluation"),
    ],
)
def test_bad_input_is_one_line(invoke, few, tmp_path, monkeypatch, options, code, words):
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    monkeypatch.setattr(module, "load_autoencoder", lambda *args: pytest.fail("the model was loaded"))
    found, out, err = invoke("evaluate", "few", *QUICK, *options)
    assert (found, out, err.count("\n")) == (code, "", 1) and words in err, err
    assert (tmp_path / "mine.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_a_folder_without_a_picture_is_one_line(invoke, tmp_path, content):
    (tmp_path / "empty").mkdir()
    if content is not None:
        (tmp_path / "empty" / "a.png").write_bytes(content)
    code, out, err = invoke("evaluate", "empty", *QUICK)
    assert (code, out) == (2, "") and "holds no image" in err.splitlines()[-1]


def test_the_frechet_distance_of_known_gaussians():
    def distance(one, two):
        return fidelity.frechet_distance(torch.stack([one, two], 1))

    pytest.importorskip("torch_fidelity")
    shift = torch.tensor([1.0, -2, 0, 0, 2], dtype=torch.float64)
    trace = float(torch.cov(SAMPLES.T).trace())
    assert distance(SAMPLES, SAMPLES) == pytest.approx(0, abs=1e-6)
    assert distance(SAMPLES, SAMPLES + shift) == pytest.approx(9)  # |shift|²
    centred = SAMPLES - SAMPLES.mean(0)
    assert distance(centred, 3 * centred) == pytest.approx(4 * trace)  # tr(C + 9 C − 2 · 3 C)


def test_rfid_is_kept_for_resuming_and_warned_of_when_images_are_few(invoke, few, tmp_path, monkeypatch):
    """With the mean color in Inception's place; the features of a second evaluation are those of the first."""
    pytest.importorskip("torch_fidelity")
    extract = ReconstructionMetrics(
        lpips=BundledFeatures("lpips"), extract=lambda image: image.clamp(0, 1).mean((2, 3))
    )
    monkeypatch.setattr(module, "find_metrics", lambda device: extract)
    code, out, err = invoke("evaluate", few, "--json", *QUICK)
    assert code == 0, err
    result = json.loads(out)
    features = torch.stack(
        [
            score.features
            for record in evaluate(
                module.load_autoencoder(weights.bundled(), dtype="auto"),
                sorted(few.glob("[0-9].png")),
                size=48,
                judges=extract,
            )
            for score in record.scores.values()
        ]
    )
    assert result["rows"][0]["figures"]["rfid"]["mean"] == pytest.approx(fidelity.frechet_distance(features))
    assert any("of 6 images, and so too high" in note for note in result["notes"])
    (few / "broken.png").unlink()
    monkeypatch.setattr(module, "evaluate", lambda *args, **options: pytest.fail("it was measured again"))
    assert json.loads(invoke("evaluate", few, "--json", *QUICK)[1])["rows"] == result["rows"]


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Put a state in the cache, in a file that is named after its hash, as `weights.<name>`."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def put(name, state):
        folder = tmp_path / "torch" / "hub" / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(state, folder / "new.pth")
        digits = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()[:8]
        (folder / "new.pth").rename(folder / f"{name}-{digits}.pth")
        checkpoint = weights.Checkpoint(name, f"{name}-{digits}.pth", lambda: "http://127.0.0.1/none")
        for place in (weights, sys.modules["latentflow.explore.evaluate.metrics"], fidelity):
            if hasattr(place, name):
                monkeypatch.setattr(place, name, checkpoint)
        return checkpoint

    return put


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
def test_lpips_with_alex_is_what_the_lpips_package_computes(cached):
    import lpips
    from torchvision.models import alexnet

    with torch.random.fork_rng():
        torch.manual_seed(4)
        trunk = alexnet(weights=None).features.eval()
    cached("ALEXNET", {f"features.{name}": values for name, values in trunk.state_dict().items()})
    found = find_metrics()
    assert found.network == "alex" and "LPIPS" not in found.notes(10)
    reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for part in reference.net.children():
        for index, layer in part.named_children():
            layer.load_state_dict(trunk[int(index)].state_dict())
    image, target = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = float(reference(image * 2 - 1, target * 2 - 1))
    assert expected > 0 and found.score(image, target).figures["lpips"] == pytest.approx(expected, rel=1e-4)


def test_inception_comes_from_the_cache_without_a_download_and_its_hash_is_checked(cached, monkeypatch):
    inception = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    cls = inception.FeatureExtractorInceptionV3
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *args, **options: pytest.fail("a download"))
    assert "InceptionV3 is not in the cache" in fidelity.unavailable()
    with monkeypatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(6)
        patch.setattr(torch, "load", lambda *args, **options: {})
        patch.setattr(cls, "load_state_dict", lambda *args: None)
        state = cls("random", ["2048"], feature_extractor_weights_path="none").state_dict()
    checkpoint = cached("INCEPTION", state)
    assert fidelity.unavailable() == ""
    extract = fidelity.load_inception()
    image = (torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(7)) * 255).round() / 255
    assert extract(image).shape == (1, 2048) and torch.equal(extract(image + 1e-4), extract(image))
    assert not torch.equal(extract(image), extract(1 - image))
    checkpoint.path.write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(WeightsError, match="corrupt"):
        fidelity.load_inception()


def test_without_torch_fidelity_the_column_is_empty_and_says_why(monkeypatch, judges):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    assert "pip install torch-fidelity" in fidelity.unavailable()
    assert judges.notes(3000)["rFID"] == "empty; none here"


def test_the_networks_of_an_evaluation_are_fetched_or_said_to_be_missing(invoke, monkeypatch, cached):
    for name, option in (("ALEXNET", "--alexnet"), ("INCEPTION", "--inception")):
        checkpoint = cached(name, {"a": torch.zeros(1)})
        for verb in ("fetch", "path", "verify"):
            code, out, err = invoke("weights", verb, option)
            assert code == 0 and str(checkpoint.path) in out, err
        checkpoint.path.unlink()
        again = f"fetch {option}"
        for verb, words in (("fetch", "can't be downloaded"), ("path", again), ("verify", again)):
            code, out, err = invoke("weights", verb, option)
            assert code == 4 and words in err and err.count("\n") == 1


def test_published_networks_are_where_their_packages_say():
    for checkpoint in (weights.VGG16, weights.ALEXNET):
        assert checkpoint.address().endswith(f"/{checkpoint.file}")
    pytest.importorskip("torch_fidelity")
    assert weights.INCEPTION.address().endswith(f"/{weights.INCEPTION.file}")
