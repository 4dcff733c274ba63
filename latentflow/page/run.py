"""From options to a page: an autoencoder is exported, and put into the page with what computes in the browser."""

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from latentflow.errors import InputError, LatentflowError, OutputError
from latentflow.export.graphs import GRAPHS
from latentflow.export.run import Exported, export_onnx
from latentflow.export.weights_file import FILE
from latentflow.files import check_outputs, write_file
from latentflow.models.autoencoder import Autoencoder
from latentflow.page.config import PageConfig
from latentflow.page.facts import page_facts
from latentflow.page.markup import make_markup, packed
from latentflow.session import Session

PARTS = ("page.html", "page.css", "page.js", "licenses.txt")
SCRIPTS = tuple(
    f"{kind}.{ending}.gz" for kind in ("cpu", "gpu") for ending in ("worker.js", "runtime.mjs", "runtime.wasm")
)
_ASSETS = (*(f"{name}.onnx.gz" for name in GRAPHS), f"{FILE}.gz", *SCRIPTS)


@dataclass(frozen=True, kw_only=True)
class PageReport:
    """What was written: the page's `path`, all `files` and their size in `bytes`; how far its graphs are from torch."""

    path: str
    autoencoder: str
    files: list[str]
    bytes: int
    differences: dict[str, float] = field(default_factory=dict)
    error: LatentflowError | None = None

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "output": self.path,
            "autoencoder": self.autoencoder,
            "files": self.files,
            "bytes": self.bytes,
            "differences": self.differences,
        }

    def __str__(self) -> str:
        worst = max(self.differences, key=self.differences.__getitem__)
        return (
            f"wrote    {self.path}   {self.bytes / 1e6:.1f} MB\n"
            f"checked  at three sizes against torch; {worst} differs most, by {self.differences[worst]:.1g} of its size"
        )


def write_page(config: PageConfig, session: Session | None = None) -> PageReport:
    """Write the page of an autoencoder; raises `InputError` for options that don't fit and for a missing runtime,
    `WeightsError` for an autoencoder that can't be exported, `MissingPackageError` without the packages it takes, and
    `OutputError` when it can't be written."""
    session = session or Session()
    output = Path(config.output_path).expanduser()
    runtime = read_runtime(config.runtime)
    outputs = _outputs(output, config.as_)
    check_outputs(outputs, overwrite=config.overwrite)
    loaded = session.load(config.vae, device="cpu", dtype="float32", vae_config=config.vae_config)
    exported = export_onnx(loaded.autoencoder, session)
    written = page_files(loaded.autoencoder, exported, runtime, inside=config.as_ == "file")
    if config.as_ == "file":
        write_file(output, written["index.html"], "`output_path`")
        paths = [output]
    else:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"`output_path` {output} can't be made: {error.strerror}.") from error
        paths = [output / name for name in written]
        for path, content in zip(paths, written.values(), strict=True):
            write_file(path, content, "`output_path`")
    return PageReport(
        path=str(paths[0]),
        autoencoder=loaded.autoencoder.name,
        files=[str(path) for path in paths],
        bytes=sum(path.stat().st_size for path in paths),
        differences=exported.differences,
    )


def page_files(
    autoencoder: Autoencoder, exported: Exported, runtime: dict[str, bytes], *, inside: bool
) -> dict[str, bytes]:
    """The files of a page by name, index.html first and with all others `inside` it if that is wanted."""
    content = {**{f"{name}.onnx": graph for name, graph in exported.graphs.items()}, FILE: exported.weights}
    assets = {f"{name}.gz": packed(each) for name, each in content.items()} | {name: runtime[name] for name in SCRIPTS}
    facts = page_facts(autoencoder, inside=inside)
    parts = {name: runtime[name].decode() for name in PARTS}
    held = {name.removesuffix(".gz"): content for name, content in assets.items()} if inside else {}
    page = make_markup(parts, facts, held)
    return {"index.html": page} if inside else {"index.html": page, **assets}


def read_runtime(folder: str | None) -> dict[str, bytes]:
    """The files of a built runtime by name; raises `InputError` where they aren't."""
    place = Path(str(files("latentflow.page"))) / "runtime" if folder is None else Path(folder).expanduser()
    missing = [name for name in (*PARTS, *SCRIPTS) if not (place / name).is_file()]
    if not missing:
        return {name: (place / name).read_bytes() for name in (*PARTS, *SCRIPTS)}
    if folder is None:
        raise InputError(
            "The scripts of the page are not built.",
            "In a checkout: make page. Elsewhere: `runtime` with the folder that npm run build makes in web.",
        )
    raise InputError(f"`runtime` {folder} has no {missing[0]}.", "Name the folder that npm run build has made.")


def _outputs(output: Path, form: str) -> list[Path]:
    """What will be written, the page first; raises `InputError` for an output that isn't what its form says."""
    if form == "file":
        if output.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"`output_path` {output} must end in .html, or be a folder with `as_` folder.")
        return [output]
    if output.suffix:
        raise InputError(f"`output_path` {output} must be a folder, without an ending.")
    return [output / name for name in ("index.html", *_ASSETS)]
