"""``plain``: any lines at all, one record each, as the body of an ``app`` record."""

from collections.abc import Sequence

from deepmoat.collect.lines import LINES, STRUCTURE, LineParser
from deepmoat.collect.plan import Plan
from deepmoat.kit.spool import Stream

_COLUMNS = {"time": "toDateTime64({born:Float64}, 9, 'UTC')", "body": "line"}


class Plain(LineParser):
    """The line is the body; its time is when it was taken in."""

    SAMPLE = b"something happened\nand something else\n"

    def plans(self, stream: Stream) -> Sequence[Plan]:
        return (Plan("app", "LineAsString", STRUCTURE, _COLUMNS, LINES, raw="line"),)
