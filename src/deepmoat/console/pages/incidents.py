"""Incidents: the list, and one page an incident with timeline, subjects and evidence."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from anyio import to_thread
from fastapi import Request
from nicegui import ui

from deepmoat.console.parts.frame import badge, card, empty, frame
from deepmoat.console.parts.incident import KINDS, about, row
from deepmoat.console.parts.words import clock, many, short
from deepmoat.console.services import ConsoleServices
from deepmoat.console.visit import visit_of
from deepmoat.model import Incident, Query
from deepmoat.store.state.actions import Kept

_PAGE = 100
_SECOND = timedelta(seconds=1)


def add(services: ConsoleServices) -> None:
    """Register the pages."""

    @ui.page("/incidents")
    async def listed(request: Request, before: str = "") -> None:
        found = await to_thread.run_sync(lambda: services.incidents.list(before=before, limit=_PAGE))
        with frame(visit_of(request), "Incidents"), card("Incidents", "newest first"):
            for incident in found:
                row(incident, services.moment())
            if not found:
                empty(
                    "Nothing was found so far." if not before else "No older incidents.",
                    "Detectors look at every request as it is logged; try `make demo` to see an attack.",
                )
            if len(found) == _PAGE:
                ui.link("Older", f"/incidents?{urlencode({'before': found[-1].id})}").classes("moat-link")

    @ui.page("/incidents/{id}")
    async def one(request: Request, id: str) -> None:
        incident = await to_thread.run_sync(services.incidents.get, id)
        orders = await to_thread.run_sync(services.actions.of, id)
        with frame(visit_of(request), "Incidents", "Incident"):
            if incident is None:
                with card("Incident"):
                    empty("There is no such incident.", "It may have been deleted with old state.")
                return
            _show(incident, list(orders), services.moment())


def _show(incident: Incident, orders: list[Kept], now: datetime) -> None:
    with card():
        with ui.element("div").classes("moat-head"):
            badge(incident.severity.name.lower(), KINDS[incident.severity])
            badge(incident.status, "warn" if incident.status == "open" else "good")
            ui.label(incident.id).classes("moat-note moat-mono")
        ui.label(incident.title).classes("moat-h1")
        ui.label(about(incident)).classes("moat-note")
        _facts(incident)
    with ui.element("div").classes("moat-columns"):
        with card("Timeline", "UTC"):
            for moment, text in incident.timeline:
                with ui.element("div").classes("moat-step"):
                    ui.label(clock(moment)).classes("moat-note moat-mono")
                    ui.label(text)
        with card("Sources", f"{short(incident.subject_count)} in all"):
            _subjects(incident)
    with ui.element("div").classes("moat-columns"):
        with card("Evidence", "open in search"):
            for query in incident.evidence:
                _evidence(query)
            if not incident.evidence:
                empty("No evidence query was kept.")
        with card("Actions", "what was done about it"):
            for kept in orders:
                _order(kept, now)
            if not orders:
                empty("Nothing was blocked for this incident.")


def _facts(incident: Incident) -> None:
    facts = (
        ("First record", clock(incident.first)),
        ("Last record", clock(incident.last)),
        ("Known since", clock(incident.opened)),
        ("Detector", incident.detector),
        ("Techniques", ", ".join(incident.techniques) or "none"),
        ("Countries", ", ".join(incident.countries) or "unknown"),
    )
    with ui.element("div").classes("moat-facts"):
        for name, value in facts:
            with ui.element("div"):
                ui.label(name).classes("moat-small")
                ui.label(value)


def _subjects(incident: Incident) -> None:
    with ui.element("div").classes("moat-chips"):
        for field, value in incident.subjects[:200]:
            chip = ui.element("a").classes("moat-chip")
            chip.props["href"] = search_link(
                Query(
                    f"{field}:{quoted(value)}", _logstore(incident), incident.first, incident.last + _SECOND
                )
            )
            with chip:
                ui.label(value)
    more = incident.subject_count - min(200, len(incident.subjects))
    if more > 0:
        ui.label(f"and {short(more)} more: the evidence lists them").classes("moat-note")


def _evidence(query: Query) -> None:
    with ui.element("a").classes("moat-evidence") as link:
        link.props["href"] = search_link(query)
        ui.label(query.logstore).classes("moat-small")
        ui.label(query.text).classes("moat-mono")


def _order(kept: Kept, now: datetime) -> None:
    action = kept.action
    with ui.element("div").classes("moat-step"):
        with ui.element("div").classes("moat-head"):
            badge(action.kind, "bad" if action.active(now) else "")
            ui.label(f"{clock(action.start)} to {clock(action.end)}").classes("moat-note moat-mono")
        ui.label(f"{many(len(action.targets), 'target')} · {action.reason}")
        by = f" · ended by {kept.ended_by}" if kept.ended_by else ""
        ui.label(f"would have hit {action.impact} good requests of the day before{by}").classes("moat-note")


def search_link(query: Query) -> str:
    """The search page with this query."""
    times = {"since": query.since, "until": query.until}
    span = {name: t.astimezone(UTC).isoformat() for name, t in times.items() if t}
    return "/search?" + urlencode({"q": query.text, "logstore": query.logstore, **span})


def quoted(value: str) -> str:
    """A search term that is exactly ``value``.

    >>> print(quoted('a"b'))
    "a\\"b"
    """
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _logstore(incident: Incident) -> str:
    return incident.evidence[0].logstore if incident.evidence else "access"
