"""The app: its parts, its page without a browser, and in one."""

import asyncio
import gc
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toys import MIDI_DEVICE
from toys import step as step_of

import latentflow
from latentflow.app.config import AppConfig
from latentflow.app.jobs import GRACE, Job, Jobs
from latentflow.app.origins import HEADERS
from latentflow.base.errors import InputError
from latentflow.explore.config import WalkConfig
from latentflow.explore.views import VIEWS
from latentflow.inversion.config import RunConfig
from latentflow.prompts.config import PromptsConfig
from latentflow.runs.config import CompareConfig
from latentflow.runs.run import begin

pytest.importorskip("streamlit", reason="needs streamlit")
from latentflow.app import flows as app_flows
from latentflow.app.fields import offered
from latentflow.app.flows import Flow
from latentflow.app.media import _pictures
from latentflow.app.prompted import Prompted
from latentflow.app.run import SameOrigin, guard, options, say_bug, serve
from latentflow.app.samples import begin_samples
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
    with pytest.raises(InputError, match="1 runs are computed and 1 visitors wait, as many as this app takes"):
        jobs.submit(made[2])
    assert (jobs.place(made[1]), made[1].error) == (0, "")
    gate.set()
    ended(made[1])
    assert order == ["a", "b"]
    assert made[1].state == "done"


def holding(jobs, *owners):
    """Jobs that run until their gate is opened, one of each owner, and the gate."""
    gate = threading.Event()
    made = [jobs.submit(Job(owner, lambda job: gate.wait(20) and None, lambda: None)) for owner in owners]
    soon(lambda: sum(job.state == "running" for job in made) == min(jobs.at_once, len(set(owners))), 10)
    return made, gate


def test_a_job_that_was_told_to_stop_says_so_however_it_ends():
    def work(job):
        job.stop("enough")

    job = Job("a", work, lambda: None)
    job.do()
    assert (job.state, job.error) == ("stopped", "")


def test_ten_presses_of_one_visitor_take_one_place():
    jobs = Jobs(2, 1)
    (running,), gate = holding(jobs, "eager")
    pressed = [jobs.submit(Job("eager", lambda job: None, lambda: None)) for _ in range(9)]
    assert [job.state for job in pressed] == ["stopped"] * 8 + ["waiting"]
    assert pressed[0].error == "Stopped (a later press took its place)."
    assert "your other run" in jobs.state(pressed[-1])
    other = ended(jobs.submit(Job("somebody else", lambda job: None, lambda: None)))  # in the other thread, at once
    assert (other.state, pressed[-1].state, running.state) == ("done", "waiting", "running")
    file = ended(jobs.submit(Job("eager", lambda job: None, lambda: None, kind="file")))
    assert (file.state, pressed[-1].state) == ("done", "waiting")  # a file is no run
    gate.set()
    assert ended(pressed[-1]).state == "done"


def test_visitors_take_turns_and_see_their_place():
    jobs, order = Jobs(1, 8), []
    _, gate = holding(jobs, "first")
    press = object()

    def job(owner, **place):
        return jobs.submit(Job(owner, lambda job: order.append(owner), lambda: None, **place))

    mine = [job("many images", press=press) for _ in range(3)]
    last = job("one image")
    assert [jobs.place(each) for each in (*mine, last)] == [0, 1, 2, 3]
    assert jobs.state(mine[0]) == "Waiting for its turn: 1 run is computed, it is the next."
    assert jobs.state(last) == "Waiting for its turn: 1 run is computed, 3 are before it."
    mine[1].stop()
    assert (mine[1].state, jobs.place(last)) == ("stopped", 2)  # it leaves the queue at once
    gate.set()
    for each in (mine[2], last):
        ended(each)
    assert order == ["many images", "one image", "many images"]


def test_the_jobs_of_a_closed_page_end_after_a_while():
    assert GRACE >= 180  # a connection may be lost for minutes
    jobs, begun = Jobs(1, 4), threading.Event()

    def work(job):
        begun.set()
        while True:
            job.session.check()
            time.sleep(0.01)

    mine = jobs.submit(Job("gone", work, lambda: None))
    begun.wait(5)
    waiting = jobs.submit(Job("gone", work, lambda: None))
    assert jobs.reap(lambda owner: False, now=100) == []
    assert jobs.reap(lambda owner: True, now=100 + GRACE) == []  # it came back
    assert jobs.reap(lambda owner: False, now=200) == []
    assert jobs.reap(lambda owner: False, now=199 + GRACE) == []
    assert set(jobs.reap(lambda owner: False, now=200 + GRACE)) == {mine, waiting}
    for job in (mine, waiting):
        assert ended(job).state == "stopped"
        assert job.error == "Stopped (its page was closed)."


