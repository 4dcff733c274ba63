"""The app: its parts, its page without a browser, and in one."""

import asyncio
import gc
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toys import MIDI_DEVICE

import latentflow
from latentflow.app.config import AppConfig
from latentflow.app.jobs import GRACE, Job, Jobs
from latentflow.app.lines import command_line
from latentflow.config import RunConfig
from latentflow.errors import InputError
from latentflow.explore.config import WalkConfig
from latentflow.runs.run import begin

pytest.importorskip("streamlit", reason="needs streamlit")
from latentflow.app.flows import Flow
from latentflow.app.media import _pictures
from latentflow.app.run import SameOrigin, options, serve
from latentflow.app.shows import Show
from latentflow.app.visits import KEPT, Studio, open_studio

ROOT = Path(__file__).parent.parent


def png(level=120, size=(48, 40)):
    memory = io.BytesIO()
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    Image.fromarray(np.stack([x * 5, y * 6, 0 * x + level], -1).astype(np.uint8)).save(memory, "PNG")
    return memory.getvalue()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def studio():
    made = Studio(AppConfig(vae="bundled", dtype="float32", max_pixels=100_000))
    yield open_studio(made)
    made.close()


@pytest.fixture
def visit(studio):
    return studio.visit("somebody")


def ended(job, seconds=60):
    assert job.ended.wait(seconds)
    return job


# Command lines


def test_a_line_has_what_differs_from_the_defaults():
    config = WalkConfig(loop=True, frames=24, fps=12.5)
    names = {"/tmp/x/a.png": "my cat.png"}
    line = command_line("walk", ["/tmp/x/a.png", "random:3"], config, names)
    assert line == "latentflow walk 'my cat.png' random:3 --loop --frames 24 --fps 12.5"
    assert command_line("", [], RunConfig(betas=(0.9, 0.99), compile=False)) == (
        "latentflow --betas 0.9,0.99 --no_compile"
    )


# Jobs


def test_a_queue_has_a_limit_and_jobs_take_turns():
    gate, jobs = threading.Event(), Jobs(1, 1)
    order = []

    def work(job):
        gate.wait(20)
        order.append(job.owner)

    made = [Job(name, work, lambda: None) for name in "abc"]
    jobs.submit(made[0])
    while made[0].state != "running":
        time.sleep(0.01)
    jobs.submit(made[1])
    assert made[1].state == "waiting"
    with pytest.raises(InputError, match="as many as this app takes"):
        jobs.submit(made[2])
    gate.set()
    ended(made[1])
    assert order == ["a", "b"]
    assert made[1].state == "done"


def test_the_jobs_of_a_closed_page_end_after_a_while():
    jobs, begun = Jobs(1, 4), threading.Event()

    def work(job):
        begun.set()
        while True:
            job.session.check()
            time.sleep(0.01)

    mine, waiting = (jobs.submit(Job("gone", work, lambda: None)) for _ in range(2))
    begun.wait(5)
    assert jobs.reap(lambda owner: False, now=100) == []
    assert jobs.reap(lambda owner: True, now=100 + GRACE) == []  # it came back
    assert jobs.reap(lambda owner: False, now=200) == []
    assert set(jobs.reap(lambda owner: False, now=200 + GRACE)) == {mine, waiting}
    for job in (mine, waiting):
        assert ended(job).state == "stopped"
        assert job.error == "Stopped (its page was closed)."


def test_what_goes_wrong_is_one_line():
    def work(job):
        raise InputError("`size` must be\nat least 1.", "Try 8.")

    job = ended(Jobs(1, 1).submit(Job("me", work, lambda: None)))
    assert (job.state, job.error) == ("failed", "--size must be at least 1. Try 8.")


def test_a_bug_ends_its_job_and_not_the_thread(caplog):
    jobs = Jobs(1, 4)
    broken = ended(jobs.submit(Job("me", lambda job: 1 / 0, lambda: None)))
    assert (broken.state, broken.error) == ("failed", "ZeroDivisionError, which is a bug in this program.")
    assert "division by zero" in caplog.text
    assert ended(jobs.submit(Job("me", lambda job: None, lambda: None))).state == "done"


# Uploads


@pytest.mark.parametrize("name", ["../../etc/passwd.png", "/root/x.png", "..\\..\\a.png", "a\nb.png", "\x00.png", ""])
def test_a_name_never_becomes_a_path(visit, name):
    upload = visit.take(name, png(), name)
    assert upload.path.resolve().is_relative_to(visit.folder.resolve())
    assert re.fullmatch(r"[A-Za-z0-9-]+\.png", upload.path.name)
    assert upload.path.read_bytes() == png()
    assert "\n" not in upload.name
    assert "/" not in upload.name


