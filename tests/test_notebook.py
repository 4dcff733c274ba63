"""Widgets for notebooks, the notebook of the examples, and both in a browser."""

import base64
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import latentflow
from latentflow.errors import DivergedError, InputError

pytest.importorskip("anywidget", reason="needs anywidget")
from latentflow.notebook import Scrubber, live

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
    labeled = latentflow.Labeled(index=0, total=0, latent=latent, image=image, caption=["cat", "25%"])
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
    assert "application/vnd.jupyter.widget-view+json" in data
    strip = np.asarray(Image.open(io.BytesIO(data["image/png"])))
    assert strip.shape[0] == 30
    assert strip.shape[1] >= 6 * 40
    assert strip[15, 20].mean() == pytest.approx(0, abs=2)  # the first frame
    assert strip[15, -20].mean() == pytest.approx(240, abs=2)  # and the last


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
    assert "widget-view" not in NOTEBOOK.read_text(encoding="utf-8")
    assert NOTEBOOK.stat().st_size < 3e6
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
    assert sum("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in outputs) == 4


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
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def soon(found, seconds=180):
        return WebDriverWait(browser, seconds).until(lambda driver: found())

    def one(selector):
        elements = browser.find_elements(By.CSS_SELECTOR, selector)
        return elements[0] if elements else None

    browser.get(jupyter)
    soon(lambda: one(".jp-Notebook .jp-Cell"))
    soon(
        lambda: browser.execute_script(
            "return Boolean(window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel)"
        )
    )
    browser.execute_script("jupyterapp.commands.execute('notebook:run-all-cells')")
    slider = soon(lambda: one(".lf-scrubber input"))
    picture = one(".lf-scrubber img")
    soon(lambda: picture.get_property("naturalWidth") == 64)
    places = []

    def still():  # the cells below it grow while they run
        places.append(browser.execute_script("return arguments[0].getBoundingClientRect().top", slider))
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
        return len(places) > 2 and len(set(places[-3:])) == 1

    soon(still)
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
    soon(lambda: "dB" in (one(".lf-live .lf-figures").text or ""))
    button = browser.find_elements(By.CSS_SELECTOR, ".lf-bar button")[-1]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    soon(lambda: button.text == "Stop")
    button.click()
    soon(lambda: "stopped" in one(".lf-live .lf-figures").text)
    before = one(".lf-live .lf-figures").text
    time.sleep(2)
    assert one(".lf-live .lf-figures").text == before
    button.click()
    soon(
        lambda: (
            int(re.search(r"step (\d+)", one(".lf-live .lf-figures").text)[1])
            > int(re.search(r"step (\d+)", before)[1])
        )
    )
    browser.save_screenshot(os.environ.get("LATENTFLOW_SHOT", "/dev/null"))
