"""The index of a folder's latents: what is encoded again, what is not, and what is said of a file that is no index."""

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder

from latentflow.base.errors import InputError, Interrupted, OutputError
from latentflow.base.files import FORMAT_VERSION, WrittenFiles, check_writable
from latentflow.base.session import Session
from latentflow.latents import index
from latentflow.latents.index import (
    BATCH_SIZE,
    check_index,
    encode_files,
    encode_folder,
    index_path,
    read_latents,
    read_squares,
)
from latentflow.pictures.folders import FoundFiles

SIZE = 8
OLD_INDEX = Path(__file__).parent / "data" / "0.1.0" / "index.safetensors"  # of four pictures, at 16 pixels


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


def read(folder, autoencoder=None, session=None, said=None, **options):
    session = session or Session(*([] if said is None else [said.append]))
    return read_latents(folder, autoencoder or linear_autoencoder(), SIZE, session, **options)


def later(path):
    """Give a file another time of change."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))


def test_latents_are_the_encoders_in_the_order_of_the_names(folder):
    found = read(folder)
    autoencoder = linear_autoencoder()
    assert found.names == sorted(found.names, key=Path) and len(found.names) == 20 and found.encoded == 20
    assert found.paths[0].is_file() and found.problems == {}
    assert found.index == index_path(folder, autoencoder, SIZE) and found.kl is None
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


@pytest.mark.parametrize("place", [100, -20])
def test_a_change_that_keeps_size_and_time_is_noticed(folder, place):
    path = folder / "pixels.bmp"
    write(path, 7, side=64)  # 12 kB
    before = read(folder)
    status, content = path.stat(), bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = read(folder)
    assert after.encoded == 1 and not torch.equal(after.latents[-1], before.latents[-1])
    assert read(folder).encoded == 0


def test_two_folders_share_an_index(folder, tmp_path):
    path, other = tmp_path / "both.safetensors", tmp_path / "other"
    for number in range(3):
        write(other / f"0{number}.png", 50 + number)  # of names that the first folder has too
    first, second = read(folder, path=path), read(other, path=path)
    assert (first.encoded, second.encoded) == (20, 3)
    for wanted, place in ((first, folder), (second, other)):
        again = read(place, path=path)
        assert again.encoded == 0 and again.names == wanted.names and torch.equal(again.latents, wanted.latents)
    (other / "00.png").unlink()
    assert read(other, path=path).names == ["01.png", "02.png"] and read(folder, path=path).encoded == 0
    deeper = read(folder / "deeper", path=path)
    assert deeper.encoded == 0 and torch.equal(deeper.latents[0], first.latents[first.names.index("deeper/00.png")])
    assert read(folder, path=path).encoded == 0


@pytest.mark.parametrize("left", [0, 100, 0.5])
def test_a_truncated_index_beside_the_folder_is_made_anew_and_this_is_said(folder, left):
    complete = read(folder)
    content = complete.index.read_bytes()
    complete.index.write_bytes(content[: left if isinstance(left, int) else int(left * len(content))])
    said = []
    found = read(folder, said=said)
    assert found.encoded == 20 and torch.equal(found.latents, complete.latents)
    assert len(said) == 1 and "can't be read as an index of latents" in said[0] and said[0].endswith("It is made anew.")
    assert read(folder, said=said).encoded == 0 and len(said) == 1


def test_looking_whether_a_folder_can_be_written_into_writes_nothing(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "00000.png").write_bytes(b"1")
    written = WrittenFiles([tmp_path / "frames"])
    check_writable(tmp_path / "frames" / "00001.png", "`output_path`")
    assert written.paths == []
    (tmp_path / "frames" / "00001.png").write_bytes(b"2")
    assert written.paths == [tmp_path / "frames"]


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
    with pytest.raises(InputError, match="has 0 images that can be read; at least 1 is needed"):
        read(tmp_path / "bad")


def test_an_image_that_disappears_meanwhile_is_left_out(folder, monkeypatch):
    found = FoundFiles([*index.find_images(folder).paths, folder / "gone.png"])
    monkeypatch.setattr(index, "find_images", lambda folder: found)
    assert "does not exist" in read(folder).problems["gone.png"]


class Stopping(Session):
    """A session that is stopped while one of its records is made."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def watch(self, records, state=""):
        def stopping():
            for record in records:
                if record.index == self.at:
                    self.stop()
                yield record

        return super().watch(stopping(), state)


def test_an_interrupt_keeps_what_was_encoded_and_the_next_run_goes_on(folder):
    complete = read(folder, path=folder.with_name("complete.safetensors"))
    counting = Counting()
    with pytest.raises(Interrupted, match=rf"Stopped at step {BATCH_SIZE + 1}; the next run goes on from .+latents"):
        read(folder, counting.autoencoder, Stopping(BATCH_SIZE + 1))
    assert BATCH_SIZE < counting.pictures < 20
    counting = Counting()
    resumed = read(folder, counting.autoencoder)
    assert counting.pictures == resumed.encoded == 20 - (BATCH_SIZE + 1)
    assert resumed.names == complete.names and torch.equal(resumed.latents, complete.latents)


def test_long_work_is_saved_on_the_way(folder, monkeypatch):
    monkeypatch.setattr(index, "SAVE_INTERVAL", 0.0)
    sizes = []
    monkeypatch.setattr(index, "write_file", lambda path, content, option: sizes.append(len(content)))
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
    with pytest.raises(
        InputError, match=r"another autoencoder, `dtype`, `size` or `background`\. Name another `index`, or delete"
    ):
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
        InputError, match=r"i\.safetensors can't be read as an index of latents: .+ Name another `index`"
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
        assert found.encoded == counting.pictures == len(found.names) == 20 and found.index is None
        assert len(said) == 1 and "Permission denied. The latents are not stored for the next time." in said[0]
        assert not list(folder.parent.glob("*.latents.safetensors"))
        with pytest.raises(OutputError, match="Permission denied"):
            read(folder, counting.autoencoder, path=folder.parent / "asked.safetensors")


