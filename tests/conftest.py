"""What all tests share: no network, empty caches, one thread, small pictures."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "network" in item.keywords and not config.getoption("--network"):
            item.add_marker(pytest.mark.skip(reason="needs the network: pytest --network"))
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


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

    def call(*args: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([str(each) for each in args])
        out, err = capfd.readouterr()
        return code, out, err

    return call


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
    """Run `python cli.py` of the checkout as a subprocess, in `tmp_path`: command(*args) → CompletedProcess."""

    def call(*args: object, **kwargs: object) -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, str(ROOT / "cli.py"), *map(str, args)]
        options = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120} | kwargs
        return subprocess.run(line, **options)  # type: ignore[call-overload, no-any-return]

    return call


@pytest.fixture
def browser(tmp_path):
    """A headless Chromium whose driver is on this machine; what it downloads goes to `tmp_path`."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    from selenium.webdriver.chrome.service import Service

    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("needs Chromium and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1200,900",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()
