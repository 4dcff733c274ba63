"""What Python users have around a call changes nothing in it: gradient modes, autocast, default types and devices,
numpy's numbers, models in training, threads."""

import contextlib
import copy
import dataclasses
import inspect
import threading
import types
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from test_readme import generate
from toys import linear_autoencoder, picture

import latentflow
from latentflow import Autoencoder, InputError, Objective, invert, optimize


@contextlib.contextmanager
def default_type():
    torch.set_default_dtype(torch.float64)
    try:
        yield
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


SURROUNDINGS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "default type float64": default_type,
    "default device meta": lambda: torch.device("meta"),
    "errors of numpy": lambda: np.errstate(all="raise"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}
around = pytest.mark.parametrize("surroundings", SURROUNDINGS.values(), ids=SURROUNDINGS)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What the functions are called with, made without anything around it."""
    folder = tmp_path_factory.mktemp("surroundings")
    for index, level in enumerate((40, 90, 160, 220)):
        pixels = np.random.default_rng(index).integers(0, level, (24, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    sound = np.sin(np.arange(0, 16000) / 5) * (np.arange(0, 16000) % 4000 < 400)
    import wave

    with wave.open(str(folder / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((sound * 20000).astype("<i2").tobytes())
    own = linear_autoencoder()
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(8, 4, 4, 4, generator=generator)
    plane = latentflow.latents.Plane(
        origin=latents[:1], across=latents[1:2], up=latents[2:3], size=(8, 8), **_extent(latents, (8, 8))
    )
    return types.SimpleNamespace(
        folder=folder, images=sorted(folder.glob("*.png")), own=own, latents=latents, plane=plane, target=picture()
    )


def _extent(latents, size):
    made = latentflow.latents.principal_plane(latents, size)
    return {
        each.name: getattr(made, each.name)
        for each in dataclasses.fields(made)
        if each.name not in ("origin", "across", "up", "size")
    }


def _anchors(given):
    return latentflow.latents.read_anchors([str(given.images[0]), "random:3", "random:4"], given.own, 8)


def _heard(given):
    return latentflow.sound.listen(given.folder / "a.wav", pitches=True)


def _atlas(given):
    found = latentflow.encode_folder(given.folder, vae=given.own, size=16)
    return latentflow.views.make_atlas(found, latentflow.views.embed(found.latents), "linear")


def _saved(given):
    latentflow.save_latent(given.folder / "z.safetensors", given.latents[:1], given.own, (8, 8))
    return latentflow.load_latent(given.folder / "z.safetensors", given.own)


def _move_along(given):
    concept = latentflow.views.Concept(
        direction=given.latents[1:2], size=(8, 8), names=("a", "b"), kind="means", held_out={"accuracy": 1.0}
    )
    return list(latentflow.views.move_along(given.own, given.latents[:1], concept, [-1.0, 0.0, 2.0]))


CASES = {
    "load_autoencoder": lambda g: dict(latentflow.load_autoencoder("bundled").state_dict()),
    "move_along": _move_along,
    "save_latent": _saved,
    "fit": lambda g: np.asarray(latentflow.fit(Image.open(g.images[0]), 8)),
    "read_image": lambda g: np.asarray(latentflow.read_image(g.images[0]).image),
    "to_tensor": lambda g: latentflow.to_tensor(Image.open(g.images[0])),
    "invert": lambda g: list(invert(g.images[0], "mse + 0.1*lpips", size=40, steps=2, seed=1)),
    "encoder_metrics": lambda g: latentflow.encoder_metrics(g.own, g.target),
    "image_metrics": lambda g: latentflow.image_metrics(g.target, g.target / 2),
    "optimize": lambda g: list(
        optimize(g.own, Objective("mse + 0.5*tv", g.target), g.latents[:1], steps=2, method="hybrid")
    ),
    "initial_latent": lambda g: [
        latentflow.initial_latent(init, g.own, g.target, 5)
        for init in ("normal", "uniform", "zeros", "encode", "random:4", str(g.images[0]))
    ],
    "compare": lambda g: [
        each.steps
        for each in latentflow.compare(
            g.own, {name: Objective(name, g.target) for name in ("mse", "l1")}, g.latents[:1], steps=2
        )
    ],
    "listen": _heard,
    "find_beats": lambda g: latentflow.sound.find_beats(_heard(g)),
    "follow_energy": lambda g: latentflow.sound.follow_energy(np.arange(9.0), 2.0, 3)(np.linspace(0, 2, 5)),
    "follow_times": lambda g: latentflow.sound.follow_times(np.arange(4.0), 4.0, 3)(np.linspace(0, 4, 5)),
    "frame_count": lambda g: latentflow.sound.frame_count(2.0, 6.0),
    "frame_seconds": lambda g: latentflow.sound.frame_seconds(4, 6.0),
    "embed": lambda g: latentflow.views.embed(g.latents, clusters=2),
    "make_atlas": _atlas,
    "draw_atlas": lambda g: latentflow.views.draw_atlas(_atlas(g), np.zeros((4, 16, 16, 3), np.uint8)),
    "make_page": lambda g: latentflow.views.make_page(_atlas(g), np.zeros((4, 16, 16, 3), np.uint8)),
    "decode_channels": lambda g: list(latentflow.views.decode_channels(g.own, g.latents[:1], (8, 8), [0, 2])),
    "draw_channels": lambda g: latentflow.views.draw_channels(
        "a", None, g.target, list(latentflow.views.decode_channels(g.own, g.latents[:1], (8, 8), [0, 2]))
    ),
    "sweep_channels": lambda g: list(
        latentflow.views.sweep_channels(g.own, g.latents[:1], (8, 8), [0, 1], np.array([-1.0, 0, 1]))
    ),
    "cross_validate": lambda g: latentflow.views.cross_validate(g.latents[:4], g.latents[4:]),
    "direction_between": lambda g: latentflow.views.direction_between(g.latents[:4], g.latents[4:], whiten=True),
    "measure_plane": lambda g: list(
        latentflow.views.measure_plane(g.own, g.plane, [(0.0, 0.0)], latentflow.views.plane_basis(g.plane, 3))
    ),
    "plane_basis": lambda g: latentflow.views.plane_basis(g.plane, 3),
    "pullback_metric": lambda g: latentflow.views.pullback_metric(g.own, g.latents[:1], g.latents[1:3], (8, 8)),
    "find_geodesic": lambda g: list(
        latentflow.views.find_geodesic(g.own, g.latents[:1], g.latents[1:2], (8, 8), steps=1)
    ),
    "measure_path": lambda g: latentflow.views.measure_path(
        g.own,
        g.plane,
        list(latentflow.views.find_geodesic(g.own, g.latents[:1], g.latents[1:2], (8, 8), steps=1))[-1].curve,
    ),
    "make_lattice": lambda g: latentflow.views.make_lattice(g.plane, 4),
    "evaluate": lambda g: latentflow.evaluate(g.folder, vae=g.own, size=16).rows,
    "evaluate_images": lambda g: list(latentflow.views.evaluate_images(g.own, g.images[:2], size=16, steps=1)),
    "decode_plane": lambda g: list(latentflow.views.decode_plane(g.own, g.plane, 2, 2)),
    "nearest": lambda g: latentflow.views.nearest(g.latents[:1], g.latents, 3),
    "draw_statistics": lambda g: latentflow.views.draw_statistics(latentflow.latents.latent_statistics(g.latents)),
    "decode_path": lambda g: list(
        latentflow.views.decode_path(g.own, latentflow.latents.LatentPath(g.latents[:3]), [0, 0.5, 2], (8, 8))
    ),
    "walk": lambda g: list(latentflow.walk(["random:1", str(g.images[0])], vae=g.own, size=8, frames=3)),
    "encode": lambda g: latentflow.encode(g.images[0], vae=g.own, size=8, refine=2),
    "composite": lambda g: latentflow.composite(
        ["random:1", "random:2"], [Image.new("L", (8, 8), 99)], vae=g.own, size=8, refine="gradient:1"
    ),
    "decode": lambda g: latentflow.decode(g.latents[:2], vae=g.own),
    "refine_latent": lambda g: latentflow.refine_latent(g.target, g.own.encode, g.own.decode, 2),
    "decode_frames": lambda g: list(latentflow.decode_frames(g.own, g.latents.split(1), (8, 8))),
    "load_latent": _saved,
    "encode_folder": lambda g: latentflow.encode_folder(g.folder, vae=g.own, size=16).latents,
    "slerp": lambda g: latentflow.latents.slerp(g.latents[:1], g.latents[1:2], 0.3),
    "principal_components": lambda g: latentflow.latents.principal_components(g.latents, 2),
    "plane_around": lambda g: latentflow.latents.plane_around(_anchors(g), seed=3),
    "plane_through": lambda g: latentflow.latents.plane_through(_anchors(g)),
    "principal_plane": lambda g: latentflow.latents.principal_plane(g.latents, (8, 8)),
    "read_anchors": _anchors,
    "latent_statistics": lambda g: latentflow.latents.latent_statistics(g.latents),
}

# drawn from what the others compute, written, or served
NOT_TRIED = {"draw_concept", "draw_curvature", "draw_plane", "draw_similar", "export_onnx", "find_weights"} | {
    "faithful",
    "launch_app",
    "open_frames",
    "run_sinks",
}
RANDOM_NAMES = ("seconds", "encoded", "path", "created", "id")  # of fields that differ from call to call


def flat(value, name=""):
    """All numbers of a result, under their names."""
    if dataclasses.is_dataclass(value):
        value = {each.name: getattr(value, each.name, None) for each in dataclasses.fields(value)}
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in RANDOM_NAMES}
        return {key: found for part in kept for key, found in flat(kept[part], f"{name}.{part}").items()}
    if isinstance(value, list | tuple):
        return {key: found for part in range(len(value)) for key, found in flat(value[part], f"{name}[{part}]").items()}
    if isinstance(value, torch.Tensor):
        assert not value.is_inference() and value.device.type == "cpu", name
        assert not value.requires_grad, name
        return {name: value.numpy()}
    if isinstance(value, int | float | np.ndarray):
        return {name: np.asarray(value)}
    if hasattr(value, "axes"):
        value.set_dpi(40)  # what is drawn is compared, whatever its size
        canvas = FigureCanvasAgg(value)
        canvas.draw()
        return {name: np.asarray(canvas.buffer_rgba())}
    return {name: np.frombuffer(str(value).encode(), np.uint8)} if isinstance(value, str | bytes) else {}


@pytest.fixture(scope="module")
def expected(given):
    made = {}

    def of(name):
        if name not in made:
            made[name] = flat(CASES[name](given))
        return made[name]

    return of


def test_every_public_function_is_tried():
    places = [(import_module(place), names) for place, names in generate.public().items()]
    functions = {name for place, names in places for name in names if inspect.isfunction(getattr(place, name))}
    assert functions - NOT_TRIED == set(CASES)


@pytest.mark.slow
@around
@pytest.mark.parametrize("name", CASES)
def test_what_surrounds_a_call_changes_nothing(given, expected, name, surroundings):
    right = expected(name)
    assert right, name
    with surroundings():
        found = CASES[name](given)
    found = flat(found)
    assert found.keys() == right.keys()
    for key, value in right.items():
        assert found[key].dtype == value.dtype, key
        np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5, err_msg=key)


QUICK = {"vae": "bundled", "size": 32, "steps": 2, "seed": 1, "dtype": "float32"}


def test_a_run_begun_in_inference_mode_is_finished_outside_and_the_other_way_around(small):
    right = invert(small, **QUICK).result().latent
    with torch.inference_mode():
        begun, loaded = invert(small, **QUICK), latentflow.load_autoencoder("bundled")
        next(iter(begun))
    assert torch.equal(begun.result().latent, right)
    assert torch.equal(invert(small, **QUICK | {"vae": loaded}).result().latent, right)
    begun = invert(small, **QUICK)
    with torch.inference_mode():
        steps = list(begun)
    assert torch.equal(steps[-1].latent, right) and not steps[-1].latent.is_inference()


def test_tensors_made_in_inference_mode_are_taken(given):
    with torch.inference_mode():
        target, latent = picture(), torch.zeros(1, 4, 4, 4)
        module, objective = Tiny(), Objective("l1", target)
    right = list(optimize(given.own, Objective("l1", picture()), torch.zeros(1, 4, 4, 4), steps=2))
    assert torch.equal(list(optimize(given.own, objective, latent, steps=2))[-1].latent, right[-1].latent)
    own = Autoencoder(module, given.own.geometry, "tiny")
    assert len(list(optimize(own, Objective("mse", target), latent, steps=1))) == 2


def test_a_step_leaves_the_settings_around_it_as_they_were(small):
    with torch.no_grad(), torch.device("meta"), default_type():
        for _ in invert(small, **QUICK):
            assert not torch.is_grad_enabled()
            assert torch.zeros(1).device.type == "meta" and torch.zeros(1).dtype == torch.float64
        for _ in latentflow.walk(["random:1", "random:2"], size=16, frames=2):
            assert not torch.is_grad_enabled() and torch.zeros(1).device.type == "meta"


def test_a_default_type_is_kept_while_several_threads_load():
    with default_type():
        threads = [threading.Thread(target=latentflow.load_autoencoder) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert torch.get_default_dtype() == torch.float64


@pytest.mark.parametrize(
    "options",
    [
        {"seed": np.int64(1)},
        {"seed": np.uint32(1)},
        {"steps": np.int16(2), "size": np.int64(32), "lr": np.float64(0.1)},
        {"betas": [0.7, 0.8]},
        {"betas": np.array([0.7, 0.8]).tolist(), "device": torch.device("cpu")},
        {"dtype": torch.float32},
        {"vae": Path("bundled")},
        {"compile": np.bool_(False)},
    ],
    ids=str,
)
def test_numbers_of_numpy_lists_and_what_torch_names_are_taken(small, options):
    run = invert(small, **QUICK | options)
    assert torch.equal(run.result().latent, invert(small, **QUICK).result().latent)
    assert type(run.seed) is int and type(run.config.steps) is int


@pytest.mark.parametrize(
    "options, words",
    [
        ({"steps": None}, "`steps` must be a number, not None"),
        ({"steps": [1, 2]}, r"`steps` must be a number, not \[1, 2\]"),
        ({"steps": True}, "`steps` must be a number, not True"),
        ({"size": np.float32(1.5)}, "`size` must be an integer, not 1.5"),
        ({"fit": None}, "`fit` must be text, not None"),
        ({"compile": "yes"}, "`compile` must be True or False, not 'yes'"),
        ({"betas": 0.9}, "`betas` must be a list, not 0.9"),
        ({"betas": ["a", "b"]}, "`betas` must be a number, not 'a'"),
        ({"seed": torch.tensor(3)}, "`seed` must be a number"),
        ({"loss": None}, "`loss` is the name of a loss, a weighted sum or a function"),
        ({"loss": torch.nn.MSELoss}, "`loss` is the name of a loss"),
        ({"loss": lambda image: image.mean()}, "The loss loss fails: .*TypeError"),
        ({"loss": lambda image, target: image}, r"returns the shape \(1, 3, .*not one value an image"),
        ({"loss": lambda image, target: 0.5}, "returns a float, not a tensor"),
        ({"loss": lambda image, target: (image - target).detach().mean()}, "has no gradient. Compute it with torch"),
        ({"loss": torch.nn.MSELoss(), "method": "gradient_free"}, "a loss of your own would have no effect"),
        ({"loss": torch.nn.MSELoss(), "mask": np.ones((20, 24), bool)}, "`mask` has no effect on the loss MSELoss"),
        ({"vae": torch.nn.Conv2d(3, 3, 1)}, r"not Conv2d. Your own becomes one: Autoencoder.wrap\("),
        (
            {"image": torch.linspace(-1, 1, 12).reshape(3, 2, 2)},
            r"not from -1 to 1\. Scale it, perhaps by x / 2 \+ 0.5",
        ),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_anything_else_is_refused_in_words(small, options, words):
    with pytest.raises(InputError, match=words):
        list(invert(**{"image": small} | QUICK | options))


@pytest.mark.parametrize(
    "call",
    [
        lambda g: optimize(g.own, Objective("mse", g.target), g.latents[:1], steps=None),
        lambda g: latentflow.sound.frame_count("2", 6.0),
        lambda g: latentflow.views.plane_basis(g.plane, 2.5),
        lambda g: latentflow.views.evaluate_images(g.own, g.images, steps="1"),
    ],
)
def test_functions_check_their_numbers_too(given, call):
    with pytest.raises(InputError, match="must be a"):
        call(given)


class ResBlock(torch.nn.Sequential):
    """What checkpointing takes for a block of a decoder, by its name."""


class Tiny(torch.nn.Module):
    """An autoencoder of one's own, in training as modules are made, with what training changes."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.up, self.down = torch.nn.ConvTranspose2d(4, 3, 2, 2), torch.nn.Conv2d(3, 4, 2, 2)
        self.norm, self.drop = torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5)
        self.norm.eval()
        self.decoder = ResBlock(self.up, self.norm, self.drop)

    def decode(self, latent):
        return self.decoder(latent)

    def encode(self, image):
        return self.down(self.drop(self.norm(image)))