def test_a_latent_that_is_not_finite_is_left_out_and_said(folder, monkeypatch):
    vast = linear_autoencoder()
    encode = vast.encode_with_posterior

    def with_a_large_one(image):
        latents, _ = encode(image)
        return torch.cat([latents[:1] * 1e9, latents[1:]]), None

    monkeypatch.setattr(vast, "encode_with_posterior", with_a_large_one)
    said = []
    found = read(folder, vast, said=said)
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
    with pytest.raises(InputError, match=r"an index is a \.safetensors file"):
        check_index(str(tmp_path / "photo.jpg"))
    with pytest.raises(OutputError, match="does not exist"):
        check_index(str(tmp_path / "no" / "i.safetensors"))


def test_the_bundled_autoencoders_latents_repeat(images, autoencoder, tmp_path):
    found = [read_latents(images, autoencoder, 32, Session(), path=tmp_path / f"{run}.safetensors") for run in range(2)]
    assert found[0].names == found[1].names and torch.equal(found[0].latents, found[1].latents)
    assert found[0].latents.shape == (10, 4, 4, 4) and found[1].encoded == 10


def test_an_index_of_0_1_0_is_read_and_nothing_is_encoded_again(tmp_path, autoencoder):
    """The pictures it was made of are gone: these have its names and stamps, and are black."""
    content = index.unpack(OLD_INDEX)
    shutil.copy(OLD_INDEX, tmp_path / "i.safetensors")
    (tmp_path / "album").mkdir()
    for name, (size, changed) in zip(content["names"], content["stamps"]):
        picture = tmp_path / "album" / name
        Image.new("RGB", (8, 8)).save(picture)
        picture.write_bytes(picture.read_bytes().ljust(size, b"\0"))
        os.utime(picture, ns=(changed, changed))
    found = encode_folder(tmp_path / "album", vae=autoencoder, size=16, index=tmp_path / "i.safetensors")
    assert found.names == ["0.png", "1.png", "2.png", "3.png"] and found.encoded == 0
    assert torch.equal(found.latents, content["latents"].float()) and found.latents.shape == (4, 4, 2, 2)
    assert (tmp_path / "i.safetensors").read_bytes() == OLD_INDEX.read_bytes()


def test_an_index_of_a_newer_format_is_refused_in_one_sentence(folder, tmp_path, monkeypatch):
    path = tmp_path / "i.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("latentflow.base.state.FORMAT_VERSION", FORMAT_VERSION + 1)
        read(folder, path=path)
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        read(folder, path=path)
    newer, ours = FORMAT_VERSION + 1, FORMAT_VERSION
    assert str(caught.value) == (
        f"{path} has format version {newer}; this latentflow reads versions up to {ours}. A newer latentflow reads it."
    )
    assert path.read_bytes() == before


def test_a_report_names_an_index_only_when_it_was_written(folder):
    path = index_path(folder, linear_autoencoder(), SIZE)

    def written():
        files = WrittenFiles()
        read(folder, written=files)
        return files.paths

    assert written() == [path] and written() == []
    (folder / "02.png").unlink()
    assert written() == [path]


def test_a_folder_is_encoded_in_memory_unless_an_index_is_named(folder):
    found = encode_folder(str(folder), vae=linear_autoencoder(), size=SIZE)
    stored = read(folder)
    assert found.index is None and found.names == stored.names and torch.equal(found.latents, stored.latents)
    stored.index.unlink()
    assert sorted(path.name for path in folder.parent.iterdir()) == ["album"]
    path = folder.with_name("i.safetensors")
    assert encode_folder(folder, vae=linear_autoencoder(), size=SIZE, index=path).encoded == 20
    again = encode_folder(folder, vae=linear_autoencoder(), size=SIZE, index=str(path))
    assert (again.encoded, again.index) == (0, path) and torch.equal(again.latents, stored.latents)


def test_encoding_a_folder_in_memory_runs_in_a_thread_and_can_be_stopped(folder):
    errors = []

    def work():
        try:
            encode_folder(folder, vae=linear_autoencoder(), size=SIZE, session=Stopping(2))
        except Interrupted as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == ["Stopped at step 2; nothing is written yet."]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 4}, "`size` must be at least 8"),
        ({"dtype": "float16"}, "`dtype` is one of"),
        ({"index": "latents.bin"}, "an index is a .safetensors file"),
    ],
)
def test_wrong_options_of_encoding_a_folder_are_named(folder, options, words):
    with pytest.raises(InputError, match=words):
        encode_folder(folder, vae="nothing-of-this-name-is-loaded", **options)
    with pytest.raises(InputError, match="does not exist"):
        encode_folder(folder / "nowhere")


def test_files_are_encoded_one_record_each_with_the_problem_of_the_unreadable(folder):
    (folder / "bad.png").write_bytes(b"")
    paths = [folder / "01.png", folder / "bad.png", folder / "02.png"]
    records = list(encode_files(paths, linear_autoencoder(), SIZE))
    assert [(each.index, each.total, each.path) for each in records] == [
        (n, 3, path) for n, path in enumerate(paths, 1)
    ]
    assert [each.latent is None for each in records] == [False, True, False] and "is empty" in records[1].problem
    expected = linear_autoencoder().encode(read_squares([paths[0], paths[2]], SIZE)).half()
    assert torch.equal(torch.cat([records[0].latent, records[2].latent]), expected)
