"""See what an image autoencoder's latent space does: follow the gradient through its decoder, frame by frame.

The public names are those of `__init__.pyi`, which type checkers read. They are imported on first use, so that
importing the package costs no torch.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
