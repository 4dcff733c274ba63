"""Start the app's server, and end it with everything it computes."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentflow.app.config import LOOPBACK, AppConfig
from latentflow.app.jobs import GRACE, bug
from latentflow.app.origins import SameOrigin
from latentflow.app.samples import begin_samples
from latentflow.app.visits import Studio, open_studio
from latentflow.base.errors import InputError, MissingPackageError
from latentflow.base.session import Say, Session, ignore
from latentflow.latents.index import check_folder

if TYPE_CHECKING:
    from latentflow.models.autoencoder import Autoencoder

TIDY = 1.0  # seconds between looks for closed pages
THEME = {
    "theme.light.primaryColor": "#b3402a",
    "theme.light.backgroundColor": "#fdfdfb",
    "theme.light.secondaryBackgroundColor": "#f3f3ee",
    "theme.light.textColor": "#1d1e20",
    "theme.dark.primaryColor": "#c2492f",
    "theme.dark.backgroundColor": "#17181a",
    "theme.dark.secondaryBackgroundColor": "#202225",
    "theme.dark.textColor": "#e8e6e1",
}


def launch_app(
    vae: str | Path | Autoencoder | None = None,
    *,
    port: int = AppConfig.port,
    host: str = AppConfig.host,
    model: str | Path | None = None,
    folder: str | Path | None = None,
    browser: bool | None = None,
    origin: str | Sequence[str] | None = None,
    base_path: str | None = None,
    session: Session | None = None,
) -> None:
    """Serve the app until Ctrl-C: runs, walks and views of an autoencoder in a browser, computed on this machine.

    `vae` is a name, a folder, a file or an `Autoencoder`; `model` is a pipeline for prompts, a hub name, a folder or
    "toy"; `folder` holds images that the atlas offers. `origin` and `base_path` are a browser's view of a proxy,
    such as "https://app.example.org" and "/tools/flow". `session` takes what there is to say, such as the address:
    `Session(print)`. Anyone who reaches `host` and `port` can use the app; with the default only this machine does.
    Raises `MissingPackageError` without latentflow[app], `InputError` for a wrong option, `WeightsError` for weights
    that are missing.
    """
    named, given = (str(vae), None) if isinstance(vae, str | Path) else (None, vae)
    images, pipeline = (None if path is None else str(path) for path in (folder, model))
    origins = (origin,) if isinstance(origin, str) else None if origin is None else tuple(origin)
    config = AppConfig(
        vae=named,
        model=pipeline,
        port=port,
        host=host,
        folder=images,
        browser=browser,
        origin=origins,
        base_path=base_path,
    )
    serve(config, session or Session(), given)


def serve(config: AppConfig, session: Session, vae: Autoencoder | None = None) -> None:
    """Serve the app with these options until it is ended; raises as `launch_app` does."""
    try:
        from streamlit.starlette import App
    except ImportError as error:
        raise MissingPackageError("The app needs the package streamlit.", "pip install 'latentflow[app]'") from error
    if config.folder is not None:
        check_folder(Path(config.folder).expanduser(), "`folder`")
    _check_address(config.host, config.port)
    if config.host not in LOOPBACK:
        session.say(
            f"The app listens on {config.host}: whoever reaches this machine can use it and sees no password. Leave "
            "out `host` to keep it to this machine."
        )
    studio = open_studio(Studio(config, vae))
    address = config.origin[0] if config.origin else f"http://{_shown(config.host)}:{config.port}"
    session.say(f"Loading the autoencoder; then open {address}{config.base + '/' if config.base else ''}")
    loaded = studio.load()
    if loaded.weights.notice:
        session.say(loaded.weights.notice)
    app = App(
        Path(__file__).with_name("script.py"),
        routes=[*studio.media.routes(config.base), *_root(config.base)],
        middleware=[guard(config, session.say)],
        on_script_error=say_bug,
    )
    begin_samples(studio)
    threading.Thread(target=_keep_tidy, args=(studio,), daemon=True).start()
    try:
        with _termination():
            app.run(config=options(config))
    finally:
        studio.close()


@contextmanager
def _termination() -> Iterator[None]:
    """Let SIGTERM end the block by an exception, unless something else handles it. The server sends it to the process
    again after it has ended, which would leave the temporary folders behind."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(143)

    is_handled = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL  # by the command line
    if is_handled or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def guard(config: AppConfig, say: Say = ignore) -> Any:
    """Check every request and every websocket before anything else; `say` is told of refused origins."""
    from starlette.middleware import Middleware

    hosts = LOOPBACK if config.host in LOOPBACK else None
    return Middleware(SameOrigin, hosts=hosts, origins=config.origin or (), base=config.base, say=say)


def say_bug(error: Exception) -> bool:
    """Show an error of the page in one line, in place of Streamlit's box, and log where it is."""
    import streamlit as st

    st.error(bug(error))
    return True


def _root(base: str) -> list[Any]:
    """The page at `base` itself. Its files are named relative to it, which fails where a browser sees no slash at its
    end: there they have their whole path."""
    from starlette.responses import HTMLResponse
    from starlette.routing import Route
    from streamlit import file_util

    page = Path(file_util.get_static_dir()) / "index.html"
    if not base or not page.is_file():
        return []
    text = page.read_text(encoding="utf-8").replace('="./', f'="{base}/')

    async def root(request: Any) -> Any:
        return HTMLResponse(text, headers={"Cache-Control": "no-cache"})

    return [Route(base, root), Route(f"{base}/", root)]


def _check_address(host: str, port: int) -> None:
    """Raise `InputError` unless a server can listen there."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0].lower()
        raise InputError(f"`port` {port} of {host} can't be opened: {reason}.", "Choose another one.") from error


def options(config: AppConfig) -> dict[str, Any]:
    """The options of Streamlit."""
    display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) or os.name == "nt"
    return {
        "server.address": config.host,
        "server.port": config.port,
        "server.headless": not (display if config.browser is None else config.browser),
        "server.maxUploadSize": config.max_upload,
        "server.baseUrlPath": config.base.strip("/"),
        "server.disconnectedSessionTTL": int(GRACE),
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
        "logger.hideWelcomeMessage": True,  # which asks another host for this machine's address
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "global.disableWidgetStateDuplicationWarning": True,  # a page that is loaded anew sets its widgets
        **THEME,
    }


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else "localhost" if host in LOOPBACK else host


def _keep_tidy(studio: Studio) -> None:
    from streamlit.runtime import Runtime

    pause = threading.Event()
    while not pause.wait(TIDY):
        if Runtime.exists():
            studio.tidy(Runtime.instance().is_active_session)
