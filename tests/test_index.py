"""The index of a folder's latents: what is encoded again, what is not, and what is said of a file that is no index."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder

from latentflow.errors import InputError, Interrupted, OutputError
from latentflow.interrupts import Interrupts
from latentflow.latents import index
from latentflow.latents.index import TOGETHER, check_index, index_path, read_latents, read_squares

SIZE = 8


def write(path, seed, side=SIZE):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures, some of them deeper."""
    for number in range(20):
        write(tmp_path / "album" / ("deeper" if number % 3 == 0 else "") / f"{number:02d}.png", number)
    return tmp_path / "album"


class Counting:
    """A linear autoencoder that counts the pictures it encodes."""

    def __init__(self):
        self.autoencoder = linear_autoencoder()
        self.pictures = 0
        encode = self.autoencoder.model.encode

        def counted(image):
            self.pictures += len(image)
            return encode(image)

        self.autoencoder.model.encode = counted


def read(folder, autoencoder=None, interrupts=None, said=None, **options):
    say = (lambda line: None) if said is None else said.append
    autoencoder = autoencoder or linear_autoencoder()
    return read_latents(folder, autoencoder, SIZE, interrupts or Interrupts(), say, quiet=True, **options)


def later(path):
    """Give a file another time of change."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))


def test_latents_are_the_encoders_in_the_order_of_the_names(folder):
    found = read(folder)
    autoencoder = linear_autoencoder()
    assert found.names == sorted(found.names, key=Path) and len(found.names) == 20 and found.encoded == 20
    assert found.paths[0].is_file() and found.problems == {}
    expected = autoencoder.encode(read_squares(found.paths, SIZE))
    assert found.latents.shape == (20, 4, 4, 4) and found.latents.dtype == torch.float32
    torch.testing.assert_close(found.latents, expected, atol=1e-3, rtol=1e-3)  # kept in half precision


def test_squares_are_cut_from_the_middle_and_scaled(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert read_squares([tmp_path / "wide.png"], 10).equal(torch.ones(1, 3, 10, 10))


def test_what_has_not_changed_is_not_encoded_again(folder):
    counting = Counting()
    first = read(folder, counting.autoencoder)
    assert counting.pictures == 20
    second = read(folder, counting.autoencoder)
    assert counting.pictures == 20 and second.encoded == 0
    assert second.names == first.names and torch.equal(second.latents, first.latents)


def test_a_second_look_leaves_the_file_alone(folder):
    read(folder)
    path = index_path(folder, linear_autoencoder(), SIZE)
    before = path.stat().st_ino, path.stat().st_mtime_ns
    read(folder)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before


def test_changed_added_and_deleted_files_are_noticed(folder):
    before = read(folder)
    write(folder / "01.png", 100)
    later(folder / "01.png")
    write(folder / "deeper" / "new.png", 101)
    (folder / "02.png").unlink()
    counting = Counting()
    after = read(folder, counting.autoencoder)
    assert counting.pictures == after.encoded == 2
    assert set(after.names) == set(before.names) - {"02.png"} | {"deeper/new.png"}
    old, new = (dict(zip(found.names, found.latents)) for found in (before, after))
    assert {name for name in set(old) & set(new) if not torch.equal(old[name], new[name])} == {"01.png"}
    fresh = read(folder, path=folder.with_name("fresh.safetensors"))
    assert fresh.names == after.names and torch.equal(fresh.latents, after.latents)


def test_deleting_alone_is_written_down_too(folder):
    read(folder)
    path = index_path(folder, linear_autoencoder(), SIZE)
    before = path.stat().st_size
    (folder / "02.png").unlink()
    assert read(folder).encoded == 0 and path.stat().st_size < before


def test_a_file_with_another_time_is_encoded_again(folder):
    read(folder)
    later(folder / "01.png")
    assert read(folder).encoded == 1


def test_an_unreadable_image_is_left_out_and_said_every_time(folder):
    (folder / "empty.png").write_bytes(b"")
    (folder / "words.jpg").write_text("no picture")
    for encoded in (20, 0):
        said = []
        found = read(folder, said=said)
        assert found.encoded == encoded and len(found.names) == 20 and set(found.problems) == {"empty.png", "words.jpg"}
        assert len(said) == 2 and all("It is left out." in line for line in said) and "empty.png" in said[0]


def test_an_image_that_breaks_later_is_forgotten(folder):
    read(folder)
    (folder / "01.png").write_bytes(b"")
    assert "01.png" in read(folder).problems
    content = index.unpack(index_path(folder, linear_autoencoder(), SIZE))
    assert "01.png" not in content["names"] and len(content["names"]) == 19


def test_a_folder_without_any_good_image_is_refused(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="has 0 images that can be read; at least 1 are wanted"):
        read(tmp_path / "bad")


def test_an_image_that_disappears_meanwhile_is_left_out(folder, monkeypatch):
    found = [*index.image_files(folder), folder / "gone.png"]
    monkeypatch.setattr(index, "image_files", lambda folder: found)
    assert "does not exist" in read(folder).problems["gone.png"]


class Stopping(Interrupts):
    """Ctrl-C in the middle of a record."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def watch(self, records, *left):
        def pressed():
            for record in records:
                if record.index == self.at:
                    os.kill(os.getpid(), signal.SIGINT)
                yield record

        return super().watch(pressed(), *left)


