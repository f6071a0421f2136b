"""``common``: the Common Log Format, without referer and User-Agent."""

from collections.abc import Sequence

from deepmoat.collect.access_log import plans
from deepmoat.collect.lines import LineParser
from deepmoat.collect.plan import Plan
from deepmoat.kit.spool import Stream


class Common(LineParser):
    """``address identity user [time] "request" status bytes``.

    Source: https://httpd.apache.org/docs/2.4/logs.html#common
    """

    HOPEFUL = True
    SAMPLE = b'192.0.2.7 - - [01/Jan/2025:10:00:00 +0100] "GET /a HTTP/1.0" 200 -\n'

    def plans(self, stream: Stream) -> Sequence[Plan]:
        return plans(self.context, "common", quotes=0)
