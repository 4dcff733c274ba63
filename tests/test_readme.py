"""What the documents say is what the program does."""

import ast
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from conftest import TOOL
from PIL import Image

from latentflow.explore.views import VIEWS
from latentflow.inversion.config import RunConfig
from latentflow.inversion.objective import parse
from latentflow.runs.compare import split
from latentflow.runs.config import BatchConfig, CompareConfig, RenderConfig
from latentflow.training.config import TrainConfig
from tools.toy.__main__ import toy
from tools.toy.config import TrainPromptsConfig

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
GALLERY = ROOT / "docs" / "gallery.md"
EXTENDING = ROOT / "docs" / "extending.md"
GENERATED = {ROOT / "docs" / "commands.md", ROOT / "docs" / "api.md"}
MODEL_CARD = ROOT / "latentflow" / "bundled" / "README.md"
DOCUMENTS = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), MODEL_CARD]
WRITTEN = [path for path in DOCUMENTS if path not in GENERATED]
MOST_BYTES = 9000
CONFIGS = {
    "optimize": RunConfig,
    "batch": BatchConfig,
    "compare": CompareConfig,
    "render": RenderConfig,
    "train": TrainConfig,
    TOOL: TrainPromptsConfig,
    **{name: view.config for name, view in VIEWS.items()},
}
OTHER_OPTIONS = {"--rules", "--help", "--beta", "--network", "--head", "--ray", "--unseen", "--memory"}  # not ours
BRITISH = r"\b(colou?rful|colour\w*|neighbour\w*|grey\w*|centre\w*|licence|labelled|honour\w*|behaviour|analyse\w*)\b"
PRIVATE = r"\b(roads?|whole|parted by|is had)\b"


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


generate = module(ROOT / "docs" / "generate.py")
COMMANDS = generate.commands()
TOOLS = {TOOL: toy}


def text_of(path):
    return path.read_text(encoding="utf-8")


def blocks(text, language=""):
    """The code blocks of a language in a document."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for kind, block in found if kind == language]


def shell_lines(text):
    """The words of each command line in the code blocks of a document."""
    lines = [line for block in blocks(text) for line in block.replace("\\\n", " ").splitlines()]
    starts = ("latentflow ", "python ", "accelerate ", "make ", "bash ")
    return [shlex.split(line, comments=True) for line in lines if line.startswith(starts)]


def own_words(words):
    """The words after the name of the program, or None for another program."""
    for start in (["latentflow"], ["python", "cli.py"], ["accelerate", "launch", "-m", "latentflow"]):
        if words[: len(start)] == start:
            return words[len(start) :]
    return words[2:] if words[:3] == ["python", "-m", TOOL] else None


def check_command_line(words, monkeypatch):
    """Parse a command line as the program does, up to the config, which checks the values; gives the command's name."""
    name, rest = ("optimize", words) if words[0].startswith("-") else (words[0], words[1:])
    command = (COMMANDS | TOOLS)[name]
    if isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    for parameter in command.params:
        if parameter.name in ("resume", "from_manifest"):  # their files are not there
            monkeypatch.setattr(parameter, "callback", None)
    context = command.make_context(name, list(rest))
    assert not context.args, context.args
    if name in CONFIGS:
        known = CONFIGS[name].__dataclass_fields__
        config = CONFIGS[name](**{key: value for key, value in context.params.items() if key in known})
        for loss in [getattr(config, "loss_type", "mse"), *split(getattr(config, "losses", "mse"))]:
            parse(loss)
    return name


def test_the_readme_is_short_and_begins_with_a_line_to_run():
    assert len(README.read_bytes()) <= MOST_BYTES
    line = blocks(text_of(README))[0]
    assert line == "python cli.py --image_path examples/spheres.png --weights bundled --size 256\n"
    assert text_of(README).index(line) < text_of(README).index("docs/spheres.gif") < 400


def test_the_generated_pages_are_what_the_program_says():
    for path, text in generate.pages().items():
        assert text_of(path) == text, f"{path.name}: make docs"


def test_signatures_of_the_public_api_are_python():
    page = generate.pages()[ROOT / "docs" / "api.md"]
    signatures = blocks(page, "python")
    assert len(signatures) == len(re.findall(r"^### ", page, re.MULTILINE)) > 40
    for signature in signatures:
        if "(" in signature:
            ast.parse(f"def {signature.rstrip()}: ...")
    assert "invert(" in page and "weights: str = 'auto'," in page