def test_jobs_end_with_the_app():
    jobs = Jobs(1, 4)

    def work(job):
        while True:
            job.session.check()
            time.sleep(0.01)

    running, waiting = (jobs.submit(Job(owner, work, lambda: None)) for owner in "ab")
    soon(lambda: running.state == "running", 5)
    jobs.close()
    assert (running.state, waiting.state) == ("stopped", "stopped")


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
    names = ["cat.png", "cat-2.png", "cat.png", "CAT.png", "cat.png", "cat!.png", "ä.png", "ö.png", "image.png"]
    taken = [visit.take(name, png(level), str(level), folder) for level, name in enumerate(names)]
    assert len({each.path.stem.lower() for each in taken}) == len(names)
    assert [each.path.read_bytes() for each in taken] == [png(level) for level in range(len(names))]
    assert [each.name for each in taken] == names


@pytest.mark.parametrize("size", [(3000, 20), (20, 3000), (1, 1), (1, 4000)])
def test_a_thumbnail_of_any_shape_has_pixels(studio, visit, size):
    memory = io.BytesIO()
    Image.new("L", size, 99).save(memory, "PNG")
    upload = visit.take("strip.png", memory.getvalue(), "strip")
    status, _, content = answer(studio, upload.thumbnail)
    with Image.open(io.BytesIO(content)) as picture:
        assert (status, max(picture.size), min(picture.size) >= 1) == (200, 160, True)


def test_uploads_are_read_as_the_app_was_told(autoencoder):
    studio = Studio(AppConfig(background="red"), autoencoder)
    memory = io.BytesIO()
    Image.new("RGBA", (20, 20)).save(memory, "PNG")
    upload = studio.visit("somebody").take("a.png", memory.getvalue(), "1")
    assert Image.open(io.BytesIO(answer(studio, upload.thumbnail)[2])).getpixel((80, 80))[0] > 250
    studio.close()


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
    assert studio.find("gone") is None


def test_a_visit_is_there_while_one_of_its_windows_is(studio):
    visit, now = studio.visit("two windows"), time.monotonic()
    visit.windows |= {"one", "two"}
    studio.tidy(lambda window: window == "two", now + KEPT + 1)
    studio.tidy(lambda window: False, now + KEPT + 2)
    assert visit.folder.exists()  # it was there a second ago
    studio.tidy(lambda window: False, now + 2 * KEPT + 3)
    assert studio.find("two windows") is None
    assert not visit.folder.exists()
    assert len({studio.new_visit().owner for _ in range(3)}) == 3
    assert len(studio.new_visit().owner) >= 22


def test_samples_are_for_everybody_and_end_when_somebody_begins(studio):
    begin_samples(studio)
    flow, walk = studio.samples["flow"], studio.samples["walk"]
    soon(lambda: flow.history)
    assert studio.find("samples") is None  # nobody's address
    ended(studio.visit("somebody").job(lambda job: None))
    assert ended(flow.job).state in ("stopped", "done")
    assert ended(walk.job).state in ("stopped", "done")
    studio.tidy(lambda window: False, time.monotonic() + 2 * KEPT)
    assert flow.folder.exists()
    walk.job.error, walk.frames = "Stopped.", []
    assert not panel("walk").warning  # one that ended early is no news to a visitor
    assert any("An example" in each.value for each in panel("flow").caption)


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


@pytest.mark.slow
def test_a_flow_stops_and_goes_on_from_exactly_there(visit):
    flow = started(visit)
    while len(flow.history) < 3:
        time.sleep(0.005)
    flow.stop()
    ended(flow.job)
    assert flow.state == "stopped"
    assert 0 < flow.history[-1]["index"] < 40
    assert json.loads(flow.file("manifest").read_text())["outcome"] == "stopped"
    stopped = flow.picture()
    assert stopped and flow.picture() == stopped
    flow.go_on()
    ended(flow.job)
    assert flow.picture() not in ("", stopped)
    assert flow.state == "finished"
    assert [each["index"] for each in flow.history] == list(range(41))
    path = visit.folder / "straight.png"
    path.write_bytes(png())
    straight = latentflow.invert(path, "l1", size=48, steps=40, seed=3, dtype="float32").result()
    assert torch.equal(flow.run.last.latent, straight.latent)
    with Image.open(flow.file("gif")) as gif:
        assert gif.n_frames == 41
    assert flow.line() == "latentflow --image_path cat.png --loss_type l1 --output_path flow.gif --size 48 --steps 40 --seed 3 --vae bundled --dtype float32"  # fmt: skip  # noqa: E501


def test_figures_of_a_perfect_picture_are_json():
    perfect = replace(step_of(0), psnr=torch.tensor([torch.inf]))
    assert json.loads(json.dumps(app_flows.figures(perfect), allow_nan=False))["psnr"] == 200


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
    flow = started(visit, steps=6, lr=0.03)
    ended(flow.job)
    branch = flow.branch("mse")
    ended(branch.job)
    assert branch.history[0]["psnr"] == pytest.approx(flow.history[-1]["psnr"], abs=1e-3)
    assert branch.plan.config.loss_type == "mse"
    assert flow.history[-1]["index"] == 6
    assert branch.title == "cat, mse, gradient, seed 3, from step 6 of l1"
    assert "--init flow.safetensors" in branch.line() and "--lr 0.03" in branch.line()
    assert "--betas" not in branch.line()
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
    assert manifest["outcome"] == "done"
    assert manifest["result"]["steps"] == 5
    assert manifest["result"]["metrics"]["psnr"] == pytest.approx(flow.history[-1]["psnr"], abs=0.01)


