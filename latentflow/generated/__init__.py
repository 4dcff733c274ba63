"""Pictures drawn by code: what the bundled autoencoder is trained on, since it ships with no photographs.

Occlusion with power-law sizes after Lee, Mumford & Huang, "Occlusion Models for Natural Images" (IJCV 2001), and
natural-image spectra after Baradad et al., "Learning to See by Looking at Noise" (NeurIPS 2021). `surfaces` makes
colours and textures, `shapes` outlines, `scenes` what a camera could see, `drawings` what a pen could draw, and
`camera` light, lens and sensor.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def picture(seed: int, size: int = 256) -> "Image.Image":
    """Draw one generated picture: `size` × `size` pixels, RGB; the same seed gives the same picture."""
    import numpy as np

    from latentflow.generated import drawings, scenes
    from latentflow.generated.camera import photographed

    rng = np.random.default_rng(seed)
    kinds = {
        scenes.leaves: 0.34,
        scenes.landscape: 0.1,
        scenes.portrait: 0.1,
        scenes.street: 0.07,
        scenes.strands: 0.07,
        scenes.texture: 0.07,
        drawings.page: 0.05,
        drawings.drawing: 0.13,
        drawings.faces: 0.07,
    }
    draw = list(kinds)[rng.choice(len(kinds), p=list(kinds.values()))]
    canvas = draw(rng, size)
    return photographed(rng, canvas, gently=draw in (drawings.drawing, drawings.faces, drawings.page))
