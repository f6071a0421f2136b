"""``rejects``: records that the loader or a file's reader set aside, on their way to ``rejected``."""

from collections.abc import Sequence

from deepmoat.collect.plan import Plan
from deepmoat.collect.receiver import Checked, Receiver, counted
from deepmoat.kit.spool import Stream
from deepmoat.store.logs.load import Load
from deepmoat.store.logs.loader import Reject

_COLUMNS = {"time": "time"} | {n: n for n in ("logstore", "receiver", "segment", "reason", "body")}
_KEPT = _COLUMNS | {"attributes": "map('source', source)"}
_PLAN = Plan(
    "rejected",
    "JSONEachRow",
    "time DateTime64(9, 'UTC'), receiver String, logstore String, source String, segment String, "
    "reason String, body String",
    _KEPT,
)


class Rejects(Receiver):
    """Lines of ``store.logs.loader.Reject``; whatever the body holds is redacted like everything else."""

    SAMPLE = (
        b'{"time":1735725600.0,"receiver":"plain","logstore":"app","source":"a","segment":"core/1",'
        b'"reason":"why","body":"what"}\n'
    )

    def check(self, body: bytes, now: float, logstore: str = "app") -> Checked:
        return counted(body, Reject)

    def loads(self, stream: Stream) -> Sequence[Load]:
        return (_PLAN.load(self.context, stream),)
