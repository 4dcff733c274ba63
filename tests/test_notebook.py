"""Widgets for notebooks, the notebook of the examples, and both in a browser."""

import base64
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder

import latentflow
from latentflow.base.errors import DivergedError, InputError, Interrupted

pytest.importorskip("anywidget", reason="needs anywidget")
from latentflow.notebook import Scrubber, live
from latentflow.widgets import script, stills

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "latent_walk.ipynb"


def grays(*levels):
    return [Image.new("RGB", (40, 30), (level,) * 3) for level in levels]


def test_a_scrubber_shows_the_frame_of_its_index():
    slider = Scrubber(grays(0, 100, 200), ["a", "b", "c"])
    assert np.asarray(slider.picture).mean() == pytest.approx(0, abs=1)
    slider.index = 2
    assert np.asarray(slider.picture).mean() == pytest.approx(200, abs=1)
    assert slider.picture.size == (40, 30)
    slider.index = 99
    assert slider.index == 2
    slider.index = -1
    assert slider.index == 0
    assert slider.captions == ["a", "b", "c"]


def test_a_scrubber_takes_records_arrays_and_tensors():
    image = torch.full((1, 3, 8, 10), 0.5)
    latent = torch.zeros(1, 4, 1, 1)
    record = latentflow.Frame(index=0, total=0, latent=latent, image=image)
    two = latentflow.Frame(index=0, total=0, latent=latent, image=torch.cat([image, image]))
    labeled = latentflow.base.records.Labeled(index=0, total=0, latent=latent, image=image, caption=["cat", "25%"])
    array = np.full((8, 10, 3), 128, np.uint8)
    slider = Scrubber([record, two, labeled, array, image])
    sizes = [Image.open(io.BytesIO(each)).size for each in slider.pictures]
    assert sizes[0] == sizes[2] == sizes[3] == sizes[4] == (10, 8)
    assert sizes[1][0] > 20
    assert slider.captions[2] == "cat, 25%"


def test_wrong_frames_are_refused():
    with pytest.raises(InputError, match="holds no frame"):
        Scrubber([])
    with pytest.raises(InputError, match="1 text for 2 frames"):
        Scrubber(grays(0, 1), ["one"])
    with pytest.raises(InputError, match="not ndarray"):
        Scrubber([np.zeros((3, 4, 3))])
    with pytest.raises(InputError, match="`fps`"):
        Scrubber(grays(0), fps=0)


def test_a_strip_stands_in_for_a_widget_where_there_is_none():
    bundle = Scrubber(grays(*range(0, 250, 10)))._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" not in data  # which shows an error where there is no kernel
    strip = np.asarray(Image.open(io.BytesIO(data["image/png"])))
    assert strip.shape[0] == 30
    assert strip.shape[1] >= 6 * 40
    assert strip[15, 20].mean() == pytest.approx(0, abs=2)  # the first frame
    assert strip[15, -20].mean() == pytest.approx(240, abs=2)  # and the last


def test_a_slider_in_a_notebook_has_all_it_needs_in_its_html():
    slider = Scrubber(grays(0, 120, 250), ["</script>", "b", "c"], fps=7)
    slider.index = 2
    page = slider._repr_mimebundle_()["text/html"]
    given = json.loads(re.search(r"scrubber\(place, \{ \.\.\.(\{.*?\}), changed", page)[1])
    assert (given["fps"], given["index"], given["captions"]) == (7, 2, ["</script>", "b", "c"])
    assert [levels(source) for source in given["sources"]] == pytest.approx([0, 120, 250], abs=2)
    assert page.count("</script>") == 1 and "http" not in page.replace("http://www.w3.org", "")
    strip = re.search(r'<img src="(data:image/jpeg[^"]+)" alt="Frames', page)[1]
    assert picture_at(strip).width > 3 * 40  # for who runs no scripts


def picture_at(address):
    return Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB")


def levels(address):
    return np.asarray(picture_at(address)).mean()


