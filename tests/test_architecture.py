"""The rules of docs/architecture.md that a machine can check."""

import ast
import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
# lower may not import higher: each module belongs to one row, and imports only rows below its own, or its own
ROWS = [
    ["cli", "__main__"],
    ["commands"],
    ["app"],
    ["explore", "page", "notebook", "prompts", "views"],
    ["runs/batch", "runs/compare", "runs/render"],
    ["runs/run", "training", "bundled"],
    ["runs"],
    ["inversion/invert", "inversion/refine", "inversion/target", "latents/index", "latents/planes"],
    ["page/export", "sound"],
    ["sinks"],
    ["base/session"],
    ["inversion", "latents/decode", "latents/sources"],
    ["inversion/objective", "inversion/plugins", "latents"],
    ["models/loading", "models/memory", "models/networks"],
    ["models/autoencoder", "models/toy"],
    ["models/weights"],
    ["models", "pictures", "generated", "base/records", "widgets"],
    ["inversion/config"],
    ["inversion/methods", "sound/motions", "models/config", "pictures/config", "sinks/config", "latents/config"],
    ["losses"],
    ["base"],
    ["__init__", "_moved"],
]
HEAVY = {"torch", "diffusers", "PIL", "matplotlib", "numpy", "torchvision", "lpips", "huggingface_hub", "safetensors"}
LIGHT = [
    "cli.py",
    "base/[!prs]*.py",
    "base/registry.py",
    "base/session.py",
    "base/surroundings.py",
    "*/config.py",
    "inversion/methods.py",
    "sound/motions.py",
    "inversion/objective.py",
    "inversion/plugins.py",
    "inversion/checks.py",
    "models/weights.py",
    "commands/*.py",
    "explore/config.py",
    "explore/calls.py",
    "explore/in_memory.py",
    "explore/views.py",
    "views.py",
    "page/config.py",
    "prompts/config.py",
    "prompts/stops.py",
    "training/__init__.py",
    "training/config.py",
    "training/plan.py",
    "../losses/__init__.py",
    "../losses/_registry.py",
    "../tools/toy/__main__.py",
    "../tools/toy/config.py",
    "../tools/toy/plan.py",
]


UNNEEDED = {"diffusers", "scipy", "torch._dynamo", "transformers", "torchvision", "huggingface_hub", "matplotlib"}


def modules():
    return sorted((ROOT / "latentflow").rglob("*.py"))


def package_and_tools():
    return [*modules(), *(ROOT / "losses").glob("*.py"), *(ROOT / "tools").rglob("*.py")]


