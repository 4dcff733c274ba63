"""Start the app's server, and end it with everything it computes."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from latentflow.app.config import LOOPBACK, AppConfig
from latentflow.app.visits import Studio, open_studio
from latentflow.errors import InputError, MissingPackageError
from latentflow.latents.index import check_folder
from latentflow.session import Session

if TYPE_CHECKING:
    from latentflow.models.autoencoder import Autoencoder

TIDY = 1.0  # seconds between looks for closed pages
THEME = {
    "theme.light.primaryColor": "#b3402a",
    "theme.light.backgroundColor": "#fdfdfb",
    "theme.light.secondaryBackgroundColor": "#f3f3ee",
    "theme.light.textColor": "#1d1e20",
    "theme.dark.primaryColor": "#e8836b",
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
    session: Session | None = None,
) -> None:
    """Serve the app until Ctrl-C: runs, walks and views of an autoencoder in a browser, computed on this machine.

    `vae` is a name, a folder, a file or an `Autoencoder`; `model` is a pipeline for prompts, a hub name, a folder or
    "toy"; `folder` holds images that the atlas offers. `session` takes what there is to say, such as the address:
    `Session(print)`. Anyone who reaches `host` and `port` can use the app; with the default only this machine does.
    Raises `MissingPackageError` without latentflow[app], `InputError` for a wrong option, `WeightsError` for weights
    that are missing.
    """
    named, given = (str(vae), None) if isinstance(vae, str | Path) else (None, vae)
    images, pipeline = (None if path is None else str(path) for path in (folder, model))
    config = AppConfig(vae=named, model=pipeline, port=port, host=host, folder=images, browser=browser)
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
    session.say(f"Loading the autoencoder; then open http://{_shown(config.host)}:{config.port}")
    loaded = studio.load()
    if loaded.weights.notice:
        session.say(loaded.weights.notice)
    from starlette.middleware import Middleware

    guard = Middleware(SameOrigin, hosts=LOOPBACK if config.host in LOOPBACK else None)
    app = App(Path(__file__).with_name("script.py"), routes=studio.media.routes(), middleware=[guard])
    threading.Thread(target=_keep_tidy, args=(studio,), daemon=True).start()
    try:
        app.run(config=options(config))
    finally:
        studio.close()


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
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
        "logger.hideWelcomeMessage": True,  # which asks another host for this machine's address
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        **THEME,
    }


class SameOrigin:
    """Refuses what a page of another origin asks for, and with `hosts` what was sent to any other name.

    Streamlit would allow the origin of this machine's public address, and ask another host for it.
    """

    def __init__(self, app: Any, hosts: tuple[str, ...] | None = None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it with 403."""
        if scope["type"] not in ("http", "websocket") or self.allows(dict(scope["headers"])):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"Another origin."})

    def allows(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a request with these headers is of the app's own page."""
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        if self.hosts is not None and urlsplit(f"//{host}").hostname not in self.hosts:
            return False
        return not origin or urlsplit(origin).netloc == host


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else "localhost" if host in LOOPBACK else host


def _keep_tidy(studio: Studio) -> None:
    from streamlit.runtime import Runtime

    pause = threading.Event()
    while not pause.wait(TIDY):
        if Runtime.exists():
            studio.tidy(Runtime.instance().is_active_session)
