"""`evaluate`: metrics of reconstructions, verdicts, what the figure and the tables show, resuming, rFID."""

import csv
import hashlib
import json
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from toys import least_mse, linear_autoencoder

from latentflow import losses
from latentflow.base.errors import Interrupted, OutputError, WeightsError
from latentflow.base.pixels import to_uint8
from latentflow.base.session import Session
from latentflow.explore.config import EvaluateConfig
from latentflow.explore.evaluate import fidelity
from latentflow.explore.evaluate import run as module
from latentflow.explore.evaluate.metrics import MAX_PSNR, ReconstructionMetrics, find_metrics
from latentflow.explore.evaluate.reconstruction import evaluate_images, read_target, reconstruct
from latentflow.explore.evaluate.run import run_evaluate
from latentflow.explore.evaluate.score_table import COLUMNS, Evaluated, ScoreTable
from latentflow.explore.evaluate.scores import METRICS, Row, Score, markdown, summarize, table_cells
from latentflow.explore.evaluate.worst import PictureRow, difference, draw_worst
from latentflow.models import weights
from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.networks import BundledFeatures
from latentflow.pictures.files import to_tensor

QUICK = ("--weights", "bundled", "--size", 48, "--quiet")
SAMPLES = torch.randn(400, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="module")
def metrics():
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
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def panels(figure):
    """The figure of worst images as titles of its rows, names of its images, and the panel of each: its picture and
    its caption, whichever way it is turned."""
    grid = np.array(figure.axes).reshape(figure.axes[0].get_gridspec().get_geometry())
    names, titles = [ax.get_title() for ax in grid[0]], [ax.get_ylabel() for ax in grid[:, 0]]
    if names[0] == "original":
        grid, names, titles = grid.T, titles, names
    return titles, names, [[(np.array(ax.images[0].get_array()), ax.get_xlabel()) for ax in line] for line in grid]


def test_metrics_are_those_of_the_decoded_mean_and_the_optimum_is_the_encoder(few, metrics):
    """The linear encoder is the decoder's pseudo-inverse: no latent does better."""
    autoencoder = linear_autoencoder()
    paths = sorted(few.glob("[0-9].png"))
    records = list(evaluate_images(autoencoder, paths, size=48, steps=3, metrics=metrics))
    assert [record.index for record in records] == list(range(1, 7)) and {record.total for record in records} == {6}
    for record in records:
        target = to_tensor(Image.open(record.path))
        exact = autoencoder.decode(autoencoder.encode(target)).clamp(0, 1)
        found = record.scores[0].metrics
        assert found["psnr"] == pytest.approx(-10 * math.log10(float((exact - target).square().mean())), abs=1e-4)
        assert found["psnr"] >= -10 * math.log10(least_mse(autoencoder, target)) - 1e-4  # clamping only helps
        assert record.scores[3].metrics["psnr"] == pytest.approx(found["psnr"], abs=1e-3)
        assert set(found) == {"psnr", "ssim", "lpips"}  # too small for MS-SSIM


def test_ms_ssim_and_what_has_no_error(metrics):
    target = torch.rand(1, 3, 170, 176, generator=torch.Generator().manual_seed(1))
    perfect = metrics.score(target, target).metrics
    assert perfect["psnr"] == MAX_PSNR and perfect["ms_ssim"] == pytest.approx(1, abs=1e-6) and perfect["lpips"] == 0
    noisy = (target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    found = metrics.score(noisy, target).metrics
    assert found["ms_ssim"] == pytest.approx(1 - float(losses.find("ms_ssim")()(noisy, target)[0]))
    assert found["ms_ssim"] > found["ssim"]  # coarse scales lose less to fine noise


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("psnr", (25.0, 25.01, 30.0, 30.01)),
        ("ssim", (0.90, 0.901, 0.95, 0.951)),
        ("lpips", (0.15, 0.149, 0.10, 0.099)),
        ("rfid", (5.0, 4.99, 2.0, 1.99)),
    ],
)
def test_verdicts_change_at_their_thresholds(name, values):
    assert [METRICS[name].verdict(value) for value in values] == ["below good", "good", "good", "excellent"]
    assert METRICS["ms_ssim"].verdict(1.0) == ""