def test_a_stream_sends_the_newest_picture_with_its_figures(visit):
    flow = started(visit, steps=12)
    stream = _pictures(
        flow.job, lambda step: latentflow.base.pixels.to_uint8(step.image), lambda step: {"index": step.index}
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
    assert walk.line() == "latentflow walk 0.png 250.png --frames 7 --size 48 --vae bundled --dtype float32"
    before = len(visit.studio.media)
    walk.close()
    assert len(visit.studio.media) < before - 7


def answer(studio, path):
    """Status, headers and content that the routes give for an address."""
    from starlette.applications import Starlette

    sent = []

    async def ask():
        address, _, query = path.partition("?")
        address = "/" + address  # as a page at the root asks for it
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
    assert answer(studio, "latentflow/file/unknown/etc")[0] == 404


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


NEAR = ("127.0.0.1", "localhost", "::1")
OWN = "https://app.example.org"


@pytest.mark.parametrize(
    ("hosts", "origins", "host", "origin", "status"),
    [
        (NEAR, (), "localhost:8501", "http://localhost:8501", 200),
        (NEAR, (), "127.0.0.1:8501", "", 200),
        (NEAR, (), "[::1]:8501", "http://[::1]:8501", 200),
        (NEAR, (), "localhost:8501", "https://elsewhere.example", 403),
        (NEAR, (), "localhost:8501", "http://localhost:9000", 403),
        (NEAR, (), "elsewhere.example", "http://elsewhere.example", 403),  # DNS rebinding
        (NEAR, (), "elsewhere.example", "", 403),
        (None, (), "192.0.2.7:8501", "http://192.0.2.7:8501", 200),
        (None, (), "192.0.2.7:8501", "null", 403),
        (None, (), "app.example.org:443", OWN, 200),  # a port that needn't be written
        (None, (), "app.example.org", OWN, 200),
        (None, (), "app.example.org:80", OWN, 403),
        (None, (), "app.example.org", "ftp://app.example.org", 403),
        # behind a proxy: nginx with its Host, a tunnel that keeps the upstream's, another port outside
        (NEAR, (), "app.example.org", OWN, 403),
        (NEAR, (OWN,), "app.example.org", OWN, 200),
        (NEAR, (OWN,), "localhost:8501", OWN, 200),
        (None, (OWN,), "127.0.0.1:8501", OWN, 200),
        (None, (f"{OWN}:8443",), "app.example.org", f"{OWN}:8443", 200),
        (NEAR, (OWN,), "localhost:8501", "https://elsewhere.example", 403),
        (NEAR, (OWN,), "localhost:8501", "http://app.example.org", 403),
        (NEAR, (OWN,), "elsewhere.example", OWN, 403),
        # what no browser sends
        (NEAR, (), "[::1", "", 400),
        (NEAR, (), "[zz]", "", 400),
        (NEAR, (), "localhost:99999", "", 400),
        (NEAR, (), "localhost:port", "", 400),
        (NEAR, (), "user@localhost", "", 400),
        (NEAR, (), "", "", 400),
        (NEAR, (), "localhost", "http://[::1", 400),
        (NEAR, (), "localhost", "localhost", 400),
        (None, (), "localhost", "http://", 400),
    ],
)
def test_a_request_is_of_the_apps_own_page_or_refused(hosts, origins, host, origin, status):
    headers = {b"host": host.encode(), b"origin": origin.encode()}
    assert SameOrigin(None, hosts, origins).status({key: value for key, value in headers.items() if value}) == status


def asked(config, headers, kind="http", path="/", app=None):
    """What the guard of the app with that config sends, and the scope that it passes on."""
    sent, passed = [], []

    async def inner(scope, receive, send):
        passed.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})

    async def send(message):
        sent.append(message)

    middleware = guard(config)
    made = middleware.cls(inner, *middleware.args, **middleware.kwargs)
    scope = {"type": kind, "path": path, "raw_path": path.encode(), "headers": headers}
    asyncio.run(made(scope, None, send))
    return sent, passed


