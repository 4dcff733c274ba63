"""Pictures drawn by code: what the bundled autoencoder is trained on, since it ships with no photographs.

Occlusion with power-law sizes after Lee, Mumford & Huang, "Occlusion Models for Natural Images" (IJCV 2001), and
natural-image spectra after Baradad et al., "Learning to See by Looking at Noise" (NeurIPS 2021). `surfaces` makes
colours and textures, `shapes` outlines, `scenes` what a camera could see, `drawings` what a pen could draw, and
`camera` light, lens and sensor.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def picture(seed: int, size: int = 256, drawn: float = 0.25) -> "Image.Image":
    """Draw one generated picture: `size` × `size` pixels, RGB; the same seed gives the same picture.

    `drawn`, from 0 to 1, is the share of drawings; the others look like what a camera sees.
    """
    import numpy as np

    from latentflow.generated import drawings, scenes
    from latentflow.generated.camera import photographed

    rng = np.random.default_rng(seed)
    seen = {
        scenes.leaves: 0.34,
        scenes.landscape: 0.1,
        scenes.portrait: 0.1,
        scenes.street: 0.07,
        scenes.strands: 0.07,
        scenes.texture: 0.07,
    }
    penned = {drawings.page: 0.05, drawings.drawing: 0.13, drawings.faces: 0.07}
    shares = [
        *(each * (1 - drawn) / 0.75 for each in seen.values()),
        *(each * drawn / 0.25 for each in penned.values()),
    ]
    draw = [*seen, *penned][rng.choice(len(shares), p=shares)]
    return photographed(rng, draw(rng, size), gently=draw in penned)