def test_the_pictures_of_a_long_slider_are_shrunk_in_the_notebook(monkeypatch):
    monkeypatch.setattr("latentflow.notebook.LARGEST_SLIDER", 20_000)
    noise = np.random.default_rng(0).integers(0, 255, (200, 160, 3)).astype(np.uint8)
    slider = Scrubber([noise] * 8)
    sources = re.findall(r'[\[ ]"(data:image/jpeg[^"]+)"', slider._repr_mimebundle_()["text/html"])
    width, height = picture_at(sources[0]).size
    assert len(sources) == 8 and width < 80 and height / width == pytest.approx(200 / 160, rel=0.05)
    assert slider.picture.size == (160, 200)  # in Python it is as it was


class Place:
    """An output of a notebook, and all that was shown there."""

    def __init__(self):
        self.shown = []

    def update(self, bundle, raw):
        assert raw
        self.shown.append(bundle)


@pytest.fixture
def places(monkeypatch):
    display = pytest.importorskip("IPython.display")
    made = []

    def show(bundle, raw, display_id):
        assert raw and display_id
        made.append(Place())
        made[-1].update(bundle, raw)
        return made[-1]

    monkeypatch.setattr(display, "display", show)
    return made


def held(small, **options):
    """A run that waits after its first step until it is let go."""
    go_on, view = threading.Event(), None

    def decode(latent):
        found = inner(latent)
        if len(inner_calls) > 1:
            go_on.wait(20)
        inner_calls.append(1)
        return found

    own = linear_autoencoder()
    inner, inner_calls = own.model.decode, []
    own.model.decode = decode
    view = latentflow.invert(small, "l1", vae=own, size=24, seed=1, **options)
    return view, go_on


WIDGET = "application/vnd.jupyter.widget-view+json"


def test_a_notebook_keeps_the_last_picture_and_the_curves_of_a_run(small, places):
    run, go_on = held(small, steps=8)
    view = live(run)
    view._ipython_display_()
    assert WIDGET in places[0].shown[0]
    go_on.set()
    result = view.wait()
    kept = places[0].shown[-1]
    assert WIDGET not in kept
    page = kept["text/html"]
    assert "step 8 of 8" in page and f"{result.metrics['psnr']:.2f} dB · finished" in page and "Go on" not in page
    shown, curves = (picture_at(each) for each in re.findall(r'<img src="([^"]+)"', page))
    assert np.abs(np.asarray(shown, float) - np.asarray(result.picture, float)).mean() < 6  # JPEG
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(re.findall(r"png;base64,([^\"]+)", page)[0]))))
    reds, blues = (drawn[..., 3] > 128) & (drawn[..., 0] > 128), (drawn[..., 3] > 128) & (drawn[..., 0] < 100)
    for curve, name, falls in ((reds, "loss", True), (blues, "psnr", False)):
        first, last = (np.argwhere(curve[:, column])[:, 0].mean() for column in (3, 796))
        rises = view.history[-1][name] > view.history[0][name]
        assert (last < first) == rises != falls, name  # rows count from the top
    both = Image.open(io.BytesIO(kept["image/png"]))  # for who shows no HTML
    assert both.height > shown.height + 100 and np.asarray(both)[: shown.height, : shown.width].std() > 5
    assert curves.size == (800, 144)


def test_a_stopped_run_keeps_a_button_that_its_widget_shows(small, places):
    run, go_on = held(small, steps=50)
    view = live(run)
    view._ipython_display_()
    view.stop()
    go_on.set()
    view.wait()
    kept = places[0].shown[-1]
    assert f'data-latentflow-button="{view.key}" hidden' in kept["text/html"] and WIDGET not in kept
    view.go_on()
    assert WIDGET in places[0].shown[-1] or view.state == "finished"
    view.wait()
    assert "· finished" in places[0].shown[-1]["text/html"]


