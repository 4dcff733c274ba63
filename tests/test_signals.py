"""Ctrl-C in every phase of every command: it ends, says so in one line, and leaves what the next command can use."""

import importlib
import inspect
import json
import os
import resource
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import TOOL
from PIL import Image
from safetensors import safe_open
from test_guard import LINES, RUN, TOY, content, inputs, place  # noqa: F401  (two of them are fixtures)
from toys import steps

from latentflow.base.errors import Interrupted
from latentflow.base.files import append, says_ours
from latentflow.base.session import Session
from latentflow.cli import command_names
from latentflow.commands._terminal import terminal_session
from latentflow.explore import walk
from latentflow.explore.config import WalkConfig
from latentflow.explore.views import VIEWS
from latentflow.page.export.graphs import GRAPHS
from latentflow.page.export.run import Exported
from latentflow.prompts.config import PromptsConfig
from latentflow.prompts.pipelines import TextToImage
from latentflow.prompts.run import run_prompts
from latentflow.sinks.background import Background
from latentflow.sinks.gif import Gif
from latentflow.sinks.trajectory import Trajectory

OURS = tuple(str(Path(__file__).parent.parent / name) for name in ("latentflow", "tools"))
PHASES = (0.2, 0.95, 0.5, 0.8)  # of the calls of a command


class Signals:
    """Counts the calls of our functions in the main thread, and sends a signal at one of them.

    Generators are left out, since Python swallows what is raised while it closes one that nobody reads, and modules,
    which run once in a process.
    """

    def __init__(self, at=None, number=signal.SIGINT):
        self.at, self.number, self.calls = at, number, 0

    def __call__(self, frame, event, argument):
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(OURS) or "_terminal" in code.co_filename:
            return
        flags = code.co_flags
        if flags & inspect.CO_GENERATOR or not flags & inspect.CO_OPTIMIZED or code.co_name == "__del__":
            return
        self.calls += 1
        if self.calls == self.at:
            os.kill(os.getpid(), self.number)


def run_with(signals, run_line, line):
    """A command during which `signals` count from the moment at which there are handlers."""

    @contextmanager
    def counting(**options):
        with terminal_session(**options) as session:
            sys.setprofile(signals)
            try:
                yield session
            finally:
                sys.setprofile(None)

    with pytest.MonkeyPatch.context() as patched:
        commands = [f"latentflow.commands.{name}" for name in [*command_names(), "_views"] if name not in VIEWS]
        for name in [*commands, f"{TOOL}.__main__"]:
            module = importlib.import_module(name)
            if hasattr(module, "terminal_session"):
                patched.setattr(module, "terminal_session", counting)
        return run_line(*line)


def require_valid(folder):
    """Every file that is there can be read; nothing is unfinished; what a manifest names is there."""
    for path in folder.rglob("*"):
        assert ".part" not in path.name, path
        if path.suffix in (".png", ".gif") and path.is_file():
            with Image.open(path) as image:
                for frame in range(getattr(image, "n_frames", 1)):
                    image.seek(frame)
                    image.load()
        if path.suffix == ".json":
            json.loads(path.read_text())
        if path.suffix == ".jsonl":
            [json.loads(line) for line in path.read_text().splitlines()]
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
        if path.name.endswith(".manifest.json"):
            for name in json.loads(path.read_text())["written"]:
                assert (path.parent / name).exists(), (path, name)


def require_owned(folder, before):
    """Every new file is named in a manifest, by itself or in its folder; but checkpoints and indexes say whose they
    are."""
    named = set()
    for path in folder.rglob("*.manifest.json"):
        content = json.loads(path.read_text())
        named |= {path} | {path.parent / name for name in content["written"]}
        named |= {path.parent / each / name for each, names in content.get("folders", {}).items() for name in names}
    new = {path for path in folder.rglob("*") if path not in before and path.is_file()}
    assert not {path for path in new - named if not says_ours(path)}


