"""The files of the page: its facts, its markup, what is written and what is refused."""

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from latentflow.errors import InputError, OutputError
from latentflow.export.graphs import GRAPHS
from latentflow.export.run import Exported
from latentflow.inversion.methods import METHODS, choose
from latentflow.page.config import PageConfig
from latentflow.page.facts import EXAMPLES, page_facts
from latentflow.page.markup import make_markup
from latentflow.page.run import PARTS, SCRIPTS, read_runtime, write_page


def test_facts_are_the_librarys(autoencoder):
    facts = page_facts(autoencoder, inside=True)
    for name, found in facts["rules"]["methods"].items():
        choice = choose(name, None, None, 40)
        assert found["updates"] == choice.optimizer.updates
        assert {key: found["constants"][key] for key in choice.constants} == dict(choice.constants)
        rate = found["lr"] if found["lr"] is not None else 1 - found["remaining"] ** (1 / 40)
        assert rate == pytest.approx(choice.lr)
    assert set(facts["help"]) == set(METHODS) and len(facts["examples"]) == len(EXAMPLES) == 3
    assert json.loads(json.dumps(facts)) == facts | {"rules": json.loads(json.dumps(facts["rules"]))}


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
    assert f"script-src 'sha256-{digest}'" in page and "connect-src 'none'" in page
    assert '<script type="text/plain" id="asset:weights.bin">MTIz</script>' in page
    assert page.endswith("<!--MIT - -&gt;-->")
    assert "connect-src 'self'" in make_markup(parts, facts, {}).decode()


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
    assert report.path == str(tmp_path / "site" / "index.html") and "step loss differs most, by 1e-07" in str(report)
    assert {Path(each).name for each in report.files} == {each.name for each in (tmp_path / "site").iterdir()}
    assert report.bytes == sum(Path(each).stat().st_size for each in report.files)
    with pytest.raises(OutputError, match="would be overwritten"):
        write_page(config)
    again = write_page(PageConfig(output_path=str(tmp_path / "site"), overwrite=True, **options))
    assert again.files == report.files
