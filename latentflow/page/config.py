"""The options of `page`."""

from dataclasses import dataclass

from latentflow.base.options import option, option_of
from latentflow.models.config import ModelOptions
from latentflow.sinks.config import OverwriteOption


@dataclass(frozen=True, kw_only=True)
class PageConfig(OverwriteOption):
    """The options of a page, checked when made; raises `InputError` naming the option that is wrong."""

    output_path: str = option(
        "flow.html", "The page: an .html file, or with `as_` folder a folder of files.", metavar="PATH", affects="files"
    )
    as_: str = option(
        "file",
        "file: all in one file, which opens from disk; folder: files for a web server, loaded as they are needed.",
        choices=("file", "folder"),
        affects="files",
    )
    vae: str = option(
        "bundled",
        "Autoencoder: a hub name, a folder, a .safetensors file, or bundled.",
        metavar="NAME",
        names_file=True,
    )
    vae_config: str | None = option_of(ModelOptions, "vae_config")
    runtime: str | None = option(
        None,
        "Folder of the page's scripts and of the runtime that computes in the browser, as `npm run build` makes it.",
        metavar="FOLDER",
        shown_default="the one that was installed",
        affects="files",
        names_file=True,
    )
