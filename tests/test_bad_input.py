"""Everything that is refused: one clear line, an exit code, and nothing lost or left half-written."""

import json
import struct

import pytest
from PIL import Image

from latentflow.base.errors import InputError
from latentflow.inversion.config import RunConfig

QUICK = ("--weights", "bundled", "--size", 48, "--steps", 3)


@pytest.fixture
def refused(invoke, small):
    """Run with options that must be refused with `code`; gives the one line. Earlier files must survive."""

    def call(code, *options, image=small):
        (small.parent / "grad_result.gif").write_bytes(b"precious")
        manifest = {"format_version": 2, "options": {}, "written": ["grad_result.gif"]}
        (small.parent / "grad_result.gif.manifest.json").write_text(json.dumps(manifest))
        before = {path: path.read_bytes() for path in small.parent.rglob("*") if path.is_file()}
        actual, out, err = invoke(*(("--image_path", image) if image else ()), *options)
        assert actual == code, err
        assert err.startswith("latentflow: ") and err.count("\n") == 1 and "Traceback" not in err, err
        assert out == ""
        assert {path: path.read_bytes() for path in small.parent.rglob("*") if path.is_file()} == before
        return err

    return call


def declared_huge():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + b"\0\0\0\0"

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "zero bytes"), (b"hello", "not an image"), (declared_huge(), ""), (b"GIF89a", "a damaged GIF picture")],
    ids=["empty", "no image", "50000 x 50000", "cut short"],
)
def test_files_that_are_no_image(refused, tmp_path, content, words):
    (tmp_path / "bad.png").write_bytes(content)
    err = refused(2, *QUICK, image=tmp_path / "bad.png")
    assert words in err and "--image_path" in err


def test_a_truncated_image(refused, small):
    half = small.parent / "half.png"
    half.write_bytes(small.read_bytes()[:-200])
    assert "--image_path" in refused(2, *QUICK, image=half)


@pytest.mark.parametrize(
    ("image", "words"),
    [(".", "is a folder"), ("none.png", "does not exist"), ("x" * 300, "too long"), (None, "Missing")],
)
def test_no_image_at_all(refused, image, words):
    assert words in refused(2, *QUICK, image=image)


@pytest.mark.parametrize(
    ("code", "output", "words"),
    [
        (6, "nowhere/x.gif", "the folder nowhere does not exist"),
        (6, "nowhere/frames", "does not exist"),
        (6, "small.png/x.gif", "does not exist"),
        (6, "full", "already holds files"),
        (6, "taken", "is a file without a suffix"),
        (6, "folder.gif", "already holds files"),
        (2, "x.gfi", "Did you mean .gif"),
        (2, "x.txt", "not as .txt"),
        (2, "{stm}.gif", "{stem}, {loss} and {seed}"),
        (2, "{stem.gif", "{stem}, {loss} and {seed}"),
        (2, "{}.gif", "{stem}, {loss} and {seed}"),
        (6, "x" * 300 + ".gif", "can't be written"),
    ],
)
def test_outputs_that_cannot_be(refused, tmp_path, code, output, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "frame.png").write_bytes(b"precious")
    (tmp_path / "folder.gif").mkdir()
    (tmp_path / "folder.gif" / "frame.png").write_bytes(b"precious")
    (tmp_path / "taken").write_bytes(b"precious")
    err = refused(code, "--output_path", output, *QUICK)
    assert words in err and "--output_path" in err


def test_an_output_in_a_folder_that_takes_no_files(refused):
    assert "can't be written" in refused(6, "--output_path", "/proc/x.gif", *QUICK)


def test_overwrite_allows_a_folder_that_holds_files(invoke, small):
    (small.parent / "full").mkdir()
    (small.parent / "full" / "note.txt").write_text("mine")
    assert invoke("--image_path", small, "--output_path", "full", "--overwrite", *QUICK)[0] == 0
    names = sorted(path.name for path in (small.parent / "full").iterdir())
    assert names == ["00000.png", "00001.png", "00002.png", "00003.png", "note.txt"]


