"""See what an image autoencoder's latent space does: follow the gradient through its decoder, frame by frame.

The public names are those of `__init__.pyi`, which type checkers read, and of the rooms `latentflow.views`, `sound`,
`latents`, `pictures` and `sinks`. They are imported on first use, so that importing the package costs no torch.
"""

import sys
from typing import Any

import lazy_loader

from latentflow._moved import OldModules, find_moved

__version__ = "0.2.0"
_find, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
sys.meta_path.append(OldModules())  # after all others: a module that exists is found first


def __getattr__(name: str) -> Any:
    if name in __all__:
        return _find(name)
    return find_moved(name)
