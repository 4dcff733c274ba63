"""Measurements of a text-to-image model: whether prompts are obeyed, and how evenly pictures change between noises and
between words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from latentflow.latents.paths import slerp
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.embeddings import Embeddings, mixed, weighing_words
from latentflow.training.data import to_bytes
from latentflow.training.optimizing import building
from tools.toy.captioned import COLORS, KINDS, TIMES, Scene, captioned
from tools.toy.data import Captioned
from tools.toy.models import generate

LABELS = {"kind": list(KINDS), "color": list(COLORS), "time": list(TIMES)}
PICTURES_EACH = 4  # of each held-out combination of kind, color and time
DRAWN = 240
SEGMENTS = 16
CLASSIFYING = 25.0  # seconds to draw these and to train the classifier, on two cores
FIRST_SEED = 2**52  # of scenes drawn to measure; those of trainings are below


class Classifier(nn.Module):
    """Tells kind, color and time of a scene from its latent (n, c, rows, columns)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels, 48, 96, 128]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.heads = nn.ModuleDict({name: nn.Linear(4 * widths[-1], len(each)) for name, each in LABELS.items()})

    def forward(self, latent: Tensor) -> dict[str, Tensor]:
        features = self.body(latent)
        return {name: head(features) for name, head in self.heads.items()}


def labels_of(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """The numbers of the kinds, colors and times of scenes, (n,) each."""
    return {name: torch.tensor([each.index(getattr(scene, name)) for scene in scenes]) for name, each in LABELS.items()}


def train_classifier(data: Captioned, seed: int) -> Classifier:
    """A classifier of the scenes that were drawn for the training with this seed."""
    first = (seed % 2**20) * 2**20
    scenes = [Scene.random(np.random.default_rng(first + index)) for index in range(len(data.latents))]
    labels = labels_of(scenes)
    with building(0):
        model = Classifier(data.latents.shape[1])
    updates = max(200, 4 * len(scenes) // 128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=updates)
    generator = torch.Generator().manual_seed(0)
    for _ in range(updates):
        index = torch.randint(len(scenes), (128,), generator=generator)
        latent = data.latents[index]
        # generated latents are not as clean as encoded ones
        latent = latent + 0.2 * torch.randn(latent.shape, generator=generator)
        found = model(latent)
        loss = torch.stack([cross_entropy(found[name], labels[name][index]) for name in LABELS]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False)


def accuracy(model: Classifier, latents: Tensor, scenes: Sequence[Scene]) -> dict[str, float]:
    """The fraction of latents that are classified with the kind, color and time of their scenes."""
    found = model(latents)
    return {
        name: round(float((found[name].argmax(1) == label).float().mean()), 4)
        for name, label in labels_of(scenes).items()
    }


def noises(shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Noise of one latent's shape (c, rows, columns) for each seed, as prompts have it: (n, c, rows, columns)."""
    return torch.cat([torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def obedience(pipeline: Any, autoencoder: Autoencoder, data: Captioned, seed: int) -> dict[str, Any]:
    """Measure how often pictures show what their prompts say, for combinations of kind, color and time that were
    trained on and for held-out ones; `drawn` is the same for drawn scenes, for comparison."""
    classifier = train_classifier(data, seed)
    size = data.latents.shape[-1] * autoencoder.stride
    drawn = [captioned(FIRST_SEED + index, size, held_out=index % 2 == 0) for index in range(DRAWN)]
    images = torch.stack([to_bytes(image) for image, _, _ in drawn]).float() / 255
    with torch.no_grad():
        latents = torch.cat([autoencoder.encode(each.to(autoencoder.device)).cpu() for each in images.split(32)])
    report: dict[str, Any] = {
        "chance": {name: round(1 / len(each), 4) for name, each in LABELS.items()},
        "drawn": accuracy(classifier, latents, [scene for _, _, scene in drawn]),
    }
    every = [Scene(kind, color, time) for kind in KINDS for color in COLORS for time in TIMES]
    held_out = [scene for scene in every if scene.held_out]
    trained = [scene for scene in every if not scene.held_out][:: len(every) // len(held_out) - 1]
    for name, scenes in (("held_out", held_out), ("trained", trained)):
        asked = [scene for scene in scenes for _ in range(PICTURES_EACH)]
        shape = data.latents.shape[1:]
        found = []
        for first in range(0, len(asked), 16):
            part = asked[first : first + 16]
            noise = noises(shape, range(first, first + len(part)))
            found.append(generate(pipeline, [scene.caption() for scene in part], noise, latents=True))
        report[name] = accuracy(classifier, torch.cat(found), asked) | {"pictures": len(asked)}
    return report


def smoothness(pipeline: Any, prompts: list[str], shape: Sequence[int]) -> dict[str, float]:
    """Measure how evenly pictures change between two noises, and between two prompts with the same noise: the largest
    of 16 steps as a share of the distance between the ends, the mean over prompts. 1 is a jump, 1/16 as even as can be.
    One prompt alone has no `words`."""
    weights = torch.linspace(0, 1, SEGMENTS + 1)
    found: dict[str, list[float]] = {"noise": [], "words": []}
    for index, prompt in enumerate(prompts):
        first, second = noises(shape, (2 * index, 2 * index + 1)).split(1)
        path = torch.cat([slerp(first, second, float(weight)) for weight in weights])
        found["noise"].append(_largest_step(generate(pipeline, [prompt] * len(path), path)))
        if len(prompts) > 1:
            found["words"].append(_largest_step(_between(pipeline, prompt, prompts[index - 1], first, weights)))
    return {name: round(float(np.mean(values)), 4) for name, values in found.items() if values}


def measure_seconds(each: float, prompts: int, *, drawn: bool) -> float:
    """About how many seconds `obedience`, of `drawn` scenes, and `smoothness` take where a picture takes `each`."""
    held_out = sum(Scene(*each).held_out for each in product(KINDS, COLORS, TIMES)) if drawn else 0
    pictures = 2 * PICTURES_EACH * held_out + (2 if prompts > 1 else 1) * (SEGMENTS + 1) * prompts
    return pictures * each + (CLASSIFYING if drawn else 0.0)


def _between(pipeline: Any, prompt: str, other: str, noise: Tensor, weights: Tensor) -> Tensor:
    """Pictures from the same noise of words between two prompts, as `prompts` mixes them."""
    side = noise.shape[-1] * pipeline.vae_scale_factor
    with torch.no_grad(), weighing_words(pipeline.transformer):
        one, two = (_encoded(pipeline, each) for each in (prompt, other))
        between = [mixed(one, two, float(weight), torch.lerp) for weight in weights]
        words = {name: torch.cat([each[name] for each in between]) for name in one}
        images: Tensor = pipeline(
            **words,
            negative_prompt=None,
            latents=noise.expand(len(weights), -1, -1, -1).to(pipeline.device),
            height=side,
            width=side,
            use_resolution_binning=False,
            output_type="pt",
        ).images
    return images.float().cpu()


def _encoded(pipeline: Any, prompt: str) -> Embeddings:
    names = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
    found = pipeline.encode_prompt(
        prompt,
        complex_human_instruction=None,
        max_sequence_length=pipeline.tokenizer.model_max_length,
        device=pipeline.device,
    )
    return dict(zip(names, found, strict=True))


def _largest_step(pictures: Tensor) -> float:
    steps = (pictures[1:] - pictures[:-1]).square().flatten(1).mean(1).sqrt()
    ends = (pictures[-1] - pictures[0]).square().mean().sqrt()
    return float(steps.max() / ends.clamp(min=1e-6))
