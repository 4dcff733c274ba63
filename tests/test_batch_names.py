"""Names of every kind, lists of every kind, and a folder that grows: no item depends on another one."""

import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from latentflow.base.errors import InputError
from latentflow.runs.batch.names import LONGEST, image_seed, output_path
from latentflow.runs.batch.plan import make_batch_plan
from latentflow.runs.batch.sources import list_lines
from latentflow.runs.config import BatchConfig

QUICK = ("--weights", "bundled", "--size", 32, "--steps", 2, "--quiet")


def draw(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return path


def rows(out):
    return {row["image"]: row for row in map(json.loads, (out / "batch.jsonl").read_text().splitlines())}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_names_too_long_and_names_that_are_no_text_are_done(invoke, tmp_path):
    long = "x" * 251 + ".png"
    for number, name in enumerate((long, os.fsdecode(b"caf\xe9.png"), "plain.png")):
        draw(tmp_path / "in" / name, number)
    code, _, err = invoke("batch", "in", "--output_dir", "out", *QUICK)
    found = rows(tmp_path / "out")
    assert code == 0 and [row["status"] for row in found.values()] == ["done"] * 3, err
    outputs = [os.fsencode(path.name) for path in (tmp_path / "out").glob("*.gif")]
    assert len(outputs) == 3 and max(map(len, outputs)) == LONGEST + len(".gif") and b"caf\xe9.png.gif" in outputs
    code, out, _ = invoke("batch", "in", "--output_dir", "out", *QUICK, "--json")
    assert code == 0 and json.loads(out)["skipped"] == 3


def test_long_names_that_begin_alike_stay_apart(tmp_path):
    one, two = (output_path(tmp_path, "y" * 240 + end + ".png", ".gif") for end in ("1", "2"))
    assert one != two and one.name.startswith("y" * 100)
    assert output_path(tmp_path, "../../etc/a.png", ".gif").is_relative_to(tmp_path)


def test_the_seed_of_an_image_is_of_its_name():
    """The first eight hexadecimal digits of sha256sum of "0:a.png" and of "7:deeper/ä.jpg": earlier results are found
    by them."""
    assert image_seed(0, "a.png") == 0xA2D18BD9
    assert image_seed(7, "deeper/ä.jpg") == 0x53BFDEB6


@pytest.mark.parametrize("suffix", [".gif", ""])
@pytest.mark.parametrize("name", ["../a.png", "b/../../a.png", "/etc/a.png", "..", "../.."])
def test_no_name_leaves_the_output_folder(tmp_path, name, suffix):
    out = (tmp_path / "out").resolve()
    path = output_path(out, name, suffix)
    assert out in path.resolve().parents and path.name not in ("", suffix)


def test_names_that_differ_in_what_is_left_out_stay_apart(tmp_path):
    assert len({output_path(tmp_path, name, ".gif") for name in ("a.png", "../a.png", "../../a.png")}) == 3


def test_the_table_is_sorted_by_name_whatever_was_done_first(invoke, tmp_path):
    draw(tmp_path / "in" / "b.png")
    draw(tmp_path / "in" / "d.png", 1)
    assert invoke("batch", "in", "--output_dir", "out", *QUICK)[0] == 0
    for number, name in enumerate(("c.png", "a.png")):
        draw(tmp_path / "in" / name, number + 2)
    assert invoke("batch", "in", "--output_dir", "out", *QUICK)[0] == 0
    lines = (tmp_path / "out" / "batch.jsonl").read_text().splitlines()
    table = (tmp_path / "out" / "batch.csv").read_text().splitlines()
    names = ["a.png", "b.png", "c.png", "d.png"]
    assert [json.loads(line)["image"] for line in lines] == names
    assert table[0].split(",")[0] == "image" and [line.split(",")[0] for line in table[1:]] == names


def test_a_shard_has_every_nth_image_by_name(tmp_path):
    for name in ("c", "a", "e", "b", "d"):
        draw(tmp_path / "in" / f"{name}.png")
    shards = [
        [item.name for item in make_batch_plan([str(tmp_path / "in")], BatchConfig(
            output_dir=str(tmp_path / "out"), weights="bundled", shard=f"{index}/2")).items]
        for index in (1, 2)
    ]  # fmt: skip
    assert shards == [["a.png", "c.png", "e.png"], ["b.png", "d.png"]]


def test_images_with_one_name_in_several_sources_all_have_a_row(tmp_path, monkeypatch):
    """`b/x.png` is the name of one image in its folder, and the path of another one."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("all/x.png", "all/b/x.png", "b/x.png", "c/x.png")):
        draw(tmp_path / name, number)
    plan = make_batch_plan(["all", "b/x.png", "c"], BatchConfig(output_dir="out", weights="bundled"))
    assert sorted(item.path for item in plan.items) == sorted(
        tmp_path / name for name in ("all/x.png", "all/b/x.png", "b/x.png", "c/x.png")
    )
    assert len({item.name for item in plan.items}) == len({item.output for item in plan.items}) == 4


def test_a_folder_that_grows_is_continued(invoke, tmp_path):
    draw(tmp_path / "in" / "a.png")
    assert invoke("batch", "in", "--output_dir", "out", *QUICK)[0] == 0
    before, picture = rows(tmp_path / "out")["a.png"], (tmp_path / "out" / "a.png.gif").read_bytes()
    draw(tmp_path / "in" / "a.jpg", 1)  # comes first by name, and shares the stem
    code, out, err = invoke("batch", "in", "--output_dir", "out", *QUICK, "--json")
    assert code == 0 and (json.loads(out)["done"], json.loads(out)["skipped"]) == (1, 1), err
    after = rows(tmp_path / "out")
    assert after["a.png"]["seed"] == before["seed"] == image_seed(0, "a.png") != after["a.jpg"]["seed"]
    assert (tmp_path / "out" / "a.png.gif").read_bytes() == picture and (tmp_path / "out" / "a.jpg.gif").exists()


def test_results_under_their_earlier_names_are_recognized(invoke, tmp_path):
    draw(tmp_path / "in" / "a.png")
    assert invoke("batch", "in", "--output_dir", "out", *QUICK)[0] == 0
    for path in (tmp_path / "out").glob("a.png.gif*"):
        earlier = path.rename(path.with_name(path.name.replace("a.png.gif", "a.gif")))
        if earlier.suffix == ".json":
            earlier.write_text(earlier.read_text().replace("a.png.gif", "a.gif"))
    draw(tmp_path / "in" / "a.jpg", 1)  # its frames would have had that name too
    code, out, err = invoke("batch", "in", "--output_dir", "out", *QUICK, "--json")
    assert code == 0 and (json.loads(out)["done"], json.loads(out)["skipped"]) == (1, 1), err
    assert sorted(path.name for path in (tmp_path / "out").glob("*.gif")) == ["a.gif", "a.jpg.gif"]


def test_an_output_that_cannot_be_written_is_a_row_of_the_table(invoke, tmp_path):
    draw(tmp_path / "in" / "inner" / "a.png")
    draw(tmp_path / "in" / "b.png", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "inner").write_text("a file where a folder should be")
    code, _, err = invoke("batch", "in", "--output_dir", "out", *QUICK)
    found = rows(tmp_path / "out")
    assert code == 1 and found["b.png"]["status"] == "done" and "Traceback" not in err
    assert found["inner/a.png"]["status"] == "failed" and "inner" in found["inner/a.png"]["error"]


@pytest.mark.parametrize(
    "content",
    [
        b"a.png\nb c.png\n",
        b"\xef\xbb\xbfa.png\r\nb c.png\r\n",
        b"a.png\rb c.png",
        "a.png\r\nb c.png\r\n".encode("utf-16"),
        b"# mine\n\"a.png\"\n\n  \n'b c.png'\n#b.png\n",
    ],
)
def test_lists_of_any_system_name_the_same_files(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    assert list_lines(tmp_path / "list.txt") == ["a.png", "b c.png"]


def test_names_in_lists_need_not_be_utf8_and_a_zero_byte_is_refused(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.png\n")
    assert os.fsencode(list_lines(tmp_path / "list.txt")[0]) == b"caf\xe9.png"
    (tmp_path / "list.txt").write_bytes(b"a\0.png\n")
    with pytest.raises(InputError, match="is not text"):
        list_lines(tmp_path / "list.txt")


def test_paths_are_relative_to_the_list_or_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    beside, here = draw(tmp_path / "lists" / "a.png"), draw(tmp_path / "b.png")
    both = draw(tmp_path / "lists" / "c.png"), draw(tmp_path / "c.png")
    (tmp_path / "lists" / "list.txt").write_text("a.png\nb.png\nc.png\nmissing.png\n")
    plan = make_batch_plan(["lists/list.txt"], BatchConfig(output_dir="out", weights="bundled"))
    found = {item.path.name: item.path for item in plan.items}
    assert found["a.png"] == beside and found["b.png"] == here and found["c.png"] == both[0]
    assert found["missing.png"] == tmp_path / "lists" / "missing.png"
    assert any("c.png exist both in the folder of the list" in note for note in plan.notes)


def test_an_ffmpeg_that_is_none_is_said_before_the_run(invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no" / "ffmpeg"))
    draw(tmp_path / "a.png")
    line = ("--image_path", "a.png", *QUICK, "--output_path")
    code, out, err = invoke(*line, "a.mp4")
    assert (code, out, err.count("\n")) == (3, "", 1) and "IMAGEIO_FFMPEG_EXE names" in err, err
    assert not list(tmp_path.glob("a.mp4*"))
    assert invoke(*line, "a.gif")[0] == 0  # which needs none
