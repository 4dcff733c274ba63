"""The options of a training."""

from dataclasses import dataclass

from latentflow.base.options import option, option_of
from latentflow.inversion.config import TargetOptions
from latentflow.models.config import ModelOptions
from latentflow.pictures.config import ReadingOptions

PRESETS = ("bundled", "small-kl")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(ReadingOptions):
    """The options that all trainings share; raises `InputError` naming the option that is wrong."""

    output_dir: str | None = option(
        None,
        "Folder for the model, its samples, metrics and checkpoint.",
        metavar="FOLDER",
        affects="nothing",
    )
    max_minutes: float | None = option(
        None,
        "Time limit in minutes for everything, images and report too; the learning rate reaches zero by then.",
        above=0,
        maximum=1e6,
        may_change=True,
    )
    lr: float = option(1e-3, "Peak learning rate of AdamW, which has a cosine schedule.", above=0)
    ema: float = option(
        0.998,
        "Decay of the exponential moving average of the weights, which is the trained model.",
        minimum=0,
        maximum=0.99999,
    )
    clip: float = option(1.0, "Maximum norm of the gradient.", above=0)
    validate_every: int = option(1000, "Number of steps between validations.", minimum=1, affects="nothing")
    checkpoint_every: int = option(500, "Number of steps between checkpoints.", minimum=1, affects="nothing")
    device: str = option_of(ModelOptions, "device")
    resume: bool = option(False, "Continue from the checkpoint in the output folder.", affects="nothing")
    overwrite: bool = option(False, "Start over in a folder that holds a training.", affects="nothing")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainingOptions):
    """The options of one training, checked on construction; raises `InputError` that names the wrong option."""

    data: str | None = option(
        None,
        "Folder of images, searched recursively, or generated: images that this program draws itself.",
        metavar="FOLDER|generated",
        may_change=True,
    )
    config: str = option(
        "bundled",
        "Model: bundled (AutoencoderDC, 4.7 M parameters), small-kl (AutoencoderKL, 1.8 M), or the config.json of a "
        "diffusers image autoencoder.",
        metavar="CONFIG",
    )
    start: str | None = option(
        None,
        "Folder of a trained model of this config to start from.",
        metavar="FOLDER",
        shown_default="random weights",
    )
    loss_type: str = option(
        "0.2*l1 + 15*mse + 0.1*gradient",
        "Reconstruction loss: a loss or a weighted sum of losses.",
        metavar="LOSS",
    )
    plugin: str | None = option_of(TargetOptions, "plugin")
    steps: int = option(2000, "Number of updates of the weights.", minimum=1, may_change=True)
    batch: int = option(24, "Number of crops in an update, on each device.", minimum=1, maximum=65536)
    crop: int = option(64, "Side of a crop in pixels, a multiple of the model's stride.", minimum=8, maximum=4096)
    pictures: int = option(
        6000,
        "Number of generated images, which are drawn once and kept in memory; 0 draws a new one for each crop.",
        minimum=0,
        maximum=10**6,
    )
    drawings: float = option(0.25, "Fraction of drawings among the generated images.", minimum=0, maximum=1)
    kl_weight: float = option(
        1e-6,
        "Weight of the KL divergence of a model with a posterior, relative to a reconstruction loss summed over an "
        "image; several values, as in 0,1e-6,1e-2, make a sweep.",
        minimum=0,
        many=True,
    )
    channels: int | None = option(
        None,
        "Number of latent channels; several values, as in 2,4,8, make a sweep.",
        minimum=1,
        many=True,
        shown_default="as in the config",
    )
    latent_weight: float = option(
        0.01,
        "Weight of the term that keeps the latents of a model without a posterior near unit variance.",
        minimum=0,
    )
    latent_noise: float = option(
        0.03,
        "Standard deviation of the noise added to the latents of a model without a posterior.",
        minimum=0,
        maximum=10,
    )
    gan_weight: float = option(0.0, "Weight of the GAN loss; 0 turns it off.", minimum=0)
    gan_start: int = option(1000, "Step at which the GAN loss starts.", minimum=0)
    precision: str = option(
        "auto",
        "Number format of the computation; auto: bf16 where it is measured not to be slower, else fp32.",
        choices=("auto", "fp32", "bf16"),
        may_change=True,
    )
    compile: bool = option(
        False,
        "Compile the model first, which takes a minute or more and makes updates faster.",
        affects="nothing",
    )
    workers: int | None = option(
        None,
        "Number of processes that decode or draw images.",
        minimum=0,
        maximum=256,
        shown_default="one a processor, at most 8",
        affects="nothing",
    )
    seed: int = option(0, "Seed of the weights, images, crops and noise.", minimum=0, maximum=2**63 - 1)
    weights: str = option(
        "auto",
        "Weights of the network of a perceptual loss, as in the main command.",
        choices=("auto", "pretrained", "bundled"),
    )