def imported(path, *, everywhere=True):
    """(module, imported names) of a file; with everywhere=False only what is imported when the module is."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, []) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield child.module, [alias.name for alias in child.names]
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                if everywhere:
                    yield from visit(child)
            elif everywhere or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from visit(child)

    return list(visit(tree))


def row(parts):
    """The row of a module, by the longest of its names that stands in one."""
    for length in range(len(parts), 0, -1):
        for index, names in enumerate(ROWS):
            if "/".join(parts[:length]) in names:
                return index
    raise AssertionError(f"{'.'.join(parts)} is in no row")


def room(path):
    return path.relative_to(ROOT / "latentflow").with_suffix("").parts


def is_module(parts):
    path = ROOT.joinpath("latentflow", *parts)
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    for module, names in imported(path):
        if not (module or "").startswith("latentflow"):
            continue
        inside = module.split(".")[1:]
        deeper = [[*inside, name] for name in names if is_module([*inside, name])]
        for target in deeper or ([inside] if inside else []):
            assert row(room(path)) <= row(target), f"{path.name} imports {'.'.join(target)}, which is above it"


def test_the_package_needs_no_tool():
    for path in [*modules(), *(ROOT / "losses").glob("*.py")]:
        assert not [module for module, _ in imported(path) if (module or "").split(".")[0] == "tools"], path


def test_losses_import_each_other_the_registry_and_the_errors_alone():
    for path in (ROOT / "losses").glob("*.py"):
        ours = [module for module, _ in imported(path) if (module or "").startswith("latentflow")]
        below = tuple(f"latentflow.{name}" for name in ("losses", "base.registry", "base.errors"))
        assert all(module.startswith(below) for module in ours), path


@pytest.mark.parametrize("pattern", LIGHT)
def test_light_modules_import_nothing_heavy(pattern):
    for path in (ROOT / "latentflow").glob(pattern) if ".." not in pattern else [ROOT / "latentflow" / pattern]:
        heavy = {(module or "").split(".")[0] for module, _ in imported(path, everywhere=False)} & HEAVY
        assert not heavy, f"{path}: {heavy}"


def test_help_and_names_cost_no_torch():
    code = (
        "import sys, latentflow.cli, latentflow.losses as losses; latentflow.cli.run(['--help']); losses.names();"
        "import latentflow.runs.plan; bad = {'torch', 'diffusers', 'matplotlib'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_a_run_with_the_bundled_weights_imports_no_more_than_it_needs(small, tmp_path):
    code = (
        "import sys, latentflow.cli; code = latentflow.cli.run(sys.argv[1:]);"
        f"bad = {UNNEEDED} & set(sys.modules); sys.exit(code or (str(bad) if bad else 0))"
    )
    options = ["--weights", "bundled", "--size", "48", "--steps", "1", "--output_path", str(tmp_path / "x.gif")]
    line = [sys.executable, "-c", code, "--image_path", str(small), *options]
    done = subprocess.run(
        line, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"TORCH_HOME": str(tmp_path)}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "lpips[bundled]" in done.stdout and "SSIM" in done.stdout


def test_every_public_name_resolves():
    import latentflow
    import latentflow.runs.run  # a submodule of the same name would hide a function from now on

    rooms = {"latents", "pictures", "sinks", "sound", "views"}
    assert {name for name in latentflow.__all__ if inspect.ismodule(getattr(latentflow, name))} == rooms
    with pytest.raises(AttributeError):
        latentflow.nothing  # noqa: B018


def test_only_commands_and_the_progress_line_print():
    for path in package_and_tools():
        if path.parent.name == "commands" or path.name == "cli.py":
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        assert not [call for call in calls if ast.unparse(call.func) in ("print", "click.echo")], path


def test_every_public_function_is_explained():
    for path in package_and_tools():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_requirements_are_what_pyproject_installs_and_what_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w-]+(\[\w+\])?>=[\d.]+", line) for line in lines), "ranges, not pins"
    named = {re.match(r"[\w-]+", line)[0].lower().replace("-", "_") for line in lines}
    distributions = {"PIL": "pillow", "imageio_ffmpeg": "imageio", "sklearn": "scikit_learn", "umap": "umap_learn"}
    used = {
        distributions.get(top, top).lower()
        for path in [*modules(), *(ROOT / "losses").glob("*.py")]
        for module, _ in imported(path)
        if (top := (module or "").split(".")[0]) not in sys.stdlib_module_names and top not in ("latentflow", "losses")
    }
    extras = project["project"]["optional-dependencies"]
    optional = {
        re.match(r"[\w-]+", line)[0].replace("-", "_")
        for name, lines in extras.items()
        if name != "dev"
        for line in lines
    }
    assert used <= named | optional, f"imported but not required: {used - named}"


def test_the_wheel_owns_one_name_and_holds_every_package():
    import setuptools

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = setuptools.find_packages(str(ROOT), **project["tool"]["setuptools"]["packages"]["find"])
    packages = {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in ROOT.glob("latentflow/**/__init__.py")}
    assert set(found) == packages | {"latentflow.losses"}


def test_rooms_are_few_and_arrows_lead_down():
    """Limits on how the package may grow; see tools/structure.py. A session makes the models that it shares."""
    counted = runpy.run_path(str(ROOT / "tools" / "structure.py"))["count"]()
    assert counted["arrows that run back up"] == ["base → models"]
    assert counted["rooms"] <= 23 and counted["floors"] <= 11 and counted["arrows"] <= 100