def test_only_new_records_are_sent(small):
    run, go_on = held(small, steps=30)
    view, sent, replies = live(run), [], []
    view.observe(lambda change: sent.append(change["new"]), "fresh")
    go_on.set()
    view.wait()
    history = view.history
    assert [each["index"] for each in history] == list(range(31))
    later = [each for each in sent if each["first"] > 0] or sent
    for one, two in pairwise(later):
        assert two["first"] == one["first"] + len(one["records"])
    assert sum(len(each["records"]) for each in sent) <= 31 and sent[-1]["records"][-1] == history[-1]
    view.send = replies.append
    view._asked(view, {"do": "history"}, [])  # of a browser that came later
    assert replies == [{"history": history}]


class Cell:
    """A notebook's kernel that executes one cell after another."""

    def __init__(self, monkeypatch, named=True):
        self.count, self.cell, self.named = 0, "", named
        monkeypatch.setattr("IPython.get_ipython", lambda: self)

    def execute(self, cell):
        self.count, self.cell = self.count + 1, cell

    def get_parent(self):
        metadata = {"cellId": self.cell} if self.named else {}
        return {"metadata": metadata, "header": {"msg_id": str(self.count)}, "content": {"code": f"# {self.cell}"}}


@pytest.mark.parametrize("named", [True, False], ids=["cells with ids", "cells without"])
def test_running_a_cell_again_stops_what_it_began(small, monkeypatch, named):
    pytest.importorskip("IPython")
    kernel = Cell(monkeypatch, named)
    runs = [held(small, steps=40) for _ in range(6)]
    kernel.execute("c")
    pair = [live(run) for run, _ in runs[4:]]  # of one cell, side by side
    kernel.execute("a")
    first, beside = live(runs[0][0]), live(runs[1][0])
    kernel.execute("b")
    other = live(runs[2][0])
    kernel.execute("a")
    again = live(runs[3][0])
    for _, go_on in runs:
        go_on.set()
    for view in (first, beside, other, again, *pair):
        view._join()
    assert [view.state for view in pair] == ["finished", "finished"]
    assert [view.state for view in (first, beside, other, again)] == ["stopped", "stopped", "finished", "finished"]


def test_watching_a_run_anew_takes_it_over(small):
    run, go_on = held(small, steps=6)
    first = live(run)
    go_on.set()
    second = live(run)
    assert second.wait().steps == 6 and second.state == "finished"
    assert [each["index"] for each in second.history] == list(range(7))
    assert first.state in ("stopped", "finished")


def test_a_run_that_is_finished_is_watched_as_such(small):
    run, go_on = held(small, steps=3)
    go_on.set()
    first = live(run)
    first.wait()
    second = live(run)
    assert (first.state, second.state) == ("finished", "finished") and second.wait().steps == 3
    assert [each["index"] for each in second.history] == [0, 1, 2, 3] and second.picture == first.picture


def test_an_interrupt_stops_the_run_in_one_line(small, monkeypatch):
    run, go_on = held(small, steps=40)
    view = live(run)
    join, calls = view._join, []

    def interrupted():
        calls.append(1)
        if len(calls) == 1:
            go_on.set()
            raise KeyboardInterrupt
        join()

    monkeypatch.setattr(view, "_join", interrupted)
    with pytest.raises(
        Interrupted, match=r"^The run was stopped at step \d+ of 40; `go_on\(\)` continues it\.$"
    ) as caught:
        view.wait()
    assert caught.value._render_traceback_() == [str(caught.value)] and caught.value.__suppress_context__
    assert view.state == "stopped" and not run.is_finished


def test_a_fault_that_breaks_a_run_off_is_shown_and_raised(small):
    own = linear_autoencoder()
    decode, calls = own.model.decode, []

    def failing(latent):
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("no more pictures.\nmore")
        return decode(latent)

    own.model.decode = failing
    view = live(latentflow.invert(small, "l1", vae=own, size=24, steps=30, seed=1))
    with pytest.raises(RuntimeError, match="no more pictures"):
        view.wait()
    assert view.state == "RuntimeError: no more pictures."
    assert "RuntimeError: no more pictures." in view._repr_mimebundle_()["text/html"]


