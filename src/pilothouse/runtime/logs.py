"""Structured logs: an event name and fields, ids first. JSON lines on standard error, or readable on a terminal.

No secret is ever a field; values of requests and answers are not logged at all.
"""

import logging
import sys
from typing import Any

_loaded = "rich" in sys.modules
if not _loaded:  # structlog would load it for coloured tracebacks, which are not printed here: 4 MiB of each process
    sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402

if not _loaded:
    del sys.modules["rich"]

_always: dict[str, Any] = {}


def always(**fields: Any) -> None:
    """Put these fields into every line from now on."""
    _always.update(fields)


def _with_those_of_all(_: Any, __: str, event: Any) -> Any:
    for name, value in _always.items():
        event.setdefault(name, value)
    return event


def configure(*, level: str = "info", readable: bool | None = None) -> None:
    """Set up logging once per process. `readable` None: by whether standard error is a terminal."""
    readable = sys.stderr.isatty() if readable is None else readable
    renderer: Any = structlog.processors.JSONRenderer()
    if readable:
        # the default formatter would print local variables, and those hold secrets
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            _with_those_of_all,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if readable else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
