"""The files of the page: its facts, its markup, what is written and what is refused."""

import base64
import copy
import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from latentflow.base import constants
from latentflow.base.constants import RULES
from latentflow.base.errors import InputError, OutputError
from latentflow.inversion import hybrid, methods, updates
from latentflow.inversion.hybrid import walk_length
from latentflow.inversion.methods import METHODS, choose
from latentflow.inversion.updates import Adam
from latentflow.latents import files
from latentflow.page.config import PageConfig
from latentflow.page.export.graphs import GRAPHS
from latentflow.page.export.run import Exported
from latentflow.page.facts import EXAMPLES, page_facts
from latentflow.page.markup import make_markup
from latentflow.page.run import PARTS, SCRIPTS, read_runtime, write_page


def test_facts_are_the_librarys(autoencoder):
    facts = page_facts(autoencoder, inside=True)
    assert set(facts["help"]) == set(METHODS) and len(facts["examples"]) == len(EXAMPLES) == 3
    assert json.loads(json.dumps(facts)) == facts


def test_the_page_begins_with_the_defaults_of_the_command_line(autoencoder):
    expected = {"steps": 100, "method": "gradient", "loss": "mse", "size": 128, "fps": 20.0, "hold": 1.5}
    assert page_facts(autoencoder, inside=True)["defaults"] == expected


def test_the_constants_that_the_page_shares_are_those_of_the_rules():
    wanted = {"gradient": (0.1, (0.7, 0.8)), "hybrid": (0.06, (0.8, 0.9)), "gradient_free": (1.0, None)}
    for name, (rate, betas) in wanted.items():
        choice, shared = choose(name, None, None, 1), RULES["methods"][name]
        assert choice.optimizer.updates == f".updates:{shared['updates']}"
        assert (choice.lr, choice.betas) == (pytest.approx(rate, abs=0.011), betas)
        assert shared.get("lr", 1 - shared.get("remaining", 0)) == choice.lr
        for constant, value in shared["constants"].items():
            assert value == (Adam.EPSILON if constant == "epsilon" else list(betas) if betas else 0)
    assert (Adam.EPSILON, files.LARGEST_RMS, walk_length(60)) == (1e-8, 100, 14)


def leaves_of(found, path=()):
    for name, value in found.items():
        yield from leaves_of(value, (*path, name)) if isinstance(value, dict) else [(*path, name)]


@pytest.mark.parametrize("path", [each for each in leaves_of(RULES) if each[-1] != "updates"], ids=".".join)
def test_a_constant_that_is_missing_is_an_error(path, monkeypatch):
    if path == ("methods", "hybrid", "constants", "epsilon"):
        return  # the page's alone: there is one Adam
    without = copy.deepcopy(RULES)
    place = without
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    monkeypatch.setattr(constants, "RULES", without)
    with pytest.raises(KeyError, match=path[-1]):
        for module in (methods, updates, hybrid, files):
            name = f"latentflow.{module.__name__.split('.')[1]}.a_copy"
            spec = importlib.util.spec_from_file_location(name, module.__file__)
            monkeypatch.setitem(sys.modules, name, importlib.util.module_from_spec(spec))
            spec.loader.exec_module(sys.modules[name])


def test_the_page_refuses_what_the_command_line_refuses(autoencoder):
    limits = page_facts(autoencoder, inside=True)["limits"]
    assert limits["lr"] == {"name": "The learning rate", "above": 0}
    assert limits["steps"] == {"name": "The number of steps", "min": 1, "max": 2000, "whole": True}
    assert limits["seed"] == {"name": "A seed", "min": 0, "max": 4294967295, "whole": True}


@pytest.mark.parametrize(("stride", "smallest"), [(8, 64), (32, 64), (64, 128), (128, 256)])
def test_sizes_have_two_cells_or_more(autoencoder, monkeypatch, stride, smallest):
    monkeypatch.setattr(autoencoder, "stride", stride)
    assert min(page_facts(autoencoder, inside=True)["sizes"]) == smallest