@contextmanager
def files_up_to(size):
    """A limit on the size of files stands in for a full disk: the system answers a write with an error in both."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # older Pythons keep a module that was cut off
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        sys.dont_write_bytecode = writes
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def quick(monkeypatch):
    """Without the long work of some commands, which other tests see."""
    monkeypatch.setattr("latentflow.explore.grid.WINDOW", 64)
    monkeypatch.setattr("latentflow.explore.curvature.run.MEASURED", np.linspace(0, 1, 5))
    for side in ("TILES_ON_SHORT_SIDE", "MAX_TILES_ON_LONG_SIDE"):
        monkeypatch.setattr(f"latentflow.explore.curvature.figure.{side}", 2)
    exported = Exported(graphs=dict.fromkeys(GRAPHS, b"graph"), weights=bytes(9), differences={"decoder": 0.0})
    monkeypatch.setattr("latentflow.page.run.export_onnx", lambda autoencoder, session: exported)
    monkeypatch.setattr("tools.toy.run.smoothness", lambda *given: {"noise": 0.1})


FULL = ("optimize", "prompts", "page", "train", TOOL, "batch", "compare", "render", "evaluate", "stats")
STARTS_OVER = ("prompts", "train", TOOL, "batch")  # with --overwrite


@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
def test_a_command_from_its_end_to_its_beginning(run_line, place, quick, name):  # noqa: F811
    """It writes what the table says, with manifests that name it all, and prints JSON alone; a full disk ends it and
    leaves those files whole; and so does a signal, in another phase for each command."""
    (line, files, folders), before = LINES[name][0], content(place)
    whole = Signals()
    code, out, err = run_with(whole, run_line, (*line, "--json", "--quiet"))
    assert (code, json.loads(out)["outcome"]) == (0, "done"), err
    assert all(said.startswith("latentflow: ") for said in err.splitlines()), err  # no progress
    new = {str(path.relative_to(place)) for path in place.rglob("*") if path not in before and path.is_file()}
    inside = {each for each in new if any(each.startswith(f"{folder}/") for folder in folders)}
    assert all(says_ours(place / each) for each in new - inside - set(files)) and files[0] in new
    require_valid(place)
    require_owned(place, before)

    if name in FULL:  # the other views have the same runner as stats
        main, more = place / files[0], ["--overwrite"] if name in STARTS_OVER else []
        written = main.read_bytes()
        with files_up_to(max(200, len(written) // 2)):
            code, _, err = run_line(*line, *more)
        assert code in ((1, 6) if name == "batch" else (6,)), err
        assert err.splitlines()[-1].startswith("latentflow: ") and "Traceback" not in err
        require_valid(place)
        require_owned(place, before)
        assert main.read_bytes() == written

    turn, count = list(LINES).index(name), whole.calls
    number, expected = (signal.SIGTERM, 143) if turn % 3 == 0 else (signal.SIGINT, 130)
    for _ in range(2):  # the first time there may be fewer calls, since much is known from before
        for path in sorted(set(place.rglob("*")) - set(before), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        signals = Signals(round(PHASES[turn % len(PHASES)] * count), number)
        code, _, err = run_with(signals, run_line, line)
        count = signals.calls
        if count >= signals.at:
            break
    assert code == expected, err
    assert err.splitlines()[-1].startswith("latentflow: Stopped") and err.count("latentflow: Stopped") == 1, err
    assert {path: data for path, data in content(place).items() if path in before} == before
    require_valid(place)
    require_owned(place, before)


def interrupt_at(monkeypatch, owner, name, call):
    """Let Ctrl-C come during a call of a function, the first being 1."""
    original, calls = getattr(owner, name), []

    def counting(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, counting)
    return calls


def test_prompts_end_while_frames_are_written(invoke, place, monkeypatch):  # noqa: F811
    written = interrupt_at(monkeypatch, Background, "write", 2)
    code, out, err = invoke(*TOY[:-1], 6, "--output_path", "h.gif", "--json")
    assert code == 130 and err == "latentflow: Stopped at step 1; the frames end there (Ctrl-C).\n"
    assert len(written) == 2
    with Image.open(place / "h.gif") as image:
        assert image.n_frames == json.loads(out)["frames"] == 2
    manifest = json.loads((place / "h.gif.manifest.json").read_text())
    assert manifest["result"]["outcome"].startswith("Stopped at step 1")
    assert len(manifest["folders"]["h.pictures"]) == 7  # all were made


def test_prompts_end_within_a_picture(invoke, place, monkeypatch):  # noqa: F811
    made = interrupt_at(monkeypatch, TextToImage, "generate", 3)
    code, out, err = invoke(*TOY[:-1], 6, "--output_path", "h.gif", "--json")
    assert code == 130 and err == "latentflow: Stopped (Ctrl-C).\n" and len(made) == 3
    assert json.loads(out)["frames"] == 2 and len(list((place / "h.pictures").glob("*.png"))) == 2


@pytest.mark.parametrize("options", [("--palette", "global"), ("--bounce",), ("--pace", "change")])
def test_a_run_ends_while_its_frames_are_finished(invoke, place, monkeypatch, options):  # noqa: F811
    line = (*RUN[:-2], "--steps", 8, "--output_path", "x.gif", *options, "--json")
    at = 12 if "--bounce" in options else 3
    if "change" in options:
        interrupt_at(monkeypatch, Background, "write", at)
    else:
        interrupt_at(monkeypatch, Gif, "add", at)
    code, _, err = invoke(*line)
    assert code == 130 and err.startswith("latentflow: Stopped while frames were written") and err.count("\n") == 1, err
    with Image.open(place / "x.gif") as image:
        assert image.n_frames == at
    assert "Interrupted" in json.loads((place / "x.gif.manifest.json").read_text())["outcome"]


def test_after_a_stop_all_frames_so_far_are_finished(invoke, place, monkeypatch):  # noqa: F811
    interrupt_at(monkeypatch, Background, "write", 4)
    assert invoke(*RUN[:-2], "--steps", 8, "--output_path", "x.gif", "--palette", "global")[0] == 130
    with Image.open(place / "x.gif") as image:
        assert image.n_frames == 4


def test_a_stop_while_outputs_are_closed_is_not_lost(invoke, place, monkeypatch):  # noqa: F811
    interrupt_at(monkeypatch, Trajectory, "close", 1)
    code, _, err = invoke(*RUN, "--output_path", "x.gif")
    assert (code, err) == (130, "latentflow: Stopped after the last step; outputs are complete (Ctrl-C).\n")
    assert json.loads((place / "x.gif.manifest.json").read_text())["outcome"] == "done"


def test_outside_of_loops_a_signal_ends_what_is_going_on_even_after_a_check():
    with pytest.raises(Interrupted), terminal_session() as session:
        session.check()
        assert list(session.watch(steps(2)))
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it went on")


def test_an_evaluation_that_is_stopped_between_its_files_says_whose_they_are(invoke, place, monkeypatch):  # noqa: F811
    line, _, _ = LINES["evaluate"][0]
    interrupt_at(monkeypatch, importlib.import_module("latentflow.explore.evaluate.run"), "save_figure", 1)
    code, _, err = invoke(*line)
    assert code == 130 and err.startswith("latentflow: Stopped") and err.count("\n") == 1, err
    manifest = json.loads((place / "e.png.manifest.json").read_text())
    assert manifest["written"] == ["e.csv"] and manifest["result"]["outcome"].startswith("Stopped")
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert invoke(*line)[0] == 0


def test_a_folder_of_a_page_is_written_whole_or_not_at_all(invoke, place, quick):  # noqa: F811
    line, files, _ = LINES["page"][1]
    (place / "runtime" / "gpu.runtime.wasm.gz").write_bytes(bytes(100_000))
    with files_up_to(50_000):
        code, _, err = invoke(*line)
    assert code == 6 and err.startswith("latentflow: --output_path site can't be written") and err.count("\n") == 1
    assert not list(place.glob("*site*"))
    assert invoke(*line)[0] == 0
    written = content(place / "site")
    assert {f"site/{path.name}" for path in written} | {"site.manifest.json"} == set(files)
    (place / "runtime" / "page.css").write_bytes(b"body {}")
    with files_up_to(50_000):
        assert invoke(*line)[0] == 6
    assert content(place / "site") == written
    require_valid(place)


def test_a_line_is_appended_whole_or_not_at_all(tmp_path):
    with (tmp_path / "m.jsonl").open("wb", buffering=0) as file, files_up_to(100):
        append(file, bytes(60))
        with pytest.raises(OSError):
            append(file, bytes(60))
        assert (tmp_path / "m.jsonl").stat().st_size == 60
        append(file, bytes(40))
    assert (tmp_path / "m.jsonl").stat().st_size == 100


@pytest.mark.parametrize("name", ["stats", "evaluate"])
def test_a_stop_while_the_manifest_is_written_is_not_lost(invoke, place, monkeypatch, name):  # noqa: F811
    line, files, _ = LINES[name][0]
    interrupt_at(monkeypatch, importlib.import_module("latentflow.sinks.manifest"), "write_file", 1)
    code, _, err = invoke(*line)
    assert code == 130 and err.splitlines()[-1] == "latentflow: Stopped (Ctrl-C).", err
    manifest = json.loads((place / files[1]).read_text())
    assert set(files) - {files[1]} <= set(manifest["written"]) and manifest["result"]["outcome"] == "done"


@pytest.mark.parametrize("even", [False, True])
def test_a_walk_of_prompts_ends_after_the_picture_in_hand(tmp_path, monkeypatch, even):
    """A stop from another thread, as an app's, which raises nothing by itself."""
    pytest.importorskip("transformers")
    session, generate, made = Session(), TextToImage.generate, []

    def stopping(*given, **options):
        made.append(1)
        if len(made) == 3:  # the third is the first one between two prompts of an even walk
            session.stop("enough")
        return generate(*given, **options)

    monkeypatch.setattr(TextToImage, "generate", stopping)
    config = PromptsConfig(model="toy", steps=1, frames=6, even=even, batch_size=1, output_path=str(tmp_path / "h.gif"))
    report = run_prompts(["a red house@1", "@2"], config, session)
    assert len(made) == 3 and str(report.error) == "Stopped (enough)."
    assert len(list((tmp_path / "h.pictures").glob("*.png"))) == 3


def test_a_walk_is_evened_up_to_the_picture_in_hand(tmp_path, monkeypatch):
    session, decode, seen = Session(), walk.decode_path, []

    def stopping(*given):
        for frame in decode(*given):
            seen.append(frame)
            if len(seen) == 3:
                session.stop("enough")
            yield frame

    monkeypatch.setattr(walk, "decode_path", stopping)
    config = WalkConfig(
        weights="bundled", size=32, frames=6, even=True, ease="linear", output_path=str(tmp_path / "w.gif")
    )
    with pytest.raises(Interrupted, match=r"Stopped at step 2; nothing is written yet \(enough\)"):
        walk.run_walk(["random:1", "random:2"], config, session)
    assert len(seen) == 3