@pytest.mark.parametrize("checkpointing", ["auto", "on"])
def test_a_model_in_training_is_frozen_in_a_run_and_restored(small, given, checkpointing):
    module = Tiny().train()
    module.up.weight.requires_grad_(False)
    before = copy.deepcopy(module.state_dict())
    own = Autoencoder(module, given.own.geometry, "tiny")
    options = QUICK | {"vae": own, "method": "hybrid", "steps": 6, "checkpointing": checkpointing}
    results = [invert(small, **options).result() for _ in range(2)]
    assert torch.equal(results[0].latent, results[1].latent)  # no dropout
    assert results[0].encoder_metrics == results[1].encoder_metrics
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(each.training for each in module.modules())
    wanted = {name: name != "up.weight" for name, _ in module.named_parameters()}
    assert {name: each.requires_grad for name, each in module.named_parameters()} == wanted


def test_a_model_stays_frozen_until_the_last_of_several_threads_is_done(given):
    own = Autoencoder(Tiny().train(), given.own.geometry, "tiny")
    inside, leave, seen = threading.Event(), threading.Event(), []
    decode = own.model.decode

    def slow(latent):
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            leave.wait(10)
            seen.append(own.model.norm.training)
        return decode(latent)

    own.model.decode = slow
    thread = threading.Thread(target=lambda: own.decode(given.latents[:1]))
    thread.start()
    inside.wait(10)
    own.decode(given.latents[:1])  # begins and ends in between
    assert not own.model.norm.training
    leave.set()
    thread.join()
    assert seen == [False] and own.model.norm.training