def test_means_deviations_and_no_verdict_but_on_alex():
    scores = [{"psnr": 20.0, "lpips": 0.05}, {"psnr": 26.0, "lpips": 0.15, "ms_ssim": 0.9}]
    found = summarize(scores, "alex", 4.0)
    assert (found["psnr"].mean, found["psnr"].std) == (23, pytest.approx(math.sqrt(18)))
    assert (found["ms_ssim"].count, found["ms_ssim"].std) == (1, None)
    assert (found["lpips"].verdict, found["rfid"].verdict, found["rfid"].std) == ("good", "good", None)
    for network in ("vgg", "bundled stand-in"):
        assert summarize(scores, network)["lpips"].verdict == "" and "rfid" not in summarize(scores, network)
    head, lines = table_cells([Row(autoencoder="a", steps=7, metrics=summarize(scores, "vgg"))], "vgg")
    assert head == ["autoencoder", "PSNR dB", "verdict", "SSIM", "MS-SSIM", "LPIPS (vgg)", "rFID"]
    assert lines == [["a, 7 steps", "23.00 ± 4.24", "below good", "", "0.9000", "0.1000 ± 0.0707", ""]]


def test_each_mean_of_the_table_stands_in_its_row_with_its_own_deviation_and_verdict():
    plain = [{"psnr": 24.0, "ssim": 0.80}, {"psnr": 25.0, "ssim": 0.84}]
    better = [{"psnr": 31.0, "ssim": 0.91}, {"psnr": 33.0, "ssim": 0.93}]
    found = [
        Row(autoencoder="a", steps=0, metrics=summarize(plain, "alex")),
        Row(autoencoder="a", steps=4, metrics=summarize(better, "alex", 1.5)),
    ]
    headings, lines = table_cells(found, "alex")
    assert headings[:6] == ["autoencoder", "PSNR dB", "verdict", "SSIM", "verdict", "MS-SSIM"]
    assert headings[6:] == ["LPIPS (alex)", "rFID", "verdict"]
    assert lines == [
        ["a", "24.50 ± 0.71", "below good", "0.8200 ± 0.0283", "below good", "", "", "", ""],
        ["a, 4 steps", "32.00 ± 1.41", "excellent", "0.9200 ± 0.0141", "good", "", "", "1.50", "excellent"],
    ]
    text = markdown(headings, lines, ["LPIPS: a note", "rFID: another"])
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[:4]]
    assert table == [headings, ["---"] * 9, *lines]
    assert text.splitlines()[4:] == ["", "LPIPS: a note", "", "rFID: another"]


def test_the_difference_is_amplified_and_black_where_pictures_agree():
    one, two = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 100, np.uint8)
    two[0, 0], two[1, 1] = 90, 250
    assert difference(one, two)[..., 0].tolist() == [[40, 0], [0, 255]]


@pytest.mark.parametrize(("images", "kinds"), [(3, 3), (2, 5), (9, 3)])
def test_the_figure_has_every_picture_in_its_row_under_its_name_whichever_way_it_is_turned(images, kinds):
    def picture(kind, image):
        return np.full((6, 8, 3), 20 * kind + image, np.uint8)

    lines = [
        PictureRow(
            "original" if kind == 0 else f"row {kind}",
            [picture(kind, image) for image in range(images)],
            [f"{kind} {image}" for image in range(images)],
        )
        for kind in range(kinds)
    ]
    figure = draw_worst("the worst", [f"{image}.png" for image in range(images)], lines)
    titles, names, found = panels(figure)
    assert titles == [line.title for line in lines] and names == [f"{image}.png" for image in range(images)]
    assert figure.get_suptitle() == "the worst"
    for kind in range(kinds):
        for image in range(images):
            shown, caption = found[kind][image]
            assert np.array_equal(shown, picture(kind, image)) and caption == f"{kind} {image}"


