"""What all tests share: no network, empty caches, one thread, small pictures."""

import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TOOL = "tools.toy"  # `python -m tools.toy`, in tables of commands
COMPARES = re.compile(r"approx\(|close\(|equal\(| [<>]=? |\babs\(|\.max\(|\.mean\(")
# one folder for all workers, removed by the process that made it; a worker's own caches are a folder inside
if "LATENTFLOW_TESTS" not in os.environ:
    _home = tempfile.TemporaryDirectory(prefix="latentflow-tests-")
    os.environ["LATENTFLOW_TESTS"] = _home.name
HOME = f"{os.environ['LATENTFLOW_TESTS']}/{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
for variable in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE"):
    os.environ.pop(variable, None)
os.environ |= {
    "HF_HOME": f"{HOME}/hf",
    "TORCH_HOME": f"{HOME}/torch",
    "MPLCONFIGDIR": f"{HOME}/mpl",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT / "tests" / "offline"),
}
sys.path.insert(0, str(ROOT / "tests" / "offline"))
sys.path.insert(0, str(ROOT))  # the checkout is what is tested, installed or not

import sitecustomize  # noqa: E402

if not hasattr(sitecustomize, "NetworkBlockedError"):  # the interpreter has one of its own: load ours by path
    import runpy

    runpy.run_path(str(ROOT / "tests" / "offline" / "sitecustomize.py"))

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from latentflow.inversion.plugins import PREFIX  # noqa: E402
from latentflow.losses._registry import _registered  # noqa: E402
from latentflow.models.autoencoder import Autoencoder, load_autoencoder  # noqa: E402
from latentflow.models.weights import bundled  # noqa: E402

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--network", action="store_true", help="run the tests that need the network")
    parser.addoption("--browser", action="store_true", help="run the tests that need Chromium and chromedriver")


# The longest begin first, so that both workers end at about the same time.
LONGEST = ("test_options", "test_export", "test_signals", "test_training", "test_batch", "test_sound", "test_prompts")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files begin first. With `--dist loadfile` one worker has all tests of a file: what these share, such
    as a trained model or a library's import, is made once."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
    for item in items:
        if "network" in item.keywords and not config.getoption("--network"):
            item.add_marker(pytest.mark.skip(reason="needs the network: pytest --network"))
        if "browser" in item.keywords and not config.getoption("--browser"):
            item.add_marker(pytest.mark.skip(reason="needs a browser: make test-browser"))
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        if _compares_figures(item):
            item.add_marker("numeric")


def _compares_figures(item: pytest.Item) -> bool:
    """Whether a quick test computes with torch or numpy and then compares by size or within a tolerance, which is what
    another processor may answer otherwise."""
    module, function = getattr(item, "module", None), getattr(item, "function", None)
    if function is None or not {"np", "torch"} & vars(module).keys() or {"slow", "browser"} & set(item.keywords):
        return False
    return COMPARES.search(inspect.getsource(inspect.unwrap(function))) is not None


@pytest.fixture(autouse=True)
def unregister() -> Iterator[None]:
    """Plugins that a test registers are gone after it; built-in losses, whose modules stay imported, are not."""
    yield
    for name, cls in list(_registered.items()):
        if not cls.__module__.startswith("latentflow.losses."):
            del _registered[name]
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def autoencoder() -> Autoencoder:
    """The bundled autoencoder on the CPU."""
    return load_autoencoder(bundled())


@pytest.fixture(scope="session")
def photo() -> Path:
    """An example picture of 512 × 384 pixels."""
    return ROOT / "examples" / "spheres.png"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A 48 × 40 picture in a file of its own, small enough to optimize in a blink."""
    y, x = np.mgrid[0:40, 0:48]
    pixels = np.stack([x * 5, y * 6, 128 + 100 * np.sin(x / 5)], axis=-1).astype(np.uint8)
    path = tmp_path / "small.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures in two folders."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "deeper").mkdir()
    y, x = np.mgrid[0:80, 0:96]
    for index in range(10):
        rng = np.random.default_rng(index)
        waves = [128 + 100 * np.sin((x * rng.normal() + y * rng.normal()) / 9 + rng.uniform(0, 6)) for _ in range(3)]
        name = f"deeper/{index}.jpg" if index % 2 else f"{index}.png"
        Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable:
    """Run the command line in this process, in `tmp_path`: invoke(*args) → (exit code, stdout, stderr)."""
    from latentflow.cli import run

    monkeypatch.chdir(tmp_path)
    return partial(_run_here, run, capfd)


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable:
    """Run `python -m tools.toy` in this process, in `tmp_path`, as `invoke` does."""
    from tools.toy.__main__ import run

    monkeypatch.chdir(tmp_path)
    return partial(_run_here, run, capfd)


@pytest.fixture
def run_line(invoke: Callable, tool: Callable) -> Callable:
    """Run a line of a command, or of the tool where its first word is `TOOL`, as `invoke` does."""
    return lambda *line: tool(*line[1:]) if line[0] == TOOL else invoke(*line)


def _run_here(run: Callable, capfd: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    capfd.readouterr()
    code = run([str(each) for each in args])
    out, err = capfd.readouterr()
    return code, out, err


@pytest.fixture
def saved_figures(monkeypatch: pytest.MonkeyPatch) -> list:
    """The matplotlib figures that are saved during the test, to look at what they show."""
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: object, **kwargs: object) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


@pytest.fixture
def command(tmp_path: Path) -> Callable:
    """Run the command line in a process of its own, in `tmp_path`: command(*args) → CompletedProcess."""
    from processes import run_command

    def call(*args: object, **options: Any) -> "subprocess.CompletedProcess[str]":
        return run_command(args, tmp_path, **options)

    return call


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """One headless Chromium for all tests of a process."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    from selenium.webdriver.chrome.service import Service

    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("needs Chromium and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    flags = ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "window-size=1200,900")
    for argument in (*flags, "use-fake-device-for-media-stream", "use-fake-ui-for-media-stream"):
        options.add_argument(f"--{argument}")
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    found.downloads = downloads
    yield found
    found.quit()


@pytest.fixture
def browser(chromium):
    """The browser, as new: nothing open, nothing emulated, nothing in its folder `downloads`."""
    own = chromium.current_window_handle
    chromium.switch_to.new_window("tab")  # a tab's session storage is its own
    for each in chromium.downloads.iterdir():
        each.unlink()
    chromium.get_log("browser")
    yield chromium
    for window in chromium.window_handles:
        if window != own:
            chromium.switch_to.window(window)
            chromium.close()
    chromium.switch_to.window(own)
    chromium.set_window_size(1200, 900)
    chromium.delete_all_cookies()
