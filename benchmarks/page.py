"""Milliseconds a step of the page in headless Chromium against torch on one thread: `python benchmarks/page.py`.

Both take the same steps of the bundled autoencoder, in turn; the page's include drawing. It opens from disk, so it has
one thread of WebAssembly; with `--threads` it is served as a host does that allows more.
"""

import argparse
import functools
import http.server
import shutil
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from photographs import square
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from latentflow import Objective, load_autoencoder, optimize
from latentflow.page.config import PageConfig
from latentflow.page.run import write_page

SIZES, STEPS, ROUNDS = (64, 128, 256), 20, 3


class Isolated(http.server.SimpleHTTPRequestHandler):
    """A host that allows threads."""

    def end_headers(self) -> None:
        """With the two headers that it takes."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def opened(address: str) -> Any:
    """A browser that shows the page, ready."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    began = time.perf_counter()
    browser.get(address)
    while not browser.execute_script("return document.body.dataset.ready"):
        time.sleep(0.02)
    print(f"ready after {time.perf_counter() - began:.1f} s")
    return browser


def in_page(browser: Any, size: int) -> float:
    """Milliseconds a step, in the page."""
    script = (
        "const done = arguments[2], play = document.getElementById('play');"
        "for (const [name, value] of [['size', arguments[0]], ['steps', arguments[1]]]) {"
        "  const it = document.getElementById(name); it.value = value; it.dispatchEvent(new Event('change')); }"
        "setTimeout(() => { const began = performance.now(); play.click();"
        "  const watch = new MutationObserver(() => { if (play.textContent !== 'Again') return;"
        "    watch.disconnect(); done((performance.now() - began) / (arguments[1] + 1)); });"
        "  watch.observe(play, { childList: true, characterData: true, subtree: true }); }, 1500);"
    )
    browser.set_script_timeout(300)
    return float(browser.execute_async_script(script, size, STEPS))


def in_torch(autoencoder: Any, size: int) -> float:
    """Milliseconds a step, on one thread of torch, in float32."""
    objective = Objective("mse", square("coffee", size))
    start = torch.randn(1, *autoencoder.geometry.latent_shape(size, size), generator=torch.Generator().manual_seed(0))
    began = time.perf_counter()
    for _ in optimize(autoencoder, objective, start, steps=STEPS):
        pass
    return 1000 * (time.perf_counter() - began) / (STEPS + 1)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", action="store_true")
    threads = parser.parse_args().threads
    torch.set_num_threads(1)
    autoencoder = load_autoencoder("bundled")
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        write_page(PageConfig(vae="bundled", as_="folder", output_path=str(site)))
        write_page(PageConfig(vae="bundled", output_path=str(Path(folder) / "flow.html")))
        handler = functools.partial(Isolated, directory=str(site))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            served = f"http://127.0.0.1:{server.server_port}/index.html"
            browser = opened(served if threads else (Path(folder) / "flow.html").as_uri())
            for size in SIZES:
                rounds = [(in_page(browser, size), in_torch(autoencoder, size)) for _ in range(ROUNDS)]
                page, native = (median(each) for each in zip(*rounds, strict=True))
                print(f"| {size}² | {page:.0f} ms | {native:.0f} ms | {page / native:.2f} × |", flush=True)
            print(browser.find_element("id", "engine").text)
            browser.quit()
            server.shutdown()


if __name__ == "__main__":
    main()