def test_names_of_one_folder_stay_apart(visit):
    folder = visit.new_folder()
    paths = {visit.take("cat.png", png(level), str(level), folder).path for level in range(3)}
    assert len(paths) == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<script>alert(1)</script>", "bad.png"),
        (png()[:60], "bad.png"),
        (png(size=(400, 400)), "max_pixels"),
    ],
)
def test_a_hostile_upload_is_refused(visit, content, words):
    with pytest.raises(InputError, match=words) as caught:
        visit.take("bad.png", content, "x")
    assert str(visit.folder) not in str(caught.value)
    assert not list(visit.folder.rglob("*.png"))


def test_a_visit_is_forgotten_with_everything(studio):
    visit = studio.visit("gone")
    upload = visit.take("a.png", png(), "1")
    studio.media.picture("gone", b"x")
    now = time.monotonic()
    studio.tidy(lambda owner: False, now + KEPT / 2)
    assert upload.path.exists()
    studio.tidy(lambda owner: False, now + KEPT + 1)
    assert not visit.folder.exists()
    assert len(studio.media) == 0


def test_the_suffix_of_an_upload_is_one_that_is_read(visit):
    assert visit.take("a.JPG", png(), "1").path.suffix == ".jpg"
    assert visit.take("a.exe", png(1), "2").path.suffix == ".png"
    assert visit.take("a", png(2), "3").path.suffix == ".png"


# Flows


def started(visit, **config):
    given = {"loss_type": "l1", "size": 48, "steps": 40, "seed": 3, "dtype": "float32"} | config
    flow = Flow(visit, visit.take("cat.png", png(), "cat"), RunConfig(**given))
    flow.go_on()
    return flow


def test_a_flow_stops_and_goes_on_from_exactly_there(visit):
    flow = started(visit)
    while len(flow.history) < 3:
        time.sleep(0.005)
    flow.stop()
    ended(flow.job)
    assert flow.state == "stopped"
    assert 0 < flow.history[-1]["index"] < 40
    flow.go_on()
    ended(flow.job)
    assert flow.state == "finished"
    assert [each["index"] for each in flow.history] == list(range(41))
    path = visit.folder / "straight.png"
    path.write_bytes(png())
    straight = latentflow.invert(path, "l1", size=48, steps=40, seed=3, dtype="float32").result()
    assert torch.equal(flow.run.last.latent, straight.latent)
    with Image.open(flow.file("gif")) as gif:
        assert gif.n_frames == 41
    assert flow.line() == "latentflow --image_path cat.png --loss_type l1 --steps 40 --output_path flow.gif --vae bundled --size 48 --seed 3 --dtype float32"  # fmt: skip  # noqa: E501


def test_a_flow_that_is_being_prepared_can_be_stopped(visit, monkeypatch):
    begun, gate = threading.Event(), threading.Event()

    def slow(*args):
        begun.set()
        gate.wait(10)
        return begin(*args)

    monkeypatch.setattr("latentflow.app.flows.begin", slow)
    flow = started(visit, steps=3)
    begun.wait(10)
    flow.stop()
    gate.set()
    ended(flow.job)
    assert (flow.state, flow.history) == ("stopped", [])
    flow.go_on()
    ended(flow.job)
    assert (flow.state, len(flow.history)) == ("finished", 4)


def test_a_flow_of_an_object_has_files_too(autoencoder):
    given = latentflow.Autoencoder(autoencoder.model, autoencoder.geometry, "mine")
    studio = Studio(AppConfig(), given)
    flow = started(studio.visit("somebody"), steps=2)
    ended(flow.job)
    with Image.open(flow.file("gif")) as gif:
        assert gif.n_frames == 3
    assert json.loads(flow.file("manifest").read_text())["weights"]["name"] == "mine"
    studio.close()


def test_a_branch_begins_with_the_last_latent(visit):
    flow = started(visit, steps=6)
    ended(flow.job)
    branch = flow.branch("mse")
    ended(branch.job)
    assert branch.history[0]["psnr"] == pytest.approx(flow.history[-1]["psnr"], abs=1e-3)
    assert branch.plan.config.loss_type == "mse"
    assert "--init flow.safetensors" in branch.line()
    with pytest.raises(InputError, match="nonsense"):
        flow.branch("nonsense")
    flow.close()
    again = Flow(visit, branch.image, branch.plan.config)  # its start is its own
    again.go_on()
    assert ended(again.job).state == "done"


