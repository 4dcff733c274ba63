"""A run from Python: in memory, in threads, with what a caller has at hand."""

import base64
import inspect
import io
import re
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from toys import linear_autoencoder, picture

import latentflow
from latentflow import InputError, Session, encoder_metrics, image_metrics, invert
from latentflow.base.pixels import to_uint8
from latentflow.base.records import Frame
from latentflow.inversion.config import RunConfig
from latentflow.pictures.files import fit, to_tensor

QUICK = {"size": 24, "steps": 5, "seed": 3}


def test_a_run_yields_honest_records_and_writes_nothing(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    run = invert(small, "l1", **QUICK)
    records = list(run)
    assert [record.index for record in records] == list(range(6))
    autoencoder = run.loaded.autoencoder
    for record in records:
        assert torch.equal(record.image, autoencoder.decode(record.latent, (20, 24)))
        assert float(record.loss) == pytest.approx(float((record.image - run.target.image).abs().mean()), rel=1e-5)
    result = run.result()
    assert torch.equal(result.latent, records[-1].latent) and result.steps == 5 and result.seed == 3
    assert (result.loss, result.loss_first, result.loss_last) == ("l1", float(records[0].loss), float(records[-1].loss))
    assert result.metrics == image_metrics(records[-1].image, run.target.image, run.loaded.metrics)
    assert result.encoder_metrics == encoder_metrics(autoencoder, run.target.image, run.loaded.metrics)
    assert result.metrics["psnr"] != result.encoder_metrics["psnr"]
    assert result.picture.size == (24, 20)
    assert set(tmp_path.iterdir()) == before


def test_the_command_line_does_the_same(invoke, small, tmp_path):
    from safetensors.torch import load_file

    code, _, err = invoke(
        *("--image_path", small, "--weights", "bundled", "--size", 24, "--steps", 5, "--seed", 3, "--quiet"),
        *("--save_latent", "z.safetensors"),
    )
    assert code == 0, err
    assert torch.equal(load_file(tmp_path / "z.safetensors")["latent"], invert(small, **QUICK).result().latent)


def test_its_options_are_those_of_the_command_line_with_their_defaults():
    parameters = inspect.signature(invert).parameters
    own = {"image", "loss", "vae", "session", "size"}  # `size` is a tensor's own
    config = RunConfig()
    assert all(parameters[name].default == getattr(config, name) for name in set(parameters) - own)
    assert parameters["loss"].default == config.loss_type and parameters["vae"].default == "bundled"


def test_a_run_in_a_thread_is_stopped_from_another_and_goes_on(small):
    run = invert(small, **QUICK | {"steps": 12})
    seen, reached, stopped = [], threading.Event(), threading.Event()

    def work():
        for step in run:
            seen.append(step.index)
            if step.index == 4:
                reached.set()
                stopped.wait()

    thread = threading.Thread(target=work)
    thread.start()
    reached.wait()
    run.stop()
    stopped.set()
    thread.join()
    assert seen == [0, 1, 2, 3, 4] and not run.is_finished
    assert run.result(finish=False).steps == 4
    seen += [step.index for step in run]
    assert seen == list(range(13)) and run.is_finished
    assert torch.equal(run.result().latent, invert(small, **QUICK | {"steps": 12}).result().latent)


def test_two_runs_at_once_share_one_autoencoder_and_disturb_each_other_in_nothing(small, autoencoder):
    losses = ("mse", "ssim")
    alone = [invert(small, loss, vae=autoencoder, **QUICK).result().latent for loss in losses]
    runs = [invert(small, loss, vae=autoencoder, **QUICK) for loss in losses]
    threads = [threading.Thread(target=run.result) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(run.last.latent, latent) for run, latent in zip(runs, alone, strict=True))


def test_sessions_that_share_models_load_them_once_and_stop_apart():
    one = Session()
    two = Session(models=one.models)
    assert one.load("bundled").autoencoder is two.load("bundled").autoencoder
    assert Session().load("bundled").autoencoder is not one.load("bundled").autoencoder
    one.stop()
    assert one.is_stopped and not two.is_stopped


@pytest.mark.parametrize("kind", ["path", "text", "picture", "array", "gray", "tensor", "batch"])
def test_an_image_may_be_whatever_a_caller_has(small, kind):
    pixels = Image.open(small).convert("RGB")
    tensor = to_tensor(pixels)
    image = {
        "path": small,
        "text": str(small),
        "picture": pixels,
        "array": np.asarray(pixels),
        "gray": np.asarray(pixels.convert("L")),
        "tensor": tensor[0],
        "batch": tensor,
    }[kind]
    run = invert(image, **QUICK)
    expected = pixels.convert("L").convert("RGB") if kind == "gray" else pixels
    assert torch.equal(run.target.image, to_tensor(fit(expected, 24)))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3)), r"`image`: an array .* not float64 \(4, 4, 3\)"),
        (np.zeros((4, 4, 2), np.uint8), r"`image`: an array"),
        (torch.zeros(4, 4), r"`image`: a tensor .* not \(4, 4\)"),
        (torch.zeros(2, 4, 4, 4), r"`image`: a tensor"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), r"`image`: a tensor"),
        ("nowhere.png", "`image` nowhere.png does not exist"),
        (None, "`image` is a path, a PIL picture, an array or a tensor, not NoneType"),
        (torch.full((3, 4, 4), float("nan")), "`image`: the tensor has values that are not finite"),
        (torch.full((3, 4, 4), 255.0), r"`image`: a tensor is in \[0, 1\], not up to 255"),
        (np.zeros((0, 4, 3), np.uint8), "`image`: an array"),
    ],
)
def test_what_is_no_image_is_refused_in_the_words_of_the_library(image, words):
    with pytest.raises(InputError, match=words) as caught:
        invert(image, **QUICK)
    assert caught.value.parameter == "image"


