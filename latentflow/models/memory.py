"""Measurements before a run: the memory that decoding takes, the images that fit, and whether compiling saves time."""

import time

import torch
from torch import Tensor

from latentflow.models.autoencoder import Autoencoder
from latentflow.models.device import free_memory

MEASURED_CELLS = (8, 16)  # latent cells on a side of the two images that are measured
ACTIVATION_OVERHEAD = 1.25  # memory of an update over that of the tensors kept for its backward pass
MEMORY_FRACTION = 0.8  # of the free memory that one update may take
BATCH_MEMORY_FRACTION = 0.6  # of the free memory that a batch may take
SMALL_PIXELS = 256 * 256  # up to here an image fits into memory without measuring
COMPILE_SECONDS = 60.0  # time that compiling a decoder and its backward pass takes
COMPILE_SAVES = 0.25  # fraction of an update's time that a compiled decoder saves on a GPU
# Images decoded together: on a CPU a batch of 4 is 1.4 times as fast as one at 64 px and 1.1 times at 256 px, and
# larger ones gain nothing more.
MAX_BATCH = {"cpu": 4}
MAX_BATCH_ELSEWHERE = 32


def update_bytes(autoencoder: Autoencoder, height: int, width: int) -> int:
    """Estimated bytes for decoding an image of height × width pixels and for the backward pass.

    It is extrapolated from the tensors that two small images keep for the backward pass: a constant part, such as
    weights cast to another type, and a part that grows with the number of pixels.
    """
    stride = autoencoder.stride
    small, large = ((side * stride) ** 2 for side in MEASURED_CELLS)
    small_bytes, large_bytes = (_kept_bytes(autoencoder, side) for side in MEASURED_CELLS)
    per_pixel = (large_bytes - small_bytes) / (large - small)
    return round(small_bytes + ACTIVATION_OVERHEAD * per_pixel * (height * width - small))


def _kept_bytes(autoencoder: Autoencoder, cells: int) -> int:
    """Bytes kept for the backward pass of an image of cells × cells latent cells, without the weights."""
    weights = {each.untyped_storage().data_ptr() for each in autoencoder.model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    shape = (1, autoencoder.geometry.channels, cells, cells)
    latent = torch.zeros(shape, device=autoencoder.device, dtype=torch.float32, requires_grad=True)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        image = autoencoder.decode(latent)
    assert image.requires_grad  # keeps the tensors alive until here, so that no address is counted for two
    return sum(kept.values())


def is_tight(autoencoder: Autoencoder, height: int, width: int) -> bool:
    """Tell whether an update of an image of height × width pixels may not fit into the free memory."""
    if height * width <= SMALL_PIXELS:
        return False
    free = free_memory(autoencoder.device)
    return free is not None and update_bytes(autoencoder, height, width) > MEMORY_FRACTION * free


def batch_size(autoencoder: Autoencoder, height: int, width: int) -> int:
    """The number of images of height × width pixels to optimize together: limited by memory, and by what is faster."""
    largest = MAX_BATCH.get(autoencoder.device.type, MAX_BATCH_ELSEWHERE)
    free = free_memory(autoencoder.device)
    if free is None:
        return largest
    return max(1, min(largest, int(BATCH_MEMORY_FRACTION * free / update_bytes(autoencoder, height, width))))


def decode_batch_size(autoencoder: Autoencoder, height: int, width: int) -> int:
    """The number of images of height × width pixels to decode together; a few small ones fit into a computer's main
    memory unmeasured."""
    if autoencoder.device.type == "cpu" and height * width <= SMALL_PIXELS:
        return MAX_BATCH["cpu"]
    return batch_size(autoencoder, height, width)


def compiling_pays(autoencoder: Autoencoder, height: int, width: int, steps: int) -> bool:
    """Tell whether `steps` updates of an image of height × width pixels are faster, compiling included, with a compiled
    decoder.

    On a GPU that depends on the number of steps; on a CPU a compiled decoder was measured to be no faster.
    """
    if autoencoder.device.type != "cuda":
        return False
    shape = (1, *autoencoder.geometry.latent_shape(height, width))
    latent = torch.zeros(shape, device=autoencoder.device, dtype=torch.float32, requires_grad=True)
    for _ in range(2):  # the first one is slower: it allocates and chooses kernels
        torch.cuda.synchronize(autoencoder.device)
        began = time.perf_counter()
        autoencoder.decode(latent).sum().backward()
        torch.cuda.synchronize(autoencoder.device)
    return saves(time.perf_counter() - began, steps)


def saves(seconds: float, steps: int) -> bool:
    """Tell whether `steps` updates of `seconds` each save more time than compiling takes."""
    return seconds * steps * COMPILE_SAVES > COMPILE_SECONDS