def test_the_files_of_a_flow(visit, autoencoder):
    flow = started(visit, steps=5)
    ended(flow.job)
    with Image.open(flow.file("gif")) as gif:
        assert gif.size == (48, 40)
        assert gif.n_frames == 6
    assert flow.file("mp4").stat().st_size > 500
    latent = latentflow.load_latent(flow.file("latent"), autoencoder)
    assert torch.equal(latent, flow.run.last.latent)
    with Image.open(flow.file("image")) as image:
        shown = np.asarray(image, dtype=float)
    assert np.abs(shown - 255 * flow.run.last.image[0].clamp(0, 1).movedim(0, 2).numpy()).max() <= 0.51
    manifest = json.loads(flow.file("manifest").read_text())
    assert manifest["options"]["image_path"] == "cat.png"
    assert manifest["result"]["steps"] == 5
    assert manifest["result"]["metrics"]["psnr"] == pytest.approx(flow.history[-1]["psnr"], abs=0.01)


def test_a_stream_sends_the_newest_picture_with_its_figures(visit):
    flow = started(visit, steps=12)
    stream = _pictures(
        flow.job, lambda step: latentflow.pictures.files.to_uint8(step.image), lambda step: {"index": step.index}
    )

    async def all_parts():
        return [part async for part in stream]

    *parts, last = asyncio.run(all_parts())
    assert last == b"--frame--\r\n"
    indices = []
    for part in parts:
        head, _, body = part.partition(b"\r\n\r\n")
        assert int(re.search(rb"Content-Length: (\d+)", head)[1]) == len(body) - 2
        assert Image.open(io.BytesIO(body)).size == (48, 40)
        indices.append(json.loads(re.search(rb"X-Figures: (.*)", head)[1])["index"])
    assert indices == sorted(set(indices))
    assert indices[-1] == 12


def test_a_view_keeps_its_frames_and_files(visit):
    images = [visit.take(f"{level}.png", png(level), str(level)) for level in (0, 250)]
    names = {str(image.path): image.name for image in images}
    config = WalkConfig(size=48, frames=7, output_path="walk.gif")
    walk = Show(visit, "walk", [str(image.path) for image in images], config, names, collect=True)
    ended(walk.job)
    assert walk.job.error == ""
    assert len(walk.frames) == 7
    assert walk.captions[0].startswith("0 to 250")
    assert walk.captions[-1].endswith("100%")
    assert {"walk.gif", "walk.gif.manifest.json"} <= set(walk.files)
    assert walk.line() == "latentflow walk 0.png 250.png --size 48 --vae bundled --frames 7"
    before = len(visit.studio.media)
    walk.close()
    assert len(visit.studio.media) < before - 7


def answer(studio, path):
    """Status, headers and content that the routes give for an address."""
    from starlette.applications import Starlette

    sent = []

    async def ask():
        address, _, query = path.partition("?")
        scope = {"type": "http", "method": "GET", "path": address, "query_string": query.encode(), "headers": []}

        async def receive():
            await asyncio.Event().wait()  # the client stays

        async def send(message):
            sent.append(message)

        await Starlette(routes=studio.media.routes())(scope | {"http_version": "1.1"}, receive, send)

    asyncio.run(ask())
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(each.get("body", b"") for each in sent[1:])


def test_addresses_answer_until_they_are_dropped(studio, visit):
    address = studio.media.picture("somebody", b"jpeg")
    assert answer(studio, address)[0::2] == (200, b"jpeg")
    studio.media.drop("somebody else")
    assert answer(studio, address)[0] == 200
    studio.media.drop("somebody")
    assert answer(studio, address)[0] == 404
    path = visit.folder / "a.gif"
    path.write_bytes(b"GIF")
    status, headers, content = answer(studio, studio.media.file("somebody", path))
    assert (status, content, headers["x-content-type-options"]) == (200, b"GIF", "nosniff")
    assert headers["content-disposition"] == "attachment"
    assert answer(studio, "/latentflow/file/unknown/etc")[0] == 404


