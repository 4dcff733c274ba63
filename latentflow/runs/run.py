"""One run, from a plan to its outputs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow.config import RunConfig, ViewConfig
from latentflow.errors import InputError, LatentflowError, WeightsError
from latentflow.files import sha256, sweep
from latentflow.interrupts import Interrupts, Say
from latentflow.inversion.objective import Objective
from latentflow.inversion.optimize import optimize
from latentflow.latents.files import save_latent
from latentflow.latents.initial import initial_latent
from latentflow.models import weights
from latentflow.models.autoencoder import Autoencoder, load_autoencoder
from latentflow.models.device import describe, pick_device
from latentflow.models.memory import compiling_pays, is_tight
from latentflow.models.networks import Networks
from latentflow.pictures.draw import Drawing
from latentflow.pictures.files import Picture, fit, read_image, to_tensor
from latentflow.records import Step, until
from latentflow.runs.plan import Plan
from latentflow.runs.report import Report, versions
from latentflow.sinks import EveryNth, Sink, run_sinks
from latentflow.sinks.advice import Advice
from latentflow.sinks.background import Background
from latentflow.sinks.checkpoint import Checkpoints
from latentflow.sinks.frames import FrameSink, open_frames
from latentflow.sinks.manifest import Manifest
from latentflow.sinks.metrics import Metrics
from latentflow.sinks.plot import Plot
from latentflow.sinks.progress import Progress
from latentflow.sinks.resample import ResampleByChange
from latentflow.sinks.save_best import SaveBest, save_image
from latentflow.sinks.trajectory import Trajectory, read_trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What runs can share: the autoencoder, and the networks of losses and of figures."""

    resolved: weights.FoundWeights
    autoencoder: Autoencoder
    networks: Networks
    figures: Networks


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a run begins with: the target and the latent to start from."""

    loaded: Loaded
    target: Tensor
    latent: Tensor
    picture: Picture

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the target."""
        return self.target.shape[-2], self.target.shape[-1]

    def objective(self, text: str, say: Say) -> Objective:
        """A loss against the target."""
        return make_objective(text, self.target, self.loaded.networks, say)


def make_objective(text: str, target: Tensor, networks: Networks, say: Say) -> Objective:
    """A loss against targets (n, 3, h, w); what stands in for its network is said."""
    known = len(networks.notices)
    objective = Objective(text, target, networks)
    for notice in networks.notices[known:]:
        say(notice)
    return objective


def load(config: RunConfig | ViewConfig, say: Say) -> Loaded:
    """Find and load the autoencoder; raises `LatentflowError` as the parts do."""
    device = pick_device(config.device)
    resolved = weights.find_weights(config.vae, config.weights)
    if resolved.notice:
        say(resolved.notice)
    return Loaded(
        resolved=resolved,
        autoencoder=load_autoencoder(resolved, device, config.dtype),
        networks=Networks(config.weights, device, download=True),
        figures=Networks("auto", device),
    )


def set_up(config: RunConfig, image_path: Path, seed: int, loaded: Loaded) -> Scene:
    """Read the image and make the start; raises `LatentflowError` as the parts do."""
    picture = read_image(image_path)
    autoencoder = loaded.autoencoder
    target = to_tensor(fit(picture.image, config.size, config.fit)).to(autoencoder.device)
    latent = initial_latent(config.init, autoencoder, target, seed)
    return Scene(loaded=loaded, target=target, latent=latent, picture=picture)


def spare(config: RunConfig, autoencoder: Autoencoder, size: tuple[int, int], say: Say) -> None:
    """Turn on what memory and time ask for: checkpointing, compiling."""
    if autoencoder.is_checkpointed or autoencoder.is_compiled:  # by the run before
        return
    tight = config.checkpointing == "auto" and is_tight(autoencoder, *size)
    if tight:
        say("Memory is tight for a picture of this size: gradient checkpointing is on, and steps take a third longer.")
    if tight or config.checkpointing == "on":
        autoencoder.checkpoint()
    if compiling_pays(autoencoder, *size, config.steps) if config.compile is None else config.compile:
        autoencoder.compile()


@dataclass(slots=True)
class Outputs:
    """Where the records of one run go, and what it came to."""

    report: Report
    frames: FrameSink
    sinks: list[Sink[Any]]