def test_the_figure_of_the_command_shows_the_worst_images_and_what_became_of_them(
    invoke, few, tmp_path, autoencoder, saved_figures
):
    code, _, err = invoke("evaluate", few, "--optimize", 3, "--worst", 4, "--dtype", "float32", *QUICK)
    assert code == 0, err
    scores = {(row["image"], row["steps"]): row for row in rows(tmp_path / "evaluate.csv")}
    order = sorted((f"{n}.png" for n in range(6)), key=lambda name: float(scores[name, "0"]["psnr"]))
    titles, names, found = panels(saved_figures[0])
    assert titles == ["original", "bundled", "difference × 4", "bundled, 3 steps", "difference × 4"]
    assert names == order[:4] and saved_figures[0].get_suptitle().startswith("The worst 4 of 6 images by PSNR\n")
    for column, name in enumerate(names):
        target = read_target(few / name, 48, "contain")
        original, made = to_uint8(target), reconstruct(autoencoder, target, 3)
        shown = [panel for panel, _ in (line[column] for line in found)]
        assert np.array_equal(shown[0], original)
        assert np.array_equal(shown[1], to_uint8(made[0])) and np.array_equal(shown[3], to_uint8(made[3]))
        assert not np.array_equal(shown[1], original) and not np.array_equal(shown[1], shown[3])
        assert np.array_equal(shown[2], difference(original, shown[1]))
        assert np.array_equal(shown[4], difference(original, shown[3]))
        captions = [caption for _, caption in (line[column] for line in found)]
        for steps, caption in (("0", captions[1]), ("3", captions[3])):
            row = {key: float(scores[name, steps][key]) for key in ("psnr", "ssim", "lpips")}
            assert caption == f"{row['psnr']:.1f} dB  SSIM {row['ssim']:.3f}  LPIPS {row['lpips']:.3f}"
        assert captions[0] == captions[2] == captions[4] == ""


@pytest.mark.parametrize(("by", "sign"), [("ssim", 1), ("lpips", -1)])
def test_the_worst_are_ranked_by_the_metric_that_is_asked_for(invoke, few, tmp_path, by, sign):
    code, out, err = invoke("evaluate", few, "--by", by, "--worst", 6, "--json", *QUICK)
    assert code == 0, err
    values = {row["image"]: sign * float(row[by]) for row in rows(tmp_path / "evaluate.csv")}
    order = sorted(values, key=lambda name: values[name])
    assert json.loads(out)["worst"] == {"by": by, "images": order, "of": {"bundled": order}}


def test_each_autoencoder_shows_its_own_worst(tmp_path):
    psnr = {"a": [20.0, 30.0, 25.0, 40.0], "b": [33.0, 21.0, 22.0, 39.0]}
    images = [tmp_path / f"{number}.png" for number in range(4)]

    class Known(module._Evaluation):
        def scores(self, name, steps):
            return {image: Score({"psnr": value}) for image, value in zip(images, psnr[name])}

    config = EvaluateConfig(worst=2)
    evaluation = Known(config, tmp_path, images, dict.fromkeys("ab"), [0], None, None, None, None)
    assert evaluation.worst() == {"a": [images[0], images[2]], "b": [images[1], images[2]]}


def test_a_ranking_by_a_metric_that_no_image_is_large_enough_for_is_refused(invoke, few):
    code, out, err = invoke("evaluate", few, "--by", "ms_ssim", *QUICK)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--by ms_ssim takes sides of" in err and "--size 48 has none of them. Rank by psnr" in err


def test_the_limits_of_the_verdicts_and_the_spread_are_said_beside_them(invoke, few, tmp_path):
    code, out, err = invoke("evaluate", few, *QUICK)
    assert code == 0, err
    limits = "PSNR good above 25, excellent above 30 dB; SSIM good above 0.9, excellent above 0.95"
    assert f"verdict  {limits}" in out.splitlines()
    assert "±        standard deviation (sd) over the images" in out.splitlines()
    assert f"verdict: {limits}" in (tmp_path / "evaluate.md").read_text()
    assert METRICS["lpips"].limits == "LPIPS good below 0.15, excellent below 0.1" and METRICS["ms_ssim"].limits == ""


