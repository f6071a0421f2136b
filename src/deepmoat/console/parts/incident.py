"""An incident in one line. All of it is text."""

from datetime import datetime

from nicegui import ui

from deepmoat.console.parts.frame import badge
from deepmoat.console.parts.words import ago, many
from deepmoat.model import Incident, Severity

KINDS = {
    Severity.REPORT: "",
    Severity.LOW: "",
    Severity.MEDIUM: "warn",
    Severity.HIGH: "bad",
    Severity.CRITICAL: "bad",
}


def row(incident: Incident, now: datetime) -> None:
    """A link to the incident's page."""
    with ui.element("a").classes("moat-item") as link:
        link.props["href"] = f"/incidents/{incident.id}"
        badge(incident.severity.name.lower(), KINDS[incident.severity])
        with ui.element("div").classes("moat-grow"):
            ui.label(incident.title).classes("moat-strong")
            ui.label(about(incident)).classes("moat-note")
        if incident.status == "open":
            badge("open", "warn")
        ui.label(ago(incident.last, now)).classes("moat-note")


def about(incident: Incident) -> str:
    """Detector, size and countries in a line."""
    parts = [incident.detector, many(incident.subject_count, "source"), many(incident.count, "record")]
    return " · ".join([*parts, *incident.countries[:5]])