@pytest.mark.slow
def test_a_program_that_ends_while_a_run_goes_on_ends_properly(tmp_path):
    Image.new("RGB", (32, 32), (200, 120, 40)).save(tmp_path / "x.png")
    code = (
        "import time, latentflow\n"
        "from latentflow.notebook import live\n"
        "view = live(latentflow.invert('x.png', 'mse', vae='bundled', size=32, steps=100_000, seed=1))\n"
        "while view.run.last is None:\n"
        "    time.sleep(0.01)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_live_run_stops_and_goes_on_from_there(small):
    given = {"size": 48, "steps": 60, "seed": 1, "dtype": "float32"}
    view = live(latentflow.invert(small, "l1", **given))
    while len(view.history) < 2:
        time.sleep(0.01)
    view.stop()
    stopped = view.wait()
    assert view.state == "stopped"
    assert 0 < stopped.steps < 60
    assert [each["index"] for each in view.history] == list(range(stopped.steps + 1))
    view._asked(view, {"do": "go on"}, [])  # as the button says it
    result = view.wait()
    assert view.state == "finished"
    assert result.steps == 60
    straight = latentflow.invert(small, "l1", **given).result()
    assert torch.equal(result.latent, straight.latent)
    assert view.history[-1]["psnr"] == pytest.approx(result.metrics["psnr"], abs=0.01)
    shown = np.asarray(Image.open(io.BytesIO(view.picture)), dtype=float)
    assert np.abs(shown - np.asarray(result.picture, dtype=float)).mean() < 4  # JPEG
    view.go_on()  # nothing is left
    assert view.state == "finished"


def test_what_breaks_a_live_run_off_is_shown_and_raised(small):
    view = live(latentflow.invert(small, "l1", size=48, steps=50, seed=1, lr=1e6))
    with pytest.raises(DivergedError):
        view.wait()
    assert "diverged" in view.state


def test_the_committed_notebook_holds_pictures_and_no_state_of_widgets():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert "widgets" not in content["metadata"]
    (watched,) = [cell for cell in content["cells"] if "view = live(" in "".join(cell["source"])]
    (kept,) = [output["data"] for output in watched["outputs"]]
    assert "step 40 of 40" in "".join(kept["text/html"]) and "image/png" in kept
    assert "widget-view" not in NOTEBOOK.read_text(encoding="utf-8")
    assert NOTEBOOK.stat().st_size < 4e6
    made = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    shows = [
        cell
        for cell in made
        if re.search(r"Scrubber\(|\.strip\(\)", "".join(cell["source"])) and "import" not in "".join(cell["source"])
    ]
    assert len(shows) >= 4
    for cell in shows:
        pictures = [output["data"]["image/png"] for output in cell["outputs"] if "image/png" in output.get("data", {})]
        assert pictures, cell["source"]
        assert Image.open(io.BytesIO(base64.b64decode("".join(pictures[0])))).width > 300


@pytest.mark.slow
def test_the_notebook_runs_offline(monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    monkeypatch.syspath_prepend(ROOT / "docs")
    from run_notebook import run

    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}")
    notebook = run(nbformat.read(NOTEBOOK, 4))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    assert "geodesic" in "".join(output.get("text", "") for output in outputs)
    assert not any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in outputs)
    pages = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    assert sum("scrubber(place" in page for page in pages) == 3
    assert sum("step 40 of 40" in page and "finished" in page for page in pages) == 1


MODEL = """
class Model {
  constructor(values) { [this.values, this.heard, this.sent, this.saved] = [values, {}, [], 0]; }
  get(name) { return this.values[name]; }
  set(name, value) { this.values[name] = value; }
  save_changes() { this.saved += 1; }
  send(message) { this.sent.push(message); }
  on(name, call) { (this.heard[name] ??= []).push(call); }
  off(name, call) { this.heard[name] = this.heard[name].filter((each) => each !== call); }
  tell(name, value) { this.set(name, value); for (const call of this.heard[`change:${name}`] ?? []) call(); }
  message(content) { for (const call of this.heard["msg:custom"] ?? []) call(content); }
}
"""