@pytest.mark.slow
def test_the_tables_hold_what_was_measured_and_the_second_row_is_the_optimized(
    invoke, few, tmp_path, autoencoder, metrics, monkeypatch
):
    monkeypatch.setattr(module, "find_metrics", lambda device: metrics)
    (few / "broken.png").unlink()
    code, out, err = invoke("evaluate", few, "--optimize", 4, "--worst", 2, "--dtype", "float32", *QUICK)
    assert (code, err) == (0, "")
    paths = sorted(few.glob("*.png"))
    measured = list(evaluate_images(autoencoder, paths, size=48, steps=4, metrics=metrics))
    found = rows(tmp_path / "evaluate.csv")
    assert list(found[0]) == list(COLUMNS)
    expected = [(str(steps), record.path.name, record.scores[steps].metrics) for steps in (0, 4) for record in measured]
    assert [(row["steps"], row["image"]) for row in found] == [(steps, image) for steps, image, _ in expected]
    for row, (_, _, values) in zip(found, expected, strict=True):
        assert {name: float(row[name]) for name in ("psnr", "ssim", "lpips")} == values
        assert (row["ms_ssim"], row["size"], row["folder"]) == ("", "48", str(few))
    cells = []
    for title, chosen in (("bundled", found[:6]), ("bundled, 4 steps", found[6:])):
        values = {name: np.array([float(row[name]) for row in chosen]) for name in ("psnr", "ssim", "lpips")}
        verdicts = {name: METRICS[name].verdict(values[name].mean()) for name in ("psnr", "ssim")}
        shown = {
            name: f"{each.mean():.{4 - 2 * (name == 'psnr')}f} ± {each.std(ddof=1):.{4 - 2 * (name == 'psnr')}f}"
            for name, each in values.items()
        }
        cells.append([title, shown["psnr"], verdicts["psnr"], shown["ssim"], verdicts["ssim"], "", shown["lpips"], ""])
    text = (tmp_path / "evaluate.md").read_text(encoding="utf-8").splitlines()
    head = ["autoencoder", "PSNR dB", "verdict", "SSIM", "verdict", "MS-SSIM", "LPIPS (bundled stand-in)", "rFID"]
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in text[:4]] == [head, ["---"] * 8, *cells]
    assert "rFID: empty; none here" in text and "MS-SSIM: of 0 of 6 images; it takes sides of 161 pixels" in text
    lines = out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("autoencoder"))
    for line, row in zip(lines[start + 1 :], cells):
        assert line.split() == " ".join(cell for cell in row if cell).split()
    result = json.loads((tmp_path / "evaluate.png.manifest.json").read_text())["result"]
    for row, chosen, steps in zip(result["rows"], (found[:6], found[6:]), (0, 4), strict=True):
        values = [float(each["psnr"]) for each in chosen]
        assert row["steps"] == steps and row["metrics"]["psnr"]["count"] == 6
        assert row["metrics"]["psnr"]["mean"] == pytest.approx(np.mean(values), rel=1e-12)
        assert row["metrics"]["psnr"]["std"] == pytest.approx(np.std(values, ddof=1), rel=1e-12)
    assert result["rows"][1]["metrics"]["psnr"]["mean"] > result["rows"][0]["metrics"]["psnr"]["mean"]


