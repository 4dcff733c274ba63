"""The public names: closed, typed, explained, and the same for a type checker and for Python."""

import importlib
import inspect
import re
import subprocess
import sys
import typing
import warnings
from pathlib import Path

import pytest
import torch
from test_readme import generate

import latentflow

ROOT = Path(__file__).parent.parent
STUBS = {
    name: ROOT / "latentflow" / name / "__init__.pyi"
    for name in ("", "sound", "latents", "pictures", "sinks", "explore")
}
ROOMS = ("latents", "pictures", "sinks", "sound", "views")
PUBLIC = [(place, name) for place, names in generate.public().items() for name in names]
VALUES = {name: getattr(importlib.import_module(place), name) for place, name in PUBLIC}
# What 0.2.0 had at its top.
OLD = re.findall(
    r"\w+",
    """
DivergedError FormatVersionError InputError Interrupted LatentflowError MissingPackageError OutOfMemoryError
OutputError WeightsError Meter Session Autoencoder LatentGeometry load_autoencoder Loaded Models Networks FoundWeights
find_weights Picture fit read_image to_tensor Notes Reader ReadingOptions RunConfig Result Run invert encoder_metrics
image_metrics Objective Inversion optimize initial_latent compare Comparison Figures Frame Labeled Record Step Collect
EveryNth FrameSink Sink run_sinks Soundtrack open_frames Beats find_beats Heard listen follow_energy follow_times
frame_count frame_seconds Clip Clusters Embedding Neighbors embed draw_atlas Atlas Cluster make_atlas make_page
Placement Channel decode_channels draw_channels sweep_channels HeldOutScore cross_validate direction_between
draw_concept Concept move_along DecodedPath Lattice draw_curvature make_lattice Curve GeodesicStep MetricAt
find_geodesic measure_plane plane_basis pullback_metric measure_path ReconstructionMetrics evaluate Evaluated Score
Crop Mosaic Tile decode_plane draw_plane Match Neighbor draw_similar nearest draw_statistics decode_path walk Exported
export_onnx launch_app decode_frames load_latent save_latent FolderLatents encode_folder LatentPath slerp Components
principal_components Plane plane_around plane_through principal_plane Anchors read_anchors ChannelStatistics
LatentStatistics latent_statistics
""",
)


def functions_of(value):
    """What can be called of a public object, with the name it has there."""
    if inspect.isclass(value):
        own = {name: each for name, each in vars(value).items() if not name.startswith("_") or name == "__init__"}
        for name, each in own.items():
            found = each.fget if isinstance(each, property) else getattr(each, "__func__", each)
            if inspect.isfunction(found):
                yield f"{value.__name__}.{name}", found
    else:
        yield value.__name__, value


def hints(function):
    """Its types; what is imported for a type checker alone is looked up in the whole package."""
    known = vars(importlib.import_module(function.__module__)) | VALUES
    known |= {"Load": typing.Callable, "Draw": typing.Callable, "Figure": typing.Any}  # names of plain function types
    known |= {
        "Tensor": torch.Tensor,
        "torch": torch,
        "Callable": typing.Callable,
        "np": importlib.import_module("numpy"),
        "Image": importlib.import_module("PIL.Image"),
        **dict.fromkeys(("AnchorLike", "ImageLike", "LatentsLike"), typing.Any),
    }
    return typing.get_type_hints(function, known)


def leaves(kind):
    if isinstance(kind, list | tuple):
        return {leaf for each in kind for leaf in leaves(each)}
    inner = typing.get_args(kind)
    return {leaf for each in inner for leaf in leaves(each)} if inner else {kind}


@pytest.mark.parametrize("room", STUBS)
def test_the_stub_of_a_room_is_its_only_list(room):
    found = re.findall(r"^from \.[\w.]* import (\w+) as (\w+)$", STUBS[room].read_text(), re.MULTILINE)
    module = importlib.import_module(f"latentflow.{room}".rstrip("."))
    assert all(name == again for name, again in found)
    assert sorted(name for name, _ in found) == sorted(module.__all__) and set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="nothing"):
        module.nothing  # noqa: B018