def open_outputs(plan: Plan, scene: Scene, label: str, after: int = 0) -> Outputs:
    """The sinks of every output a run was asked for; with `after` those that append go on behind that record."""
    config, loaded = plan.config, scene.loaded
    for path in (*plan.outputs.values(), plan.manifest, plan.checkpoint):
        sweep(path)
    report = Report(
        plan, loaded.resolved, loaded.autoencoder, scene.target, label, loaded.figures, loaded.networks.notices
    )
    frames = open_frames(
        plan.frames,
        fps=config.fps,
        hold=config.hold,
        overwrite=config.overwrite,
        draw=Drawing(scene.target, side_by_side=config.side_by_side, caption=config.caption),
    )
    behind, facts = Background(frames), report.facts()
    by_change = config.pace == "change"
    sinks: list[Sink[Any]] = [
        Manifest(plan.manifest, facts, lambda: report.result),
        report,
        ResampleByChange(behind, frame_count(config), _decoder(scene))
        if by_change
        else EveryNth(config.skip_step, behind),
        Trajectory(plan.trajectory, facts, 1 if by_change else config.skip_step, after),
    ]
    return Outputs(report, frames, sinks + _sinks_asked_for(plan, report))


def _decoder(scene: Scene) -> Callable[[Tensor], Tensor]:
    autoencoder = scene.loaded.autoencoder
    return lambda latent: autoencoder.decode(latent.to(autoencoder.device), scene.size)


def make_optimization(config: RunConfig, autoencoder: Autoencoder, objective: Objective, start: Tensor) -> optimize:
    """The optimization a config asks for."""
    return optimize(
        autoencoder,
        objective,
        start,
        steps=config.steps,
        method=config.method,
        lr=config.lr,
        optimizer=config.optimizer,
        schedule=config.schedule,
    )


def loss_label(config: RunConfig, objective: Objective) -> str:
    """The name of what a run's loss is."""
    return "residual" if config.method == "gradient_free" else objective.label


def run(
    plan: Plan,
    interrupts: Interrupts,
    say: Say,
    *,
    quiet: bool = False,
    earlier: dict[str, Any] | None = None,
    checkpoint: dict[str, Any] | None = None,
    loaded: Loaded | None = None,
) -> Report:
    """Optimize as planned and write every output asked for; `say` shows a line, `earlier` is a manifest to repeat,
    `checkpoint` the state of a run to go on with, `loaded` what runs before it have loaded.

    A run that broke off after its first step (interrupted, diverged, disk full) has the error in its report, since
    what it wrote is valid. Raises `LatentflowError` for everything that is wrong before.
    """
    config = plan.config
    scene = set_up(config, plan.image_path, plan.seed, loaded or load(config, say))
    autoencoder = scene.loaded.autoencoder
    spare(config, autoencoder, scene.size, say)
    earlier = checkpoint["facts"] if checkpoint else earlier
    if earlier:
        _check_repeats(earlier, plan, scene.loaded.resolved, autoencoder.device, say)
    objective = scene.objective(config.loss_type, say)
    optimization = make_optimization(config, autoencoder, objective, scene.latent)
    records: Iterable[Step] = optimization
    if checkpoint:
        optimization.restore(checkpoint["state"])
        records = chain(_replayed(plan, checkpoint, _decoder(scene)), optimization)
        say(f"Going on from step {optimization.index}.")
    outputs = open_outputs(plan, scene, loss_label(config, objective), optimization.index)
    report, sinks = outputs.report, outputs.sinks
    if config.checkpoint_every:
        best = SaveBest(lambda step: None, "best")
        sinks += [best, _checkpoints(plan, report.facts(), optimization, best)]
    if not quiet:
        for note in scene.picture.notes:
            say(f"{plan.image_path} {note}.")
        sinks += [Advice(say, frame_count(config), outputs.frames, shorter(config)), Progress(config.steps)]
    goal = config.target_psnr
    try:
        run_sinks(
            interrupts.watch(until(records, lambda step: goal is not None and float(step.psnr[0]) >= goal)), sinks
        )
        plan.checkpoint.unlink(missing_ok=True)  # not before every output is whole
    except LatentflowError as error:
        if report.last is None:
            raise
        report.error = error
    report.frames_written = outputs.frames.frames
    return report


