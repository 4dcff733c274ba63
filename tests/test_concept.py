"""`concept`: directions with known answers, their score, the figure, the sweep, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage
from toys import linear_autoencoder, picture

from latentflow import encode_folder
from latentflow.base.errors import InputError
from latentflow.base.pixels import to_uint8
from latentflow.base.session import Session
from latentflow.explore.concept.directions import (
    HeldOutScore,
    cross_validate,
    decision_border,
    direction_between,
    position_along,
    shrinkage,
    whitened,
)
from latentflow.explore.concept.figure import draw_concept
from latentflow.explore.concept.run import (
    Concept,
    check_concept,
    move_along,
    read_concept,
    run_concept,
    there_and_back,
    write_concept,
)
from latentflow.explore.config import ConceptConfig
from latentflow.latents.files import load_latent, save_latent
from latentflow.latents.index import index_path
from latentflow.latents.sources import read_anchors
from latentflow.pictures.text import captioned

QUICK = ("--weights", "bundled", "--size", 32, "--dtype", "float32", "--quiet")
SCORE = HeldOutScore(np.ones(4), -np.ones(5), (1.0, 1.0)).figures()


def noise(count, shape=(4, 4, 4), seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def hidden(count, seed=0):
    """Latents of 2 × 2 × 2 values whose groups differ in one value, under noise that a second value tells."""
    positive, negative = noise(count, (2, 2, 2), seed), noise(count, (2, 2, 2), seed + 1)
    for group, sign in ((positive, 1), (negative, -1)):
        group[:, 0, 0, 1] *= 4
        group[:, 0, 0, 0] = sign + group[:, 0, 0, 1] + 0.3 * group[:, 0, 0, 0]
    return positive, negative


def test_the_direction_is_the_difference_of_the_means():
    positive, negative = noise(5) + 2, noise(7, seed=1)
    expected = positive.mean(0, keepdim=True) - negative.mean(0, keepdim=True)
    torch.testing.assert_close(direction_between(positive, negative), expected)


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (30, 30), (2, 5)])
def test_shrinkage_is_ledoits_and_wolfs(shape):
    rows = noise(shape[0], shape[1:]).double() * torch.linspace(0.1, 3, shape[1])
    expected = ledoit_wolf_shrinkage(rows.numpy(), assume_centered=True)
    assert shrinkage(rows @ rows.T, shape[1]) == pytest.approx(expected, rel=1e-9)
    assert shrinkage(torch.zeros(3, 3), 5) == 0


@pytest.mark.parametrize("shape", [(6, 40), (40, 6)])
def test_whitening_solves_for_the_shrunk_covariance(shape):
    rows = noise(shape[0], shape[1:]).double() * torch.linspace(0.1, 3, shape[1])
    difference = noise(1, shape[1:], seed=5)[0].double()
    covariance, _ = ledoit_wolf(rows.numpy(), assume_centered=True)
    expected = np.linalg.solve(covariance, difference.numpy())
    np.testing.assert_allclose(whitened(difference, rows).numpy(), expected, rtol=1e-8)


def test_without_any_spread_whitening_changes_nothing():
    one, two = torch.ones(4, 1, 2, 2), torch.zeros(4, 1, 2, 2)
    torch.testing.assert_close(direction_between(one, two, whiten=True), direction_between(one, two))


@pytest.mark.parametrize("whiten", [False, True])
def test_a_length_of_one_goes_from_mean_to_mean(whiten):
    positive, negative = hidden(50)
    direction = direction_between(positive, negative, whiten=whiten)
    places = [float((group.mean(0) * direction[0]).sum()) for group in (positive, negative)]
    assert places[0] - places[1] == pytest.approx(float(direction.square().sum()), rel=1e-4)


def test_whitening_finds_what_noise_hides():
    positive, negative = hidden(100)
    plain, white = cross_validate(positive, negative), cross_validate(positive, negative, whiten=True)
    assert plain.accuracy < 0.75 and white.accuracy > 0.95 and white.tells_apart


@pytest.mark.parametrize("whiten", [False, True])
def test_what_can_be_told_apart_always_is(whiten):
    found = cross_validate(noise(12) + 4, noise(9, seed=1), whiten=whiten)
    assert found.accuracy == 1 and found.spread == 0 and found.right == (12, 9) and found.tells_apart
    assert len(found.folds) == 5 and (found.positive > 0).all() and (found.negative < 0).all()


@pytest.mark.parametrize("whiten", [False, True])
def test_random_labels_are_called_useless(whiten):
    """More dimensions than images, so that what a direction was made from is told apart without fail; and groups of
    different size, towards the larger of which a border between the means it was made from would lean."""
    scores = [
        cross_validate(noise(12, (4, 8, 8), 2 * seed), noise(36, (4, 8, 8), 2 * seed + 1), whiten=whiten)
        for seed in range(30)
    ]
    assert sum(each.tells_apart for each in scores) <= 2
    fractions = np.mean([np.divide(each.right, (12, 36)) for each in scores], axis=0)
    assert fractions == pytest.approx([0.5, 0.5], abs=0.1)


@pytest.mark.parametrize(("count", "folds"), [(4, 4), (5, 5), (30, 5)])
def test_every_image_is_held_out_once(count, folds):
    found = cross_validate(noise(count) + 4, noise(30, seed=1))
    assert len(found.folds) == folds and (len(found.positive), len(found.negative)) == (count, 30)
    assert (found.positive != 0).all() and (found.negative != 0).all()


def test_the_interval_is_that_of_two_fractions():
    """Wilson's 95 % limits of 10 of 10 are 0.7225 and 1, of 5 of 10 0.2366 and 0.7634."""
    sides = np.array([1.0] * 5 + [-1.0] * 5)
    best, mixed = HeldOutScore(np.ones(10), -np.ones(10), (1.0,)), HeldOutScore(np.ones(10), sides, (0.75,))
    assert best.interval == pytest.approx((1 - 0.2775 / np.sqrt(2), 1), abs=1e-4)
    assert mixed.accuracy == 0.75 and mixed.right == (10, 5)
    assert mixed.interval[0] == pytest.approx(0.75 - np.hypot(0.2775, 0.2634) / 2, abs=1e-4)
    assert mixed.interval[1] == pytest.approx(0.75 + 0.2634 / 2, abs=1e-4)