@pytest.mark.parametrize(
    ("wrong", "parameter"),
    [
        ({"size": 0}, "size"),
        ({"method": "magic"}, "method"),
        ({"method": "gradient_free", "loss": "l1"}, "method"),
        ({"loss": "mze"}, "loss_type"),
        ({"init": "nowhere.png"}, "init"),
        ({"device": "tpu"}, "device"),
        ({"optimizer": "km"}, "optimizer"),
    ],
)
def test_a_wrong_option_names_its_parameter(small, wrong, parameter):
    with pytest.raises(InputError) as caught:
        invert(small, **QUICK | wrong)
    assert caught.value.parameter == parameter and "--" not in str(caught.value)


def test_a_run_ends_at_the_psnr_that_was_asked_for(small):
    reached = [float(step.psnr) for step in invert(small, **QUICK | {"steps": 20})]
    goal = (max(reached[:6]) + max(reached[:10])) / 2
    first = next(index for index, value in enumerate(reached) if value >= goal)
    run = invert(small, **QUICK | {"steps": 20, "target_psnr": goal})
    assert run.result().steps == first > 5 and run.is_finished
    assert run.result().metrics["psnr"] >= goal


def test_there_is_no_result_before_the_first_step(small):
    with pytest.raises(InputError, match="no step yet"):
        invert(small, **QUICK).result(finish=False)


def test_a_restored_inversion_tells_no_false_index_even_when_it_has_begun():
    autoencoder, target = linear_autoencoder(), picture()
    objective = latentflow.Objective("mse", target)
    latent = latentflow.initial_latent("normal", autoencoder, target, 0)
    one = latentflow.optimize(autoencoder, objective, latent, steps=9)
    for _ in range(4):
        next(one)
    state = one.state()
    rest = list(one)
    other = latentflow.optimize(autoencoder, objective, latent, steps=9)
    for _ in range(7):
        next(other)
    other.restore(state)
    again = list(other)
    assert [step.index for step in again] == [step.index for step in rest] == [4, 5, 6, 7, 8, 9]
    assert torch.equal(again[0].latent, rest[0].latent)


def test_a_latent_of_another_shape_is_an_input_error():
    autoencoder, target = linear_autoencoder(), picture()
    objective = latentflow.Objective("mse", target)
    for latent in (torch.zeros(1, 4, 3, 4), torch.zeros(4, 4, 4), torch.zeros(2, 4, 4, 4)):
        with pytest.raises(InputError, match=r"has shape .*; this target needs \(1, 4, 4, 4\)"):
            latentflow.optimize(autoencoder, objective, latent)
    with pytest.raises(InputError, match=r"A latent of linear is \(n, 4, rows, columns\), not \(1, 3, 4, 4\)"):
        autoencoder.decode(torch.zeros(1, 3, 4, 4))
    with pytest.raises(InputError, match=r"A picture to encode is \(n, 3, height, width\), not \(3, 8, 8\)"):
        autoencoder.encode(torch.zeros(3, 8, 8))


def test_loading_sets_nothing_for_the_whole_process(monkeypatch):
    before = (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision())
    latentflow.load_autoencoder("bundled", dtype="auto")
    after = (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision())
    assert after == before


def test_an_autoencoder_is_a_module_whose_buffers_follow_it(autoencoder):
    assert isinstance(autoencoder, torch.nn.Module)
    assert {"scale", "shift"} <= dict(autoencoder.named_buffers()).keys()
    moved = linear_autoencoder().to("meta")
    assert moved.device.type == "meta" and moved.geometry.scale.device.type == "meta"
    image = picture(24, 20)
    assert torch.equal(autoencoder(image), autoencoder.decode(autoencoder.encode(image), (24, 20)))


def test_a_stopped_session_ends_a_run_and_a_new_one_is_needed(small):
    session = Session()
    run = invert(small, session=session, **QUICK)
    records = iter(run)
    next(records)
    session.stop("the window was closed")
    with pytest.raises(latentflow.Interrupted, match=r"Stopped before the next step \(the window was closed\)"):
        next(records)