def _checkpoints(plan: Plan, facts: dict[str, Any], optimization: optimize, best: SaveBest) -> Checkpoints:
    """The sink of the state, which holds the options with whole paths, so that the file alone is enough to go on."""
    options = facts["options"] | {
        option: str(path.resolve()).replace("{", "{{").replace("}", "}}") for option, path in plan.outputs.items()
    }

    def state() -> dict[str, Any]:
        kept = None if best.kept is None else {"step": best.kept.index, "latent": best.kept.latent}
        return {"facts": facts | {"options": options}, "state": optimization.state(), "best": kept}

    assert plan.config.checkpoint_every is not None
    return Checkpoints(plan.checkpoint, state, plan.config.checkpoint_every, "--output_path", optimization.index)


def _replayed(plan: Plan, checkpoint: dict[str, Any], decode: Callable[[Tensor], Tensor]) -> Iterator[Step]:
    """The records up to a checkpoint, from the trajectory; raises `InputError` when that ends before it."""
    past = read_trajectory(plan.trajectory)
    index, best = checkpoint["state"]["index"], checkpoint["best"]
    if len(past.records) < index:
        raise InputError(f"The trajectory {plan.trajectory} ends before the checkpoint: the run can't go on.")
    if _identity(past.facts) != _identity(checkpoint["facts"]):
        raise InputError(f"The trajectory {plan.trajectory} is of another run than the checkpoint.")
    for step in past.steps(decode, before=index):
        if best and step.index == best["step"]:
            with torch.no_grad():
                yield replace(step, latent=best["latent"], image=decode(best["latent"]))
        else:
            yield step


def _identity(facts: dict[str, Any]) -> dict[str, Any]:
    """What makes a run this one and no other: its options but for the outputs', the image, the weights."""
    free = {"output_path", "save_latent", "save_image", "metrics", "plot", "keep"}
    free |= {"overwrite", "device", "checkpoint_every", "fps", "hold", "compile", "checkpointing"}
    options = {key: value for key, value in facts.get("options", {}).items() if key not in free}
    return options | {part: facts.get(part, {}).get("sha256") for part in ("image", "weights")}


def _sinks_asked_for(plan: Plan, report: Report) -> list[Sink[Any]]:
    """The sinks of the outputs that are named by options."""
    outputs, keep = plan.outputs, plan.config.keep
    autoencoder, size = report.autoencoder, report.size
    makers: dict[str, Callable[[Path], Sink[Any]]] = {
        "metrics": Metrics,
        "plot": lambda path: Plot(path, report.label, report.ceiling["psnr"]),
        "save_latent": lambda path: SaveBest(lambda step: save_latent(path, step.latent, autoencoder, size), keep),
        "save_image": lambda path: SaveBest(lambda step: save_image(path, step.image), keep),
    }
    return [make(outputs[option]) for option, make in makers.items() if option in outputs]


def frame_count(config: RunConfig) -> int:
    """How many frames a whole run keeps."""
    return len({*range(0, config.steps + 1, config.skip_step), config.steps})


def shorter(config: RunConfig) -> list[str]:
    """What would make a run shorter, in words."""
    hints = [f"--size {config.size // 2} takes about a quarter of it"] if config.size > 256 else []
    few = ["--method hybrid comes as near in 20 steps"] if config.method == "gradient" and config.steps > 20 else []
    return hints + few


def _check_repeats(
    earlier: dict[str, Any], plan: Plan, resolved: weights.FoundWeights, device: torch.device, say: Say
) -> None:
    """Refuse to repeat a run with another image or other weights; say what else may change the bytes."""
    if earlier.get("image", {}).get("sha256", "") != sha256(plan.image_path):
        raise InputError(
            f"{plan.image_path} is not the image of the manifest: its SHA-256 differs.",
            "Give --image_path to use the manifest's options on another image.",
        )
    known = earlier.get("weights", {}).get("sha256")
    if known != resolved.sha256:
        raise WeightsError(
            f"The weights of {resolved.name} are not those of the manifest: their SHA-256 is "
            f"{resolved.sha256}, not {known}.",
            "Give --vae to use the manifest's options with other weights.",
        )
    now = {**versions(), **describe(device)}
    then = {**earlier.get("versions", {}), **earlier.get("machine", {})}
    changed = [f"{key} {then.get(key)} → {value}" for key, value in now.items() if then.get(key) != value]
    if changed:
        say(f"The bytes may differ from the run of the manifest: {', '.join(changed)}.")
