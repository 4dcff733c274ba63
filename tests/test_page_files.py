"""The files of the page: its facts, its markup, what is written and what is refused."""

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from latentflow.base.errors import InputError, OutputError
from latentflow.inversion.methods import METHODS, choose
from latentflow.page.config import PageConfig
from latentflow.page.export.graphs import GRAPHS
from latentflow.page.export.run import Exported
from latentflow.page.facts import EXAMPLES, page_facts
from latentflow.page.markup import make_markup
from latentflow.page.run import PARTS, SCRIPTS, read_runtime, write_page


def test_facts_are_the_librarys(autoencoder):
    facts = page_facts(autoencoder, inside=True)
    for name, found in facts["rules"]["methods"].items():
        choice = choose(name, None, None, 40)
        assert found["updates"] == choice.optimizer.updates.partition(":")[2]
        assert {key: found["constants"][key] for key in choice.constants} == dict(choice.constants)
        rate = found["lr"] if found["lr"] is not None else 1 - found["remaining"] ** (1 / 40)
        assert rate == pytest.approx(choice.lr)
    assert set(facts["help"]) == set(METHODS) and len(facts["examples"]) == len(EXAMPLES) == 3
    assert json.loads(json.dumps(facts)) == facts | {"rules": json.loads(json.dumps(facts["rules"]))}


def test_the_page_begins_with_the_defaults_of_the_command_line(autoencoder):
    expected = {"steps": 100, "method": "gradient", "loss": "mse", "size": 128, "fps": 20.0, "hold": 1.5}
    assert page_facts(autoencoder, inside=True)["defaults"] == expected


def test_the_pages_rules_have_the_values_of_the_library(autoencoder):
    rules = page_facts(autoencoder, inside=True)["rules"]
    assert rules["hybrid"] == {"short": 20, "walked": 0.35, "half": 0.5, "ramp": 4, "worthwhile": 0.04}
    for name, rate, betas in (("gradient", 0.1, (0.7, 0.8)), ("hybrid", 0.06, (0.8, 0.9))):
        found = rules["methods"][name]
        assert (found["lr"], found["updates"]) == (rate, "Adam")
        assert (tuple(found["constants"]["betas"]), found["constants"]["epsilon"]) == (betas, 1e-8)
    free = rules["methods"]["gradient_free"]
    assert (free["lr"], free["remaining"], free["updates"]) == (None, 0.01, "Sgd")
    assert rules["largest_rms"] == 100


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