def test_the_same_images_twice_make_no_direction():
    with pytest.raises(InputError, match="are the same"):
        direction_between(noise(5), noise(5))


def test_a_sweep_goes_there_and_back():
    strengths = there_and_back(-2, 4, 8)
    assert strengths[0] == pytest.approx(-2) and strengths[4] == pytest.approx(4) and len(strengths) == 8
    np.testing.assert_allclose(strengths[1:4], strengths[:4:-1])
    assert (np.diff(strengths[:5]) > 0).all()


def toy_concept(direction):
    return Concept(direction=direction, size=(8, 8), names=("a", "b"), kind="difference of means", held_out=SCORE)


def test_moving_along_a_direction_adds_its_picture():
    autoencoder = linear_autoencoder(scale=2.0, shift=0.0)
    latent, direction = noise(1), noise(1, seed=3)
    frames = list(move_along(autoencoder, latent, toy_concept(direction), [-1.0, 0.0, 2.0]))
    assert [frame.index for frame in frames] == [0, 1, 2] and frames[0].total == 2
    step = autoencoder.decode(latent + direction) - autoencoder.decode(latent)
    torch.testing.assert_close(frames[1].image, autoencoder.decode(latent))
    torch.testing.assert_close(frames[0].image, frames[1].image - step)
    torch.testing.assert_close(frames[2].image, frames[1].image + 2 * step)


def test_a_direction_comes_back_with_its_score(tmp_path):
    autoencoder, concept = linear_autoencoder(), toy_concept(noise(1))
    write_concept(tmp_path / "c.safetensors", concept, autoencoder)
    found = read_concept(tmp_path / "c.safetensors", autoencoder)
    assert torch.equal(found.direction, concept.direction) and found.warning() == ""
    assert (found.names, found.size, found.kind, found.held_out) == (("a", "b"), (8, 8), concept.kind, SCORE)
    assert torch.equal(load_latent(tmp_path / "c.safetensors", autoencoder), concept.direction)
    write_concept(tmp_path / "d.safetensors", concept, autoencoder)
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "d.safetensors").read_bytes()


@pytest.mark.parametrize("held_out", ["no JSON", "3", '{"folds": 5}'])
def test_a_direction_whose_score_is_broken_is_refused(tmp_path, held_out):
    notes = {"positive": "a", "negative": "b", "kind": "whitened", "held_out": held_out}
    save_latent(tmp_path / "c.safetensors", noise(1), linear_autoencoder(), (8, 8), notes)
    with pytest.raises(InputError, match="is not a direction saved by concept"):
        check_concept(tmp_path / "c.safetensors")


