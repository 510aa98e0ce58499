"""The command `countersign`: hands `serve` to the server, and everything else to the terminal's commands.

Neither side is imported for the other: a server needs no command line parser with colours, and `countersign verify`
should not wait for a web framework.
"""

from __future__ import annotations

import sys

INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT


def main() -> None:
    """The process ends with the exit code of the command in its arguments."""
    arguments = sys.argv[1:]
    try:
        sys.exit(_serve(arguments[1:]) if arguments[:1] == ["serve"] else _terminal(arguments))
    except KeyboardInterrupt:  # while modules are still being imported
        sys.exit(INTERRUPTED)


def _serve(arguments: list[str]) -> int:
    from webhook import runtime

    return runtime.main(arguments)


def _terminal(arguments: list[str]) -> int:
    from webhook.terminal import app

    return app.run(arguments)


if __name__ == "__main__":
    main()
