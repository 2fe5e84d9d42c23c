"""Serves the app on this machine."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from .._utils.optional_imports import optional
from .models import Models
from .server import create_app

__all__ = ["serve"]

ADDRESS = "127.0.0.1"


def serve(models: Models, port: int, say: Callable[[str], None]) -> None:
    """Serve the app until it is interrupted.

    Args:
        models: The models that can be chosen. The first is loaded before the app listens.
        port: The port; 0 takes a free one.
        say: Called with the address once the app answers there.

    Raises:
        ImportError: fastapi or uvicorn is not installed.
        OSError: The port is in use or not allowed, or the first model cannot be loaded.
    """
    uvicorn = optional("uvicorn", "xsbert[app]", "xsbert app")
    # Before the model, which takes seconds.
    with _listening(port) as listener:
        models.get(models.names[0])
        app = create_app(models)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
        say(f"http://{ADDRESS}:{listener.getsockname()[1]}")
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            app.state.worker.close()


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESS, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(
                f"port {port} is in use, perhaps by another xsbert app: --port 0 takes a free one, --port N another"
            ) from None
        if error.errno == errno.EACCES:
            raise OSError(f"port {port} is not allowed: take one from 1024, or --port 0 for a free one") from None
        raise
    return listener
