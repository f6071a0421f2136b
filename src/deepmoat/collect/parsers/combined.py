"""``combined``: access logs of nginx and Apache, also with fields after the User-Agent."""

from collections.abc import Sequence

from deepmoat.collect.access_log import plans
from deepmoat.collect.lines import LineParser
from deepmoat.collect.plan import Plan
from deepmoat.kit.spool import Stream


class Combined(LineParser):
    """``address identity user [time] "request" status bytes "referer" "agent" …``.

    Source: https://nginx.org/en/docs/http/ngx_http_log_module.html,
    https://httpd.apache.org/docs/2.4/logs.html#combined
    """

    HOPEFUL = True
    SAMPLE = (
        b'192.0.2.7 - ann [01/Jan/2025:10:00:00 +0100] "GET /a?b=1 HTTP/1.1" 200 12 "-" "curl/8.5"\n'
        b'192.0.2.7 - - [01/Jan/2025:10:00:01 +0100] "POST /login HTTP/1.1" 401 0 "-" "curl/8.5" 0.012 "-"\n'
    )

    def plans(self, stream: Stream) -> Sequence[Plan]:
        return plans(self.context, "combined", quotes=2)
