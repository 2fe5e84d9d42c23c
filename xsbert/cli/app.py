"""`xsbert app`: one local page that explains pairs and rankings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

__all__ = ["main"]

FAILURE, INTERRUPTED = 1, 130
PORT = 8765

EPILOG = """\
The app listens on 127.0.0.1 alone, makes no external request and keeps nothing on disk. It ends by Ctrl+C.

examples:
  xsbert app
  xsbert app --model intfloat/e5-small-v2 --model ./my-model --port 0
"""


def main(argv: Sequence[str]) -> int:
    """Run the subcommand.

    Args:
        argv: arguments after ``app``.

    Returns:
        The exit status: 0, 1 after a failure, 130 after an interrupt.

    Raises:
        SystemExit: with status 2 for invalid arguments, with 0 after ``--help``.
    """
    options = _parse(argv)
    try:
        _serve(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ImportError, OSError, ValueError) as error:
        _say("error: " + " ".join(str(error).split()))
        return FAILURE
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="xsbert app",
        description="Explain pairs and rankings in a local page.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        action="append",
        help="model id or local path, given several times for a choice (default: all-MiniLM-L6-v2)",
    )
    parser.add_argument("--port", type=_port, default=PORT, help=f"port, 0 for a free one (default: {PORT})")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: the best there is)")
    return parser.parse_args(argv)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, got {text!r}")
    return int(text)


def _serve(options: argparse.Namespace) -> None:
    # After the arguments, as it takes seconds.
    from ..app import Models, serve
    from .loading import default_model, load_model

    def load(name: str) -> Any:
        how = {"shift": False, "reference": None, "reference_positions": None, "device": options.device}
        return load_model(argparse.Namespace(model=name, **how))

    names = options.model or [default_model()]
    serve(Models([*dict.fromkeys(names)], load), options.port, lambda address: _say(f"{address}  (Ctrl+C ends it)"))


def _say(message: str) -> None:
    print(f"xsbert: {message}", file=sys.stderr, flush=True)
