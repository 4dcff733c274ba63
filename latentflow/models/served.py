"""The autoencoders that are served: this package's own records, and those of installed packages."""

import json
from pathlib import Path
from typing import Any

from latentflow.base.errors import WeightsError
from latentflow.base.registry import Registry, record_of
from latentflow.models.classes import CLASSES, Config, ServedClass

__all__ = ["SERVED", "ServedClass", "picture_channels", "read_config"]
SERVED = Registry("autoencoders", CLASSES, record_of(ServedClass))
# Classes whose encoder takes several frames at least.
_FOR_VIDEOS = ("AutoencoderKLAllegro", "AutoencoderKLMiniMaxH3", "AutoencoderVidTok")


def read_config(path: Path) -> dict[str, Any]:
    """The config.json of an autoencoder that is served; raises `WeightsError` for another or a broken one."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} can't be read: {error}.") from error
    if not isinstance(config, dict) or "_class_name" not in config:
        raise WeightsError(f"{path} names no class: it is not the config of a diffusers autoencoder.")
    name = config["_class_name"]
    if name in _FOR_VIDEOS:
        raise WeightsError(f"{name} can't encode a single picture: it is for videos alone.")
    if name not in SERVED:
        own = "Autoencoder.wrap serves any in Python; a package adds a class by an entry point: docs/extending.md"
        raise WeightsError(f"{name} is not served; the autoencoders served are {', '.join(SERVED)}.", own)
    channels = picture_channels(config)
    if channels not in (1, 3, 4):
        said = " and ".join(f"{each}" for each in _pictures(config))
        raise WeightsError(f"The autoencoder of {path} is for pictures of {said} channels; 1, 3 and 4 are served.")
    return config


def picture_channels(config: Config) -> int:
    """The channels of an autoencoder's pictures, by its config: 3 where it states none, 0 where it is wrong."""
    found = _pictures(config)
    if len(found) > 1 or not isinstance(found[0], int):
        return 0
    patch = config.get("patch_size") if SERVED[config["_class_name"]].patched else 1
    return int(found[0]) // (patch or 1) ** 2


def _pictures(config: Config) -> list[Any]:
    """The channels of the pictures that a config states, each once."""
    stated = [config[key] for key in SERVED[config["_class_name"]].pictures if key in config]
    return [each for place, each in enumerate(stated) if each not in stated[:place]] or [3]