def test_about_forty_names_are_at_the_top():
    assert len(set(latentflow.__all__) - set(ROOMS)) <= 45 and set(ROOMS) < set(latentflow.__all__)


def test_what_the_package_had_at_its_top_is_found_with_a_warning():
    """A name is either still there, and silent, or found elsewhere, and said where: in the caller's line."""
    for name in OLD:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = getattr(latentflow, name)
        if name in latentflow.__all__:
            assert not caught, name
            continue
        (warning,) = caught
        assert warning.category is DeprecationWarning and warning.filename == __file__
        place = re.fullmatch(rf"latentflow\.{name} is (latentflow\.[\w.]+)\.{name} now\.", str(warning.message))[1]
        assert getattr(importlib.import_module(place), name) is value is VALUES[name]


def test_an_old_name_is_imported_with_one_warning_at_the_line_that_imports_it():
    with pytest.warns(DeprecationWarning, match=r"latentflow\.slerp is latentflow\.latents\.slerp now") as caught:
        from latentflow import slerp
    assert slerp is latentflow.latents.slerp and {each.filename for each in caught} == {__file__}


def test_importing_the_package_and_its_rooms_costs_no_torch():
    code = (
        "import sys, warnings; warnings.simplefilter('error'); import latentflow;"
        "latentflow.views.walk, latentflow.latents, latentflow.pictures, latentflow.sinks, latentflow.sound;"
        "bad = {'torch', 'numpy', 'PIL', 'matplotlib'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("place", "name"), PUBLIC)
def test_a_public_name_is_an_object_that_is_explained(place, name):
    value = VALUES[name]
    text = inspect.getdoc(value)
    assert text and text == text.strip() and text[0].isupper() and "." in text
    for label, function in functions_of(value):
        if not label.endswith("__init__") and not hasattr(torch.nn.Module, function.__name__):
            assert inspect.getdoc(function), label


@pytest.mark.parametrize("name", VALUES)
def test_every_type_in_a_public_signature_is_public(name):
    for label, function in functions_of(VALUES[name]):
        for kind in leaves(list(hints(function).values())):
            module = getattr(kind, "__module__", "")
            if isinstance(kind, type) and module.startswith("latentflow"):
                assert VALUES.get(kind.__name__) is kind, f"{label} speaks of {module}.{kind.__name__}"


@pytest.mark.parametrize("name", [name for name, value in VALUES.items() if inspect.isfunction(value)])
def test_tensors_have_their_shapes_in_the_docstring(name):
    function = VALUES[name]
    if torch.Tensor in leaves(list(hints(function).values())):
        assert re.search(r"\((?:n|1|c|k|3|count)(?:,|\))", inspect.getdoc(function)), name


OLD_MODULES = {  # as 0.1 and 0.2 had them, and a name of each
    "latentflow.autoencoder": ("Autoencoder", "latentflow.models.autoencoder"),
    "latentflow.config": ("RunConfig", "latentflow.inversion.config"),
    "latentflow.errors": ("InputError", "latentflow.base.errors"),
    "latentflow.explore.music": ("Player", "latentflow.sound.score"),
    "latentflow.explore.view": ("Job", "latentflow.runs.job"),
    "latentflow.export.run": ("export_onnx", "latentflow.page.export.run"),
    "latentflow.files": ("write_csv", "latentflow.base.files"),
    "latentflow.records": ("Step", "latentflow.base.records"),
    "latentflow.session": ("Session", "latentflow.base.session"),
    "latentflow.state_files": ("pack", "latentflow.base.state"),
    "latentflow.surroundings": ("undisturbed", "latentflow.base.surroundings"),
}


@pytest.mark.parametrize("module", OLD_MODULES)
def test_old_modules_name_the_new_ones(module):
    name, place = OLD_MODULES[module]
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is {place}\.{name} now") as caught:
        found = getattr(importlib.import_module(module), name)
    assert found is getattr(importlib.import_module(place), name) and caught[0].filename == __file__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = importlib.import_module(module).nothing


def test_every_old_module_is_tried():
    from latentflow._moved import MODULES

    assert {f"latentflow.{name}" for name in MODULES} == set(OLD_MODULES)
    assert latentflow.records is sys.modules["latentflow.records"]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("latentflow.nothing")