def test_the_guard_of_the_app_closes_websockets_and_knows_its_hosts():
    foreign = [(b"host", b"localhost:8501"), (b"origin", b"https://elsewhere.example")]
    assert asked(AppConfig(), foreign, "websocket") == ([{"type": "websocket.close", "code": 1008}], [])
    sent, passed = asked(AppConfig(), foreign)
    assert (sent[0]["status"], passed) == (403, [])
    assert dict(sent[0]["headers"])[b"x-frame-options"] == b"SAMEORIGIN"
    rebound = [(b"host", b"elsewhere.example")]
    assert asked(AppConfig(), rebound)[0][0]["status"] == 403
    assert asked(AppConfig(), rebound, "websocket")[0][0]["code"] == 1008
    assert asked(AppConfig(host="0.0.0.0"), rebound)[0][0]["status"] == 200
    assert asked(AppConfig(), [(b"host", b"[::1")])[0][0]["status"] == 400
    assert asked(AppConfig(), [(b"host", b"localhost"), (b"host", b"elsewhere.example")])[0][0]["status"] == 400
    behind = [(b"host", b"127.0.0.1:8501"), (b"origin", OWN.encode())]
    (answered,), (scope,) = asked(AppConfig(origin=(OWN,)), behind, "websocket")
    assert dict(scope["headers"])[b"host"] == b"app.example.org"  # or Streamlit asks another host for its address
    (answered,), (scope,) = asked(AppConfig(), [(b"host", b"localhost")], path="/walk")
    assert scope["path"] == "/walk"
    assert set(answered["headers"]) == {(b"x-own", b"1"), *HEADERS.items()}
    assert b"frame-ancestors 'self'" in HEADERS[b"content-security-policy"]


@pytest.mark.parametrize(
    ("path", "inside"),
    [("/", "/tools/flow/"), ("/walk", "/tools/flow/walk"), ("/tools/flow/walk", "/tools/flow/walk"),
     ("/tools/flow", "/tools/flow"), ("/tools/flower", "/tools/flow/tools/flower")],
)  # fmt: skip
def test_a_path_before_the_app_may_be_cut_off_or_not(path, inside):
    _, (scope,) = asked(AppConfig(base_path="tools/flow/"), [(b"host", b"localhost")], path=path)
    assert (scope["path"], scope["raw_path"]) == (inside, inside.encode())


@pytest.mark.parametrize("options", [{"origin": ("app.example.org",)}, {"base_path": "../up"}, {"base_path": "/a//b"}])
def test_a_wrong_origin_or_path_is_refused(options):
    (name,) = options
    with pytest.raises(InputError, match=f"`{name}`"):
        AppConfig(**options)


def test_another_address_is_warned_of(monkeypatch):
    from streamlit.starlette import App

    shown, said = {}, []
    monkeypatch.setattr(App, "run", lambda self, config: shown.update(config))
    monkeypatch.setattr("latentflow.app.run.begin_samples", lambda studio: None)
    serve(AppConfig(vae="bundled", host="0.0.0.0", port=free_port()), latentflow.Session(said.append))
    assert any("whoever reaches this machine can use it" in line for line in said)
    assert shown["server.address"] == "0.0.0.0"
    assert shown["server.baseUrlPath"] == ""
    said.clear()
    near = AppConfig(vae="bundled", port=free_port(), origin=(OWN,), base_path="/tools/flow")
    serve(near, latentflow.Session(said.append))
    assert shown["server.baseUrlPath"] == "tools/flow"
    assert any(f"open {OWN}/tools/flow/" in line for line in said)
    assert not any("whoever" in line for line in said)


def test_the_app_is_served_behind_its_guard(monkeypatch):
    from starlette.applications import Starlette
    from starlette.testclient import TestClient
    from starlette.websockets import WebSocketDisconnect
    from streamlit.starlette import App

    apps = []
    monkeypatch.setattr(App, "run", lambda self, config: apps.append(self))
    monkeypatch.setattr("latentflow.app.run.begin_samples", lambda studio: None)
    said = []
    serve(AppConfig(vae="bundled", port=free_port()), latentflow.Session(said.append))
    served = Starlette(routes=apps[0]._user_routes, middleware=apps[0]._user_middleware)
    client = TestClient(served, base_url="http://localhost:8501")
    address = "/latentflow/example/face.jpg"
    answered = client.get(address)
    assert (answered.status_code, answered.headers["x-frame-options"]) == (200, "SAMEORIGIN")
    with Image.open(io.BytesIO(answered.content)) as picture:
        assert picture.size == (160, 160)
    assert client.get(address, headers={"Host": "elsewhere.example"}).status_code == 403
    assert client.get(address, headers={"Origin": "https://elsewhere.example"}).status_code == 403
    assert client.get(address, headers={"Host": "[::1"}).status_code == 400
    stream = client.websocket_connect("/_stcore/stream", headers={"Origin": "https://elsewhere.example"})
    with pytest.raises(WebSocketDisconnect) as closed, stream:
        pass
    assert closed.value.code == 1008
    assert apps[0]._on_script_error is say_bug
    told = [line for line in said if "refused" in line]
    assert len(told) == 1
    assert told[0].endswith("start it with --origin https://elsewhere.example")