def test_the_policy_allows_the_pages_own_script_and_no_other():
    parts = {
        "page.html": "{{policy}}|{{name}}|{{facts}}|<style>{{style}}</style>{{assets}}"
        "<script>{{script}}</script><!--{{licenses}}-->"
    }
    parts |= {"licenses.txt": "MIT -->", "page.css": "body {}", "page.js": 'const text = "</script>{{facts}}";'}
    facts = {"model": {"name": "</b><script>alert(1)</script>"}}
    page = make_markup(parts, facts, {"weights.bin": b"123"}).decode()
    assert "<script>alert" not in page and page.count("</script>") == 2
    script = re.search(r"<script>(.*)</script>", page)[1]
    assert script == r'const text = "<\/script>{{facts}}";'  # put in once, and not filled in again
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = base64.b64encode(hashlib.sha256(b"body {}").digest()).decode()
    allowed = dict(each.split(" ", 1) for each in page.split("|")[0].split("; "))
    assert allowed == {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest}' 'wasm-unsafe-eval' blob:",
        "style-src": f"'sha256-{style}'",
        "img-src": "data: blob:",
        "media-src": "blob:",
        "worker-src": "blob:",
        "connect-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert '<script type="text/plain" id="asset:weights.bin">MTIz</script>' in page
    assert page.endswith("<!--MIT - -&gt;-->")
    assert "connect-src 'self'" in make_markup(parts, facts, {}).decode()


SOURCE = Path(__file__).parents[1] / "web" / "src" / "page.html"


def test_the_page_takes_drops_before_its_megabytes_are_read_and_speaks_without_scripts():
    source = SOURCE.read_text(encoding="utf-8")
    places = [source.index(each) for each in ("{{script}}", "<body", "{{facts}}", 'id="files"', "{{assets}}")]
    assert places == sorted(places)
    assert re.search(r"<noscript>.*Scripts are switched off.*</noscript>", source)
    assert re.search(r'id="browsers"[^>]*>[^<]*Chrome[^<]*Firefox[^<]*Safari', source)


def test_a_missing_runtime_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no page\.html"):
        read_runtime(str(tmp_path))
    for name in (*PARTS, *SCRIPTS):
        (tmp_path / name).write_bytes(name.encode())
    assert read_runtime(str(tmp_path))["page.js"] == b"page.js"
    (tmp_path / SCRIPTS[-1]).unlink()
    with pytest.raises(InputError, match=re.escape(SCRIPTS[-1])):
        read_runtime(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output_path", "page"], "must end in .html, or be a folder with --as folder"),
        (["--output_path", "page.html", "--as", "folder"], "must be a folder, without an ending"),
        (["--as", "fold"], "--as is one of file, folder, not 'fold'. Did you mean folder?"),
        (["--runtime", "nowhere"], "--runtime nowhere has no page.html"),
        (["--vae", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(invoke, options, words, tmp_path):
    for name in (*PARTS, *SCRIPTS) if "--runtime" not in options else ():
        (tmp_path / "runtime" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "runtime" / name).write_bytes(b"")
    given = options if "--runtime" in options else [*options, "--runtime", "runtime"]
    code, _, err = invoke("page", *given)
    assert code in (2, 4) and err.count("\n") == 1 and words in err, err


def test_a_folder_of_others_is_not_written_over(monkeypatch, tmp_path):
    (tmp_path / "runtime").mkdir()
    for name in (*PARTS, *SCRIPTS):
        (tmp_path / "runtime" / name).write_bytes(b"x")
    exported = Exported(graphs=dict.fromkeys(GRAPHS, b"graph"), weights=b"weights", differences={"step loss": 1e-7})
    monkeypatch.setattr("latentflow.page.run.export_onnx", lambda *_: exported)
    options = {"vae": "bundled", "as_": "folder", "runtime": str(tmp_path / "runtime")}
    config = PageConfig(output_path=str(tmp_path / "site"), **options)
    report = write_page(config)
    assert report.figures["output"] == str(tmp_path / "site" / "index.html")
    assert "step loss differs most, by 1e-07" in str(report)
    files = [Path(each) for each in report.figures["files"]]
    assert {each.name for each in files} == {each.name for each in (tmp_path / "site").iterdir()}
    assert report.figures["bytes"] == sum(each.stat().st_size for each in files)
    assert write_page(config).figures == report.figures  # its own it may
    (tmp_path / "site.manifest.json").unlink()
    with pytest.raises(OutputError, match="would be overwritten"):
        write_page(config)
    again = write_page(PageConfig(output_path=str(tmp_path / "site"), overwrite=True, **options))
    assert again.figures == report.figures
