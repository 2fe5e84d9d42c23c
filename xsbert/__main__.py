"""The command line: `python -m xsbert "text a" "text b"`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ._utils.citation import cite
from ._utils.table_files.advice import option_message
from .cli import app, blind_spots, corpus, rank
from .cli.pair import parse

__all__ = ["main"]

FAILURE, BLIND, INTERRUPTED, BROKEN_PIPE = 1, 3, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        the exit status: 0, 1 after a failure, 3 for a model that does not pass `xsbert blind-spots`, 130 after an
        interrupt, 141 where nobody reads the output any more.

    Raises:
        SystemExit: with status 2 if the arguments make no sense, with 0 after ``--help`` and ``--version``.
    """
    arguments = sys.argv[1:] if argv is None else [*argv]
    if arguments[:1] == ["corpus"]:
        return corpus.main(arguments[1:])
    if arguments[:1] == ["app"]:
        return app.main(arguments[1:])
    if arguments == ["cite"]:
        try:
            print(cite(), flush=True)
        except BrokenPipeError:
            _give_up_output()
            return BROKEN_PIPE
        return 0
    ranks, blinds = arguments[:1] == ["rank"], arguments[:1] == ["blind-spots"]
    of_command = rank.parse if ranks else blind_spots.parse
    options = of_command(arguments[1:]) if ranks or blinds else parse(arguments)
    try:
        # After the arguments, as it takes seconds.
        from .cli.blind_spots_run import blind_spots_of_file
        from .cli.rank_run import rank_file
        from .cli.run import explain_file, explain_pair

        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            n_bad, passes = 0, True
            if ranks:
                rank_file(options)
            elif blinds:
                passes = blind_spots_of_file(options, _say)
            elif options.pairs is not None:
                n_bad = explain_file(options, _say)
            else:
                explain_pair(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _give_up_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        _say("error: " + option_message(error))
        if sys.stdout is not None:
            try:
                sys.stdout.flush()
            except OSError:
                _give_up_output()
        return FAILURE
    if n_bad:
        _say(f"error: {n_bad} {'line' if n_bad == 1 else 'lines'} could not be explained")
        return FAILURE
    return 0 if passes else BLIND


def _give_up_output() -> None:
    """Python flushes once more when it ends, which must not fail again."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(message: Warning | str, category: type[Warning], *_place: Any) -> None:
    from .models import ShiftWarning

    if issubclass(category, ShiftWarning):
        # The first pair speaks for those of a file, whose lines have both scores.
        warnings.simplefilter("ignore", ShiftWarning)
    if issubclass(category, UserWarning):
        _say(f"warning: {message}")


def _say(message: str) -> None:
    if sys.stderr is None:
        return
    from .view.terminal import printable

    print("xsbert: " + printable(" ".join(message.split())), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
