"""A training never goes on with other data than it began with, and reads captions as they were meant."""

import os
from dataclasses import replace

import pytest
import torch
from PIL import Image
from test_train_prompts import SMALL
from test_training import TINY_KL, few_statistics, train_config  # noqa: F401  (the fixture is for all tests here)

from latentflow.base.errors import InputError, Interrupted
from latentflow.base.session import Session
from latentflow.base.state import pack, unpack
from latentflow.pictures.reader import Reader
from latentflow.training.data import Generated
from latentflow.training.plan import make_train_plan
from latentflow.training.provenance import check_provenance, of_files
from latentflow.training.run import train
from tools.toy.data import find_pairs, read_caption


def write_images(folder, count=6):
    """Plain images of one size with captions of one length."""
    folder.mkdir()
    for index in range(count):
        Image.new("RGB", (40, 40), (40 * index, 90, 200 - 30 * index)).save(folder / f"p{index}.bmp")
        (folder / f"p{index}.txt").write_text(f"a {('red', 'tan', 'bay')[index % 3]} picture", encoding="utf-8")
    return folder


@pytest.fixture
def begun(tmp_path):
    """The config of a training of one step that has ended, to be resumed for a second one, and its images."""
    images = write_images(tmp_path / "images")
    config = train_config(images, TINY_KL, tmp_path / "made", steps=1)
    train(make_train_plan(config), Session())
    return replace(config, steps=2, resume=True), images


def add(images):
    Image.new("RGB", (40, 40)).save(images / "new.bmp")


def remove(images):
    (images / "p2.bmp").unlink()


def change(images):
    path = images / "p3.bmp"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 255]))  # of the same size


def rename(images):
    (images / "p1.bmp").rename(images / "q1.bmp")


CHANGES = {
    add: "added: new.bmp",
    remove: "gone: p2.bmp",
    change: "changed: p3.bmp",
    rename: "added: q1.bmp; gone: p1.bmp",
}


@pytest.mark.parametrize("edit", CHANGES, ids=lambda edit: edit.__name__)
def test_a_training_on_a_changed_folder_is_refused(begun, edit):
    config, images = begun
    edit(images)
    with pytest.raises(InputError) as error:
        train(make_train_plan(config), Session())
    assert f"is not what the training of {config.output_dir}" in str(error.value).replace("/checkpoint.safetensors", "")
    assert f"({CHANGES[edit]}), and other images would be held out" in str(error.value)


def test_a_touched_folder_is_the_same(begun):
    config, images = begun
    for path in images.iterdir():
        os.utime(path, (1, 1))
    (images / "notes.md").write_text("no image")
    report = train(make_train_plan(config), Session())
    assert report.error is None and report.step == 2