def test_moved_latents_are_decoded_and_nonsense_is_refused(studio):
    address = studio.media.decoder("somebody", lambda values: np.full((8, 9, 3), values[0], np.uint8))
    status, _, content = answer(studio, f"{address}?v=200")
    assert status == 200
    assert np.asarray(Image.open(io.BytesIO(content))).mean() == pytest.approx(200, abs=1)
    for values in ("nan", "inf", "x", "1,,y"):
        assert answer(studio, f"{address}?v={values}")[0] == 400


# The server


def test_streamlit_keeps_to_itself():
    given = options(AppConfig())
    assert given["browser.gatherUsageStats"] is False
    assert given["server.address"] == "127.0.0.1"
    assert given["server.maxUploadSize"] == 50
    assert options(AppConfig(max_upload=3, browser=False))["server.maxUploadSize"] == 3


def test_pages_of_other_origins_are_refused():
    near, far = SameOrigin(None, ("127.0.0.1", "localhost")), SameOrigin(None)
    own = {b"host": b"localhost:8501", b"origin": b"http://localhost:8501"}
    assert near.allows(own)
    assert near.allows({b"host": b"127.0.0.1:8501"})
    assert not near.allows(own | {b"origin": b"https://elsewhere.example"})
    assert not near.allows(own | {b"origin": b"http://localhost:9000"})
    assert not near.allows({b"host": b"elsewhere.example", b"origin": b"http://elsewhere.example"})  # DNS rebinding
    assert far.allows({b"host": b"192.0.2.7:8501", b"origin": b"http://192.0.2.7:8501"})
    assert not far.allows({b"host": b"192.0.2.7:8501", b"origin": b"null"})


def test_another_address_is_warned_of(monkeypatch):
    from streamlit.starlette import App

    shown, said = {}, []
    monkeypatch.setattr(App, "run", lambda self, config: shown.update(config))
    serve(AppConfig(vae="bundled", host="0.0.0.0", port=free_port()), latentflow.Session(said.append))
    assert any("whoever reaches this machine can use it" in line for line in said)
    assert shown["server.address"] == "0.0.0.0"
    said.clear()
    serve(AppConfig(vae="bundled", port=free_port()), latentflow.Session(said.append))
    assert not any("whoever" in line for line in said)


def test_a_wrong_folder_is_refused_before_anything_is_loaded(tmp_path, invoke):
    code, _, err = invoke("app", "--folder", str(tmp_path / "nothing"))
    assert code == 2
    assert "--folder" in err
    assert err.count("\n") == 1


def test_a_port_that_is_taken_is_one_line(invoke):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = invoke("app", "--vae", "bundled", "--port", str(port))
    assert (code, err.count("\n")) == (2, 1)
    assert f"--port {port} of 127.0.0.1 can't be opened: address already in use" in err


# The page, without a browser


@pytest.mark.slow
def test_the_flow_panel(studio):
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_file(str(ROOT / "latentflow" / "app" / "script.py"), default_timeout=60)
    page.run()
    assert not page.exception
    start = page.button(key="flow_start")
    assert start.disabled
    page.button_group(key="flow_examples").set_value(["face"])
    page.selectbox(key="flow_size").set_value(64)
    page.number_input(key="flow_steps").set_value(4)
    page.run()
    page.button(key="flow_start").click().run()
    assert not page.exception
    (flow,) = page.session_state["flows"]
    ended(flow.job)
    page.run()
    assert flow.state == "finished"
    assert any("--image_path face.png" in each.value and "--size 64" in each.value for each in page.code)
    studio.jobs.waiting = -9  # no more are taken
    page.button(key="flow_start").click().run()
    assert len(page.error) == 1
    assert "as many as this app takes" in page.error[0].value
    assert "\n" not in page.error[0].value


