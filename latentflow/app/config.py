"""The options of `app`."""

from dataclasses import dataclass

from latentflow.config import ReadingOptions, option, option_of, same
from latentflow.prompts.config import PromptsConfig

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class AppConfig(ReadingOptions):
    """The options of the app, checked when made; raises `InputError` naming the option that is wrong."""

    vae: str | None = same("vae")
    vae_config: str | None = same("vae_config")
    weights: str = same("weights")
    device: str = same("device")
    dtype: str = same("dtype")
    model: str | None = option_of(PromptsConfig, "model")
    folder: str | None = option(
        None, "Folder of images that the atlas offers, beside those that are uploaded.", metavar="FOLDER"
    )
    port: int = option(8501, "Port of the server.", minimum=1, maximum=65_535)
    host: str = option(
        "127.0.0.1",
        "Address to listen on. Anything but the default lets others on the network use this machine: there is no "
        "password.",
        metavar="ADDRESS",
    )
    browser: bool | None = option(None, "Open a browser.", shown_default="where there is a display")
    max_upload: int = option(50, "Largest file that can be uploaded, in MB.", minimum=1, maximum=10_000)
    runs: int = option(2, "Number of runs and views that are computed at a time.", minimum=1, maximum=64)
    queue: int = option(8, "Number of runs and views that may wait for their turn.", minimum=0, maximum=1000)