def test_a_transparent_picture_is_the_same_from_a_file_and_from_memory(tmp_path):
    picture = Image.new("RGBA", (24, 20), (255, 0, 0, 0))
    picture.save(tmp_path / "clear.png")
    targets = [invert(image, **QUICK).target.image for image in (tmp_path / "clear.png", picture, np.asarray(picture))]
    assert all(torch.equal(target, torch.ones(1, 3, 20, 24)) for target in targets)


def test_an_autoencoder_that_was_given_has_one_set_of_networks_and_its_own_device(small, autoencoder):
    session = Session()
    runs = [invert(small, vae=autoencoder, session=session, **QUICK) for _ in range(2)]
    assert runs[0].loaded.networks is runs[1].loaded.networks


def test_a_hybrid_run_is_restored_to_before_its_turn():
    autoencoder, target = linear_autoencoder(), picture()
    objective = latentflow.Objective("mse", target)
    latent = latentflow.initial_latent("normal", autoencoder, target, 0)
    run = latentflow.optimize(autoencoder, objective, latent, steps=12, method="hybrid")
    next(run)
    state = run.state()
    rest = [step.latent for step in run]
    run.restore(state)
    assert all(torch.equal(one, step.latent) for one, step in zip(rest, run, strict=True))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": "5"}, "`steps` must be a number, not '5'"),
        ({"size": 24.5}, "`size` must be an integer, not 24.5"),
        ({"seed": "a"}, "`seed` must be a number, not 'a'"),
    ],
)
def test_a_number_is_a_number(small, wrong, words):
    with pytest.raises(InputError, match=words):
        invert(small, **QUICK | wrong)


def test_a_line_search_that_finds_no_lower_loss_ends_the_run(small, invoke):
    """A rate this small moves no value, so no step lowers the loss: five in vain, and the run ends with a sentence."""
    stuck = {"steps": 40, "optimizer": "lbfgs", "lr": 1e-12, "size": 32, "seed": 1}
    run = invert(small, **stuck)
    assert [step.index for step in run] == list(range(6))
    assert run.is_finished and run.inversion.ended == "`optimizer` lbfgs found no lower loss in 5 steps"
    options = [f"--{name}={value}" for name, value in stuck.items()]
    code, out, _ = invoke("--image_path", small, "--weights", "bundled", "--output_path", "a.gif", *options)
    assert code == 0 and "note     --optimizer lbfgs found no lower loss in 5 steps, so the run ended" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 2}, "--method hybrid would pass it"),
        ({"steps": 2, "loss_type": "l1"}, "--method hybrid with --loss_type mse would pass it"),
        ({"steps": 1, "method": "hybrid", "lr": 0.01}, "more --steps may pass it"),
        ({"steps": 1, "init": "encode"}, ""),
    ],
)
def test_the_summary_says_when_a_run_is_below_the_encoders_own(small, invoke, options, words):
    given = [f"--{name}={value}" for name, value in options.items()]
    common = ("--image_path", small, "--weights", "bundled", "--size", 32, "--seed", 1, "--output_path", "a.gif")
    code, out, _ = invoke(*common, *given)
    rows = {line[:18].strip(): line[18:].split() for line in out.splitlines() if line[:1] in "te"}
    lacking = float(rows["encoder's own"][0]) - float(rows["this run"][0])
    notes = [line for line in out.splitlines() if line.startswith("note")]
    assert code == 0
    assert len(notes) == bool(words) and all(words in note for note in notes)
    for note in notes:  # both are rounded: the difference to a tenth, the figures to a hundredth
        assert float(re.search(r"([\d.]+) dB below", note)[1]) == pytest.approx(lacking, abs=0.05 + 0.01 + 1e-9)


def test_notebooks_show_steps_as_pictures_and_results_with_their_metrics(autoencoder):
    pictures = torch.stack([torch.full((3, 4, 6), 0.2), torch.full((3, 4, 6), 0.8)])
    shown = np.array(Image.open(io.BytesIO(Frame(index=0, total=0, latent=pictures, image=pictures)._repr_png_())))
    assert shown.shape == (4, 12, 3) and (shown[:, :6] == 51).all() and (shown[:, 6:] == 204).all()
    picture = Image.effect_noise((24, 16), 60).convert("RGB")
    run = invert(picture, vae=autoencoder, **QUICK)
    first = next(iter(run))
    shown = np.array(Image.open(io.BytesIO(first._repr_png_())))
    assert np.array_equal(shown, to_uint8(first.image))
    result = run.result()
    page = result._repr_html_()
    data = re.search(r'src="data:image/png;base64,([^"]+)"', page)[1]
    assert np.array_equal(np.array(Image.open(io.BytesIO(base64.b64decode(data)))), np.array(result.picture))
    assert f"{result.metrics['psnr']:.2f}" in page and f"{result.encoder_metrics['psnr']:.2f}" in page
    assert "encoder&#x27;s own" in page and f"mse: {result.loss_first:.4g} → {result.loss_last:.4g} in 5 steps" in page
