"""``ndjson``: anybody's JSON, one object a line, into any logstore; a log file of such lines too."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from deepmoat.collect.foreign import Shape, shape
from deepmoat.collect.receiver import Checked, Context, Receiver, Refusal
from deepmoat.collect.rows import checked_as_is, loads
from deepmoat.kit.spool import Stream
from deepmoat.store.logs.load import Load

_OBJECT = msgspec.json.Decoder(dict[str, object])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class Ndjson(Receiver):
    """Objects with known columns, their aliases and OpenTelemetry names; everything else to ``attributes``.

    A body whose lines are rows already passes as it is. Any other is rewritten line by line, which
    takes some microseconds a line.
    """

    SAMPLE = (
        b'{"time": "2025-01-01T10:00:00Z", "real_client_ip": "192.0.2.1", "status": 200, "a": {"b": 7}}\n'
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._earliest = context.settings.earliest_seconds()

    def check(self, body: bytes, now: float, logstore: str = "app") -> Checked:
        latest = now + self.settings.future_seconds
        body = body.removeprefix(b"\xef\xbb\xbf")
        records = checked_as_is(body, logstore, self._earliest, latest, self.settings.max_line_bytes)
        if records:
            return Checked(body if body.endswith(b"\n") else body + b"\n", records)
        good, refused = [], []
        for place, line in _lines(body):
            row = self._row(shape(logstore), line, latest, now)
            if isinstance(row, str):
                refused.append(Refusal(place, row))
            else:
                good.append(row)
        return Checked(b"".join(good), len(good), tuple(refused))

    def loads(self, stream: Stream) -> Sequence[Load]:
        return loads(self.context, stream)

    def _row(self, shape: Shape, line: bytes, latest: float, now: float) -> bytes | str:
        """The line as a row, or why it is none."""
        if len(line) > self.settings.max_line_bytes:
            return f"longer than {self.settings.max_line_bytes} bytes"
        try:
            fields = _OBJECT.decode(line)
        except UnicodeDecodeError:
            return "not UTF-8"
        except (msgspec.DecodeError, RecursionError, ValueError) as exc:
            return f"not a JSON object: {exc}"
        try:
            return msgspec.json.encode(shape.row(fields, self._earliest, latest, now)) + b"\n"
        except (ValueError, RecursionError) as exc:
            return str(exc)


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that are not blank; the elements where the body is one JSON list."""
    lines: Sequence[bytes] = body.split(b"\n")
    if body.lstrip()[:1] == b"[":
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            lines = [bytes(element) for element in _LIST.decode(body)]
    return ((place, line) for place, line in enumerate(lines, 1) if line.strip())
