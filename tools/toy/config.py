"""The options of the training of a text-to-image model. Costs no torch."""

from dataclasses import dataclass

from latentflow.base.options import option
from latentflow.training.config import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class TrainPromptsConfig(TrainingOptions):
    """The options of the training of a text-to-image model, checked on construction; raises `InputError` that names
    the wrong option."""

    data: str | None = option(
        None,
        "Folder of images with their captions, photo.jpg and photo.txt, searched recursively, or generated: scenes "
        "with captions that this program draws itself.",
        metavar="FOLDER|generated",
        may_change=True,
    )
    steps: int = option(5000, "Number of updates of the weights.", minimum=1, may_change=True)
    batch: int = option(64, "Number of images in an update.", minimum=1, maximum=65536)
    size: int = option(128, "Side of the images in pixels, a multiple of 32.", minimum=32, maximum=1024)
    pictures: int = option(24_000, "Number of generated images.", minimum=1, maximum=2**20)
    width: int = option(224, "Number of channels of the transformer, a multiple of 32.", minimum=32, maximum=4096)
    layers: int = option(6, "Number of blocks of the transformer.", minimum=1, maximum=100)
    caption_dropout: float = option(
        0.1,
        "Fraction of images that are trained on without their caption, for classifier-free guidance.",
        minimum=0,
        maximum=1,
    )
    seed: int = option(0, "Seed of the weights, images and noise.", minimum=0, maximum=2**63 - 1)
