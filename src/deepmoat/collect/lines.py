"""Lines: what all parsers of line formats have in common.

A line is never refused for its content: what a format does not match goes to the ``rejected`` logstore
by a second Load over the same segment. Only what cannot be a line of a log at all (longer than the
limit) is cut out here.
"""

from abc import abstractmethod
from collections.abc import Sequence

import msgspec

from deepmoat.collect.plan import Plan
from deepmoat.collect.receiver import Checked, Receiver, Refusal
from deepmoat.kit.spool import Stream
from deepmoat.store.logs.load import Load

STRUCTURE = "line String"
# One line of the file, as text that is always UTF-8.
LINE = "if(isValidUTF8(line), line, toValidUTF8(line))"


class LineParser(Receiver):
    """A parser of one line format: ``plans`` says which lines become what."""

    HOPEFUL = False
    """Every line is either of the first plan or of the last, and nearly all are of the first."""

    def check(self, body: bytes, now: float, logstore: str = "app") -> Checked:
        """Good lines, each ended by a newline; blank ones are no records."""
        limit = self.settings.max_line_bytes
        tidy = body.replace(b"\r\n", b"\n") if b"\r" in body else body
        if not tidy.endswith(b"\n"):
            tidy += b"\n"
        if len(tidy) <= limit and b"\n\n" not in tidy and tidy[:1] != b"\n":
            return Checked(tidy, tidy.count(b"\n"))
        return _sifted(tidy, limit)

    def loads(self, stream: Stream) -> Sequence[Load]:
        loads = [plan.load(self.context, stream) for plan in self.plans(stream)]
        return [self._hopeful(stream, *loads), *loads[1:-1]] if self.HOPEFUL else loads

    def _hopeful(self, stream: Stream, good: Load, *others: Load) -> Load:
        """The first Load, but for all lines: where one is not good it throws, and first and last follow."""
        plan = self.plans(stream)[0]
        all_good = msgspec.structs.replace(plan, where=f"throwIf(NOT ({plan.where})) = 0")
        return msgspec.structs.replace(all_good.load(self.context, stream), otherwise=(good, others[-1]))

    @abstractmethod
    def plans(self, stream: Stream) -> Sequence[Plan]:
        """The plans over ``{file}``, a table with the one column ``line``; each line is in exactly one."""


def rejected(parser: str, logstore: str, table: str, where: str, reason: str) -> Plan:
    """The Plan of lines that are none of ``parser``'s: ``reason`` is an expression over ``table``."""
    columns = {
        "time": "toDateTime64({born:Float64}, 9, 'UTC')",
        "logstore": f"'{logstore}'",
        "receiver": f"'{parser}'",
        "segment": "{segment:String}",
        "reason": reason,
        "body": "substring(line, 1, 65536)",
    }
    fixed = frozenset({"logstore", "receiver", "segment", "reason"})
    return Plan("rejected", "LineAsString", STRUCTURE, columns, table, where, raw="line", fixed=fixed)


LINES = f"(SELECT {LINE} AS line FROM {{file}})"  # noqa: S608


def _sifted(body: bytes, limit: int) -> Checked:
    parts = body.split(b"\n")[:-1]
    good = [line for line in parts if line and len(line) <= limit]
    refused = tuple(
        Refusal(place, f"longer than {limit} bytes")
        for place, line in enumerate(parts, 1)
        if len(line) > limit
    )
    return Checked(b"".join(line + b"\n" for line in good), len(good), refused)
