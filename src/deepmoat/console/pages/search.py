"""Search: the query box, the time histogram, the rows, one record in full."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlencode

import msgspec
from fastapi import Request
from nicegui import ui

from deepmoat.console.histogram import Buckets, count_query, filled, span_of, span_query, step_of, zoomed
from deepmoat.console.parts.chart import Series, bars
from deepmoat.console.parts.frame import empty, frame
from deepmoat.console.parts.results import results
from deepmoat.console.parts.trouble import trouble
from deepmoat.console.parts.words import many, short
from deepmoat.console.services import ConsoleServices
from deepmoat.console.visit import Visit, visit_of
from deepmoat.identity.desk import check
from deepmoat.kit.errors import MoatError
from deepmoat.kit.moments import moment
from deepmoat.model import LOGSTORES, Query, Result

RANGES = {
    "-15m": "Last 15 minutes",
    "-1h": "Last hour",
    "-6h": "Last 6 hours",
    "-24h": "Last 24 hours",
    "-7d": "Last 7 days",
    "": "All time",
}
LIMIT = 200
_EXAMPLES = (
    "status >= 500",
    "* | select client_address, count(*) as n group by client_address order by n desc limit 20",
    "status:404 | select url_path, count(*) as n group by url_path order by n desc limit 20",
)


class Asked(msgspec.Struct, frozen=True):
    """What the page's fields say."""

    text: str
    logstore: str
    since: str
    until: str


def add(services: ConsoleServices) -> None:
    """Register the page."""

    @ui.page("/search")
    async def search(
        request: Request, q: str = "", logstore: str = "access", since: str = "-1h", until: str = ""
    ) -> None:
        asked = Asked(q, logstore if logstore in LOGSTORES else "access", since, until)
        with frame(visit_of(request), "Search"):
            page = _Search(services, visit_of(request), asked)
        if q:
            await page.run()


class _Search:
    """One open search page."""

    def __init__(self, services: ConsoleServices, visit: Visit, asked: Asked) -> None:
        self.services, self.visit = services, visit
        with ui.element("div").classes("moat-query"):
            self.text = ui.input(value=asked.text, placeholder="search | select …").classes("moat-text")
            self.text.props('outlined dense autofocus spellcheck=false aria-label="Query"')
            self.text.on("keydown.enter", self.run)
            self.logstore = ui.select(list(LOGSTORES), value=asked.logstore).props("outlined dense")
            self.since = ui.select(_ranges(asked.since), value=asked.since).props("outlined dense")
            ui.button("Run", icon="play_arrow", on_click=self.run).props("unelevated no-caps color=primary")
        self.until = asked.until
        self.since.on_value_change(self._open_end)
        self.logstore.props('aria-label="Logstore"').classes("moat-pick")
        self.since.props('aria-label="Time range"').classes("moat-pick wide")
        self.below = ui.element("div").classes("moat-below")
        with self.below:
            _help(self.logstore.value, self._example)

    async def run(self) -> None:
        """Run what the fields say, and make the address of the page say it."""
        asked = Asked(self.text.value.strip() or "*", self.logstore.value, self.since.value, self.until)
        fields = {"q": asked.text, "logstore": asked.logstore, "since": asked.since, "until": asked.until}
        address = "/search?" + urlencode({k: v for k, v in fields.items() if v or k == "since"})
        ui.navigate.history.replace(address)
        self.below.clear()
        with self.below:
            ui.spinner(size="lg").classes("moat-wait")
        try:
            query = as_query(asked, self.services.moment())
            result = await self._ask(query)
            buckets = await self._histogram(query)
        except MoatError as exc:
            self.below.clear()
            with self.below:
                trouble(exc)
            return
        self._show(query, asked, result, buckets)

    async def _ask(self, query: Query) -> Result:
        return await self.services.desk.ask(
            self.visit.visitor, self.visit.address, query, self.services.now()
        )

    async def _histogram(self, query: Query) -> Buckets | None:
        look, now = self.services.desk.look, self.services.now()
        found = None if query.since and query.until else await look(span_query(query), now)
        span = span_of(query, found)
        if span is None:
            return None
        step = step_of(span[1] - span[0])
        return filled(await look(count_query(query, step), now), step, *span)

    def _show(self, query: Query, asked: Asked, result: Result, buckets: Buckets | None) -> None:
        self.below.clear()
        with self.below:
            if buckets:
                self._bars(query, buckets)
            with ui.element("div").classes("moat-head"):
                ui.label(_summary(result, buckets)).classes("moat-note")
                _exports(asked)
            if result.rows:
                results(result, query.text, query.logstore)
            else:
                empty("No records match.", "Try a longer time range, another logstore, or a wider search.")

    def _bars(self, query: Query, buckets: Buckets) -> None:
        async def zoom(index: int) -> None:
            if buckets.step <= 1 or not 0 <= index < len(buckets.times):
                return
            narrow = zoomed(query, buckets, index)
            since = narrow.since.isoformat() if narrow.since else ""
            self.since.set_options(_ranges(since), value=since)
            self.until = narrow.until.isoformat() if narrow.until else ""
            await self.run()

        counts = tuple(float(n) for n in buckets.counts)
        with ui.element("section").classes("moat-card tight"):
            chart = bars(buckets.times, [Series("records", "#0e9db8", counts)], zoom)
            chart.classes("low")

    def _open_end(self) -> None:
        """A range of the list ends now."""
        if self.since.value in RANGES:
            self.until = ""

    async def _example(self, text: str) -> None:
        self.text.value = text
        await self.run()