def test_a_direction_of_another_autoencoder_is_refused(tmp_path):
    autoencoder = linear_autoencoder()
    write_concept(tmp_path / "c.safetensors", toy_concept(noise(1)), autoencoder)
    autoencoder.sha256 = "1" * 64
    with pytest.raises(InputError, match="belongs to linear"):
        read_concept(tmp_path / "c.safetensors", autoencoder)


@pytest.fixture
def folders(tmp_path):
    """Bright and dark pictures, six of each."""
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 90, (40, 40, 3)) + (150 if number % 2 else 10)
        path = tmp_path / ("bright" if number % 2 else "dark") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return ("--positive", tmp_path / "bright", "--negative", tmp_path / "dark")


def brightness(path):
    return float(np.asarray(Image.open(path).convert("RGB"), float)[:32].mean())


@pytest.mark.parametrize("whiten", [(), ("--whiten",)])
def test_brightness_is_found_scored_saved_and_applied(invoke, autoencoder, folders, photo, tmp_path, whiten):
    line = ("concept", *folders, *whiten, "--apply", photo, "--strengths", "-1,1", "--frames", 8, "--json", *QUICK)
    code, out, err = invoke(*line)
    assert code == 0 and err == "", err
    report = json.loads(out)
    assert report["concept"] == "dark to bright" and report["strengths"] == [-1, 0, 1] and report["frames"] == 8
    assert report["held_out"]["tells_apart"] and report["held_out"]["of"] == [6, 6]
    assert report["held_out"]["balanced_accuracy"] == 1 and report["kind"].startswith("white") == bool(whiten)
    groups = [encode_folder(folder, vae=autoencoder, size=32).latents for folder in folders[1::2]]
    expected = direction_between(*groups, whiten=bool(whiten))
    found = load_latent(tmp_path / "concept.safetensors", autoencoder)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert report["held_out"]["right"] == [6, 6]
    with Image.open(tmp_path / "concept.gif") as gif:
        assert gif.n_frames == 8 and gif.size == (32, 32 + 5 * 18)
    files = ("concept.safetensors", "concept.png", "concept.gif")
    before = [(tmp_path / file).read_bytes() for file in files]
    assert invoke(*line)[0] == 0 and [(tmp_path / file).read_bytes() for file in files] == before
    manifest = json.loads((tmp_path / "concept.safetensors.manifest.json").read_text())
    assert manifest["result"]["held_out"] == report["held_out"] and manifest["inputs"]["apply"] == str(photo)


def test_an_earlier_direction_moves_another_picture_to_bright(invoke, folders, small, tmp_path):
    assert invoke("concept", *folders, *QUICK)[0] == 0
    assert not (tmp_path / "concept.gif").exists() and (tmp_path / "concept.png").exists()
    saved = (tmp_path / "concept.safetensors").read_bytes()
    options = ("--output_path", "moved.png", "--sweep", "", "--frames", 4, "--strengths", "-0.5,0.5")
    code, out, err = invoke(
        "concept", "--direction", "concept.safetensors", "--apply", small, *options, "--weights", "bundled", "--quiet"
    )
    assert code == 0 and err == "" and "on the correct side: 6 of 6 of bright, 6 of 6 of dark" in out, err
    other = ("--direction", "concept.safetensors", "--apply", small, "--size", 40, "--output_path", "other.png")
    code, _, err = invoke("concept", *other, "--weights", "bundled")
    assert code == 2 and "for pictures of 32 × 32" in err and err.count("\n") == 1
    frames = sorted((tmp_path / "moved_frames").glob("*.png"))
    dark, _, bright, _ = map(brightness, frames)
    assert bright > dark + 30 and len(frames) == 4
    assert (tmp_path / "moved.png").exists() and (tmp_path / "moved.png.manifest.json").exists()
    assert (tmp_path / "concept.safetensors").read_bytes() == saved and not (tmp_path / "moved.safetensors").exists()


def test_a_useless_direction_says_so_every_time(invoke, images, tmp_path):
    """Waves of random colors and directions, separated by whether their number is even."""
    shutil.copytree(images / "deeper", tmp_path / "odd")
    (tmp_path / "even").mkdir()
    for path in images.glob("*.png"):
        shutil.copy(path, tmp_path / "even")
    for line in (
        ("--positive", "odd", "--negative", "even"),
        ("--direction", "concept.safetensors", "--apply", "random:1", "--frames", 4),
    ):
        code, out, err = invoke("concept", *line, *QUICK)
        assert code == 0 and err.count("\n") == 1 and "on the correct side:" in out, err
        assert "This direction does not separate the two groups on held-out images: balanced accuracy" in err


