"""What a command may replace or clear: what a manifest of ours names, and nothing else without --overwrite."""

import json
import shutil
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import TOOL
from PIL import Image

from latentflow.base.errors import InputError, OutputError
from latentflow.base.files import TRAJECTORY, WrittenFiles, check_outputs, filling, manifest_path, written_in
from latentflow.base.session import Session
from latentflow.cli import command_names, run
from latentflow.inversion.config import RunConfig
from latentflow.page.config import PageConfig
from latentflow.page.run import SCRIPTS, _outputs
from latentflow.runs.plan import make_plan
from latentflow.sinks.manifest import owning, write_manifest
from latentflow.training.plan import FILES
from tools.toy.plan import FILES as PROMPT_FILES

ROOT = Path(__file__).parent.parent
BUNDLED = ("--weights", "bundled", "--size", 48)
RUN = ("--image_path", "small.png", *BUNDLED, "--steps", 2)
TOY = ("prompts", "a red house@1", "@2", "--model", "toy", "--steps", 2, "--frames", 2)
OTHERS = ("--save_latent", "z.safetensors", "--save_image", "s.png", "--metrics", "m.jsonl", "--plot", "p.png")
FEW = ("--resolution", 2, "--steps", 1, "--frames", 2)
CONCEPT = ("--positive", "six", "--negative", "more")
IN_RUN = [f"x.gif{more}" for more in ("", ".manifest.json", ".trajectory", ".checkpoint.safetensors")]
TABLES = ["out/batch.jsonl", "out/batch.csv", "out/batch.png", "out/batch.manifest.json"]
IN_BATCH = [f"out/{name}.png.gif{more}" for name in "ab" for more in ("", ".manifest.json", ".trajectory")]
TRAIN = ("--steps", 2, "--validate_every", 1, "--output_dir", "model")
TINY = (*TRAIN, "--data", "six", "--config", "tiny.json", "--batch", 1, "--crop", 32, "--workers", 0)
TOLD = (*TRAIN, "--data", "told", "--size", 32, "--width", 32, "--layers", 1, "--batch", 2)

