"""The options of `app`."""

import re
from dataclasses import dataclass

from latentflow.app.origins import read_origin
from latentflow.base.errors import InputError
from latentflow.base.options import option, option_of
from latentflow.models.config import ModelOptions
from latentflow.pictures.config import ReadingOptions
from latentflow.prompts.config import PromptsConfig

_PART = r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*"  # of a path
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class AppConfig(ReadingOptions, ModelOptions):
    """The options of the app, checked when made; raises `InputError` naming the option that is wrong."""

    model: str | None = option_of(PromptsConfig, "model")
    folder: str | None = option(None, "Folder of images that the atlas offers, beside uploaded ones.", metavar="FOLDER")
    port: int = option(8501, "Port of the server.", minimum=1, maximum=65_535)
    host: str = option(
        "127.0.0.1",
        "Address to listen on. Anything but the default lets others on the network use this machine: there is no "
        "password.",
        metavar="ADDRESS",
    )
    origin: tuple[str, ...] | None = option(
        None,
        "Origins that pages of this app may come from besides its own host, as a browser sees them behind a proxy: "
        "https://app.example.org.",
        metavar="ORIGIN[,…]",
        many=True,
    )
    base_path: str | None = option(
        None,
        "Path that a proxy serves the app at, whether it passes it on or cuts it off: /tools/flow.",
        metavar="PATH",
    )
    browser: bool | None = option(None, "Open a browser.", shown_default="where there is a display")
    max_upload: int = option(50, "Largest file that can be uploaded, in MB.", minimum=1, maximum=10_000)
    runs: int = option(
        2, "Number of runs and views that are computed at a time, one per visitor.", minimum=1, maximum=64
    )
    queue: int = option(64, "Number of visitors that may wait for their turn.", minimum=0, maximum=1000)

    def __post_init__(self) -> None:
        super().__post_init__()
        for each in self.origin or ():
            if read_origin(each) is None:
                raise InputError(
                    f"`origin` {each!r} is no origin.", "Give scheme and host, as in https://app.example.org."
                )
        if self.base_path is not None and not re.fullmatch(rf"/?{_PART}(/{_PART})*/?", self.base_path):
            raise InputError(f"`base_path` {self.base_path!r} is no path.", "Give it as in /tools/flow.")

    @property
    def base(self) -> str:
        """The path before all others: empty, or with a slash before and none behind."""
        return f"/{self.base_path.strip('/')}" if self.base_path else ""