def test_the_prompts_panel(studio):
    pytest.importorskip("transformers", reason="needs transformers")
    from streamlit.testing.v1 import AppTest

    from latentflow.app.prompted import Prompted
    from latentflow.prompts.config import PromptsConfig

    def script():
        from latentflow.app.panels import prompts

        prompts.show()

    page = AppTest.from_function(script, default_timeout=60)
    page.run()
    assert not page.exception
    assert "else by the toy" in " ".join(each.value for each in page.markdown)
    page.text_area(key="prompts_words").set_value("a red house@1")
    page.run()
    assert page.button(key="prompts_start").disabled  # a walk needs two
    page.text_area(key="prompts_words").set_value("a red house@1\n\n@2\n")
    page.number_input(key="prompts_count").set_value(3)
    page.number_input(key="prompts_steps").set_value(2)
    page.toggle(key="prompts_even").set_value(True)
    page.run()
    page.button(key="prompts_start").click().run()
    assert not page.exception
    prompted = page.session_state["prompted"]
    ended(prompted.job, 120)
    assert prompted.job.state == "done", prompted.job.error
    page.run()
    addresses, places = prompted.pictures()
    assert len(addresses) == 3 and places == [f"a red house@1 to a red house@2 {share:4.0%}" for share in (0, 0.5, 1)]
    assert set(prompted.files) >= {"prompts.mp4"}
    status, headers, content = answer(studio, addresses[1])
    assert status == 200 and headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(content)).size == (128, 128)
    (line,) = (each.value for each in page.code)
    assert line == "latentflow prompts 'a red house@1' @2 --steps 2 --frames 3 --even --fps 8"
    assert any("this is the toy" in each.value for each in page.caption)
    assert gc.get_freeze_count()  # without it, drawing the page stalls what is generated

    config = PromptsConfig(show_steps=True, steps=2, output_path="s.gif")
    steps = Prompted(prompted.visit, ["a blue ball@3"], config)
    ended(steps.job, 120)
    assert steps.job.state == "done" and set(steps.files) >= {"s.gif", "s.steps.png"}
    folder = steps.folder
    steps.close()
    assert not folder.exists() and answer(studio, addresses[1])[0] == 200


# The page, in a browser

SERVER = """
import json, sys, threading, time
from pathlib import Path
import latentflow
from latentflow.app.config import AppConfig
from latentflow.app import run, visits
port, path = int(sys.argv[1]), Path(sys.argv[2])
def watch():
    while True:
        studio = visits._studio
        if studio is not None:
            state = [len(studio.jobs._going), len(studio.jobs._jobs), len(studio.media)]
            path.with_suffix(".new").write_text(json.dumps(state))
            path.with_suffix(".new").replace(path)
        time.sleep(0.1)
threading.Thread(target=watch, daemon=True).start()
latentflow.app.run.serve(AppConfig(vae="bundled", port=port, browser=False), latentflow.Session(print))
"""
ASKED = "return performance.getEntriesByType('resource').map((each) => each.name)"
DEEP = """
const all = (root) => [...root.querySelectorAll(arguments[0]),
  ...[...root.querySelectorAll("*")].filter((each) => each.shadowRoot).flatMap((each) => all(each.shadowRoot))];
return all(document).map((each) => arguments[1] ? each[arguments[1]] : each);"""


