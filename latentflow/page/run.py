"""From options to a page: an autoencoder is exported, and put into the page with what computes in the browser."""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from latentflow.base.errors import InputError, OutputError
from latentflow.base.files import check_writable, filling, manifest_path, write_file
from latentflow.base.session import Session
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.loading import Loaded
from latentflow.page.config import PageConfig
from latentflow.page.export.graphs import GRAPHS
from latentflow.page.export.run import Exported, export_onnx
from latentflow.page.export.weights_file import FILE
from latentflow.page.facts import page_facts
from latentflow.page.markup import make_markup, packed
from latentflow.runs.job import Files, Job, Report, Stages, run_job
from latentflow.runs.report import versions

PARTS = ("page.html", "page.css", "page.js", "licenses.txt")
SCRIPTS = tuple(
    f"{kind}.{ending}.gz" for kind in ("cpu", "gpu") for ending in ("worker.js", "runtime.mjs", "runtime.wasm")
)
_ASSETS = (*(f"{name}.onnx.gz" for name in GRAPHS), f"{FILE}.gz", *SCRIPTS)


def write_page(config: PageConfig, session: Session | None = None) -> Report:
    """Write the page of an autoencoder; raises `InputError` for options that don't fit and for a missing runtime,
    `WeightsError` for an autoencoder that can't be exported, `MissingPackageError` without the packages it takes, and
    `OutputError` when it can't be written."""
    return run_page((), config, session or Session())


def run_page(sources: Sequence[str], config: PageConfig, session: Session) -> Report:
    """The same as a command, which has no sources."""
    return run_job(Stages(check=_check, load=_load, make=_make, facts=_facts), sources, config, session)


def _check(sources: Sequence[str], config: PageConfig) -> Files:
    output = Path(config.output_path).expanduser()
    runtime = read_runtime(config.runtime)
    return Files(outputs=_outputs(output, config.as_), manifest=manifest_path(output), found=runtime)


def _load(config: PageConfig, files: Files, session: Session) -> Loaded:
    return session.load(config.vae, device="cpu", dtype="float32", vae_config=config.vae_config)


def _facts(job: Job[PageConfig]) -> dict[str, Any]:
    return {"options": asdict(job.config), "versions": versions(), "outcome": job.report.outcome}


def _make(job: Job[PageConfig]) -> None:
    config, report, autoencoder = job.config, job.report, job.autoencoder
    exported = export_onnx(autoencoder, job.session)
    written = page_files(autoencoder, exported, job.found, inside=config.as_ == "file")
    with job.session.held():
        paths = _put(Path(config.output_path).expanduser(), config.as_, written)
    differences = exported.differences
    worst = max(differences, key=differences.__getitem__)
    report.figures |= {
        "output": str(paths[0]),
        "autoencoder": autoencoder.name,
        "files": [str(path) for path in paths],
        "bytes": sum(path.stat().st_size for path in paths),
        "differences": differences,
    }
    report.lines = [
        f"checked  at three sizes against torch; {worst} differs most, by {differences[worst]:.1g} of its size",
    ]


def _put(output: Path, form: str, written: dict[str, bytes]) -> list[Path]:
    """Write the page, or its files into a folder, and return their paths."""
    if form == "file":
        write_file(output, written["index.html"], "`output_path`")
        return [output]
    with filling(output, "`output_path`") as unfinished:
        for name, content in written.items():
            (unfinished / name).write_bytes(content)
    return [output / name for name in written]


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
    """Return the paths that will be written, the page first; raises `InputError` for an output that doesn't fit its
    form."""
    if form == "file":
        if output.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"`output_path` {output} must end in .html, or be a folder with `as_` folder.")
        check_writable(output, "`output_path`")
        return [output]
    if output.suffix:
        raise InputError(f"`output_path` {output} must be a folder, without an ending.")
    if output.exists() and not output.is_dir():
        raise OutputError(f"`output_path` {output} is a file, not a folder.")
    return [output / name for name in ("index.html", *_ASSETS)]
