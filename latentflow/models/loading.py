"""What runs share: an autoencoder and the networks of losses and of figures, each loaded once."""

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from latentflow.errors import InputError
from latentflow.models.autoencoder import Autoencoder, load_autoencoder
from latentflow.models.device import pick_device, use_fastest_kernels
from latentflow.models.networks import Networks
from latentflow.models.weights import FoundWeights, find_weights, layout_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An autoencoder, where its weights come from, and the `networks` of losses and of `metrics`."""

    weights: FoundWeights
    autoencoder: Autoencoder
    networks: Networks
    metrics: Networks


class Models:
    """Loads each autoencoder once, for all threads. With `tune` the process's CUDA settings are set for speed, which
    only a program that owns the process should ask for."""

    def __init__(self, *, tune: bool = False) -> None:
        self.tune = tune
        self._lock = threading.Lock()
        self._loaded: dict[tuple[str | None, str, str, str, str | None], Loaded] = {}
        self._given: dict[Autoencoder, dict[str, Loaded]] = {}

    def load(
        self, vae: str | Autoencoder | None, weights: str, device: str, dtype: str, vae_config: str | None = None
    ) -> Loaded:
        """The autoencoder that `vae` names or is, with its networks; raises as `find_weights` and `load_autoencoder`
        do."""
        with self._lock:
            if isinstance(vae, Autoencoder):
                _check_given(vae, device, dtype)
                known = self._given.setdefault(vae, {})
                if weights not in known:
                    known[weights] = _given(vae, weights)
                return known[weights]
            key = (vae, weights, str(pick_device(device)), dtype, vae_config)
            if key not in self._loaded:
                self._loaded[key] = self._load(*key)
            return self._loaded[key]

    def _load(self, vae: str | None, weights: str, device: str, dtype: str, vae_config: str | None) -> Loaded:
        where = pick_device(device)
        if self.tune:
            use_fastest_kernels(where)
        found = replace(find_weights(vae, weights), vae_config=vae_config)
        found = replace(found, notice=f"{found.notice} {layout_of(found).notice}".strip())
        return Loaded(
            weights=found,
            autoencoder=load_autoencoder(found, where, dtype),
            networks=Networks(weights, where, download=True),
            metrics=Networks("auto", where),
        )


def _check_given(autoencoder: Autoencoder, device: str, dtype: str) -> None:
    """Raise `InputError` when an autoencoder that was made elsewhere is not where, or what, the options say."""
    if device != "auto" and pick_device(device) != autoencoder.device:
        raise InputError(f"`device` {device}: the autoencoder that was given is on {autoencoder.device}.")
    if dtype not in ("auto", autoencoder.precision):
        raise InputError(f"`dtype` {dtype}: the autoencoder that was given computes in {autoencoder.precision}.")


def _given(autoencoder: Autoencoder, weights: str) -> Loaded:
    """What belongs to an autoencoder that was made elsewhere."""
    found = FoundWeights(name=autoencoder.name, source="object", path=Path(), sha256=autoencoder.sha256)
    device = autoencoder.device
    return Loaded(
        weights=found,
        autoencoder=autoencoder,
        networks=Networks(weights, device, download=True),
        metrics=Networks("auto", device),
    )