def test_the_report_names_what_was_written(invoke, few, tmp_path):
    code, out, err = invoke("evaluate", few, *QUICK)
    assert code == 0 and "broken.png" in err and "It is left out." in err
    written = [line.split()[1] for line in out.splitlines() if line.startswith("wrote")]
    assert written == ["evaluate.png", "evaluate.csv", "evaluate.md", "evaluate.png.manifest.json"]
    manifest = json.loads((tmp_path / "evaluate.png.manifest.json").read_text())
    assert manifest["written"] == written[:3] and manifest["inputs"] == {"folder": str(few)}


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
    assert result["rows"][0]["metrics"] == result["rows"][1]["metrics"]  # the same weights: nothing is measured twice
    manifest = json.loads((tmp_path / "evaluate.png.manifest.json").read_text())
    assert manifest["options"]["vae"] == f"bundled,{copy}" and len(manifest["weights"]) == 2
    assert result["images"] == 6 and "broken.png" in result["problems"][0] and "left out" in err


class Stopping(Session):
    """A session that is stopped while its third record is made."""

    def watch(self, records, state=""):
        def stopping():
            for record in records:
                if record.index == 3:
                    self.stop()
                yield record

        return super().watch(stopping(), state)


@pytest.mark.slow
def test_a_stopped_evaluation_goes_on_and_ends_the_same(few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    complete = EvaluateConfig(weights="bundled", size=48, optimize=2, output_path="complete.png")
    stopped = EvaluateConfig(weights="bundled", size=48, optimize=2, output_path="stopped.png")
    once = run_evaluate([str(few)], complete, Session())
    with pytest.raises(Interrupted, match=r"The same command goes on from stopped\.csv") as caught:
        run_evaluate([str(few)], stopped, Stopping())
    assert caught.value.exit_code == 130 and len(rows(tmp_path / "stopped.csv")) == 6
    measured = []
    monkeypatch.setattr(
        module,
        "evaluate_images",
        lambda autoencoder, paths, **options: _counted(measured, autoencoder, paths, **options),
    )
    twice = run_evaluate([str(few)], stopped, Session())
    assert measured == ["3.png", "4.png", "5.png", "broken.png"]
    assert twice.figures == once.figures
    assert (tmp_path / "stopped.csv").read_bytes() == (tmp_path / "complete.csv").read_bytes()
    assert (tmp_path / "stopped.png").read_bytes() == (tmp_path / "complete.png").read_bytes()


def _counted(measured, autoencoder, paths, **options):
    measured += [path.name for path in paths]
    return evaluate_images(autoencoder, paths, **options)


def test_what_changed_is_measured_again(invoke, few, tmp_path):
    (few / "broken.png").unlink()
    assert invoke("evaluate", few, *QUICK)[0] == 0
    before = {row["image"]: row for row in rows(tmp_path / "evaluate.csv")}
    Image.new("RGB", (48, 40), "teal").save(few / "2.png")
    assert invoke("evaluate", few, *QUICK)[0] == 0
    after = {row["image"]: row for row in rows(tmp_path / "evaluate.csv")}
    assert {name for name in after if after[name] != before[name]} == {"2.png"}
    assert float(after["2.png"]["psnr"]) > float(before["2.png"]["psnr"]) + 5


SETTINGS = {"size": "48", "fit": "contain", "dtype": "float32", "lpips_network": "vgg", "background": "white"}


@pytest.fixture
def table(few, tmp_path):
    """Write or read the table of an evaluation: table(folder, paths, **settings)."""

    def make(folder=few, paths=None, **settings):
        paths = sorted(folder.glob("[0-9].png")) if paths is None else paths
        return ScoreTable(tmp_path / "t.csv", folder, paths, SETTINGS | settings, None)

    with make() as first:
        for path in first.identities:
            scores = {steps: Score({"psnr": 20.0 + steps}) for steps in (0, 2)}
            first.write(Evaluated(index=1, total=6, path=path, autoencoder="own", sha256="0" * 64, scores=scores))
    return make


OWN = {"own": "0" * 64}


@pytest.mark.parametrize(
    ("settings", "autoencoders", "steps"),
    [
        ({"size": "32"}, OWN, [0, 2]),
        ({"fit": "stretch"}, OWN, [0, 2]),
        ({"dtype": "bfloat16"}, OWN, [0, 2]),
        ({}, {"other": "1" * 64}, [0, 2]),
        ({}, OWN, [0]),
        ({}, OWN, [0, 3]),
    ],
)
def test_the_table_of_another_evaluation_is_refused_or_left_out(few, table, settings, autoencoders, steps):
    with pytest.raises(OutputError, match=r"t\.csv is the table of another evaluation \(folder") as caught:
        table(**settings).claim(autoencoders, steps)
    assert f"(folder {few}, vae own, size 48, fit contain, dtype float32" in str(caught.value)
    assert str(caught.value).endswith("). Name another `output_path`, or add `overwrite`.")
    allowed = table(**settings)
    allowed.claim(autoencoders, steps, overwrite=True)
    assert {row["steps"] for row in allowed.rows.values()} == ({"0"} if 2 not in steps else set())


def test_the_table_of_another_folder_is_refused_and_says_which(few, table):
    other = few.with_name("other")
    other.mkdir()
    Image.new("RGB", (48, 40)).save(other / "0.png")
    with pytest.raises(OutputError, match=f"another evaluation .folder {few}, "):
        table(other).claim(OWN, [0, 2])


def test_the_table_is_the_same_evaluations_when_images_weights_or_networks_have_changed(few, table):
    def is_complete(found, sha256="0" * 64):
        return [found.known(path, sha256, steps) for path in found.identities for steps in (0, 2)].count(None) == 0

    more = table()
    more.claim({"another": "2" * 64, **OWN}, [0, 2])
    assert is_complete(more)
    renamed = table()
    renamed.claim({"renamed": "0" * 64}, [0, 2])  # the same weights
    assert is_complete(renamed)
    trained = table()
    trained.claim({"own": "3" * 64}, [0, 2])
    assert not is_complete(trained, "3" * 64)
    network = table(lpips_network="alex")
    network.claim(OWN, [0, 2])
    assert not is_complete(network)
    Image.new("RGB", (48, 40)).save(few / "2.png")
    (few / "3.png").unlink()
    changed = table()
    changed.claim(OWN, [0, 2])
    missing = [path.name for path in changed.identities if changed.known(path, "0" * 64, 0) is None]
    assert missing == ["2.png"]


def test_a_moved_folder_takes_its_table_along(few, table):
    moved = table(few.rename(few.with_name("moved")))
    moved.claim(OWN, [0, 2])
    assert all(moved.known(path, "0" * 64, 2).metrics == {"psnr": 22.0} for path in moved.identities)
    moved.finish(OWN, [0, 2])
    assert {row["folder"] for row in rows(moved.path)} == {str(few.with_name("moved"))}


def test_the_command_replaces_the_table_of_another_evaluation_only_when_that_is_allowed(
    invoke, few, tmp_path, monkeypatch
):
    (few / "broken.png").unlink()
    assert invoke("evaluate", few, *QUICK)[0] == 0
    line = ("evaluate", few, *QUICK, "--size", 32)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("evaluate.*")}
    with monkeypatch.context() as patch:
        patch.setattr(Session, "load", lambda *args: pytest.fail("the model was loaded"))
        code, out, err = invoke(*line)
    assert (code, out, err.count("\n")) == (6, "", 1)
    assert f"--output_path: evaluate.csv is the table of another evaluation (folder {few}, vae bundled, size 48" in err
    assert err.endswith("Name another --output_path, or add --overwrite.\n")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("evaluate.*")} == before
    code, _, err = invoke(*line, "--overwrite")
    assert (code, err) == (0, "") and [row["size"] for row in rows(tmp_path / "evaluate.csv")] == ["32"] * 6
    assert invoke(*line)[0] == 0  # it is this evaluation's own now