@pytest.mark.parametrize(("name", "command"), (COMMANDS | TOOLS).items())
def test_every_command_has_help_examples_that_work_and_an_entry(name, command, monkeypatch):
    assert command.help
    examples = re.findall(
        r"^ *(?:Example|Or|Again|Several): +(?:latentflow|python -m) (.*)", command.help, re.MULTILINE
    )
    assert examples
    for example in examples:
        if " " not in name and isinstance(command, click.Group):
            continue
        assert check_command_line(shlex.split(example), monkeypatch) == name.split()[0]
    assert name in ("optimize", *TOOLS) or f"## {name}\n" in text_of(ROOT / "docs" / "commands.md")
    assert all(each.help for each in command.params if each.param_type_name == "option")


def test_every_option_of_the_contract_is_there():
    options = {option for parameter in COMMANDS["optimize"].params for option in parameter.opts}
    contract = (
        "image_path loss_type steps skip_step lr output_path vae weights size fit init seed optimizer schedule device "
        "fps hold side_by_side caption save_latent save_image keep target_psnr metrics plot from_manifest quiet json"
    )
    assert {f"--{name}" for name in contract.split()} <= options


def test_defaults_of_command_line_and_python_are_one():
    own = {"resume", "from_manifest", "quiet", "as_json"}
    for parameter in COMMANDS["optimize"].params:
        if parameter.name not in own:
            assert parameter.default == getattr(RunConfig(), parameter.name)


@pytest.mark.parametrize("document", [each for each in WRITTEN if each != EXTENDING], ids=lambda path: path.name)
def test_every_command_line_is_understood(document, monkeypatch):
    makefile = text_of(ROOT / "Makefile")
    for words in shell_lines(text_of(document)):
        own = own_words(words)
        if own is not None:
            check_command_line(own, monkeypatch)
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words
        else:
            assert (ROOT / words[1]).exists(), words


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.sh")), ids=lambda path: path.name)
def test_every_command_line_of_the_scripts_is_understood(script, monkeypatch):
    lines = text_of(script).replace("\\\n", " ").splitlines()
    found = [shlex.split(line)[1:] for line in map(str.strip, lines) if line.startswith("latentflow -")]
    found += [shlex.split(line)[1:] for line in map(str.strip, lines) if line.startswith("latentflow batch")]
    assert len(found) == 1
    check_command_line([word for word in found[0] if word not in (">", "$results/summary.json")], monkeypatch)


def test_every_option_that_is_mentioned_exists():
    known = {
        option for each in (COMMANDS | TOOLS).values() for parameter in each.params for option in _names(parameter)
    }
    for document in WRITTEN:
        if document != EXTENDING:
            mentioned = set(re.findall(r"`[^`\n]*?(--\w+)", text_of(document)))
            assert mentioned <= known | OTHER_OPTIONS, f"{document.name}: {mentioned - known - OTHER_OPTIONS}"


def _names(parameter):
    return [*parameter.opts, *parameter.secondary_opts]


def test_the_gallery_shows_every_view():
    lines = module(ROOT / "docs" / "make_gallery.py").command_lines()
    assert {words[1] for words in lines if words[0] == "latentflow"} == set(VIEWS)
    sections = re.findall(r"^## (.*)$", text_of(GALLERY), re.MULTILINE)
    assert set(VIEWS) <= set(sections)


@pytest.mark.parametrize("document", WRITTEN, ids=lambda path: path.name)
def test_every_link_and_picture_exists(document):
    text = text_of(document)
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'(?:src|href)="([^"]+)"', text)]
    for link in links:
        path, _, anchor = link.partition("#")
        if re.match(r"https?:", link):
            continue
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(text_of(target)), link