def test_the_app_is_served_below_a_path(monkeypatch):
    from starlette.applications import Starlette
    from starlette.testclient import TestClient
    from streamlit.starlette import App

    apps = []
    monkeypatch.setattr(App, "run", lambda self, config: apps.append(self))
    monkeypatch.setattr("latentflow.app.run.begin_samples", lambda studio: None)
    serve(AppConfig(vae="bundled", port=free_port(), base_path="/tools/flow"), latentflow.Session())
    served = Starlette(routes=apps[0]._user_routes, middleware=apps[0]._user_middleware)
    client = TestClient(served, base_url="http://localhost:8501")
    for before in ("", "/tools/flow"):  # a proxy cuts the path off, or passes it on
        assert client.get(f"{before}/latentflow/example/face.jpg").headers["content-type"] == "image/jpeg"
    for address in ("/", "/tools/flow", "/tools/flow/"):
        page = client.get(address, follow_redirects=False)
        assert page.status_code == 200
        assert 'src="/tools/flow/static/' in page.text
        assert '"./' not in page.text


def test_a_terminated_app_leaves_nothing_behind(monkeypatch):
    from streamlit.starlette import App

    made, before = [], signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("latentflow.app.run.begin_samples", lambda studio: made.append(studio.visit("somebody").folder))
    monkeypatch.setattr(App, "run", lambda self, config: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit) as ended_by:
        serve(AppConfig(vae="bundled", port=free_port()), latentflow.Session())
    assert ended_by.value.code == 143
    assert made and not made[0].exists()
    assert signal.getsignal(signal.SIGTERM) is before


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


def panel(name):
    """The panel of that name alone, as a page without a browser."""
    from streamlit.testing.v1 import AppTest

    def script(name):
        from functools import partial

        from latentflow.app.panels import PANELS
        from latentflow.app.panels.view import show_view
        from latentflow.app.ui import guarded

        guarded(PANELS.get(name) or partial(show_view, name))()

    page = AppTest.from_function(script, args=(name,), default_timeout=60).run()
    assert not page.exception and not page.error
    return page


@pytest.fixture
def held(studio):
    """A studio whose jobs never begin: what they would do is looked at."""
    studio.jobs.submit = lambda job: job
    return studio


def things(studio):
    (visit,) = (visit for visit in studio._visits.values() if not visit.lasting)
    return visit.things


@pytest.mark.parametrize(
    ("name", "settings", "wanted", "written"),
    [
        (
            "flow",
            {"flow_loss_type": "l1", "flow_method": "hybrid", "flow_steps": 7, "flow_size": 64, "flow_seed": 12,
             "flow_init": "zeros", "flow_lr": 0.025, "flow_schedule": "cosine", "flow_fit": "cover"},
            {"loss_type": "l1", "method": "hybrid", "steps": 7, "size": 64, "seed": 12,
             "init": "zeros", "lr": 0.025, "schedule": "cosine", "fit": "cover"},
            "latentflow --image_path face.png --loss_type l1 --steps 7 --method hybrid --lr 0.025 --vae bundled "
            "--size 64 --fit cover --init zeros --seed 12 --schedule cosine --dtype float32",
        ),
        (
            "walk",
            {"walk_method": "spline", "walk_even": True, "walk_frames": 3, "walk_size": 128, "walk_fps": 7.0,
             "walk_suffix": ".mp4"},
            {"method": "spline", "even": True, "loop": False, "frames": 3, "size": 128, "fps": 7.0,
             "output_path": "walk.mp4"},
            "latentflow walk face.png hills.png --size 128 --vae bundled --dtype float32 --method spline --frames 3 "
            "--even --fps 7 --output_path walk.mp4",
        ),
        (
            "channels",
            {"channels_size": 64, "channels_channels": "0,2"},
            {"size": 64, "channels": (0, 2)},
            "latentflow channels face.png --channels 0,2 --size 64",
        ),
        (
            "compare",
            {"compare_losses": ["mse", "ssim"], "compare_steps": 9, "compare_size": 96, "compare_seed": 5},
            {"losses": "mse,ssim", "steps": 9, "size": 96, "seed": 5},
            "latentflow compare --image_path face.png --losses mse,ssim --steps 9 --vae bundled --size 96 --seed 5 "
            "--dtype float32",
        ),
        (
            "prompts",
            {"prompts_words": "a boat@1\na house", "prompts_loop": True, "prompts_even": True, "prompts_frames": 9,
             "prompts_steps": 6, "prompts_fps": 13.0, "prompts_suffix": ".gif"},
            {"loop": True, "even": True, "frames": 9, "steps": 6, "fps": 13.0, "output_path": "prompts.gif",
             "show_steps": False},
            "latentflow prompts 'a boat@1' 'a house' --loop --steps 6 --frames 9 --even --fps 13",
        ),
        ("prompts", {"prompts_show_steps": True}, {"show_steps": True}, "--show_steps"),
        ("concept", {"concept_whiten": True}, {"whiten": True}, "--whiten"),
        ("atlas", {"atlas_method": "umap"}, {"method": "umap"}, "--method umap"),
        ("grid", {"grid_resolution": 3}, {"resolution": 3}, "latentflow grid face.png hills.png --resolution 3"),
        ("stats", {"stats_size": 64}, {"size": 64}, "latentflow stats images --size 64"),
    ],
)  # fmt: skip
def test_the_widgets_of_a_panel_set_options(held, monkeypatch, images, name, settings, wanted, written):
    for module in ("concept", "view"):
        monkeypatch.setattr(f"latentflow.app.panels.{module}.choose_folder", lambda *args, **kwargs: (images, "images"))
    page = panel(name)
    if name in ("flow", "walk", "channels", "compare", "grid"):
        examples = {"flow": ["face"], "walk": ["face", "hills"], "grid": ["face", "hills"]}
        page.button_group(key=f"{name}_examples").set_value(examples.get(name, "face"))
    for key, value in settings.items():
        widget = keyed(page, key)
        assert widget.value != value  # another than the default
        widget.set_value(value)
    page.run()
    page.button(key=f"{name}_start").click().run()
    assert not page.exception
    assert not page.error
    made = things(held)
    shown = made["flows"][0] if name == "flow" else made["prompted" if name == "prompts" else name]
    config = shown.plan.config if name == "flow" else shown.config
    assert {option: getattr(config, option) for option in wanted} == wanted
    line = shown.line()
    assert set(re.split(" (?=--)", written)) <= set(re.split(" (?=--)", line))
    if name not in ("concept", "atlas"):  # they show it when they are done
        assert page.code[-1].value == line


