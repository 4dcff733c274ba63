"""The options of a training."""

from dataclasses import dataclass

from latentflow.config import Options, option

PRESETS = ("bundled", "small-kl")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(Options):
    """The options of one training, checked when made; raises `InputError` naming the option that is wrong."""

    data: str | None = option(
        None,
        "A folder of images, searched recursively, or generated: pictures this program draws itself.",
        metavar="FOLDER|generated",
    )
    config: str = option(
        "bundled",
        "bundled (AutoencoderDC, 4.7 M parameters), small-kl (AutoencoderKL, 1.8 M), or the config.json of a "
        "diffusers image autoencoder.",
        metavar="CONFIG",
    )
    start: str | None = option(
        None, "A folder of a model of this config to begin with; random weights if not given.", metavar="FOLDER"
    )
    output_dir: str | None = option(
        None, "The folder of the model, its samples, metrics and checkpoint.", metavar="FOLDER"
    )
    loss_type: str = option(
        "0.2*l1 + 15*mse + 0.1*gradient", "The reconstruction loss: a loss, or a weighted sum.", metavar="LOSS"
    )
    plugin: str | None = option(None, "A Python file that registers losses of your own.", metavar="FILE")
    steps: int = option(2000, "Updates of the weights.", minimum=1)
    max_minutes: float | None = option(
        None, "Stop after so long; the learning rate reaches zero by then.", above=0, maximum=1e6
    )
    batch: int = option(24, "Crops an update, on each device.", minimum=1, maximum=65536)
    crop: int = option(64, "Side of a crop in pixels; whole latent cells.", minimum=8, maximum=4096)
    pictures: int = option(
        6000, "Generated pictures, drawn once and held in memory; 0: always new ones.", minimum=0, maximum=10**6
    )
    drawings: float = option(0.25, "Share of drawings among generated pictures.", minimum=0, maximum=1)
    lr: float = option(1e-3, "Peak learning rate of AdamW, over a cosine.", above=0)
    ema: float = option(0.998, "Decay of the averaged weights, which are the result.", minimum=0, maximum=0.99999)
    clip: float = option(1.0, "Largest norm of the gradient.", above=0)
    kl_weight: float = option(
        1e-6,
        "Weight of the KL term of a model with a posterior, against sums over an image; several, as 0,1e-6,1e-2, make "
        "a sweep.",
        minimum=0,
        many=True,
    )
    channels: int | None = option(
        None, "Latent channels in place of the config's; several, as 2,4,8, make a sweep.", minimum=1, many=True
    )
    latent_weight: float = option(
        0.01, "Weight of what keeps latents without a posterior near unit variance.", minimum=0
    )
    latent_noise: float = option(0.03, "Noise added to latents without a posterior.", minimum=0, maximum=10)
    gan_weight: float = option(0.0, "Weight of the adversarial term; 0 leaves it out.", minimum=0)
    gan_start: int = option(1000, "The step at which the adversarial term sets in.", minimum=0)
    precision: str = option(
        "auto",
        "auto: bf16 where the processor computes with it, else fp32.",
        choices=("auto", "fp32", "bf16"),
    )
    compile: bool = option(False, "Compile the model first: a minute or more, then faster.")
    workers: int | None = option(
        None,
        "Processes that decode or draw pictures; one a processor, at most 8, if not given.",
        minimum=0,
        maximum=256,
    )
    validate_every: int = option(1000, "Steps between looks at held-back pictures.", minimum=1)
    checkpoint_every: int = option(500, "Steps between checkpoints.", minimum=1)
    seed: int = option(0, "Seed of weights, pictures, crops and noise.", minimum=0, maximum=2**63 - 1)
    weights: str = option(
        "auto",
        "Where a perceptual loss takes its network from, as in the main command.",
        choices=("auto", "pretrained", "bundled"),
    )
    device: str = option("auto", "auto, cpu, cuda[:n] or mps.", metavar="DEVICE")
    resume: bool = option(False, "Go on from the checkpoint in the folder.")
    overwrite: bool = option(False, "Begin anew in a folder that holds a training.")