def anchors(text):
    """The anchors of the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", WRITTEN, ids=lambda path: path.name)
def test_documents_are_in_plain_american_english(document):
    words = re.findall(rf"{BRITISH}|{PRIVATE}", text_of(document), re.IGNORECASE)
    assert not words


SHORTER = {"size=256": "size=48", ", 256": ", 48", "steps=100": "steps=3", "frames=25": "frames=5, size=48"}
PYTHON = blocks(text_of(ROOT / "docs" / "python.md"), "python")


@pytest.fixture
def beside_examples(tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_the_python_page_runs(code, beside_examples, capsys):
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    exec(code, {})
    assert re.search(r"\d\.\d+", capsys.readouterr().out) or "print(" not in code
    for name in re.findall(r'(?:save|savefig|open_frames|save_latent)\("([^"]+)"', code):
        assert (beside_examples / name).stat().st_size > 500, name


def test_the_python_of_the_readme_prints_what_it_says(beside_examples, capsys):
    (code,) = blocks(text_of(README), "python")
    exec(code.replace("steps=100", "steps=2, size=48"), {})
    *steps, end = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in steps] == ["0", "1", "2"]
    found = [float(each) for each in re.findall(r"([\d.]+) dB|: ([\d.]+)", end) for each in each if each]
    assert found[0] == pytest.approx(float(steps[-1].split()[1]), abs=1e-4) and found[1] > found[0]
    assert Image.open(beside_examples / "cat.png").size == (48, 48)


def apply_page(text, copy):
    """Do what docs/extending.md says in a copy of the repository; gives the number of changes."""
    new = re.findall(r"[Nn]ew file\s+`([^`]+)`:\n\n```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for name, code in new:
        assert not (copy / name).exists()
        (copy / name).write_text(code, encoding="utf-8")
    added = re.findall(
        r"(?:In|At the end of)\s+`([^`]+\.py)`(?:, (after|before|instead of) `([^`]+)`)?:\n\n```python\n(.*?)^```$",
        text,
        re.DOTALL | re.MULTILINE,
    )
    for name, where, line, code in added:
        lines = (copy / name).read_text(encoding="utf-8").splitlines(keepends=True)
        if not where:
            lines.append(code)
        else:
            place = next(index for index, each in enumerate(lines) if line in each)
            lines[place : place + 1] = {
                "after": [lines[place], code],
                "before": [code, lines[place]],
                "instead of": [code],
            }[where]
        (copy / name).write_text("".join(lines), encoding="utf-8")
    return len(new) + len(added)


@pytest.mark.slow
def test_the_page_on_extending_works(tmp_path):
    for name in ("latentflow", "losses", "cli.py"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    page = text_of(EXTENDING)
    assert apply_page(page, tmp_path) == 16
    (model,) = [block for block in blocks(page, "python") if "save_pretrained" in block]
    commands = [words[1:] for words in shell_lines(page)]
    assert len(commands) == 9
    quick = ["--size", "48", "--weights", "bundled", "--quiet"]
    commands = [
        [*(each if each != "20" else "2" for each in words), *(quick if "examples/cat.png" in words else [])]
        for words in commands
    ]
    script = f"{model}\nimport latentflow.cli\ncommands = {commands!r}\n" + (
        "for words in commands:\n    code = latentflow.cli.run(words)\n    assert code == 0, (words, code)\n"
        "from latentflow.sound.config import SoundConfig\nassert SoundConfig(audio='a.wav', motion='swell').motion\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = (tmp_path / "norms.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "step,rms" and [row.split(",")[0] for row in rows[1:]] == ["0", "1", "2"]
    assert abs(float(rows[1].split(",")[1]) - 1) < 0.2
    assert "mean difference from the mirrored picture: 0." in done.stdout
    assert re.search(r"^autoencoder +bundled$", done.stdout, re.MULTILINE)
    assert re.search(r"^huber +Squared for small differences, absolute for large ones\.$", done.stdout, re.MULTILINE)
    names = ["huber.gif", "norms.gif", "vq.gif", "rmsprop.gif", "signed.gif", "mirror.png"]
    assert all((tmp_path / name).stat().st_size > 1000 for name in names)


def test_the_page_on_architecture_has_the_import_order_and_every_module():
    from test_architecture import ROWS

    page = text_of(ROOT / "docs" / "architecture.md")
    (order,) = [block for block in blocks(page) if block.startswith("cli,")]
    assert [line.split(", ") for line in order.splitlines()] == ROWS
    table = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    for path in [*(ROOT / "latentflow").rglob("*.py"), *(ROOT / "tools" / "toy").glob("[!_]*.py")]:
        if path.stem != "__init__":
            assert f"`{path.stem}`" in table, path
        else:
            assert f"`{path.parent.relative_to(ROOT / 'latentflow').as_posix()}/`" in table or path.parent == (
                ROOT / "latentflow"
            ), path
