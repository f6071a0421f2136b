"""``records``: what deepmoat's own processes write: rows with exactly the logstore's columns."""

from collections.abc import Sequence

import msgspec

from deepmoat.collect.receiver import Checked, Receiver, counted
from deepmoat.collect.rows import loads
from deepmoat.kit.spool import Stream
from deepmoat.store.logs.load import Load


class Records(Receiver):
    """NDJSON whose keys are exactly the columns of the logstore; nobody else's input comes this way.

    ``check`` looks at the form alone (the logstore is known to the segment only): each line an object
    with a time.
    """

    SAMPLE = b'{"time": 1735725600.5, "http_request_method": "GET", "client_address": "192.0.2.1"}\n'

    def check(self, body: bytes, now: float, logstore: str = "app") -> Checked:
        return counted(body, _Timed)

    def loads(self, stream: Stream) -> Sequence[Load]:
        return loads(self.context, stream)


class _Timed(msgspec.Struct, gc=False):
    time: float
