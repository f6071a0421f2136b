"""What every role does the same: log lines, signals, the end of the supervisor's pipe, exit status."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence

from deepmoat.app.supervisor import EX_CONFIG
from deepmoat.kit.errors import ConfigError, MoatError

Role = Callable[[asyncio.Event], Awaitable[int | None]]


def run(name: str, role: Role) -> int:
    """Run ``role`` on uvloop until it returns, SIGTERM, Ctrl-C or the supervisor's end; the exit status."""
    import uvloop

    logging.basicConfig(
        level=os.environ.get("DEEPMOAT_LOG", "INFO").upper(),
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname)s {name} %(message)s",
    )
    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it comments on analysts' texts
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_until_told(role)) or 0
    except MoatError as exc:
        return _say([exc])
    except BaseExceptionGroup as group:
        ours, others = group.split(MoatError)
        if ours is None or others is not None:
            raise
        return _say(_leaves(ours))


async def _until_told(role: Role) -> int | None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if os.environ.get("DEEPMOAT_SUPERVISED"):
        await loop.connect_read_pipe(lambda: _Pipe(stop), sys.stdin)
    gc.freeze()
    return await role(stop)


class _Pipe(asyncio.Protocol):
    """Standard input from the supervisor: its end means that the supervisor is gone."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.stop = stop

    def eof_received(self) -> None:
        self.stop.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop.set()


def _say(errors: Sequence[BaseException]) -> int:
    """Errors for a person, and the status that says whether starting again could help."""
    for exc in errors:
        sys.stderr.write(f"deepmoat: {exc}\n")
    return EX_CONFIG if any(isinstance(exc, ConfigError) for exc in errors) else 1


def _leaves(exc: BaseException) -> list[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        return [leaf for inner in exc.exceptions for leaf in _leaves(inner)]
    return [exc]