# A line of each command and of the tool, and the files and the folders that it writes, replaces or clears.
LINES = {
    "optimize": [
        (
            (*RUN, "--output_path", "x.gif", *OTHERS),
            [*IN_RUN, "z.safetensors", "s.png", "m.jsonl", "p.png"],
            [],
        ),
        ((*RUN, "--output_path", "frames"), ["frames.manifest.json", "frames.trajectory"], ["frames"]),
    ],
    "compare": [
        (
            ("compare", *RUN, "--losses", "mse,l1", "--output_path", "c.gif"),
            ["c.gif", "c.gif.manifest.json", "c.gif.trajectory", "c.md", "c.sheet.png"],
            [],
        ),
    ],
    "render": [
        (("render", "run.gif", "--output_path", "r.gif"), ["r.gif", "r.gif.manifest.json"], []),
        (("render", "run.gif", "--output_path", "again"), ["again.manifest.json"], ["again"]),
    ],
    "batch": [
        (
            ("batch", "two", "--output_dir", "out", *BUNDLED, "--steps", 1, "--metrics", "m_{stem}.jsonl"),
            [*IN_BATCH, *TABLES, "m_a.png.jsonl", "m_b.png.jsonl"],
            [],
        ),
        (("batch", "two", "--output_dir", "out", "--suffix", "", *BUNDLED, "--steps", 1), [], ["out/a_png"]),
    ],
    "encode": [
        (
            ("encode", "two", "--refine", 1, "--output_path", "n/{stem}.npy", *BUNDLED),
            ["n/a.npy", "n/b.npy", "n/encode.manifest.json"],
            [],
        ),
        (("encode", "small.png", "--output_path", "s.latent", *BUNDLED), ["s.latent", "s.latent.manifest.json"], []),
    ],
    "decode": [
        (
            ("decode", "z0.npy", "--latent_of", "bundled:scaled", *BUNDLED[:2]),
            ["z0.decoded.png", "z0.decoded.png.manifest.json"],
            [],
        ),
    ],
    "composite": [
        (
            ("composite", "two/a.png", "two/b.png", "--mask", "small.png", "--output_path", "k.png", *BUNDLED),
            ["k.png", "k.png.manifest.json"],
            [],
        ),
    ],
    "cycles": [
        (
            ("cycles", "small.png", "--count", 1, "--output_path", "y.gif", *BUNDLED),
            ["y.gif", "y.gif.manifest.json"],
            [],
        ),
    ],
    "walk": [
        (
            ("walk", "small.png", "two/a.png", "--audio", "a.wav", "--fps", 4, "--output_path", "w.gif", *BUNDLED),
            ["w.gif", "w.gif.manifest.json", "w.gif.trajectory", "w.heard.png"],
            [],
        ),
        (("walk", "small.png", "two/a.png", "--output_path", "w", *BUNDLED), ["w.trajectory"], ["w"]),
    ],
    "channels": [
        (
            ("channels", "small.png", "--channels", 0, "--frames", 4, "--output_path", "h.png", *BUNDLED),
            ["h.png", "h.png.manifest.json", "h.gif", "h.gif.trajectory"],
            [],
        ),
        (
            ("channels", "small.png", "--output_path", "h.png", "--sweep", "", *BUNDLED),
            ["h_frames.trajectory"],
            ["h_frames"],
        ),
    ],
    "grid": [
        (
            ("grid", "small.png", "--resolution", 3, "--tile", 40, "--frames", 2, "--output_path", "g.gif", *BUNDLED),
            ["g.gif", "g.gif.manifest.json", "g.gif.trajectory"],
            [],
        ),
    ],
    "curvature": [
        (
            ("curvature", "small.png", *FEW, "--output_path", "k.png", *BUNDLED[:-1], 16),
            ["k.png", "k.png.manifest.json", "k.gif", "k.gif.trajectory"],
            [],
        ),
    ],
    "stats": [
        (("stats", "six", "--output_path", "t.png", *BUNDLED), ["t.png", "t.png.manifest.json", "t.csv"], []),
        (("stats", "six", "--index", "i.safetensors", "--output_path", "t.png", *BUNDLED), ["i.safetensors"], []),
    ],
    "evaluate": [
        (
            ("evaluate", "six", "--output_path", "e.png", *BUNDLED),
            ["e.png", "e.png.manifest.json", "e.csv", "e.md"],
            [],
        ),
    ],
    "similar": [
        (("similar", "small.png", "six", "--output_path", "q.png", *BUNDLED), ["q.png", "q.png.manifest.json"], []),
    ],
    "concept": [
        (
            ("concept", *CONCEPT, "--apply", "small.png", "--frames", 4, "--output_path", "d.safetensors", *BUNDLED),
            ["d.safetensors", "d.safetensors.manifest.json", "d.png", "d.gif", "d.gif.trajectory"],
            [],
        ),
    ],
    "atlas": [
        (("atlas", "six", "--output_path", "m.png", *BUNDLED), ["m.png", "m.png.manifest.json", "m.html"], []),
    ],
    "prompts": [
        ((*TOY, "--output_path", "holiday.gif"), ["holiday.gif", "holiday.gif.manifest.json"], ["holiday.pictures"]),
        ((*TOY, "--output_path", "holiday.gif", "--resume"), ["holiday.gif"], ["holiday.pictures"]),
        (
            ("prompts", "a house", "--show_steps", "--model", "toy", "--steps", 2, "--output_path", "o.gif"),
            ["o.gif", "o.gif.manifest.json", "o.steps.png"],
            [],
        ),
    ],
    "page": [
        (("page", "--runtime", "runtime", "--output_path", "flow.html"), ["flow.html", "flow.html.manifest.json"], []),
        (
            ("page", "--runtime", "runtime", "--as", "folder", "--output_path", "site"),
            [str(path) for path in _outputs(Path("site"), "folder")] + ["site.manifest.json"],
            [],
        ),
    ],
    "train": [
        (
            ("train", *TINY),
            [f"model/{name}" for name in FILES if name != "samples"] + ["model/training.manifest.json"],
            ["model/samples"],
        ),
        (
            ("train", *TINY, "--kl_weight", "1e-6,1e-5"),
            ["model/sweep.png", "model/sweep.md", "model/kl_weight=1e-05/README.md"],
            [],
        ),
    ],
    TOOL: [
        (
            (TOOL, *TOLD),
            [f"model/{name}" for name in PROMPT_FILES if "." in name] + ["model/training.manifest.json"],
            [f"model/{name}" for name in PROMPT_FILES if "." not in name],
        ),
    ],
}
WRITE_NOTHING = {
    "losses": "it prints a list",
    "doctor": "it prints what it finds",
    "weights": "it writes into the caches of the hub and of torch; convert refuses any file that is there",
    "app": "it writes into a temporary folder that it has made",
}
READ_NOTHING = {"prompts": "its line has a bundled model", "page": "its parts are what was built, and any text"}
PLACES = [
    pytest.param(line, path, kind, id=f"{name} {path} {kind}")
    for name, lines in LINES.items()
    for line, files, folders in lines
    for path, kind in [
        *((path, "file") for path in files),
        *((path, "folder") for path in files[:1] + files[-1:]),
        *((path, kind) for path in folders for kind in ("folder", "file")),
    ]
]
TINY_KL = {
    "_class_name": "AutoencoderKL",
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [4, 4],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 2,
    "mid_block_add_attention": False,
}
MINE = b"mine, and nobody else's"


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """What the lines read."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, seed in (("small.png", 1), ("two/a.png", 2), ("two/b.png", 3)):
        picture(folder / name, seed)
    for seed in range(12):
        picture(folder / ("six" if seed < 6 else "more") / f"{seed}.png", seed)
    for seed in range(4):
        picture(folder / "told" / f"{seed}.png", seed)
        (folder / "told" / f"{seed}.txt").write_text(f"noise {seed}")
    (folder / "tiny.json").write_text(json.dumps(TINY_KL))
    np.save(folder / "z0.npy", np.random.default_rng(0).standard_normal((1, 4, 6, 6)).astype("float32"))
    with wave.open(str(folder / "a.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes((2e4 * np.sin(np.arange(8000) / 8)).astype("<i2").tobytes())
    (folder / "runtime").mkdir()
    for name in ("page.html", "page.css", "page.js", "licenses.txt", *SCRIPTS):
        (folder / "runtime" / name).write_bytes(b"")
    line = ("--image_path", folder / "small.png", *BUNDLED, "--steps", 2, "--output_path", folder / "run.gif")
    assert run([str(each) for each in (*line, "--quiet")]) == 0
    return folder


def picture(path, seed):
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def place(inputs, tmp_path):
    """A folder with the inputs in it."""
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    return tmp_path


def content(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_every_command_is_in_the_table():
    assert set(LINES) | set(WRITE_NOTHING) == {*command_names(), TOOL}


@pytest.fixture
def unloaded(monkeypatch, request):
    """What is refused is refused before anything is loaded; but for an index, which is looked into when it is used."""
    if "--index" in request.getfixturevalue("line"):
        return

    def loaded(*given, **options):
        raise AssertionError("it was loaded")

    monkeypatch.setattr("latentflow.models.loading.Models.load", loaded)
    monkeypatch.setattr("latentflow.prompts.run.load_pipeline", loaded)
    monkeypatch.setattr("latentflow.training.run.Trainer", loaded)
    monkeypatch.setattr("tools.toy.run.load_autoencoder", loaded)


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize(("line", "path", "kind"), PLACES)
def test_what_a_stranger_left_is_refused_and_stays(run_line, place, line, path, kind):
    taken = place / path if kind == "file" else place / path / "mine.png"
    taken.parent.mkdir(parents=True, exist_ok=True)
    taken.write_bytes(MINE)
    before = content(place)
    code, out, err = run_line(*line)
    assert code in (2, 6), err
    assert out == "" and err.startswith("latentflow: ") and err.count("\n") == 1, err
    assert content(place) == before


@pytest.mark.parametrize("name", [name for name in LINES if name not in READ_NOTHING])
def test_inputs_that_cannot_be_read_are_said_in_one_line_and_nothing_is_drawn(run_line, place, name):
    for path in filter(Path.is_file, content(place)):
        path.write_bytes(b"?")
    before = content(place)
    code, out, err = run_line(*LINES[name][0][0], "--quiet")
    assert code in (1, 2, 5, 6) and "Traceback" not in out + err
    assert (err or "\nfailed " in out) and all(line.startswith("latentflow: ") for line in err.splitlines()), err
    new = {path.suffix for path in set(content(place)) - set(before) if path.is_file()}
    assert new <= {".csv", ".json", ".jsonl"}  # a folder's table says what failed


@pytest.mark.parametrize("options", [(), ("--resume",), ("--overwrite",)])
def test_pictures_in_a_folder_of_pictures_are_never_deleted(invoke, place, options):
    (place / "holiday.pictures").mkdir()
    for name in ("mine.png", "005.50000000.png"):
        (place / "holiday.pictures" / name).write_bytes(MINE)
    code, _, err = invoke(*TOY, "--output_path", "holiday.gif", *options)
    assert code == (0 if "--overwrite" in options else 6), err
    for name in ("mine.png", "005.50000000.png"):
        assert (place / "holiday.pictures" / name).read_bytes() == MINE


def test_a_walk_replaces_its_own_pictures_and_leaves_others(invoke, place):
    line, folder = (*TOY[:-2], "--output_path", "holiday.gif"), place / "holiday.pictures"
    assert invoke(*line, "--frames", 3)[0] == 0
    assert (folder / "000.50000000.png").is_file()
    (folder / "mine.png").write_bytes(MINE)
    assert invoke(*line, "--frames", 2)[0] == 6
    assert invoke(*line, "--frames", 2, "--overwrite")[0] == 0
    assert {path.name for path in folder.iterdir()} == {
        *("pictures.json", "mine.png", "000.00000000.png", "001.00000000.png")
    }
    manifest = json.loads((place / "holiday.gif.manifest.json").read_text())
    assert manifest["folders"] == {"holiday.pictures": ["000.00000000.png", "001.00000000.png", "pictures.json"]}


def test_a_picture_of_a_stranger_is_no_frame_of_a_walk(invoke, place):
    assert invoke(*TOY, "--output_path", "free.gif")[0] == 0
    (place / "holiday.pictures").mkdir()
    Image.new("RGB", (64, 64), "red").save(place / "holiday.pictures" / "001.00000000.png")
    assert invoke(*TOY, "--output_path", "holiday.gif", "--overwrite")[0] == 0
    assert (place / "holiday.gif").read_bytes() == (place / "free.gif").read_bytes()


def test_a_pictures_json_of_something_else_is_a_strangers(invoke, place):
    for text in ("[1, 2]", '{"stops": 3}', "no JSON"):
        (place / "holiday.pictures").mkdir(exist_ok=True)
        (place / "holiday.pictures" / "pictures.json").write_text(text)
        assert invoke(*TOY, "--output_path", "holiday.gif", "--resume")[0] == 6
        assert (place / "holiday.pictures" / "pictures.json").read_text() == text


def test_what_a_command_wrote_it_may_write_again_wherever_it_is(invoke, place):
    (place / "deeper").mkdir()
    line = (*RUN, "--output_path", "x.gif", "--save_latent", "deeper/z.safetensors", "--metrics", place / "m.jsonl")
    assert invoke(*line)[0] == 0
    code, _, err = invoke(*line)
    assert code == 0, err
    code, _, err = invoke(*RUN, "--output_path", "y.gif", "--metrics", "m.jsonl")  # typed, and the manifest of x has it
    assert code == 0, err
    (place / "elsewhere").mkdir()
    for path, expected in (("v.gif", 0), ("elsewhere/v.gif", 6)):  # beside v.gif a manifest names the latent
        assert invoke(*RUN, "--output_path", path, "--save_latent", "deeper/z.safetensors")[0] == expected


def test_overwrite_is_said_each_time(invoke, place):
    (place / "x.gif").write_bytes(MINE)
    assert invoke(*RUN, "--output_path", "x.gif", "--overwrite")[0] == 0
    (place / "z.safetensors").write_bytes(MINE)
    code, _, err = invoke("--from_manifest", "x.gif.manifest.json", "--save_latent", "z.safetensors")
    assert code == 6 and "--save_latent z.safetensors would be overwritten" in err and "Add --overwrite" in err
    assert (place / "z.safetensors").read_bytes() == MINE


def test_a_resumed_run_replaces_its_own_files_alone(invoke, place, monkeypatch):
    from latentflow.sinks.trajectory import Trajectory

    stop_at(monkeypatch, Trajectory, 3)
    line = (*RUN[:-2], "--steps", 6, "--output_path", "x.gif", "--metrics", "m.jsonl", "--checkpoint_every", 1)
    assert invoke(*line)[0] == 130
    monkeypatch.undo()
    monkeypatch.chdir(place)
    (place / "x.gif.manifest.json").unlink()  # as if it had been killed
    (place / "s.png").write_bytes(MINE)
    checkpoint = "x.gif.checkpoint.safetensors"
    code, _, err = invoke("--resume", checkpoint, "--save_image", "s.png")
    assert code == 6 and "--save_image s.png would be overwritten" in err
    assert (place / "s.png").read_bytes() == MINE and (place / checkpoint).is_file()
    code, _, err = invoke("--resume", checkpoint)
    assert code == 0, err
    assert len((place / "m.jsonl").read_text().splitlines()) == 7


def stop_at(monkeypatch, sink, index):
    """Let a signal come while a kind of sink writes the record of an index."""
    import os
    import signal

    write = sink.write

    def stopping(self, record):
        write(self, record)
        if record.index == index:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(sink, "write", stopping)


@pytest.mark.parametrize(
    "line",
    [
        (*RUN, "--metrics", "m.jsonl"),
        ("compare", *RUN, "--losses", "mse,l1"),
        ("walk", "small.png", "two/a.png", *BUNDLED),
    ],
    ids=["run", "compare", "walk"],
)
def test_a_process_that_is_killed_leaves_files_with_an_owner(place, monkeypatch, line):
    from latentflow.sinks.trajectory import Trajectory

    class Killed(BaseException):
        pass

    def killed(self, record):
        raise Killed

    line = [str(each) for each in (*line, "--output_path", "frames", "--quiet")]
    monkeypatch.chdir(place)
    monkeypatch.setattr("latentflow.sinks.manifest.Manifest.close", lambda self, error: None)
    monkeypatch.setattr(Trajectory, "close", killed)
    with pytest.raises(Killed):
        run(line)
    manifest = json.loads((place / "frames.manifest.json").read_text())
    assert manifest["outcome"] == "unfinished" and "result" not in manifest
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert run(line) == 0
    manifest = json.loads((place / "frames.manifest.json").read_text())
    assert (manifest.get("outcome") or manifest["result"]["outcome"]) == "done"
    assert manifest["folders"] == {"frames": sorted(path.name for path in (place / "frames").iterdir())}


def test_of_a_folder_only_what_a_manifest_names_is_removed(invoke, place):
    (place / "frames").mkdir()
    (place / "frames" / "00007.png").write_bytes(MINE)
    line = (*RUN[:-2], "--output_path", "frames")
    assert invoke(*line, "--steps", 5, "--overwrite")[0] == 0
    assert invoke(*line, "--steps", 2)[0] == 6
    assert invoke(*line, "--steps", 2, "--overwrite")[0] == 0
    assert sorted(path.name for path in (place / "frames").iterdir()) == [
        *("00000.png", "00001.png", "00002.png", "00007.png")
    ]
    assert (place / "frames" / "00007.png").read_bytes() == MINE
    (place / "frames" / "00007.png").unlink()
    assert invoke(*line, "--steps", 1)[0] == 0  # all of it is ours
    assert len(list((place / "frames").iterdir())) == 2


@pytest.mark.slow
def test_frames_beside_a_figure_are_replaced_whole(invoke, place):
    line = ("channels", "small.png", "--output_path", "h.png", "--sweep", "", *BUNDLED)
    assert invoke(*line, "--frames", 6)[0] == 0
    assert invoke(*line, "--frames", 4)[0] == 0
    assert len(list((place / "h_frames").iterdir())) == 4


def test_samples_of_a_training_are_known_by_the_manifest(tmp_path):
    import torch

    from latentflow.base.records import Update
    from latentflow.sinks.validation_sheets import ValidationSheets

    folder = tmp_path / "samples"
    folder.mkdir()
    for name in ("0000004.png", "0000008.png", "2024.png"):
        (folder / name).write_bytes(MINE)
    values = {"loss": torch.ones(1), "parts": {}, "psnr": None, "grad_norm": None, "lr": 1.0, "seconds": 1.0}
    with ValidationSheets(folder, after=4, earlier=["0000004.png", "0000008.png"]) as sheets:
        sheets.write(Update(index=5, total=8, validation={}, sheet=None, **values))
    assert sorted(path.name for path in folder.iterdir()) == ["0000004.png", "2024.png"]


def test_manifests_of_earlier_versions_own_frames_by_their_names(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for name in ("00000.png", "holiday.png", "notes.txt"):
        (folder / name).write_bytes(MINE)
    assert written_in(folder) == set()
    beside = {"format_version": 2, "options": {}, "written": ["x.gif"]}
    manifest_path(tmp_path / "x.gif").write_text(json.dumps(beside))  # of another output
    assert written_in(folder) == set()
    manifest_path(folder).write_text(json.dumps({"format_version": 2, "options": {}, "written": ["frames"]}))
    assert written_in(folder) == {"00000.png"}
    with pytest.raises(OutputError, match=r"no earlier command wrote holiday.png"):
        check_outputs([folder])
    manifest_path(folder).write_text(json.dumps({"options": {}}))  # 0.1.0
    assert written_in(folder) == {"00000.png"}


def test_a_file_beside_the_output_is_named_once(tmp_path):
    (tmp_path / "batch.csv").write_bytes(MINE)
    outputs = [tmp_path / "batch.jsonl", tmp_path / "batch.csv"]
    with pytest.raises(OutputError, match=f"^`output_dir`: {tmp_path / 'batch.csv'} would be overwritten, and no"):
        check_outputs(outputs, (), "`output_dir`")


def test_files_take_their_places_in_a_folder_together(tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(OutputError, match="model can't be written: No space"), filling(folder, "`output_dir`") as place:
        (place / "config.json").write_bytes(b"new")
        raise OSError(28, "No space left on device")
    assert not folder.exists()
    (folder / "deeper").mkdir(parents=True)
    for name in ("config.json", "mine.txt", "deeper/mine.txt"):
        (folder / name).write_bytes(MINE)
    with filling(folder, "`output_dir`") as place:
        (place / "deeper").mkdir()
        for name in ("config.json", "deeper/config.json"):
            (place / name).write_bytes(b"new")
        assert (folder / "config.json").read_bytes() == MINE
    assert {str(path.relative_to(folder)): data for path, data in content(folder).items() if data} == {
        **{"config.json": b"new", "deeper/config.json": b"new", "mine.txt": MINE, "deeper/mine.txt": MINE}
    }


def test_a_link_is_a_strangers_file_too(tmp_path):
    (tmp_path / "mine.txt").write_bytes(MINE)
    (tmp_path / "x.gif").symlink_to(tmp_path / "mine.txt")
    (tmp_path / "y.gif").symlink_to(tmp_path / "nothing")
    for name in ("x.gif", "y.gif"):
        with pytest.raises(OutputError, match=f"{name} would be overwritten"):
            check_outputs([tmp_path / name])


def test_a_manifest_names_files_as_paths_from_its_folder(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "one").mkdir()
    paths = [tmp_path / "one" / "x.gif", tmp_path / "one" / "inner.png", tmp_path / "deeper" / "z.safetensors"]
    written = WrittenFiles(paths)
    for path in paths:
        path.write_bytes(MINE)
    write_manifest(manifest_path(paths[0]), {"options": {}}, written)
    assert json.loads(manifest_path(paths[0]).read_text())["written"] == ["x.gif", "inner.png", str(paths[2])]
    (tmp_path / "one").rename(tmp_path / "moved")
    check_outputs([tmp_path / "moved" / "x.gif", tmp_path / "moved" / "inner.png"])


def test_a_plan_in_python_is_guarded_as_a_command_is(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.jsonl").write_bytes(MINE)
    with pytest.raises(OutputError, match=r"^`metrics` m.jsonl would be overwritten"):
        make_plan(RunConfig(image_path=str(small), metrics="m.jsonl"))
    make_plan(RunConfig(image_path=str(small), metrics="m.jsonl", overwrite=True))
    assert PageConfig().overwrite is False


def test_an_empty_file_may_be_replaced_and_a_link_to_one_not(tmp_path):
    empty, link = tmp_path / "a.gif", tmp_path / "b.gif"
    empty.touch()
    link.symlink_to(empty)
    check_outputs([empty])
    with pytest.raises(OutputError, match=r"b\.gif would be overwritten"):
        check_outputs([link])
    empty.write_bytes(b"GIF89a")
    with pytest.raises(OutputError, match=r"a\.gif would be overwritten"):
        check_outputs([empty])


def test_a_file_elsewhere_that_an_earlier_run_of_a_loop_wrote_may_be_written_by_the_next(invoke, small):
    for folder in ("gifs", "figures"):
        (small.parent / folder).mkdir()
    line = ("--image_path", small, *BUNDLED, "--steps", 1, "--metrics", "figures/newest.jsonl")
    for seed in (1, 2):
        code, _, err = invoke(*line, "--seed", seed, "--output_path", f"gifs/{seed}.gif")
        assert code == 0, err
    (small.parent / "figures" / "mine.jsonl").write_bytes(MINE)
    code, _, err = invoke(*line[:-1], "figures/mine.jsonl", "--seed", 3, "--output_path", "gifs/3.gif")
    assert code == 6 and "--metrics figures/mine.jsonl would be overwritten" in err


def test_the_manifest_of_a_folder_counts_alone(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for name, known in (("frames", "00000.png"), ("y.gif", "00001.png")):
        (folder / known).write_bytes(MINE)
        facts = {"format_version": 2, "options": {}, "written": ["frames"], "folders": {"frames": [known]}}
        manifest_path(tmp_path / name).write_text(json.dumps(facts))
    assert written_in(folder) == {"00000.png"}
    with pytest.raises(OutputError, match=r"no earlier command wrote 00001.png"):
        check_outputs([folder])
    assert written_in(folder, manifest_path(tmp_path / "y.gif")) == {"00000.png", "00001.png"}  # it is beside y.gif


def test_companions_belong_to_their_output_or_say_that_they_are_ours(tmp_path):
    """The table of one command isn't that of another; a trajectory is ours without a manifest, and weights aren't."""
    from safetensors.numpy import save_file

    paths = [tmp_path / name for name in ("e.png", "e.md")]
    for path in paths:
        path.write_bytes(MINE)
    write_manifest(manifest_path(paths[0]), {"options": {}}, paths)
    check_outputs(paths)
    with pytest.raises(OutputError, match=r"e\.md would be overwritten"):
        check_outputs([tmp_path / "e.gif", paths[1]])
    left, weights = tmp_path / "x.gif.trajectory", tmp_path / "x.gif.checkpoint.safetensors"
    left.write_bytes(TRAJECTORY + b' 2"}')
    check_outputs([tmp_path / "x.gif", left])
    save_file({"weight": np.zeros(3)}, weights, metadata={"format": "pt"})
    with pytest.raises(OutputError, match=r"checkpoint\.safetensors would be overwritten"):
        check_outputs([tmp_path / "x.gif", weights])


def test_a_manifest_that_names_no_file_owns_none(tmp_path):
    (tmp_path / "x.gif").write_bytes(MINE)
    facts = {"format_version": 2, "options": {}, "written": []}
    manifest_path(tmp_path / "x.gif").write_text(json.dumps(facts))
    with pytest.raises(OutputError, match=r"x\.gif would be overwritten"):
        check_outputs([tmp_path / "x.gif"])
    manifest_path(tmp_path / "x.gif").write_text(json.dumps({"options": {}}))  # 0.1.0 named none
    check_outputs([tmp_path / "x.gif"])


def test_nothing_is_claimed_that_others_wrote(tmp_path):
    """With --overwrite a file of others is ours once it is replaced, and a folder once all in it is named."""
    paths = [tmp_path / name for name in ("x.gif", "new.png", "frames", "empty")]
    paths[2].mkdir()
    paths[3].mkdir()
    for path in (paths[0], paths[2] / "mine.png"):
        path.write_bytes(MINE)
    written = WrittenFiles(paths)
    assert written.claimable(manifest_path(paths[0])) == [paths[1], paths[3]]
    (paths[2] / "00000.png").write_bytes(MINE)
    assert written.paths == [paths[2]] and written.folders == {paths[2]: {"00000.png"}}


def test_a_manifest_keeps_what_earlier_commands_wrote_and_is_there(tmp_path):
    output, more, gone, frames = (tmp_path / name for name in ("x.gif", "m.jsonl", "z.png", "frames"))
    frames.mkdir()
    for path in (output, more, gone, frames / "00000.png", frames / "00001.png"):
        path.write_bytes(MINE)
    manifest = manifest_path(output)
    write_manifest(manifest, {"options": {}}, [output, more, gone])
    listed = json.loads(manifest.read_text())
    listed |= {"written": [*listed["written"], "frames"], "folders": {"frames": ["00000.png", "00001.png"]}}
    manifest.write_text(json.dumps(listed))
    gone.unlink()
    (frames / "00001.png").unlink()
    write_manifest(manifest, {"options": {}}, [output])
    listed = json.loads(manifest.read_text())
    assert listed["written"] == ["x.gif", "m.jsonl", "frames"] and listed["folders"] == {"frames": ["00000.png"]}


def test_what_breaks_off_has_a_manifest_where_it_has_written(tmp_path):
    """And none where it has not; either way the report knows the error."""
    path = tmp_path / "x.png"
    for content, expected in ((None, []), (MINE, ["manifest"])):
        report, made, written = SimpleNamespace(error=None), [], WrittenFiles([path])
        with pytest.raises(InputError), owning(Session(), written, lambda to=made: to.append("manifest"), report):
            if content is not None:
                path.write_bytes(content)
            raise InputError("Enough.")
        assert made == expected and str(report.error) == "Enough."