def as_query(asked: Asked, now: datetime) -> Query:
    """The model's Query; MoatError for what cannot be meant. A range without an end ends now."""
    since = moment(asked.since, now, where="since")
    until = moment(asked.until, now, where="until") or (now if since else None)
    query = Query(asked.text, asked.logstore, since, until, LIMIT)
    check(query)
    return query


def _ranges(since: str) -> dict[str, str]:
    """The choices, with the one of this page where it is none of ours."""
    if since in RANGES:
        return dict(RANGES)
    try:
        found = moment(since, datetime.now(UTC))
    except MoatError:
        found = None
    return {since: f"From {found:%Y-%m-%d %H:%M:%S}" if found else "Own range", **RANGES}


def _summary(result: Result, buckets: Buckets | None) -> str:
    found = f"{many(sum(buckets.counts), 'record')} found, " if buckets else ""
    first = "the first " if result.limited else ""
    rows = f"{first}{many(len(result.rows), 'row')} shown"
    return f"{found}{rows} · {short(result.rows_read)} read in {result.elapsed * 1000:.0f} ms"


def _exports(asked: Asked) -> None:
    fields = {"text": asked.text, "logstore": asked.logstore, "since": asked.since, "until": asked.until}
    common = {k: v for k, v in fields.items() if v} | {"limit": "10000"}
    with ui.element("div").classes("moat-exports"):
        ui.label("Export").classes("moat-note")
        for name, more in (("CSV", {"format": "csv", "spreadsheet": "true"}), ("JSON", {"format": "json"})):
            ui.link(name, "/api/query?" + urlencode(common | more), new_tab=True).classes("moat-link")


def _help(logstore: str, run: Callable[[str], Awaitable[None]]) -> None:
    """What one can write, as long as nothing was asked."""
    with ui.element("section").classes("moat-card"):
        ui.label("Ask the logs").classes("moat-title")
        ui.label("Words and key:value find records; what comes after | is SQL over what was found.").classes(
            "moat-note"
        )
        for text in _EXAMPLES:
            example = ui.element("button").classes("moat-evidence").props('type="button"')
            example.on("click", partial(run, text))
            with example:
                ui.label(text).classes("moat-mono")
        names = ", ".join(column.name for column in LOGSTORES[logstore].columns)
        ui.label(f"Columns of {logstore}: {names}").classes("moat-note")
