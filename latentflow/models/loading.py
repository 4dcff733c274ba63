"""Models that runs share: an autoencoder and the networks of losses and of figures, each loaded once."""

import threading
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from weakref import WeakKeyDictionary

from latentflow.base.errors import InputError
from latentflow.base.surroundings import undisturbed
from latentflow.models.autoencoder import Autoencoder, load_autoencoder
from latentflow.models.device import pick_device, use_fastest_kernels
from latentflow.models.networks import Networks
from latentflow.models.precision import is_remembered, pick_dtype, timing_on
from latentflow.models.weights import FoundWeights, find_weights, layout_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An autoencoder, where its weights come from, and the `networks` of losses and of `metrics`."""

    weights: FoundWeights
    autoencoder: Autoencoder
    networks: Networks
    metrics: Networks


class Models:
    """Loads each autoencoder once, for all threads, and keeps it; one that a caller hands in isn't kept.

    With `tune` the process's CUDA settings are set for speed, which only a program that owns the process should ask
    for."""

    def __init__(self, *, tune: bool = False) -> None:
        self.tune = tune
        self._lock = threading.Lock()
        self._loaded: dict[tuple[str | None, str, str, str, str | None], Loaded] = {}
        self._given: WeakKeyDictionary[Autoencoder, dict[str, dict[str, Networks]]] = WeakKeyDictionary()

    @undisturbed
    def load(
        self,
        vae: str | PathLike[str] | Autoencoder | None,
        weights: str,
        device: str,
        dtype: str,
        vae_config: str | None = None,
    ) -> Loaded:
        """The autoencoder that `vae` names or is, with its networks; raises as `find_weights` and `load_autoencoder`
        do, and `InputError` for anything else."""
        if not isinstance(vae, str | PathLike | Autoencoder | None):
            raise InputError(
                f"`vae` is a name, a folder, a file or an Autoencoder, not {type(vae).__name__}.",
                "Your own becomes one: Autoencoder.wrap(encode=…, decode=…, channels=…, stride=…, scale=…).",
            )
        with self._lock:
            if isinstance(vae, Autoencoder):
                notice = _move_given(vae, device, dtype)
                known, key_of_networks = self._given.setdefault(vae, {}), f"{weights} {vae.device}"
                if key_of_networks not in known:
                    known[key_of_networks] = {
                        "networks": Networks(weights, vae.device, download=True),
                        "metrics": Networks("auto", vae.device),
                    }
                found = FoundWeights(name=vae.name, source="object", path=Path(), sha256=vae.sha256, notice=notice)
                return Loaded(weights=found, autoencoder=vae, **known[key_of_networks])
            key = (vae if vae is None else str(vae), weights, str(pick_device(device)), dtype, vae_config)
            if key not in self._loaded:
                self._loaded[key] = self._load(*key)
            return self._loaded[key]

    def _load(self, vae: str | None, weights: str, device: str, dtype: str, vae_config: str | None) -> Loaded:
        where = pick_device(device)
        if self.tune:
            use_fastest_kernels(where)
        found = replace(find_weights(vae, weights), vae_config=vae_config)
        timing = timing_on(where) if dtype == "auto" and not is_remembered(where) else None  # said when it is new
        autoencoder = load_autoencoder(found, where, dtype)
        adapted = getattr(autoencoder.model, "notice", "")
        notices = (found.notice, layout_of(found).notice, adapted, str(timing or ""))
        found = replace(found, notice=" ".join(filter(None, notices)))
        return Loaded(
            weights=found,
            autoencoder=autoencoder,
            networks=Networks(weights, where, download=True),
            metrics=Networks("auto", where),
        )


def _move_given(autoencoder: Autoencoder, device: str, dtype: str) -> str:
    """Put an autoencoder that a caller made where, and into what, the options say, as `to()` does; returns the sentence
    that says so, or an empty text. Raises `InputError` for a device that this machine doesn't have, and while a run in
    another thread computes with it."""
    where = autoencoder.device if device == "auto" else pick_device(device)
    computing = autoencoder.dtype if dtype == "auto" else pick_dtype(dtype, where)
    is_there = (where.type, where.index or 0) == (autoencoder.device.type, autoencoder.device.index or 0)
    if is_there and computing == autoencoder.dtype:
        return ""
    if autoencoder.is_computing:
        raise InputError(
            f"{autoencoder.name} computes in another thread, so it can't be moved.", "Move it before, by its `to()`."
        )
    autoencoder.to(where, computing)
    return f"{autoencoder.name} is on {where} and computes in {autoencoder.precision} from now on."