@pytest.fixture
def parts(browser, tmp_path):
    """The scripts of the widgets in a page with a model that is made up; runs a script there."""
    code = script("scrubber.js", "live.js", "notebook.js").replace("export function", "function")
    page = f'<!doctype html><body><div id="place"></div><script>{code}{MODEL}</script>'
    (tmp_path / "parts.html").write_text(page, encoding="utf-8")
    browser.get((tmp_path / "parts.html").as_uri())
    return browser.execute_script


@pytest.mark.browser
def test_the_view_of_a_run_adds_up_what_it_is_sent(parts):
    parts(
        "const step = (index) => ({index, total: 10, loss: 10 ** -index, psnr: 10 + index});"
        "window.step = step; window.model = new Model({picture: new DataView(new ArrayBuffer(0)), state: 'running',"
        "  key: 'k', fresh: {first: 0, records: [step(0), step(1)]}});"
        "window.end = renderLive({model, el: document.getElementById('place')});"
    )
    points = "return [...document.querySelectorAll('polyline')].map((each) => each.getAttribute('points'))"
    figures, button = "return document.querySelector('.lf-figures').textContent", "document.querySelector('button')"
    parts("model.tell('fresh', {first: 2, records: [step(2)]})")
    assert parts(figures) == "step 2 of 10 · loss 0.01000 · 12.00 dB"
    # the loss is drawn on a logarithmic scale: evenly down where PSNR goes evenly up
    assert parts(points) == ["0.0,0.0 40.0,36.0 80.0,72.0", "0.0,72.0 40.0,36.0 80.0,0.0"]
    assert parts(f"return {button}.textContent") == "Stop"
    parts(f"{button}.click(); model.tell('fresh', {{first: 5, records: [step(5)]}})")  # what is between was lost
    assert parts("return model.sent") == [{"do": "stop"}, {"do": "history"}]
    assert parts(figures).startswith("step 2 ")
    parts("model.message({history: [0, 1, 2, 3, 4, 5].map(step)})")
    assert parts(figures).startswith("step 5 ") and parts(points)[1].count(",") == 6
    parts("model.tell('state', 'stopped')")
    assert parts(figures).endswith("· stopped") and parts(f"return {button}.textContent") == "Go on"
    parts("model.tell('state', 'RuntimeError: no more.')")
    assert parts(figures).endswith("· RuntimeError: no more.") and parts(f"return {button}.hidden")
    parts("end(); model.tell('state', 'finished')")
    assert "finished" not in parts(figures)


@pytest.mark.browser
def test_what_a_notebook_keeps_is_connected_with_its_model(parts):
    slider = Scrubber(grays(0, 100, 200), fps=4)
    parts("document.getElementById('place').innerHTML = arguments[0]", slider._repr_mimebundle_()["text/html"])
    parts(
        "for (const each of document.querySelectorAll('#place script')) {"
        "  const again = document.createElement('script'); again.textContent = each.textContent;"
        "  each.replaceWith(again); }"
    )  # as JupyterLab does
    parts("window.model = new Model({key: arguments[0], index: 0}); window.end = connectSlider({model})", slider.key)
    shown = "return document.querySelector('#place output').textContent"
    parts(
        "const input = document.querySelector('#place input'); input.value = 2; input.dispatchEvent(new Event('input'))"
    )
    assert parts("return [model.get('index'), model.saved]") == [2, 1] and parts(shown) == "2 of 2"
    parts("model.tell('index', 1)")  # from Python
    assert parts(shown) == "1 of 2"
    every = parts(
        "let every = 0; window.setInterval = (call, time) => { every = time; };"
        "document.querySelector('#place button').click(); return every"
    )
    assert every == 250  # 4 frames a second
    parts("end(); model.tell('index', 0)")
    assert parts(shown) == "1 of 2"

    history = [{"index": index, "total": 9, "loss": 1.0, "psnr": 9.0} for index in range(3)]
    page, _ = stills.run("a key", slider.pictures[0], history, "stopped")
    parts("document.getElementById('place').innerHTML = arguments[0]", page)
    visible = "return document.querySelector('#place button').checkVisibility()"
    assert not parts(visible)  # there is nobody to press it for
    parts("window.model = new Model({key: 'a key'}); window.end = connectButton({model})")
    assert parts(visible)
    parts("document.querySelector('#place button').click()")
    assert parts("return model.sent") == [{"do": "go on"}]
    parts("end()")
    assert not parts(visible)