def test_a_file_that_has_grown_beyond_what_is_read_of_it_is_another(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(bytes(70_000))
    before = of_files(tmp_path, [path])
    with path.open("ab") as file:
        file.write(b"more")
    assert of_files(tmp_path, [path])["files"].keys() == {"x.png"}
    assert of_files(tmp_path, [path]) != before


def edit_checkpoint(config, edit):
    path = make_train_plan(config).checkpoint
    content = unpack(path)
    edit(content)
    path.write_bytes(pack(content))


def test_a_checkpoint_without_its_data_goes_on_with_a_line(begun):
    config, _ = begun
    edit_checkpoint(config, lambda content: content.pop("data"))
    said = []
    assert train(make_train_plan(config), Session(said.append)).step == 2
    assert any("is of an earlier version and doesn't say which data it was trained on" in line for line in said)
    assert len(unpack(make_train_plan(config).checkpoint)["data"]["files"]) == 6  # from now on it does


def test_another_split_is_refused(begun):
    config, _ = begun
    edit_checkpoint(config, lambda content: content["data"].update(held_out=["p9.bmp"]))
    with pytest.raises(InputError, match="holds out other images"):
        train(make_train_plan(config), Session())


def test_images_that_are_drawn_by_another_version_are_said(tmp_path):
    now, said = Generated(0, seed=0, workers=0).provenance(), []
    check_provenance(tmp_path, now, now, said.append)
    assert not said
    check_provenance(tmp_path, {"drawn_by": "another"}, now, said.append)
    assert said == ["This version draws other images than the one that began this training; it goes on with these."]


class StopAtOnce(Session):
    """Stops after the first update, which leaves out the figures."""

    def watch(self, records, state=""):
        for record in super().watch(records, state):
            self.stop()
            yield record


@pytest.fixture
def told(tmp_path):
    """The plan of a text-to-image training that was stopped after a step, to be resumed, and its images."""
    pytest.importorskip("transformers")
    from tools.toy.config import TrainPromptsConfig
    from tools.toy.plan import make_plan
    from tools.toy.run import train_prompts

    images = write_images(tmp_path / "images")
    options = SMALL | {"width": 32, "layers": 1, "batch": 2, "data": str(images), "output_dir": str(tmp_path / "made")}
    config = TrainPromptsConfig(**options, steps=9)
    report = train_prompts(make_plan(config), StopAtOnce())
    assert isinstance(report.error, Interrupted)

    def resumed(say=lambda line: None):
        return train_prompts(make_plan(replace(config, resume=True)), StopAtOnce(say))

    return resumed, images, tmp_path / "made" / "checkpoint.safetensors"


def test_a_training_with_changed_captions_is_refused(told):
    resumed, images, checkpoint = told
    (images / "p4.txt").write_text("a tin picture", encoding="utf-8")
    with pytest.raises(InputError, match=r"changed: p4\.bmp\)"):
        resumed()
    (images / "p4.txt").unlink()
    with pytest.raises(InputError, match=r"gone: p4\.bmp\)"):
        resumed()
    (images / "p4.txt").write_text("a tan picture", encoding="utf-8")
    assert resumed().step == 2
    content = unpack(checkpoint)
    for name, message in (
        ("words", "The captions have other words than when"),
        ("encoded", r"Other images can be decoded \(6, not 7\) than when"),
        ("held", "Other images can be decoded"),
    ):
        changed = content | {"data": content["data"] | {name: 7}}
        checkpoint.write_bytes(pack(changed))
        with pytest.raises(InputError, match=message):
            resumed()
    del content["data"]
    checkpoint.write_bytes(pack(content))
    said = []
    assert resumed(said.append).step == 3
    assert any("doesn't say which data it was trained on" in line for line in said)


TEXT = "夜の港, a tall café – ship"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_captions_are_read_by_their_mark_or_as_utf_8(encoding, tmp_path):
    (tmp_path / "x.txt").write_bytes(TEXT.encode(encoding))
    assert read_caption(tmp_path / "x.txt") == TEXT


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le"])
def test_both_orders_of_bytes_have_a_mark(order, tmp_path):
    (tmp_path / "x.txt").write_bytes(("\ufeff" + TEXT).encode(order))
    assert read_caption(tmp_path / "x.txt") == TEXT


UNREADABLE = {
    "cp1252": "a café – the “old” one".encode("cp1252"),
    "shift_jis": "夜の港 船".encode("shift_jis"),
    "utf-16 without a mark": "a tall ship".encode("utf-16-le"),
    "half a letter": "\ufeffship".encode("utf-16-le")[:-1],
    "no text": bytes(range(256)),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_captions_in_other_encodings_are_left_out_and_said(name, tmp_path):
    images = write_images(tmp_path / "images")
    for index in (1, 4):
        (images / f"p{index}.txt").write_bytes(UNREADABLE[name])
    said = []
    pairs = find_pairs(images, Reader(say=said.append), 0)
    assert sorted(path.name for path, _ in pairs) == ["p0.bmp", "p2.bmp", "p3.bmp", "p5.bmp"]
    assert said == [
        "Captions that are not in UTF-8 can't be read: p1.txt, p4.txt. 2 images are left out; save them as UTF-8."
    ]


def test_a_folder_with_no_caption_that_can_be_read_is_refused(tmp_path):
    images = write_images(tmp_path / "images")
    for path in images.glob("*.txt"):
        path.write_bytes(UNREADABLE["cp1252"])
    with pytest.raises(InputError) as error:
        find_pairs(images, Reader(), 0)
    assert str(error.value).endswith(
        "holds 0 images with a caption; at least 2 are needed. Captions that are not in UTF-8 can't be read: 6 files "
        "such as p0.txt. Save them as UTF-8."
    )


def test_captions_that_are_read_are_not_passed_over(tmp_path):
    images = write_images(tmp_path / "images")
    (images / "readme.txt").write_text("what this is")
    said = []
    find_pairs(images, Reader(say=said.append), 0)
    assert said == [f"Passed over in {images}: readme.txt (.txt is not read)."]
    (images / "readme.txt").unlink()
    find_pairs(images, Reader(say=said.append), 0)
    assert len(said) == 1


def test_the_words_of_a_caption_in_utf_16_are_learned(tmp_path):
    images = write_images(tmp_path / "images", 2)
    (images / "p0.txt").write_bytes("a tall ship".encode("utf-16"))
    assert {caption for _, caption in find_pairs(images, Reader(), 0)} == {"a tall ship", "a tan picture"}
    assert torch.get_default_dtype() == torch.float32
