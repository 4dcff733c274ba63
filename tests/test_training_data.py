"""The training data: folders and generated images, cut into numbered crops."""

import numpy as np
import pytest
import torch
from PIL import Image

from latentflow.base.errors import InputError, Interrupted
from latentflow.base.session import Session
from latentflow.training.data import Crops, Folder, Generated, batches


def test_a_crop_depends_on_its_number_alone(images):
    crops = Crops(Folder(images, 0), 32, seed=7)
    in_order = [
        crop
        for batch, _ in batches(crops, batch=4, first=0, last=4, process=0, processes=1, workers=0)
        for crop in batch
    ]
    later = [
        crop
        for batch, _ in batches(crops, batch=4, first=2, last=4, process=0, processes=1, workers=2)
        for crop in batch
    ]
    assert all(map(torch.equal, in_order[8:], later))
    assert torch.equal(crops[5][0], in_order[5])
    assert in_order[0].shape == (3, 32, 32) and in_order[0].dtype == torch.uint8
    assert len({crop.numpy().tobytes() for crop in in_order}) == 16


def test_processes_divide_the_crops_of_a_step(images):
    crops = Crops(Folder(images, 0), 32, seed=7)
    halves = [list(batches(crops, batch=2, first=0, last=3, process=p, processes=2, workers=0)) for p in (0, 1)]
    together = list(batches(crops, batch=4, first=0, last=3, process=0, processes=1, workers=0))
    for step in range(3):
        assert torch.equal(torch.cat([half[step][0] for half in halves]), together[step][0])


def test_validation_images_are_never_trained_on(images):
    folder = Folder(images, 3)
    assert len(folder.validation_paths) == folder.validation_size == 1 and len(folder.paths) == 9
    assert not set(folder.validation_paths) & set(folder.paths)
    assert folder.validation().shape == (1, 3, 256, 256)


def test_corrupt_files_are_skipped_and_named(images, tmp_path):
    for index in range(4):
        (tmp_path / f"{index}.png").write_bytes((images / "0.png").read_bytes())
    (tmp_path / "cut.jpg").write_bytes((images / "deeper/1.jpg").read_bytes()[:200])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "readme.txt").write_text("not an image")
    folder = Folder(tmp_path, 1)
    corrupt = {tmp_path / "cut.jpg", tmp_path / "text.png"} & set(folder.paths)
    all_skipped = set()
    for _, remarks in batches(Crops(folder, 32, 0), batch=8, first=0, last=6, process=0, processes=1, workers=0):
        all_skipped |= remarks.skipped
    assert corrupt and all_skipped == corrupt


def test_a_folder_of_corrupt_files_is_refused(invoke, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.png").write_text("no picture")
    with pytest.raises(InputError, match="none of the images"):
        Folder(folder, 0).take(np.random.default_rng(0))
    code, _, err = invoke("train", "--data", folder, "--output_dir", "m", "--workers", 2)
    assert (code, err) == (2, "latentflow: --data: none of the images can be decoded.\n")


def test_images_smaller_than_a_crop_are_enlarged(tmp_path):
    for name in "ab":
        Image.new("RGB", (9, 14), "red").save(tmp_path / f"{name}.png")
    crop, _ = Crops(Folder(tmp_path, 0), 32, 0)[0]
    assert crop.shape == (3, 32, 32) and (crop[0] > 250).all()


@pytest.mark.slow
def test_generated_images_are_the_same_with_any_number_of_workers():
    one, two = Generated(3, seed=0, workers=0), Generated(3, seed=0, workers=2)
    assert one.images.shape == (3, 3, 256, 256) and torch.equal(one.images, two.images)
    validation = (one.validation() * 255).round().byte()
    assert not any(torch.equal(each, other) for each in one.images for other in validation)
    endless = Generated(0, seed=0, workers=0)
    images = [endless.take(np.random.default_rng(seed))[0].tobytes() for seed in (1, 1, 2)]
    assert images[0] == images[1] != images[2]


def test_the_fraction_of_drawings_is_an_option():
    scenes, drawings = (Generated(12, seed=3, workers=0, drawings=fraction).images for fraction in (0, 1))
    # neighboring pixels of one color, which the pen leaves and the texture of a scene does not
    flat = [float((each.float().diff(dim=-1).abs().amax(1) < 3).float().mean()) for each in (scenes, drawings)]
    assert flat[1] > 1.3 * flat[0]


def test_drawing_images_can_be_stopped():
    session = Session()
    session.stop()
    with pytest.raises(Interrupted):
        Generated(20, seed=0, workers=0, check=session.check)


def test_crops_of_images_of_just_that_size_are_complete_images(tmp_path):
    """The exponential of a logarithm may be larger than the number, and a crop larger than its image."""
    for side in (24, 25, 53):
        folder = tmp_path / str(side)
        folder.mkdir()
        pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
        for name in ("0.png", "1.png"):
            Image.fromarray(pixels).save(folder / name)
        crops = Crops(Folder(folder, 0), side, seed=0)
        whole = torch.from_numpy(pixels).permute(2, 0, 1)
        for number in range(40):
            crop, _ = crops[number]
            assert torch.equal(crop, whole) or torch.equal(crop, whole.flip(-1))