@pytest.fixture
def jupyter(tmp_path):
    """The address of a JupyterLab that has a notebook with a scrubber and a live run."""
    pytest.importorskip("jupyterlab", reason="needs jupyterlab")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.v4.new_notebook()
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    source = """
from PIL import Image
import latentflow
from latentflow.notebook import Scrubber, live
slider = Scrubber([Image.new("RGB", (64, 64), (level, 40, 40)) for level in range(0, 250, 10)])
slider"""
    flow = f"""
view = live(latentflow.invert({str(ROOT / "examples" / "cat.png")!r}, "l1", size=64, steps=300, seed=1))
view"""
    notebook.cells = [
        nbformat.v4.new_code_cell(source),
        nbformat.v4.new_code_cell(flow),
        nbformat.v4.new_code_cell("print(slider.index)"),
    ]
    nbformat.write(notebook, tmp_path / "widgets.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1"]
    line += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", f"--notebook-dir={tmp_path}"]
    homes = {
        name: str(tmp_path / "home")
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_SETTINGS_DIR", "IPYTHONDIR")
    }
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(line, env=os.environ | homes | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status", timeout=1)
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/lab/tree/widgets.ipynb"
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.slow
@pytest.mark.browser
def test_widgets_in_a_browser(browser, jupyter):
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def soon(found, what):
        drawn_anew = [StaleElementReferenceException]  # by JupyterLab, between finding an element and reading it
        waiting = WebDriverWait(browser, 60, ignored_exceptions=drawn_anew)
        return waiting.until(lambda driver: found(), f"60 seconds without {what}")

    def one(selector):
        elements = browser.find_elements(By.CSS_SELECTOR, selector)
        return elements[0] if elements else None

    # JupyterLab's commands are for the notebook with the focus, which a headless tab may lack
    browser.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    browser.get(jupyter)
    soon(lambda: one(".jp-Notebook .jp-Cell"), "a notebook")
    soon(
        lambda: browser.execute_script(
            "const shell = window.jupyterapp?.shell, [notebook] = shell?.widgets('main') ?? [];"
            "if (notebook && shell.currentWidget !== notebook) shell.activateById(notebook.id);"
            "return Boolean(shell?.currentWidget?.sessionContext?.session?.kernel)"
        ),
        "a kernel of the notebook in front",
    )
    browser.execute_script("jupyterapp.commands.execute('notebook:run-all-cells')")
    slider = soon(lambda: one(".lf-scrubber input"), "a slider")
    picture = one(".lf-scrubber img")
    soon(lambda: picture.get_property("naturalWidth") == 64, "its picture")
    places = []

    def still():  # the cells below it grow while they run
        places.append(browser.execute_script("return arguments[0].getBoundingClientRect().top", slider))
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
        return len(places) > 2 and len(set(places[-3:])) == 1

    soon(still, "a page that stands still")
    seen = set()
    box = slider.rect
    top = browser.execute_script("return arguments[0].getBoundingClientRect().top", slider) + box["height"] / 2
    mouse = {"y": top, "button": "left", "buttons": 1, "clickCount": 1}
    left = browser.execute_script("return arguments[0].getBoundingClientRect().left", slider)
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mousePressed", "x": left + 5, **mouse})
    for place in range(20, 400, 20):  # the pointer stays down
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": left + place, **mouse})
        time.sleep(0.05)
        seen.add(picture.get_attribute("src"))
    assert len(seen) > 12, slider.get_property("value")
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseReleased", "x": left + 380, **mouse})
    assert one(".lf-scrubber output").text == f"{slider.get_property('value')} of 24"
    soon(lambda: "dB" in (one(".lf-live .lf-figures").text or ""), "a step of the run")
    button = browser.find_elements(By.CSS_SELECTOR, ".lf-bar button")[-1]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    soon(lambda: button.text == "Stop", "a button that stops")
    button.click()
    soon(lambda: "stopped" in one(".lf-live .lf-figures").text, "the run being stopped")
    before = one(".lf-live .lf-figures").text
    time.sleep(2)
    assert one(".lf-live .lf-figures").text == before
    button = soon(lambda: one("[data-latentflow-button]"), "what the notebook keeps")
    soon(button.is_displayed, "a button that goes on")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()

    def step():  # None while the cell is drawn anew
        figures = one(".lf-live .lf-figures")
        found = figures and re.search(r"step (\d+)", figures.text)
        return found and int(found[1])

    stopped_at = int(re.search(r"step (\d+)", before)[1])
    soon(lambda: (step() or 0) > stopped_at, "another step")
    browser.save_screenshot(os.environ.get("LATENTFLOW_SHOT", "/dev/null"))
    # Python knows where the slider was dragged to
    browser.execute_script("jupyterapp.commands.execute('notebook:run-all-below')")
    value = slider.get_property("value")
    browser.execute_script(
        "const cells = jupyterapp.shell.currentWidget.content; cells.activeCellIndex = 2;"
        "jupyterapp.commands.execute('notebook:run-cell')"
    )

    def printed():
        return [each.text.strip() for each in browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea pre")]

    soon(lambda: value in printed(), f"{value} printed")


@pytest.mark.slow
@pytest.mark.browser
def test_a_saved_notebook_shows_its_widgets_without_a_kernel(browser, tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    nbconvert = pytest.importorskip("nbconvert")
    notebook = nbformat.v4.new_notebook()
    source = """
from PIL import Image
import latentflow
from latentflow.notebook import Scrubber, live
slider = Scrubber([Image.new("RGB", (64, 64), (level, 40, 40)) for level in range(0, 250, 10)], fps=40)
slider"""
    flow = f"""
view = live(latentflow.invert({str(ROOT / "examples" / "cat.png")!r}, "l1", size=64, steps=6, seed=1))
view"""
    notebook.cells = [nbformat.v4.new_code_cell(each) for each in (source, flow, "result = view.wait()")]
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"}
    nbclient.NotebookClient(notebook, timeout=200).execute(env=env)
    page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    (tmp_path / "saved.html").write_text(page, encoding="utf-8")
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*"]})
    browser.get((tmp_path / "saved.html").as_uri())
    (slider,) = browser.find_elements("css selector", ".lf-scrubber input")
    (picture,) = browser.find_elements("css selector", ".lf-scrubber img")
    first = picture.get_attribute("src")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    slider.send_keys("\ue014" * 3)  # arrow right
    assert slider.get_property("value") == "3" and picture.get_attribute("src") != first
    played = browser.execute_script(
        "const real = window.setInterval; let every = 0; window.setInterval = (call, time) => { every = time; };"
        "document.querySelector('.lf-scrubber button').click(); window.setInterval = real; return every"
    )
    assert played == pytest.approx(1000 / 40)
    (figures,) = browser.find_elements("css selector", ".lf-live .lf-figures")
    assert "step 6 of 6" in figures.text and "finished" in figures.text
    pictures = browser.find_elements("css selector", ".lf-live img")
    assert [each.get_property("naturalWidth") for each in pictures] == [64, 800]