def test_folders_of_the_same_name_are_told_apart(invoke, folders, tmp_path):
    for group in ("bright", "dark"):
        (tmp_path / group / "train").mkdir()
        for path in (tmp_path / group).glob("*.png"):
            path.rename(path.parent / "train" / path.name)
    line = ("concept", "--positive", "bright/train", "--negative", "dark/train", "--json", *QUICK)
    assert json.loads(invoke(*line)[1])["concept"] == "dark/train to bright/train"


def test_a_stopped_sweep_leaves_complete_files(folders, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {folders[0].strip("-"): str(folders[1]), folders[2].strip("-"): str(folders[3])}
    config = ConceptConfig(**options, apply=str(photo), size=32, weights="bundled", frames=100)

    class Stopping(Session):
        def watch(self, records, *state):
            for record in super().watch(records, *state):
                if record.total == 99 and record.index == 3:
                    self.stop()
                yield record

    report = run_concept([], config, Stopping())
    assert report.error.exit_code == 130 and report.figures["frames"] == 4
    with Image.open("concept.gif") as gif:
        assert gif.n_frames == 4
    assert (tmp_path / "concept.png").exists() and (tmp_path / "concept.safetensors.manifest.json").exists()


def test_only_what_was_written_this_time_is_named(invoke, folders, small, tmp_path, autoencoder):
    line = ("concept", *folders, "--frames", 4, "--json", *QUICK)
    first = json.loads(invoke(*line, "--apply", small)[1])["written"]
    indexes = [str(index_path(tmp_path / name, autoencoder, 32)) for name in ("bright", "dark")]
    written = ["concept.safetensors", "concept.png", "concept.gif", "concept.gif.trajectory"]
    manifest_name = "concept.safetensors.manifest.json"
    assert first == [*written, manifest_name, *indexes]
    again = json.loads(invoke(*line)[1])["written"]
    assert again == [*written[:2], manifest_name]  # no sweep, and the indexes had all latents
    manifest = json.loads((tmp_path / manifest_name).read_text())
    assert manifest["result"]["written"] == ["concept.safetensors", "concept.png"]


@pytest.mark.parametrize("companion", ["concept.png", "concept.gif"])
def test_companions_that_others_made_are_kept(invoke, folders, small, tmp_path, companion):
    (tmp_path / companion).write_bytes(b"mine")
    code, _, err = invoke("concept", *folders, "--apply", small, *QUICK)
    assert code == 6 and f"{companion} would be overwritten" in err and err.count("\n") == 1
    assert (tmp_path / companion).read_bytes() == b"mine" and not (tmp_path / "concept.safetensors").exists()


def test_sources_are_refused():
    with pytest.raises(InputError, match="takes no sources"):
        run_concept(["a.png"], ConceptConfig(), Session())


# The figure and the sweep


def panels(figure):
    """The pictures of a strip: (title, picture, title's color, whether it has a frame) each."""
    return [
        (axes.get_title(), axes.images[0].get_array(), axes.title.get_color(), axes.spines["left"].get_visible())
        for axes in figure.axes
        if axes.images
    ]


def test_the_strip_shows_each_strength_and_highlights_the_unchanged_picture():
    pictures = {strength: to_uint8(picture(6, 6, seed=index)) for index, strength in enumerate([-1.5, -0.25, 0.0, 2.0])}
    figure = draw_concept("dark to bright", ("bright", "dark"), pictures, None)
    found = panels(figure)
    assert [title for title, *_ in found] == ["−1.5", "−0.25", "unchanged", "+2"]
    for (_, shown, color, framed), (strength, wanted) in zip(found, pictures.items(), strict=True):
        assert np.array_equal(shown, wanted)
        assert (color, framed) == (("tab:red", True) if strength == 0 else ("black", False))
    places = [axes.get_subplotspec().colspan.start for axes in figure.axes]
    assert places == [0, 1, 2, 3] and figure.get_suptitle() == "Along the direction from dark to bright"


@pytest.mark.parametrize("separates", [True, False])
def test_the_plot_shows_each_group_in_its_row_and_color(separates):
    positive = np.array([0.2, 0.5, 0.9]) if separates else np.array([-0.2, 0.5, -0.9])
    negative = np.array([-0.1, -0.3, -0.4, -0.7]) if separates else np.array([-0.1, 0.3, -0.4, 0.7])
    score = HeldOutScore(np.tile(positive, 4), np.tile(negative, 4), (1.0,))
    figure = draw_concept("dark to bright", ("bright", "dark"), {}, score)
    (axes,) = figure.axes
    orange, blue = axes.collections
    assert np.array_equal(orange.get_offsets()[:, 0], score.positive)
    assert np.array_equal(blue.get_offsets()[:, 0], score.negative)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["bright (12)", "dark (16)"]
    for dots, row, color in ((orange, 0, (1.0, 0.498, 0.055)), (blue, 1, (0.122, 0.467, 0.706))):
        assert np.abs(dots.get_offsets()[:, 1] - axes.get_yticks()[row]).max() < 0.4
        assert dots.get_facecolor()[0, :3] == pytest.approx(color, abs=1e-3)
    assert axes.lines[0].get_xdata() == [0, 0]  # the border
    low, high = score.interval
    accuracy = "100%" if separates else "42%"
    result = f"balanced accuracy {accuracy} (95% interval {low:.1%} to {high:.1%}; chance 50%)"
    assert axes.get_title() == ("Held out: " if separates else "Does not separate the two groups: ") + result
    assert axes.title.get_color() == ("black" if separates else "tab:red")
    left, right = axes.get_xlim()
    assert left == -right and right > 0.9


def test_moved_pictures_are_marked_where_they_leave_the_real_ones():
    pictures = {strength: to_uint8(picture(6, 6)) for strength in (-1.0, 0.0, 1.0)}
    score = HeldOutScore(np.array([0.2, 0.6] * 6), np.array([-0.3, -0.7] * 6), (1.0,))
    assert score.range == (-0.7, 0.6)
    places = {-1.0: -0.9, 0.0: 0.1, 1.0: 1.1}
    figure = draw_concept("a to b", ("b", "a"), pictures, score, positions=places, images=score.range)
    *strip, plot = figure.axes
    words = [(axes.get_xlabel(), axes.xaxis.label.get_color()) for axes in strip]
    assert words == [("beyond all images", "tab:red"), ("among the images", "black"), ("beyond all images", "tab:red")]
    triangles = plot.collections[2].get_offsets()
    assert triangles.tolist() == [[-0.9, -1], [0.1, -1], [1.1, -1]]
    assert [text.get_text() for text in plot.texts] == ["−1", "unchanged", "+1"]
    assert [label.get_text() for label in plot.get_yticklabels()] == ["the image, moved", "b (12)", "a (12)"]
    assert plot.get_xlim()[1] > 1.1


def test_strengths_are_chosen_from_where_held_out_images_lie(invoke, autoencoder, folders, photo, tmp_path):
    code, out, err = invoke("concept", *folders, "--apply", photo, "--frames", 4, "--json", *QUICK)
    assert code == 0, err
    report = json.loads(out)
    low, high = report["held_out"]["range"]
    reach = float(f"{max(-low, high):.2g}")
    assert report["strengths"] == [-reach, -reach / 2, 0, reach / 2, reach] and 0.3 < reach < 1.5
    concept = read_concept(tmp_path / "concept.safetensors", autoencoder)
    latent = read_anchors([str(photo)], autoencoder, 32, "cover").latents
    start = concept.position(latent)
    assert report["positions"] == pytest.approx([start + strength for strength in report["strengths"]], abs=1e-5)
    moved = concept.position(latent + 0.25 * concept.direction)
    assert moved - start == pytest.approx(0.25, abs=1e-5)
    for folder, side in zip((folders[1], folders[3]), (1, -1)):  # the border is between the groups
        for path in folder.glob("*.png"):
            assert side * concept.position(read_anchors([str(path)], autoencoder, 32, "cover").latents) > 0
    applied = ("--direction", "concept.safetensors", "--apply", photo, "--output_path", "again.png", "--frames", 4)
    code, out, err = invoke("concept", *applied, "--json", *QUICK)
    assert code == 0 and json.loads(out)["strengths"] == report["strengths"], err


@pytest.mark.parametrize("whiten", [False, True])
def test_the_border_is_halfway_between_the_groups(whiten):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(120, 1, 2, 2, generator=generator)
    positive, negative = noise[:60] + 4, noise[60:] - 1
    direction = direction_between(positive, negative, whiten=whiten)
    border = decision_border(positive, negative, direction, whiten=whiten)
    middle = position_along(torch.full((1, 1, 2, 2), 1.5), direction)
    assert border == pytest.approx(middle, abs=0.03)
    assert position_along(direction, direction) == pytest.approx(1)


def test_the_command_shows_the_picture_of_each_strength(invoke, autoencoder, folders, photo, tmp_path, saved_figures):
    options = ("--strengths", "-1,0.5", "--frames", 4, "--sweep", "")
    code, _, err = invoke("concept", *folders, "--apply", photo, *options, *QUICK)
    assert code == 0, err
    concept = read_concept(tmp_path / "concept.safetensors", autoencoder)
    latent = read_anchors([str(photo)], autoencoder, 32, "cover").latents

    def decoded(strength):
        with torch.no_grad():
            return to_uint8(autoencoder.decode(latent + strength * concept.direction, (32, 32)))

    (figure,) = saved_figures
    for (title, shown, *_), strength, words in zip(
        panels(figure), (-1.0, 0.0, 0.5), ("−1", "unchanged", "+0.5"), strict=True
    ):
        assert title == words and np.abs(shown.astype(int) - decoded(strength)).max() <= 1
    *_, plot = figure.axes
    assert [label.get_text() for label in plot.get_yticklabels()] == ["the image, moved", "bright (6)", "dark (6)"]
    bright, dark = (dots.get_offsets()[:, 0] for dots in plot.collections[:2])
    assert (bright > 0).all() and (dark < 0).all()
    paths = sorted((tmp_path / "concept_frames").glob("*.png"))
    for path, strength in zip(paths, (-1.0, -0.25, 0.5, -0.25), strict=True):
        expected = captioned(decoded(strength), [f"strength {strength:+.2f}", "dark to bright"])
        assert np.abs(np.asarray(Image.open(path)).astype(int) - expected).max() <= 1


BOTH = ("--positive", "bright", "--negative", "dark")


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ([], 2, "A direction is computed from two folders"),
        (["--positive", "bright"], 2, "Give --positive and --negative"),
        (["--positive", "bright", "--negative", "no"], 2, "--negative no does not exist"),
        (["--positive", "bright", "--negative", "bright"], 2, "6 images are in both --positive and --negative"),
        (["--positive", "bright", "--negative", "few"], 2, "few has 3 images that can be read; at least 4"),
        ([*BOTH, "--output_path", "c.png"], 2, "a direction is written as .safetensors"),
        ([*BOTH, "--output_path", "no/c.safetensors"], 6, "no does not exist"),
        ([*BOTH, "--apply", "no.png"], 2, "no.png does not exist"),
        ([*BOTH, "--apply", "a.png", "--output_path", "a.safetensors"], 2, "in the place of what it is made from"),
        ([*BOTH, "--apply", "z.safetensors"], 2, "is for a picture of 24 × 16 pixels, the direction for 32 × 32"),
        ([*BOTH, "--strengths", "0"], 2, "changes nothing"),
        ([*BOTH, "--strengths", "1,nan"], 2, "--strengths must be a finite number"),
        ([*BOTH, "--strengths", "1,high"], 2, "'high' is not a valid float"),
        ([*BOTH, "--strengths", ",".join(map(str, range(1, 20)))], 2, "at most 16"),
        (["--direction", "z.safetensors"], 2, "needs something to --apply it to"),
        (["--direction", "z.safetensors", *BOTH], 2, "is a finished direction"),
        (["--direction", "z.safetensors", "--whiten"], 2, "is a finished direction"),
        (["--direction", "z.safetensors", "--apply", "a.png"], 2, "is not a direction saved by concept"),
        (["--direction", "a.png", "--apply", "a.png"], 2, "is not a direction saved by concept"),
        (["--direction", "no.safetensors", "--apply", "a.png"], 2, "does not exist"),
        ([*BOTH, "more.png"], 2, "more.png"),
    ],
)
def test_bad_input_is_one_line(invoke, folders, tmp_path, autoencoder, line, code, words):
    (tmp_path / "few").mkdir()
    for path in sorted((tmp_path / "dark").glob("*.png"))[:3]:
        shutil.copy(path, tmp_path / "few")
    shutil.copy(tmp_path / "dark" / "0.png", tmp_path / "a.png")
    save_latent("z.safetensors", torch.zeros(1, 4, 2, 3), autoencoder, (16, 24))
    found, out, err = invoke("concept", *line, *QUICK)
    assert (found, out, err.count("\n")) == (code, "", 1) and words in err, err
