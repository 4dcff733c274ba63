"""The loop that decodes: every frame's picture is its own latent's, however many go together."""

import pytest
import torch
from toys import linear_autoencoder

from latentflow import decode_frames
from latentflow.models import memory


def latents(count, channels=4, cells=4, images=1):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(images, channels, cells, cells, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 50, None])
@pytest.mark.parametrize("images", [1, 3])
def test_frames_are_in_order_and_each_holds_the_picture_of_its_latent(batch, images):
    autoencoder = linear_autoencoder()
    given = latents(7, images=images)
    frames = list(decode_frames(autoencoder, given, (7, 8), batch))
    assert [(frame.index, frame.total) for frame in frames] == [(index, 6) for index in range(7)]
    for frame, latent in zip(frames, given, strict=True):
        assert torch.equal(frame.latent, latent) and frame.image.shape == (images, 3, 7, 8)
        assert torch.allclose(frame.image, autoencoder.decode(latent, (7, 8)), atol=1e-6)


@pytest.mark.parametrize(("batch", "passes"), [(1, 8), (3, 3), (4, 2), (100, 1)])
def test_as_many_go_together_as_are_allowed(batch, passes):
    autoencoder = linear_autoencoder()
    list(decode_frames(autoencoder, latents(8), (8, 8), batch))
    assert autoencoder.model.decodings == passes


def test_pictures_decoded_together_are_those_decoded_alone_to_a_gray_level(autoencoder):
    given = latents(6, cells=8)
    together = [frame.image for frame in decode_frames(autoencoder, given, (64, 64), 4)]
    alone = [frame.image for frame in decode_frames(autoencoder, given, (64, 64), 1)]
    differences = [(one - other).abs().max() for one, other in zip(together, alone, strict=True)]
    assert 255 * float(max(differences)) < 1


def test_a_generator_is_taken_no_further_than_needed():
    autoencoder, taken = linear_autoencoder(), []

    def generate():
        for latent in latents(9):
            taken.append(latent)
            yield latent

    frames = decode_frames(autoencoder, generate(), (8, 8), 3, total=8)
    next(frames)
    assert len(taken) == 3
    with pytest.raises(TypeError, match="total="):
        next(decode_frames(autoencoder, generate(), (8, 8), 3))


def test_large_pictures_go_together_as_memory_has_room(autoencoder, monkeypatch):
    assert memory.decode_batch_size(autoencoder, 256, 256) == 4
    needed = memory.update_bytes(autoencoder, 512, 512)
    for free, count in ((needed, 1), (4 * needed, 2), (100 * needed, 4), (None, 4)):
        monkeypatch.setattr(memory, "free_memory", lambda device, free=free: free)
        assert memory.decode_batch_size(autoencoder, 512, 512) == count
