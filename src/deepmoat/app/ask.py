"""Ask: one query of a running core, or of log files."""

from datetime import UTC, datetime

import msgspec

from deepmoat.app import local
from deepmoat.app.folder import data_folder
from deepmoat.kit.moments import moment
from deepmoat.model import Query, Result


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line was told; ``files`` empty asks a running core."""

    text: str
    files: tuple[str, ...] = ()
    parser: str | None = None
    logstore: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int = 100
    url: str | None = None
    key: str | None = None
    settings: str | None = None
    data: str | None = None


def ask(asked: Asked) -> Result:
    """The answer. Raises QueryError for the text, ConfigError where there is nobody to ask."""
    return _ask_files(asked) if asked.files else _ask_core(asked)


def _ask_core(asked: Asked) -> Result:
    core = local.find(data_folder(asked.settings, asked.data), asked.url, asked.key)
    body = {
        "text": asked.text,
        "logstore": asked.logstore or "access",
        "since": asked.since,
        "until": asked.until,
        "limit": asked.limit,
    }
    wanted = {name: value for name, value in body.items() if value is not None}
    answer = msgspec.json.decode(local.ask(core, "POST", "/api/query", wanted))
    return Result(
        tuple(answer["columns"]),
        [tuple(row.values()) for row in answer["rows"]],
        rows_read=answer["rows_read"],
        bytes_read=answer["bytes_read"],
        elapsed=answer["elapsed"],
        limited=answer["limited"] or "",
    )


def _ask_files(asked: Asked) -> Result:
    from deepmoat.app.scan.store import temporary
    from deepmoat.app.settings import read

    with temporary(read(asked.settings, asked.data).moat) as store:
        store.take(asked.files, asked.parser)
        now = datetime.now(UTC)
        query = Query(
            asked.text,
            asked.logstore or store.fullest(),
            moment(asked.since or "", now, where="--since"),
            moment(asked.until or "", now, where="--until"),
            asked.limit,
        )
        return store.door.ask(query, now)
