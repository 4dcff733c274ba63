"""Images drawn by code: the training data of the bundled autoencoder, and of `train` with generated data.

Shapes of power-law sizes that occlude one another follow Lee, Mumford & Huang, "Occlusion Models for Natural Images"
(IJCV 2001); the spectra of natural images follow Baradad et al., "Learning to See by Looking at Noise" (NeurIPS 2021).
`surfaces` makes colors and textures, `shapes` outlines, `scenes` photographic scenes, `drawings` line drawings, and
`camera` adds light, blur and noise.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def picture(seed: int, size: int = 256, drawings: float = 0.25) -> "Image.Image":
    """An image of `size` × `size` pixels, RGB; the same seed gives the same image.

    `drawings`, in [0, 1], is the probability of a drawing rather than a photographic scene.
    """
    import numpy as np

    from latentflow.generated.camera import photograph
    from latentflow.generated.drawings import drawing, faces, page
    from latentflow.generated.scenes import landscape, leaves, portrait, strands, street, texture

    rng = np.random.default_rng(seed)
    scene_weights = {leaves: 0.34, landscape: 0.1, portrait: 0.1, street: 0.07, strands: 0.07, texture: 0.07}
    drawing_weights = {page: 0.05, drawing: 0.13, faces: 0.07}
    probabilities = [
        *(each * (1 - drawings) / 0.75 for each in scene_weights.values()),
        *(each * drawings / 0.25 for each in drawing_weights.values()),
    ]
    draw = [*scene_weights, *drawing_weights][rng.choice(len(probabilities), p=probabilities)]
    return photograph(rng, draw(rng, size), mild=draw in drawing_weights)