def keyed(page, key):
    """The widget of a page with that key, of whatever kind."""
    kinds = (page.selectbox, page.number_input, page.toggle, page.multiselect, page.text_area, page.text_input)
    return next(widget for kind in kinds for widget in kind if widget.key == key)


NO_OPTIONS = ("files", "examples", "start", "clear", "before", "suffix", "words", "which", "atlas")  # not of options


@pytest.mark.parametrize(
    ("name", "config"),
    [("flow", RunConfig), ("compare", CompareConfig), ("prompts", PromptsConfig)]
    + [(view.name, view.config) for view in VIEWS.own.values() if view.in_app],
)
def test_widgets_have_the_limits_and_defaults_of_the_command_line(held, name, config):
    page, own = panel(name), {each.name: each for each in fields(config)}
    kinds = ("selectbox", "number_input", "toggle", "text_input")
    shown = {each.key: each for kind in kinds for each in page.get(kind)}
    found = {key.removeprefix(f"{name}_"): widget for key, widget in shown.items() if key and key.startswith(name)}
    found = {key: widget for key, widget in found.items() if key not in NO_OPTIONS}
    assert "size" in found or name == "prompts"
    for key, widget in found.items():
        facts, default = own[key].metadata, own[key].default
        assert widget.value == (default if widget.type != "text_input" else default or "")
        assert widget.help.startswith(facts["help"]) or "{choices}" in facts["help"]
        if widget.type == "selectbox" and facts["choices"]:
            assert len(widget.options) == len([each for each in facts["choices"] if each]) + (default is None)
        if widget.type == "number_input":
            low = facts["minimum"] if facts["above"] is None else facts["above"]
            assert (widget.min, widget.max) == (low, facts["maximum"])


def test_no_visitor_can_name_a_file_of_this_machine():
    for view in VIEWS.own.values():
        named = {"audio", "midi", "plugin", "mask", "index", "output_path", "positive", "latent_of", "vae", "direction"}
        assert not named & set(offered(view.config))


def test_a_line_names_the_app_s_own_model(held):
    held.config = AppConfig(vae="bundled", model="toy", device="cpu", dtype="bfloat16", background="gray")
    visit = held.visit("somebody")
    prompted = Prompted(visit, ["a boat@1", "@2"], PromptsConfig(steps=2))
    assert prompted.line() == "latentflow prompts 'a boat@1' @2 --model toy --steps 2 --device cpu"
    walk = Show(visit, "walk", ["a.png"], WalkConfig(**held.reading), {})
    assert walk.line() == "latentflow walk a.png --background gray --vae bundled --device cpu --dtype bfloat16"


def test_the_flow_panel(studio):
    page = panel("flow")
    assert page.button(key="flow_start").disabled
    page.button_group(key="flow_examples").set_value(["face", "hills"])
    page.number_input(key="flow_size").set_value(64)
    page.number_input(key="flow_steps").set_value(4)
    page.run()
    page.button(key="flow_start").click().run()
    assert not page.exception
    flows = things(studio)["flows"]
    for flow in flows:
        ended(flow.job)
    page.run()
    assert [flow.state for flow in flows] == ["finished", "finished"]  # both of one press
    assert page.selectbox(key="shown_flow").value == 0
    assert any("--image_path face.png" in each.value and "--size 64" in each.value for each in page.code)
    studio.jobs.waiting = -9  # no more are taken
    page.button(key="flow_start").click().run()
    assert len(page.error) == 2
    assert "as many as this app takes" in page.error[0].value
    assert "\n" not in page.error[0].value