def test_an_interrupt_keeps_what_was_encoded_and_the_next_run_goes_on(folder):
    whole = read(folder, path=folder.with_name("whole.safetensors"))
    counting = Counting()
    with pytest.raises(Interrupted), Stopping(TOGETHER + 1) as interrupts:
        read(folder, counting.autoencoder, interrupts)
    assert TOGETHER < counting.pictures < 20
    counting = Counting()
    resumed = read(folder, counting.autoencoder)
    assert counting.pictures == resumed.encoded == 20 - (TOGETHER + 1)
    assert resumed.names == whole.names and torch.equal(resumed.latents, whole.latents)


def test_long_work_is_saved_on_the_way(folder, monkeypatch):
    monkeypatch.setattr(index, "SAVED_EVERY", 0.0)
    sizes = []
    monkeypatch.setattr(index, "write_whole", lambda path, content, option: sizes.append(len(content)))
    read(folder)
    assert len(sizes) == 20 and sizes == sorted(sizes)


def test_each_autoencoder_precision_and_size_has_an_index_of_its_own(tmp_path):
    one, other, half = linear_autoencoder(), linear_autoencoder(), linear_autoencoder()
    other.sha256, half.dtype = "1" * 64, torch.bfloat16
    paths = {index_path(tmp_path, one, 8), index_path(tmp_path, one, 16)}
    paths |= {index_path(tmp_path, other, 8), index_path(tmp_path, half, 8)}
    assert len(paths) == 4 and all(path.parent == tmp_path.parent for path in paths)
    assert index_path(Path("/"), one, 8).parent == Path("/")


@pytest.mark.parametrize("change", [{"sha256": "1" * 64}, {"dtype": torch.bfloat16}, {"scale": 0.75}])
def test_an_index_of_another_autoencoder_is_refused(folder, tmp_path, change):
    read(folder, path=tmp_path / "i.safetensors")
    other = linear_autoencoder(**{key: value for key, value in change.items() if key == "scale"})
    for key in {"sha256", "dtype"} & set(change):
        setattr(other, key, change[key])
    with pytest.raises(InputError, match=r"another autoencoder, --dtype or --size. Name another, or delete it"):
        read(folder, other, path=tmp_path / "i.safetensors")


@pytest.mark.parametrize("what", ["text", "empty", "half", "checkpoint", "latent", "ragged", "infinite", "shape"])
def test_a_broken_or_foreign_index_is_one_clear_line(folder, tmp_path, what):
    path = tmp_path / "i.safetensors"
    read(folder, path=path)
    good = index.unpack(path)
    contents = {
        "text": b"no index at all",
        "empty": b"",
        "half": path.read_bytes()[: path.stat().st_size // 2],
        "checkpoint": index.pack({"step": 3}),
        "ragged": index.pack(good | {"names": good["names"][1:]}),
        "infinite": index.pack(good | {"latents": good["latents"] / 0}),
        "shape": index.pack(good | {"latents": good["latents"][:, :2]}),
    }
    if what == "latent":
        from latentflow.latents.files import save_latent

        save_latent(path, torch.zeros(1, 4, 4, 4), linear_autoencoder(), (8, 8))
    else:
        path.write_bytes(contents[what])
    before = path.read_bytes()
    with pytest.raises(
        InputError, match=r"i\.safetensors can't be read as an index of latents: .+ Name another"
    ) as caught:
        read(folder, path=path)
    assert "\n" not in str(caught.value) and path.read_bytes() == before


def test_where_nothing_can_be_written_latents_are_not_kept_and_this_is_said(folder, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    counting = Counting()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "touch", refuse)
        said = []
        found = read(folder, counting.autoencoder, said=said)
        assert found.encoded == counting.pictures == len(found.names) and not found.index.exists()
        assert len(said) == 1 and "Permission denied. So the latents are not kept" in said[0]
        with pytest.raises(OutputError, match="Permission denied"):
            read(folder, counting.autoencoder, path=folder.parent / "asked.safetensors")


def test_a_latent_that_is_not_finite_is_left_out_and_said(folder):
    class Vast:
        def __init__(self):
            self.inner = linear_autoencoder()

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def encode_whole(self, image):
            latents, _ = self.inner.encode_whole(image)
            return torch.cat([latents[:1] * 1e9, latents[1:]]), None

    said = []
    found = read(folder, Vast(), said=said)
    assert said and all("is not finite" in line for line in said) and torch.isfinite(found.latents).all()
    assert read(folder).encoded == len(found.problems) == len(said)  # the others are there


def test_an_index_that_is_up_to_date_needs_no_room_to_write(folder, monkeypatch):
    read(folder)
    monkeypatch.setattr(Path, "touch", None)
    assert read(folder).encoded == 0


def test_a_moved_folder_takes_its_index_along(folder, tmp_path):
    read(folder)
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "album"
    shutil.move(folder, moved)
    path = index_path(folder, linear_autoencoder(), SIZE)
    shutil.move(path, moved.with_name(path.name))
    assert read(moved).encoded == 0


def test_the_name_of_an_index_is_checked(tmp_path):
    assert check_index(None) is None
    assert check_index(str(tmp_path / "i.safetensors")) == tmp_path / "i.safetensors"
    with pytest.raises(InputError, match=r"an index is kept as \.safetensors"):
        check_index(str(tmp_path / "photo.jpg"))
    with pytest.raises(OutputError, match="does not exist"):
        check_index(str(tmp_path / "no" / "i.safetensors"))


def test_the_bundled_autoencoders_latents_repeat(images, autoencoder, tmp_path):
    found = [
        read_latents(images, autoencoder, 32, Interrupts(), print, path=tmp_path / f"{run}.safetensors", quiet=True)
        for run in range(2)
    ]
    assert found[0].names == found[1].names and torch.equal(found[0].latents, found[1].latents)
    assert found[0].latents.shape == (10, 4, 4, 4) and found[1].encoded == 10
