"""What an update takes, measured before a run is begun: memory on a small picture, time where compiling may pay."""

import time

import torch
from torch import Tensor

from latentflow.models.autoencoder import Autoencoder
from latentflow.models.device import free_memory

CELLS = (8, 16)  # a side, of the small pictures
BESIDE = 1.25  # what is alive beside the tensors that are kept for the backward pass, in their unit
SHARE = 0.8  # of what is free
SMALL = 256 * 256  # pixels for which nobody needs to ask
COMPILING = 60.0  # seconds, of a decoder and its backward pass
SAVED = 0.25  # of an update on a GPU, once it is compiled


def update_bytes(autoencoder: Autoencoder, height: int, width: int) -> int:
    """Bytes that decoding a picture of height × width pixels and going back through it will take.

    The tensors that two small pictures keep for the backward pass tell what a pixel takes and what there is anyway
    (weights cast to another type); all layers but attention grow so, and attention keeps no square of its pixels.
    """
    stride = autoencoder.geometry.stride
    few, many = ((side * stride) ** 2 for side in CELLS)
    less, more = (_kept_bytes(autoencoder, side) for side in CELLS)
    each = (more - less) / (many - few)
    return round(less + BESIDE * each * (height * width - few))


def _kept_bytes(autoencoder: Autoencoder, cells: int) -> int:
    """Bytes kept for the backward pass of a picture of cells × cells latent cells, the weights aside."""
    weights = {each.untyped_storage().data_ptr() for each in autoencoder.model.parameters()}
    kept: dict[int, int] = {}

    def take_down(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    shape = (1, autoencoder.geometry.channels, cells, cells)
    latent = torch.zeros(shape, device=autoencoder.device, requires_grad=True)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(take_down, lambda tensor: tensor):
        image = autoencoder.decode(latent)
    assert image.requires_grad  # what was kept is alive until here, so that no address was taken twice
    return sum(kept.values())


def is_tight(autoencoder: Autoencoder, height: int, width: int) -> bool:
    """Whether an update of a picture may not fit into what memory is free."""
    if height * width <= SMALL:
        return False
    free = free_memory(autoencoder.device)
    return free is not None and update_bytes(autoencoder, height, width) > SHARE * free


def compiling_pays(autoencoder: Autoencoder, height: int, width: int, steps: int) -> bool:
    """Whether so many updates of such a picture are quicker with a decoder that is compiled first: on a GPU, if there
    are enough of them; on a CPU compiling was measured to gain nothing."""
    if autoencoder.device.type != "cuda":
        return False
    shape = (1, *autoencoder.geometry.latent_shape(height, width))
    latent = torch.zeros(shape, device=autoencoder.device, requires_grad=True)
    for _ in range(2):  # the first sets everything up
        torch.cuda.synchronize(autoencoder.device)
        began = time.perf_counter()
        autoencoder.decode(latent).sum().backward()
        torch.cuda.synchronize(autoencoder.device)
    return saves(time.perf_counter() - began, steps)


def saves(seconds: float, steps: int) -> bool:
    """Whether what `steps` updates of so many `seconds` gain is more than compiling costs."""
    return seconds * steps * SAVED > COMPILING
