"""The data of the trainer: folders and generated pictures, cut by number."""

import numpy as np
import pytest
import torch
from PIL import Image

from latentflow.errors import InputError
from latentflow.training.data import Crops, Folder, Generated, batches


def test_a_sample_depends_on_its_number_alone(images):
    crops = Crops(Folder(images, 0), 32, seed=7)
    in_order = [
        patch
        for batch, _ in batches(crops, batch=4, first=0, last=4, process=0, processes=1, workers=0)
        for patch in batch
    ]
    later = [
        patch
        for batch, _ in batches(crops, batch=4, first=2, last=4, process=0, processes=1, workers=2)
        for patch in batch
    ]
    assert all(map(torch.equal, in_order[8:], later))
    assert torch.equal(crops[5][0], in_order[5])
    assert in_order[0].shape == (3, 32, 32) and in_order[0].dtype == torch.uint8
    assert len({patch.numpy().tobytes() for patch in in_order}) == 16


def test_processes_share_the_samples_out(images):
    crops = Crops(Folder(images, 0), 32, seed=7)
    halves = [list(batches(crops, batch=2, first=0, last=3, process=p, processes=2, workers=0)) for p in (0, 1)]
    whole = list(batches(crops, batch=4, first=0, last=3, process=0, processes=1, workers=0))
    for step in range(3):
        assert torch.equal(torch.cat([half[step][0] for half in halves]), whole[step][0])


def test_what_is_held_back_is_never_trained_on(images):
    folder = Folder(images, 3)
    assert len(folder.held) == folder.held_back == 1 and len(folder.paths) == 9
    assert not set(folder.held) & set(folder.paths)
    assert folder.validation().shape == (1, 3, 256, 256)


def test_corrupt_files_are_passed_over_and_named(images, tmp_path):
    for index in range(4):
        (tmp_path / f"{index}.png").write_bytes((images / "0.png").read_bytes())
    (tmp_path / "cut.jpg").write_bytes((images / "deeper/1.jpg").read_bytes()[:200])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "readme.txt").write_text("not looked at")
    folder = Folder(tmp_path, 1)
    corrupt = {tmp_path / "cut.jpg", tmp_path / "text.png"} & set(folder.paths)
    met = set()
    for _, skipped in batches(Crops(folder, 32, 0), batch=8, first=0, last=6, process=0, processes=1, workers=0):
        met |= skipped
    assert corrupt and met == corrupt


def test_a_folder_of_corrupt_files_is_refused(invoke, tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.png").write_text("no picture")
    with pytest.raises(InputError, match="none of the images"):
        Folder(tmp_path, 0).take(np.random.default_rng(0))
    code, _, err = invoke("train", "--data", tmp_path, "--output_dir", "m", "--workers", 2)
    assert code == 2 and err.count("\n") == 1 and "none of the images" in err


def test_pictures_smaller_than_a_crop_are_enlarged(tmp_path):
    for name in "ab":
        Image.new("RGB", (9, 14), "red").save(tmp_path / f"{name}.png")
    patch, _ = Crops(Folder(tmp_path, 0), 32, 0)[0]
    assert patch.shape == (3, 32, 32) and (patch[0] > 250).all()


def test_generated_pictures_are_drawn_once_by_any_number_of_workers():
    one, two = Generated(3, seed=0, workers=0), Generated(3, seed=0, workers=2)
    assert one.bank.shape == (3, 3, 256, 256) and torch.equal(one.bank, two.bank)
    held = (one.validation() * 255).round().byte()
    assert not any(torch.equal(each, other) for each in one.bank for other in held)
    endless = Generated(0, seed=0, workers=0)
    images = [endless.take(np.random.default_rng(seed))[0].tobytes() for seed in (1, 1, 2)]
    assert images[0] == images[1] != images[2]


def test_the_share_of_drawings_is_as_asked_for():
    seen, drawn = (Generated(12, seed=3, workers=0, drawings=share).bank for share in (0, 1))
    assert not torch.equal(seen, drawn)
    white = [float((bank.float().amin(1) > 235).float().mean()) for bank in (seen, drawn)]
    flat = [float((bank.float().diff(dim=-1).abs().amax(1) < 3).float().mean()) for bank in (seen, drawn)]
    assert white[1] > white[0] or flat[1] > 1.3 * flat[0]  # a pen leaves areas of one colour
