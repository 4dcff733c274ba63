"""What the README says is what the program does."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


def test_the_quoted_help_is_the_help():
    for path, text in generate.pages().items():
        assert path.read_text(encoding="utf-8") == text, "make docs"


@pytest.mark.parametrize(("name", "command"), generate.commands().items())
def test_every_command_has_help_an_example_and_an_entry(name, command):
    assert command.help
    example = re.search(r"Example: (latentflow .*)", command.help)
    assert example and (name == "optimize" or f"latentflow {name}" in example[1] or " " not in name)
    assert name == "optimize" or f"### {name}" in README
    assert all(each.help for each in command.params if each.param_type_name == "option")


def test_every_option_of_the_contract_is_there():
    options = {option for parameter in generate.commands()["optimize"].params for option in parameter.opts}
    contract = (
        "image_path loss_type steps skip_step lr output_path vae weights size fit init seed optimizer schedule device "
        "fps hold side_by_side caption save_latent save_image keep target_psnr metrics plot from_manifest quiet json"
    )
    assert {f"--{name}" for name in contract.split()} <= options


def test_defaults_of_command_line_and_python_are_one():
    from latentflow import RunConfig

    for parameter in generate.commands()["optimize"].params:
        if hasattr(RunConfig(), parameter.name):
            assert parameter.default == getattr(RunConfig(), parameter.name)


def test_the_python_examples_run(tmp_path, monkeypatch):
    section = re.search(r"## From Python\n(.*?)\n## ", README, re.DOTALL)[1]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    for example in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(example.replace("steps=100", "steps=6").replace("256", "48"), {})
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("spheres.gif", "walk.gif"))


def test_every_command_line_of_the_gallery_is_understood():
    spec = importlib.util.spec_from_file_location("make_gallery", ROOT / "docs" / "make_gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shown = set()
    for words in module.command_lines():
        if words[0] == "python":
            assert (ROOT / words[1]).exists()
            continue
        command = generate.commands()[words[1]]
        command.make_context(words[1], list(words[2:]))
        shown.add(words[1])
    views = {path.stem for path in (ROOT / "latentflow" / "explore").iterdir()} & set(generate.COMMANDS)
    assert shown == views


def test_every_link_and_picture_of_the_documents_exists():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "latentflow" / "bundled" / "README.md"]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_command_line_of_the_readme_is_understood():
    options = {option for parameter in generate.commands()["optimize"].params for option in parameter.opts}
    for line in re.findall(r"python cli\.py (.*)", README):
        assert set(re.findall(r"--\w+", line.split("#")[0])) <= options