@pytest.mark.parametrize("kind", ["tensor", "sample"])
def test_a_model_of_ones_own_returns_tensors_or_what_diffusers_returns(small, given, kind):
    module = Tiny().eval()
    if kind == "sample":
        encode, decode = module.encode, module.decode
        module.encode = lambda image: types.SimpleNamespace(latents=encode(image))
        module.decode = lambda latent: types.SimpleNamespace(sample=decode(latent))
    own = Autoencoder(module, given.own.geometry, "tiny")
    right = Tiny().eval().decode(given.latents[:1] / given.own.scale + given.own.shift) / 2 + 0.5
    torch.testing.assert_close(own.decode(given.latents[:1]), right)
    module.decode = lambda latent: None
    with pytest.raises(InputError, match=r"returned a NoneType\. Return a tensor, or something"):
        own.decode(given.latents[:1])


def test_a_function_a_module_and_a_loss_of_ours_are_losses(small):
    def halved(image, target):
        return (image - target).square().mean(dim=(1, 2, 3)) / 2

    right = invert(small, "mse", **QUICK).result()
    own = invert(small, halved, **QUICK).result()
    assert own.loss == "halved" and own.loss_last == pytest.approx(right.loss_last / 2, rel=1e-3)
    torch.testing.assert_close(own.latent, right.latent, rtol=1e-3, atol=1e-4)
    assert invert(small, torch.nn.MSELoss(), **QUICK).result().loss == "MSELoss"
    named = latentflow.losses.find("l1")()
    assert torch.equal(invert(small, named, **QUICK).result().latent, invert(small, "l1", **QUICK).result().latent)
    two = picture(count=2)
    values, parts = Objective(halved, two)(two * 0.5)
    torch.testing.assert_close(values, (two * 0.5).square().mean(dim=(1, 2, 3)) / 2)
    assert list(parts) == ["halved"]
    with pytest.raises(InputError, match=r"returns the shape \(\), not one value an image: \(2,\)"):
        Objective(torch.nn.MSELoss(), two)(two)