@pytest.fixture
def server(tmp_path):
    """The address of a running app, and a function that says how many jobs are going on and wait."""
    port = free_port()
    state = tmp_path / "state.json"
    line = [sys.executable, "-c", SERVER, str(port), str(state)]
    path = f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"  # the second blocks the network
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(line, env=os.environ | {"PYTHONPATH": path}, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", lambda: json.loads(state.read_text())
    finally:
        process.terminate()
        process.wait(20)


def soon(found, seconds=45):
    end, problem = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            if result := found():
                return result
        except Exception as error:
            problem = error
        time.sleep(0.1)
    raise AssertionError(f"it did not come: {problem}")


def button(browser, words):
    found = [each for each in browser.find_elements("tag name", "button") if each.text.strip() == words]
    return found[0] if found else None


def figures(browser):
    return "".join(browser.execute_script(DEEP, ".lf-figures", "textContent"))


def step(browser):
    return int(re.search(r"step (\d+)", figures(browser))[1])


def check_midi(browser, address):
    """A fader moves a channel and a key a direction, while it is held."""
    browser.get(f"{address}/channels")
    soon(lambda: button(browser, "face")).click()
    soon(lambda: len(browser.execute_script(DEEP, ".lf-moved input")) == 4)
    source = soon(lambda: browser.execute_script(DEEP, ".lf-moved img", "src")[0])
    browser.execute_script(MIDI_DEVICE)
    midi = [each for each in browser.execute_script(DEEP, ".lf-sliders button") if each.text == "MIDI"]
    midi[0].click()
    soon(lambda: "Toy keys" in "".join(browser.execute_script(DEEP, ".lf-sliders p", "textContent")))
    browser.execute_script("window.play(0xb0, 21, 127)")
    soon(lambda: browser.execute_script(DEEP, ".lf-moved input", "value")[0] == "3")
    source = soon(lambda: (now := browser.execute_script(DEEP, ".lf-moved img", "src")[0]) != source and now)
    browser.execute_script("window.play(0x90, 60, 127)")
    soon(lambda: browser.execute_script(DEEP, ".lf-moved img", "src")[0] != source)

    def asked():
        return [each for each in browser.execute_script(ASKED) if "/decode/" in each][-1]

    soon(lambda: asked().count(",") == 4 + 128 - 1 and "1.000" in asked())
    browser.execute_script("window.play(0x80, 60, 0)")
    soon(lambda: asked().count(",") == 3)


@pytest.mark.slow
@pytest.mark.browser
def test_the_app_in_a_browser(browser, server, tmp_path):
    from selenium.webdriver.common.keys import Keys

    address, state = server
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(address, headers={"Origin": "https://elsewhere.example"}))
    browser.get(address)
    soon(lambda: browser.find_elements("css selector", "input[type=file]"))
    (tmp_path / "spheres <b>.png").write_bytes((ROOT / "examples" / "spheres.png").read_bytes())
    (tmp_path / "bad.png").write_bytes(b"<script>alert(1)</script>")
    upload = browser.find_element("css selector", "input[type=file]")
    upload.send_keys(str(tmp_path / "bad.png"))
    alert = soon(lambda: browser.find_element("css selector", "[data-testid=stAlert]").text)
    assert "bad.png" in alert
    assert "\n" not in alert.strip()
    soon(lambda: browser.find_elements("css selector", "input[type=file]"))[0].send_keys(
        str(tmp_path / "spheres <b>.png")
    )
    soon(lambda: button(browser, "Start").is_enabled())
    steps = browser.find_element("css selector", "input[aria-label=Steps]")
    steps.send_keys(Keys.CONTROL + "a")
    steps.send_keys("2000" + Keys.ENTER)
    time.sleep(2)
    button(browser, "Start").click()
    soon(lambda: "dB" in figures(browser))
    seen = set()
    for _ in range(30):  # frames come while it runs
        seen.add(browser.execute_script(DEEP, ".lf-live img", "src")[0])
        time.sleep(0.1)
    assert len(seen) > 4
    button(browser, "Stop").click()
    soon(lambda: button(browser, "Go on"))
    soon(lambda: "stopped" in figures(browser))
    before = figures(browser)
    time.sleep(2)
    assert figures(browser) == before
    at = step(browser)
    assert state()[0] == 0
    button(browser, "Go on").click()
    soon(lambda: step(browser) > at)

    first = browser.current_window_handle
    browser.switch_to.new_window("window")  # a second visitor, at the same time
    browser.get(f"{address}/walk")
    soon(lambda: button(browser, "face")).click()
    soon(lambda: button(browser, "hills")).click()
    soon(lambda: button(browser, "Walk").is_enabled())
    time.sleep(1)
    assert state()[0] == 1  # the first one's run
    button(browser, "Walk").click()
    soon(lambda: len(browser.execute_script(DEEP, ".lf-scrubber input")) == 1)
    soon(lambda: any(link.text == "walk.mp4" for link in browser.find_elements("tag name", "a")))
    time.sleep(1)
    slider = browser.execute_script(DEEP, ".lf-scrubber input")[0]
    left, top, width, height = browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center'}); const {left, top, width, height} = "
        "arguments[0].getBoundingClientRect(); return [left, top, width, height]",
        slider,
    )
    mouse = {"y": top + height / 2, "button": "left", "buttons": 1, "clickCount": 1}
    seen = []
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mousePressed", "x": left + 3, **mouse})
    for place in range(1, 21):  # the pointer stays down
        browser.execute_cdp_cmd(
            "Input.dispatchMouseEvent", {"type": "mouseMoved", "x": left + place * width / 21, **mouse}
        )
        time.sleep(0.05)
        seen += browser.execute_script(DEEP, ".lf-scrubber img", "src")
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseReleased", "x": left + width, **mouse})
    assert len(set(seen)) > 15
    asked = browser.execute_script(ASKED)
    assert asked
    assert all(each.startswith((address, "blob:", "data:")) for each in asked), asked
    assert state()[0] == 1
    second = browser.current_window_handle
    browser.switch_to.window(first)
    asked = browser.execute_script(ASKED)
    assert all(each.startswith((address, "blob:", "data:")) for each in asked), asked
    assert step(browser) > at
    browser.switch_to.window(second)
    check_midi(browser, address)
    browser.switch_to.window(first)
    browser.close()  # its run ends
    soon(lambda: state()[0] == 0, seconds=GRACE + 10)
    browser.switch_to.window(second)
