"""`similar`: distances with known answers, the exact order, and what the command shows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder

from latentflow.base.errors import InputError
from latentflow.base.pixels import to_uint8
from latentflow.explore import similar
from latentflow.explore.similar import Match, draw_similar, nearest
from latentflow.latents.files import save_latent
from latentflow.latents.index import read_squares

QUICK = ("--weights", "bundled", "--size", 32, "--quiet")


def latents(count, seed=0, rows=8):
    return torch.randn(count, 4, rows, rows, generator=torch.Generator().manual_seed(seed))


def test_equal_distances_keep_the_order_and_left_out_places_never_come():
    many = latents(1).repeat(6, 1, 1, 1)
    assert [each.index for each in nearest(latents(1), many, 3)] == [0, 1, 2]
    assert [each.index for each in nearest(latents(1), many, 9, exclude=[0, 4])] == [1, 2, 3, 5]
    assert nearest(latents(1), many[:1], 5, exclude=[0]) == []


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(
        InputError, match=r"`distance` is one of moments, pooled, cosine, l2, not 'cosin'\. Did you mean cosine"
    ):
        nearest(latents(1), latents(3), 1, "cosin")
    with pytest.raises(InputError, match="The query has shape"):
        nearest(latents(1, rows=4), latents(3), 1)


def plain(value):
    return np.full((8, 8, 3), value, np.uint8)


def shown(figure):
    """The picture and the words under it of every panel that has one, row by row."""
    return [(np.array(axes.images[0].get_array()), axes.texts[0].get_text()) for axes in figure.axes if axes.images]


def test_the_figure_shows_the_query_first_then_each_match_with_its_own_distance_and_name():
    matches = [Match(name=f"deeper/{n}.png", picture=plain(10 * n), distance=n / 8) for n in range(1, 8)]
    figure = draw_similar("cat", plain(255), matches, 40, "cosine", 0.75)
    query, *others = shown(figure)
    assert (query[0] == 255).all() and query[1] == "query\ncat"
    assert [int(picture.max()) for picture, _ in others] == [10, 20, 30, 40, 50, 60, 70]
    assert [int(picture.min()) for picture, _ in others] == [10, 20, 30, 40, 50, 60, 70]
    assert [words for _, words in others] == [f"{n / 8:.3f}\ndeeper/\n{n}.png" for n in range(1, 8)]
    assert figure.get_suptitle() == (
        "The nearest of 40 images: 1 − cosine of latents\nmedian distance of two images: 0.750"
    )
    assert "median" not in draw_similar("cat", plain(255), matches, 40).get_suptitle()
    places = [axes.get_subplotspec() for axes in figure.axes if axes.images]
    assert [(place.rowspan.start, place.colspan.start) for place in places] == [
        *[(0, column) for column in range(6)],
        *[(1, column) for column in (1, 2)],
    ]


def test_the_figure_of_the_command_shows_the_files_it_names_at_their_distances(invoke, images, saved_figures):
    code, out, err = invoke("similar", images / "4.png", images, "-k", 9, "--index", "i.safetensors", "--json", *QUICK)
    assert code == 0, err
    (query, words), *others = shown(saved_figures[0])
    assert np.array_equal(query, to_uint8(read_squares([images / "4.png"], 32))) and words == "query\n4"
    neighbors, median = json.loads(out)["neighbors"], json.loads(out)["median_distance"]
    assert saved_figures[0].get_suptitle().endswith(f"median distance of two images: {median:.3f}")
    assert len(others) == 9 and neighbors[0]["distance"] < median < neighbors[-1]["distance"]
    for (picture, words), neighbor in zip(others, neighbors, strict=True):
        distance, _, name = words.partition("\n")
        assert distance == f"{neighbor['distance']:.3f}"
        assert images / name.replace("/\n", "/") == Path(neighbor["image"])
        assert np.array_equal(picture, to_uint8(read_squares([Path(neighbor["image"])], 32)))


def test_a_figure_without_matches_is_refused():
    with pytest.raises(InputError, match="no match to draw"):
        draw_similar("cat", plain(0), [], 4)


def test_a_picture_of_the_folder_finds_its_copy_and_not_itself(invoke, images, tmp_path):
    shutil.copytree(images, tmp_path / "album")
    shutil.copy(tmp_path / "album" / "4.png", tmp_path / "album" / "deeper" / "copy.png")
    line = ("similar", "album/4.png", "album", "-k", 3, "--json", *QUICK)
    code, out, err = invoke(*line)
    assert code == 0 and err == "", err
    report = json.loads(out)
    assert report["images"] == report["encoded"] == 11 and report["distance"] == "moments"
    found = [each["image"] for each in report["neighbors"]]
    assert found[0] == "album/deeper/copy.png" and "album/4.png" not in found and len(found) == 3
    distances = [each["distance"] for each in report["neighbors"]]
    assert distances[0] < 1e-6 and 1e-3 < distances[1] <= distances[2] < report["median_distance"]
    manifest = json.loads((tmp_path / "similar.png.manifest.json").read_text())
    assert manifest["result"]["neighbors"] == report["neighbors"] and manifest["inputs"]["query"] == "album/4.png"
    before = (tmp_path / "similar.png").read_bytes()
    again = json.loads(invoke(*line)[1])
    assert again["encoded"] == 0 and again["neighbors"] == report["neighbors"]
    assert (tmp_path / "similar.png").read_bytes() == before


def test_a_symbolic_link_to_the_query_is_the_query(invoke, images, tmp_path):
    shutil.copytree(images, tmp_path / "album")
    (tmp_path / "album" / "link.png").symlink_to(tmp_path / "album" / "0.png")
    found = json.loads(invoke("similar", "album/link.png", "album", "--count", 100, "--json", *QUICK)[1])["neighbors"]
    assert len(found) == 9 and not {"album/0.png", "album/link.png"} & {each["image"] for each in found}


def test_people_get_a_table_and_the_index_goes_where_it_is_told(invoke, images, photo, tmp_path):
    code, out, err = invoke("similar", photo, images, "--distance", "pooled", "--index", "i.safetensors", *QUICK)
    assert code == 0 and err == "", err
    rows = [line.split() for line in out.splitlines() if str(images) in line]
    assert len(rows) == 5 and [float(row[1]) for row in rows] == sorted(float(row[1]) for row in rows)
    assert (tmp_path / "i.safetensors").exists() and "searched 10 images, 10 newly encoded" in out
    assert (
        "searched 10 images, 0 newly encoded" in invoke("similar", photo, images, "--index", "i.safetensors", *QUICK)[1]
    )


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (5, 1), (8, 2)])
def test_the_figure_has_a_row_for_every_five(invoke, images, photo, tmp_path, count, rows):
    assert invoke("similar", photo, images, "-k", count, "--index", "i.safetensors", *QUICK)[0] == 0
    with Image.open(tmp_path / "similar.png") as figure:
        inches = similar.PICTURE_INCHES * (1 + min(count, 5)) + 0.3, rows * (similar.PICTURE_INCHES + 0.7) + 0.5
        assert figure.size == pytest.approx([each * 120 for each in inches], abs=1)


def test_random_and_saved_latents_can_be_asked_for(invoke, images, autoencoder):
    save_latent("z.safetensors", torch.zeros(1, 4, 4, 4), autoencoder, (32, 32))
    for query in ("random:3", "z.safetensors"):
        code, out, err = invoke("similar", query, images, "--index", "i.safetensors", "--json", *QUICK)
        assert code == 0 and len(json.loads(out)["neighbors"]) == 5, err


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (["no.png", "album"], 2, "no.png does not exist"),
        (["q.png", "nothing"], 2, "nothing does not exist"),
        (["q.png", "q.png"], 2, "is a file, not a folder"),
        (["q.png", "empty"], 2, "holds no images"),
        (["q.png", "album", "-k", "0"], 2, "--count must be at least 1"),
        (["q.png", "album", "--distance", "cosin"], 2, "Did you mean cosine?"),
        (["q.png", "album", "--output_path", "x.gif"], 2, "a figure is written as .png or .svg"),
        (["q.png", "album", "--output_path", "q.png"], 2, "in the place of what it is made from"),
        (["q.png", "album", "--output_path", "no/x.png"], 6, "no does not exist"),
        (["q.png", "album", "--index", "q.png"], 2, "an index is a .safetensors file"),
        (["z.safetensors", "album", "--index", "z.safetensors"], 2, "is the query's file"),
        (["z.safetensors", "album"], 2, "the latent of a picture of 24 × 16 pixels; squares of --size 32"),
        (["album/only.png", "album"], 2, "no image but the query itself"),
        (["q.png", "album", "--index", "text.safetensors"], 2, "can't be read as an index"),
        (["q.png"], 2, "FOLDER"),
    ],
)
def test_bad_input_is_one_line(invoke, images, tmp_path, autoencoder, line, code, words):
    (tmp_path / "album").mkdir()
    (tmp_path / "empty").mkdir()
    shutil.copy(images / "0.png", tmp_path / "album" / "only.png")
    shutil.copy(images / "0.png", tmp_path / "q.png")
    save_latent("z.safetensors", torch.zeros(1, 4, 2, 3), autoencoder, (16, 24))
    (tmp_path / "text.safetensors").write_text("no index")
    found, out, err = invoke("similar", *line, *QUICK)
    assert (found, out, err.count("\n")) == (code, "", 1) and words in err, err


def test_a_toy_finds_the_picture_with_the_nearest_latent(tmp_path):
    """Pictures whose latents are known: the linear autoencoder's decoder takes them there, its encoder back."""
    autoencoder = linear_autoencoder(scale=2.0, shift=0.0)
    wanted = latents(6, rows=4) / 4
    pictures = autoencoder.decode(wanted)
    torch.testing.assert_close(autoencoder.encode(pictures), wanted)
    found = nearest(autoencoder.encode(pictures[2:3]), autoencoder.encode(pictures), 6, "l2")
    expected = (wanted - wanted[2:3]).square().mean((1, 2, 3)).sqrt()
    assert [each.index for each in found] == expected.argsort().tolist()
    assert found[0].index == 2