def test_one_run_in_three_threads_makes_each_step_once(small):
    run, found = invert(small, **QUICK | {"steps": 8}), []
    begun, go_on = threading.Event(), threading.Event()

    def follow():
        try:
            indices = []
            for step in run:
                indices.append(step.index)
                begun.set()
                go_on.wait(10)
            found.append(indices)
        except InputError as error:
            found.append(str(error))

    first = threading.Thread(target=follow)
    first.start()
    begun.wait(10)
    others = [threading.Thread(target=follow) for _ in range(2)]
    for each in others:
        each.start()
    for each in others:
        each.join()
    assert all("goes on in a loop of another thread. Let that one end" in each for each in found) and len(found) == 2
    go_on.set()
    result = run.result()  # waits for the loop
    first.join()
    assert found[-1] == list(range(9)) and result.steps == 8


def test_a_result_that_waits_for_a_run_is_that_of_its_stop(small):
    run = invert(small, **QUICK | {"steps": 300})
    begun = threading.Event()

    def follow():
        for step in run:
            begun.set()
            if step.index == 3:
                run.stop()

    thread = threading.Thread(target=follow)
    thread.start()
    begun.wait(10)
    stopped = run.result()
    thread.join()
    assert stopped.steps == 3 or run.is_finished


def test_two_loops_of_one_thread_share_the_steps(small):
    run = invert(small, **QUICK | {"steps": 4})
    one = iter(run)
    assert next(one).index == 0
    assert [step.index for step in run] == [1, 2, 3, 4]
    assert list(one) == []


@pytest.mark.parametrize("options", [{}, {"method": "hybrid"}, {"optimizer": "lbfgs"}], ids=str)
def test_a_copy_of_a_run_goes_on_by_itself(small, options):
    run = invert(small, **QUICK | {"steps": 4} | options)
    for step in run:
        if step.index == 2:
            break
    twin = copy.deepcopy(run)
    first = list(run)
    assert [step.index for step in twin] == [3, 4]
    assert torch.equal(twin.result().latent, first[-1].latent)
    assert twin.loaded is run.loaded and twin.result().seconds_per_step > 0


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_autocast_is_off_within_a_call(device):
    def loss(image, target):
        assert not torch.is_autocast_enabled(device)
        return (image - target).square().mean()

    with torch.autocast(device, torch.bfloat16):
        assert torch.is_autocast_enabled(device)
        list(optimize(linear_autoencoder(), Objective(loss, picture(8)), torch.zeros(1, 4, 4, 4), steps=1))
        assert torch.is_autocast_enabled(device)
