"""The app: one local page that explains pairs and rankings, `xsbert app`.

It listens on 127.0.0.1 alone, makes no external request, and keeps nothing on disk. It needs fastapi and uvicorn.
"""

from .models import Models
from .server import create_app
from .serving import serve

__all__ = ["Models", "create_app", "serve"]