@pytest.mark.parametrize(
    ("code", "options", "words"),
    [
        (6, ("--metrics", "nowhere/m.jsonl"), "--metrics"),
        (6, ("--save_latent", "nowhere/z.safetensors"), "--save_latent"),
        (2, ("--save_latent", "z.pt"), ".safetensors"),
        (2, ("--save_image", "x.gfi"), "--save_image"),
        (2, ("--plot", "p.jpg"), ".png or .svg"),
        (2, ("--plot", "x.png", "--save_image", "x.png"), "the same file"),
        (2, ("--save_image", "small.png"), "the same file"),
        (2, ("--steps", 0), "--steps must be at least 1"),
        (2, ("--steps", "many"), "--steps"),
        (2, ("--skip-step", 0), "--skip_step must be at least 1"),
        (2, ("--lr", -1), "--lr must be greater than 0"),
        (2, ("--lr", "nan"), "--lr must be a finite number"),
        (2, ("--lr", "inf"), "--lr must be a finite number"),
        (2, ("--fps", 0), "--fps"),
        (2, ("--fps", 100), "at most 50 frames"),
        (2, ("--hold", -1), "--hold"),
        (2, ("--size", 0), "--size"),
        (2, ("--size", 100000), "--size must be at most"),
        (2, ("--seed", -1), "--seed"),
        (2, ("--seed", 2**70), "--seed"),
        (2, ("--target_psnr", 0), "--target_psnr"),
        (2, ("--optimizer", "adm"), "Did you mean adam?"),
        (2, ("--schedule", "linear"), "--schedule is one of"),
        (2, ("--fit", "crop"), "--fit is one of"),
        (2, ("--init", "norml"), "Did you mean normal?"),
        (2, ("--init", "x" * 300), "--init"),
        (2, ("--device", "gpu"), "--device"),
        (2, ("--device", "cuda:99"), "CUDA devices"),
        (2, ("--loss_type", "mes"), "Did you mean mse?"),
        (2, ("--loss-type", "mse + nothing"), "character 7"),
        (2, ("--loss_type", ""), "--loss_type"),
        (2, ("--stepz", 3), "--steps"),
        (2, ("--steps",), "--steps"),
        (2, ("extra.png",), "Did you mean --image_path extra.png?"),
        (2, ("l1",), "Unexpected argument 'l1'. Options begin with --."),
        (2, ("--from_manifest", "small.png"), "--from_manifest"),
        (2, ("--from_manifest", "none.json"), "--from_manifest"),
        (4, ("--vae", "no/such/folder"), "--vae"),
        (4, ("--vae", "small.png"), "--vae"),
        (4, ("--vae", "."), "--vae"),
    ],
)
def test_options_that_cannot_be(refused, code, options, words):
    assert words in refused(code, *QUICK, *options)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("No such option '--hepl'. Did you mean '--help'?.", "No such option '--hepl'. Did you mean '--help'?"),
        ("It can't be written: ffmpeg said: no packets..", "It can't be written: ffmpeg said: no packets."),
        ("It says stop!.", "It says stop!"),
        ("The folder is ..", "The folder is .."),
        ("Loading ...", "Loading ..."),
    ],
)
def test_a_sentence_ends_once(text, shown):
    assert str(InputError(text)) == shown and str(InputError("A.", text)) == f"A. {shown}"


@pytest.mark.parametrize("words", [("--hepl",), ("walk", "--hepl"), ("--imagepath", "x.png"), ("weights", "lits")])
def test_no_hint_of_click_ends_twice(invoke, words):
    code, _, said = invoke(*words)
    assert code == 2 and "Did you mean" in said and "?." not in said and not said.rstrip().endswith("..")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("x.png",), "Did you mean --image_path x.png?"),
        (("photos/x",), "Did you mean --image_path photos/x?"),
        (("wieghts",), "Did you mean weights?"),
        (("weights", "ftech"), "fetch"),
    ],
)
def test_words_that_are_no_command(invoke, words, answer):
    code, out, err = invoke(*words)
    assert (code, out) == (2, "") and err.count("\n") == 1 and answer in err


def test_a_start_that_is_no_latent(refused, tmp_path):
    (tmp_path / "z.safetensors").write_bytes(b"nothing")
    assert "not a saved latent" in refused(2, *QUICK, "--init", "z.safetensors")


def test_a_start_that_is_a_broken_image(refused, tmp_path):
    (tmp_path / "start.png").write_bytes(b"nothing")
    assert "--init" in refused(2, *QUICK, "--init", "start.png")


def test_a_manifest_of_another_version(refused, tmp_path):
    (tmp_path / "m.json").write_text(json.dumps({"options": {"warp": 9}}))
    assert "warp" in refused(2, "--from_manifest", "m.json")


def test_a_loss_that_cannot_see_so_small_a_picture(refused, tmp_path):
    Image.new("RGB", (400, 10)).save(tmp_path / "flat.png")
    assert "ssim needs images of at least" in refused(2, *QUICK, "--loss_type", "ssim", image=tmp_path / "flat.png")


def test_a_missing_package_says_how_to_get_it(refused, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert "pip install imageio-ffmpeg" in refused(3, *QUICK, "--output_path", "x.mp4")


def test_a_run_that_diverges_keeps_the_frames_so_far(invoke, small):
    code, out, err = invoke("--image_path", small, "--optimizer", "sgd", "--lr", 30, *QUICK, "--steps", 50)
    assert code == 5 and err.splitlines()[-1].startswith("latentflow: The run diverged at step")
    assert "Try a smaller --lr" in err and "wrote    grad_result.gif" in out
    with Image.open(small.parent / "grad_result.gif") as image:
        assert 2 <= image.n_frames < 51
    manifest = json.loads((small.parent / "grad_result.gif.manifest.json").read_text())
    assert manifest["outcome"].startswith("DivergedError")


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"lr": float("nan")}, {"optimizer": "adm"}, {"fit": "crop"}, {"hold": -1.0}, {"seed": -1}]
)
def test_python_is_told_the_same_as_the_command_line(wrong):
    with pytest.raises(InputError, match=f"^`{next(iter(wrong))}`") as caught:
        RunConfig(**wrong)
    assert caught.value.parameter == next(iter(wrong))


def test_an_option_that_is_not_there_is_one_line_with_the_nearest(invoke):
    assert invoke("--image_pth", "x")[2] == (
        "latentflow: There is no option --image_pth. Did you mean --image_path, --method, --save_image?\n"
    )
    assert invoke("walk", "--zzzz")[2] == "latentflow: There is no option --zzzz.\n"