def test_of_too_many_flows_the_oldest_go(studio, monkeypatch):
    monkeypatch.setattr("latentflow.app.panels.flow.MOST_FLOWS", 2)
    page = panel("flow")
    page.button_group(key="flow_examples").set_value(["face"])
    page.number_input(key="flow_size").set_value(64)
    page.number_input(key="flow_steps").set_value(1)
    for seed in range(3):
        page.number_input(key="flow_seed").set_value(seed)
        page.run()
        page.button(key="flow_start").click().run()
        ended(things(studio)["flows"][-1].job)
    assert not page.exception
    assert [flow.plan.seed for flow in things(studio)["flows"]] == [1, 2]


def test_presses_replace_the_run_that_waits(studio):
    _, gate = holding(studio.jobs, "a", "b")
    page = panel("flow")
    page.button_group(key="flow_examples").set_value(["face"])
    page.run()
    for _ in range(10):
        page.button(key="flow_start").click().run()
    assert [flow.state for flow in things(studio)["flows"]] == ["waiting"]
    assert any("2 runs are computed, it is the next" in each.value for each in page.info)
    assert len(studio.jobs._jobs) == 1
    things(studio)["flows"][0].stop()
    gate.set()


def test_no_picture_takes_a_panel_down(held, monkeypatch):
    """A strip in every panel: thumbnails are there, and so is what comes below them."""
    strip = io.BytesIO()
    Image.new("RGB", (3000, 20), "teal").save(strip, "PNG")

    def taken(visit, found, *folder):
        return [visit.take("strip.png", strip.getvalue(), "strip", *folder)]

    for name in ("flow", "walk", "channels", "compare", "concept"):
        page = panel(name)
        monkeypatch.setattr("latentflow.app.ui.take_all", taken)
        page.run()
        assert not page.exception
        assert all("\n" not in each.value and "bug" not in each.value for each in page.error)
        assert any("strip.png" in each.body for each in page.get("html"))
        assert page.button(key=f"{name}_start")


def test_an_error_of_a_panel_is_one_line(held, monkeypatch, caplog):
    monkeypatch.setattr("latentflow.app.panels.view.choose_images", lambda *args, **kwargs: 1 / 0)
    from streamlit.testing.v1 import AppTest

    def script():
        from latentflow.app.panels import walk
        from latentflow.app.ui import guarded

        guarded(walk.show)()

    page = AppTest.from_function(script).run()
    assert not page.exception
    assert [each.value for each in page.error] == ["ZeroDivisionError, which is a bug in this program."]
    assert "division by zero" in caplog.text


def page_of(address=""):
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_file(str(ROOT / "latentflow" / "app" / "script.py"), default_timeout=60)
    page.query_params["run"] = address
    return page.run()


def test_a_page_that_is_loaded_anew_finds_everything(held):
    page = page_of()
    assert not page.exception and not page.info
    page.button_group(key="flow_examples").set_value(["face"])
    page.number_input(key="flow_steps").set_value(37)
    page.run()
    page.button(key="flow_start").click().run()
    owner = page.session_state["visit"]
    visit = held.find(owner)
    visit.uploads["flow"] = [visit.take("mine.png", png(), "mine")]
    again = page_of(owner)
    assert not again.exception
    assert again.session_state["visit"] == owner
    assert again.number_input(key="flow_steps").value == 37
    assert again.button_group(key="flow_examples").value == ["face"]
    assert any("mine.png" in each.body and "face.png" in each.body for each in again.get("html"))
    assert [button.label for button in again.button if button.key == f"stop {visit.things['flows'][0].key}"] == ["Stop"]
    assert any("--steps 37" in each.value for each in again.code)
    again.button(key="flow_clear").click().run()
    assert visit.uploads["flow"] == []
    lost = page_of("x" * 24)
    assert any("Nothing is kept at this address" in each.value for each in lost.info)
    assert lost.session_state["visit"] not in (owner, "x" * 24)
    assert lost.number_input(key="flow_steps").value == 100


