"""The stops of a walk through prompts: words and a seed each. Costs no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from latentflow.base.errors import InputError
from latentflow.base.options import MAX_SEED, counted, parse_seed

SEEDED = re.compile(r"(.*?)@([-+]?\d[\d.,_]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Stop:
    """A prompt, the seed of its noise, and what it should not show."""

    prompt: str
    seed: int
    negative: str = ""

    def __str__(self) -> str:
        return f"{self.prompt}@{self.seed}"


def parse_stops(texts: Sequence[str], seeds: Sequence[int] | None = None, negative: str | None = None) -> list[Stop]:
    """The stops that texts name: "a face", "a face@7", or "@7" for the words of the stop before with another seed.

    A stop without a seed takes the seed at its place in `seeds`, or the only seed, or the seed of the stop before, or
    0; `negative` is one text, or one for each stop with | between them. Raises `InputError` where these don't fit.
    """
    if not texts:
        raise InputError("No prompts were given.", 'For example: latentflow prompts "a street at night" "a face@7"')
    if seeds and len(seeds) not in (1, len(texts)):
        raise InputError(
            f"`seeds` has {len(seeds)} values for {counted(len(texts), 'prompt')}.", "Give one, or one for each."
        )
    negatives = [""] if negative is None else [part.strip() for part in negative.split("|")]
    if len(negatives) not in (1, len(texts)):
        raise InputError(
            f"`negative` has {len(negatives)} texts for {counted(len(texts), 'prompt')}.", "Give one, or one for each."
        )
    if seeds and all(SEEDED.fullmatch(text.strip()) for text in texts):
        raise InputError("`seeds` would have no effect: each prompt names its own.", "Leave it out.")
    stops: list[Stop] = []
    for place, text in enumerate(texts):
        found = SEEDED.fullmatch(text.strip())
        words, own = (found[1].strip(), _seed(found[2])) if found else (text.strip(), None)
        if not words and found is None:
            raise InputError("A prompt is empty.")
        if not words and not stops:
            raise InputError(f"{text}: the first prompt needs words.", f'For example: "a face{text}"')
        seed = own
        if seed is None:
            given = None if not seeds else seeds[0] if len(seeds) == 1 else seeds[place]
            seed = given if given is not None else stops[-1].seed if stops else 0
        stops.append(Stop(words or stops[-1].prompt, seed, negatives[0 if len(negatives) == 1 else place]))
    return stops


def _seed(text: str) -> int:
    seed = parse_seed(text)
    if seed is None:
        raise InputError(f"@{text}: a seed is a whole number from 0 to {MAX_SEED}.", 'For example: "a face@7"')
    return seed
