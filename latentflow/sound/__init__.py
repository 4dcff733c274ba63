"""Sound: what is heard in a file, and how a walk or a run follows it. Costs no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