def test_prompts_say_what_is_missing(held, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    page = panel("prompts")
    assert [each.value for each in page.warning] == [
        "Prompts need the package transformers: pip install 'latentflow[prompts]'"
    ]
    assert page.button(key="prompts_start").disabled


def contrast(one, other):
    """The ratio of two colors by WCAG 2."""

    def luminance(color):
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colors_can_be_read(mode):
    given = options(AppConfig())
    primary, ground, second, text = (
        given[f"theme.{mode}.{name}Color"] for name in ("primary", "background", "secondaryBackground", "text")
    )
    assert contrast("#ffffff", "#767676") == pytest.approx(4.54, abs=0.01)
    assert contrast(text, ground) >= 7
    assert contrast(text, second) >= 7
    assert contrast(primary, "#ffffff") >= 4.5  # the words on buttons and tags
    assert contrast(mixed(primary, text, 0.75), ground) >= 4.5  # the curve of the loss and its legend
    style = (ROOT / "latentflow" / "app" / "page.css").read_text()
    share = float(re.search(r"stCaptionContainer\"\] { color: inherit !important; opacity: ([0-9.]+)", style)[1])
    assert contrast(mixed(text, ground, share), ground) >= 4.5


def mixed(one, other, share):
    """A share of one color and the rest of another."""
    parts = [share * int(one[at : at + 2], 16) + (1 - share) * int(other[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(part):02x}" for part in parts)


def test_the_prompts_panel(studio):
    pytest.importorskip("transformers", reason="needs transformers")
    page = panel("prompts")
    assert "else by the toy" in " ".join(each.value for each in page.markdown)
    page.text_area(key="prompts_words").set_value("a red house@1")
    page.run()
    assert page.button(key="prompts_start").disabled  # a walk needs two
    page.text_area(key="prompts_words").set_value("a red house@1\n\n@2\n")
    page.number_input(key="prompts_frames").set_value(3)
    page.number_input(key="prompts_steps").set_value(2)
    page.toggle(key="prompts_even").set_value(True)
    page.run()
    page.button(key="prompts_start").click().run()
    assert not page.exception
    prompted = things(studio)["prompted"]
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
    assert line == "latentflow prompts 'a red house@1' @2 --steps 2 --frames 3 --even"
    assert any("this is the toy" in each.value for each in page.caption)
    assert gc.get_freeze_count()  # without it, drawing the page stalls what is generated

    around = Prompted(prompted.visit, ["a@1", "b@2"], PromptsConfig(loop=True, output_path="l.gif"))
    around.close()
    assert around.names == ["a@1", "b@2", "a@1"]  # where a loop is on its way back

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


TOP = "return document.querySelector('.st-key-stage').getBoundingClientRect().top + 1"


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

    def moves():  # frames come while it runs
        seen.update(browser.execute_script(DEEP, ".lf-live img", "src"))
        return len(seen) > 4

    soon(moves)
    button(browser, "Stop").click()
    soon(lambda: button(browser, "Go on"))
    soon(lambda: "stopped" in figures(browser))
    before = figures(browser)
    time.sleep(2)
    assert figures(browser) == before
    at = step(browser)
    assert state()[0] == 0
    browser.execute_script(
        "const real = window.fetch; window.fetch = (...given) => { window.fetch = real; return Promise.reject(new "
        "TypeError('lost')); };"
    )
    button(browser, "Go on").click()
    soon(lambda: "no connection" in figures(browser))
    soon(lambda: "no connection" not in figures(browser) and step(browser) > at)  # it asks again
    browser.refresh()  # in the middle of the run
    soon(lambda: step(browser) > at)
    assert browser.find_element("css selector", "input[aria-label=Steps]").get_attribute("value") == "2000"
    assert len(browser.find_elements("css selector", ".thumbnails img")) == 1
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    links = {link.text for link in browser.find_elements("css selector", ".st-key-panels a")}
    assert links == {"Flow", "Compare", "Prompts", *(name.capitalize() for name, view in VIEWS.items() if view.in_app)}
    browser.execute_script("arguments[0].scrollIntoView()", button(browser, "Start"))
    button(browser, "Start").click()  # waits for the first run
    soon(lambda: 0 <= browser.execute_script(TOP) < 844)
    soon(lambda: button(browser, "Stop")).click()
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    first = browser.current_window_handle
    browser.switch_to.new_window("window")  # a second visitor, at the same time
    browser.set_window_size(1200, 900)
    browser.get(f"{address}/walk")
    soon(lambda: button(browser, "face")).click()
    soon(lambda: button(browser, "hills")).click()
    soon(lambda: button(browser, "Draw").is_enabled())
    time.sleep(1)
    assert state()[0] == 1  # the first one's run
    button(browser, "Draw").click()
    soon(lambda: any(link.text == "walk.gif" for link in browser.find_elements("tag name", "a")))

    def steady():  # the page draws the finished walk anew, with another slider
        sliders = browser.execute_script(DEEP, ".lf-scrubber input")
        time.sleep(1)
        return sliders if sliders == browser.execute_script(DEEP, ".lf-scrubber input") else None

    def dragged():  # again, where the slider was drawn anew meanwhile
        (slider,) = soon(steady)
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
        return len(set(seen)) > 15

    soon(dragged)
    asked = browser.execute_script(ASKED)
    assert asked
    assert all(each.startswith((address, "blob:", "data:")) for each in asked), asked
    assert state()[0] == 1
    second = browser.current_window_handle
    browser.switch_to.window(first)
    asked = browser.execute_script(ASKED)
    assert all(each.startswith((address, "blob:", "data:")) for each in asked), asked
    browser.switch_to.window(second)
    check_midi(browser, address)
    browser.switch_to.window(first)
    browser.close()
    browser.switch_to.window(second)
    time.sleep(3)
    assert state()[0] == 1  # the run goes on without its page