def test_a_table_of_0_1_0_is_read_and_gone_on_with(invoke, few, tmp_path, monkeypatch):
    (few / "broken.png").unlink()
    assert invoke("evaluate", few, *QUICK)[0] == 0
    complete = (tmp_path / "evaluate.csv").read_bytes()
    found = rows(tmp_path / "evaluate.csv")
    with (tmp_path / "evaluate.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS[:-2], lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(found)
    monkeypatch.setattr(module, "evaluate_images", lambda *args, **options: pytest.fail("it was measured again"))
    code, _, err = invoke("evaluate", few, *QUICK)
    assert (code, err) == (0, "") and (tmp_path / "evaluate.csv").read_bytes() == complete


@pytest.mark.slow
def test_images_that_0_1_0_optimized_are_measured_again(invoke, few, tmp_path):
    """0.1.0 optimized with other betas."""
    (few / "broken.png").unlink()
    line, table = ("evaluate", few, *QUICK, "--optimize", 2), tmp_path / "evaluate.csv"
    assert invoke(*line)[0] == 0
    right = {(row["image"], row["steps"]): float(row["psnr"]) for row in rows(table)}
    assert {steps for _, steps in right} == {"0", "2"}
    found = [row | {"psnr": "12.5"} for row in rows(table)]
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS[:-2], lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(found)
    code, _, err = invoke(*line)
    assert code == 0, err
    now = {(row["image"], row["steps"]): float(row["psnr"]) for row in rows(table)}
    assert now == pytest.approx(right, abs=0.01)


def test_a_file_that_is_no_table_is_never_replaced(few, tmp_path):
    for content in ("a,b\n1,2\n", "", ",".join(COLUMNS) + "\n" + "x," * 20 + "x\n"):
        (tmp_path / "mine.csv").write_text(content)
        with pytest.raises(OutputError, match="would be overwritten, and is no table of an evaluation"):
            ScoreTable(tmp_path / "mine.csv", few, [], SETTINGS, None)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--vae", "bundled,bundled"], 2, "names bundled twice"),
        (["--vae", "stabilityai/sd-vae-ft-mse,bundled"], 2, "sd-vae-ft-mse and bundled are bundled"),
        (["--vae", "bundled,,x"], 2, "empty name"),
        (["--vae", "bundled,no/such/folder/at/all"], 4, "no such folder"),
        (["--output_path", "e.gif"], 2, ".png or .svg"),
        (["--output_path", "no/e.png"], 6, "does not exist"),
        (["--output_path", "few/1.png"], 2, "is in the folder"),
        (["--optimize", "-1"], 2, "--optimize must be at least 0"),
        (["--by", "beauty"], 2, "--by"),
        (["--output_path", "mine.png"], 6, "no table of an evaluation"),
        (["--output_path", "mine.png", "--overwrite"], 6, "no table of an evaluation"),
    ],
)
def test_bad_input_is_one_line(invoke, few, tmp_path, monkeypatch, options, code, words):
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    monkeypatch.setattr(Session, "load", lambda *args: pytest.fail("the model was loaded"))
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
    centered = SAMPLES - SAMPLES.mean(0)
    assert distance(centered, 3 * centered) == pytest.approx(4 * trace)  # tr(C + 9 C − 2 · 3 C)


def test_rfid_is_stored_for_resuming_and_warned_of_when_images_are_few(invoke, few, tmp_path, monkeypatch):
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
            for record in evaluate_images(
                load_autoencoder(weights.bundled(), dtype="auto"),
                sorted(few.glob("[0-9].png")),
                size=48,
                metrics=extract,
            )
            for score in record.scores.values()
        ]
    )
    assert result["rows"][0]["metrics"]["rfid"]["mean"] == pytest.approx(fidelity.frechet_distance(features))
    assert any("of 6 images, and so too high" in note for note in result["notes"])
    (few / "broken.png").unlink()
    monkeypatch.setattr(module, "evaluate_images", lambda *args, **options: pytest.fail("it was measured again"))
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
    assert expected > 0 and found.score(image, target).metrics["lpips"] == pytest.approx(expected, rel=1e-4)


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


def test_without_torch_fidelity_the_column_is_empty_and_says_why(monkeypatch, metrics):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    assert 'pip install "latentflow[rfid]"' in fidelity.unavailable()
    assert metrics.notes(3000)["rFID"] == "empty; none here"


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
