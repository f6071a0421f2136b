"""Overview: is it well, and what is being done about it? Refreshes itself."""

from collections.abc import Callable
from datetime import UTC, datetime

from fastapi import Request
from nicegui import ui

from deepmoat.console.parts.chart import Series, bars, options
from deepmoat.console.parts.frame import badge, card, empty, frame
from deepmoat.console.parts.incident import row as incident_row
from deepmoat.console.parts.words import ago, percent, short
from deepmoat.console.pulse import Beat, Pulse
from deepmoat.console.services import ConsoleServices
from deepmoat.console.visit import Visit, visit_of
from deepmoat.kit.errors import MoatError
from deepmoat.model import Action

_SHOWN = 50


def add(services: ConsoleServices, pulse: Pulse) -> None:
    """Register the page."""

    @ui.page("/")
    async def overview(request: Request) -> None:
        visit = visit_of(request)
        beat = await pulse.latest()
        with frame(visit, "Overview"):
            shown = _Overview(services, visit, pulse)
            shown.show(beat)
        ui.timer(services.settings.refresh, shown.refresh, immediate=False)


class _Overview:
    """The parts of one open page that change."""

    def __init__(self, services: ConsoleServices, visit: Visit, pulse: Pulse) -> None:
        self.services, self.visit, self.pulse = services, visit, pulse
        with ui.element("div").classes("moat-tiles"):
            self.rate = _tile("Requests per second", "last 10 seconds")
            self.failed = _tile("Server errors", "share of 5xx, last minute")
            self.stopped = _tile("Stopped at the edge", "blocked or limited, last minute")
            self.open = _tile("Open incidents", "")
            self.force = _tile("Actions in force", "")
        self.trouble = ui.label().classes("moat-trouble")
        with card("Traffic", "requests every 10 s, last 15 minutes, UTC"):
            self.chart = bars([], _series(Beat(0.0)))
        with ui.element("div").classes("moat-columns"):
            with card("Open incidents"):
                self.incidents = ui.element("div").classes("moat-list")
            with card("Countries", "last 15 minutes"):
                self.countries = ui.element("div").classes("moat-list")
        with card("Actions in force", "each ends by itself"):
            self.actions = ui.element("div").classes("moat-list")
        self._seen: dict[str, object] = {}

    async def refresh(self) -> None:
        """Show the newest numbers."""
        self.show(await self.pulse.latest())

    def show(self, beat: Beat) -> None:
        """Put ``beat`` on the page."""
        recent = beat.minute
        self.rate.text = short(beat.rate)
        self.failed.text = percent(recent.failed, recent.requests)
        self.stopped.text = short(recent.stopped)
        self.open.text = str(len(beat.incidents))
        self.force.text = str(len(beat.actions))
        _mark(self.failed, recent.failed * 20 > recent.requests)
        _mark(self.open, bool(beat.incidents))
        self.trouble.text = beat.trouble
        self.trouble.visible = bool(beat.trouble)
        self.chart.options.update(options([b.time for b in beat.buckets], _series(beat)))
        self.chart.update()
        self._changed("incidents", [(i.id, i.last, i.count) for i in beat.incidents], self._incidents, beat)
        self._changed("countries", beat.countries, self._countries, beat)
        ages = int(beat.at) // 10 if beat.actions else 0
        self._changed("actions", ([a.id for a in beat.actions], ages), self._actions, beat)

    def _changed(self, name: str, value: object, draw: Callable[[Beat], None], beat: Beat) -> None:
        """Draw a list again only when it changed: buttons must not vanish under the pointer."""
        if self._seen.get(name, self) != value:
            self._seen[name] = value
            draw(beat)

    def _incidents(self, beat: Beat) -> None:
        self.incidents.clear()
        with self.incidents:
            for incident in beat.incidents[:8]:
                incident_row(incident, _moment(beat))
            if not beat.incidents:
                empty("No open incidents.", "When an attack is found, it appears here within seconds.")

    def _countries(self, beat: Beat) -> None:
        most = max((n for _, n in beat.countries), default=1)
        self.countries.clear()
        with self.countries:
            for country, n in beat.countries:
                with ui.element("div").classes("moat-share"):
                    ui.label(country).classes("moat-code")
                    with ui.element("div").classes("moat-track"):
                        ui.element("div").classes("moat-fill").style(f"width:{100 * n / most:.1f}%")
                    ui.label(short(n)).classes("moat-number")
            if not beat.countries:
                empty("No requests yet.", "Point clients at the edge, or send logs to /ingest/access.")

    def _actions(self, beat: Beat) -> None:
        self.actions.clear()
        with self.actions:
            for action in beat.actions[:_SHOWN]:
                self._action(action, _moment(beat))
            if not beat.actions:
                empty("Nothing is blocked.", "Actions appear here while they are in force.")
            if len(beat.actions) > _SHOWN:
                ui.label(f"and {len(beat.actions) - _SHOWN} more").classes("moat-note")

    def _action(self, action: Action, now: datetime) -> None:
        with ui.element("div").classes("moat-item"):
            badge(action.kind, "bad")
            with ui.element("div").classes("moat-grow"):
                ui.label(_aim(action)).classes("moat-strong")
                ui.label(action.reason).classes("moat-note")
            ui.label(f"ends {ago(action.end, now)}").classes("moat-note")
            if self.visit.visitor.may("act"):
                ui.button("End now", color=None, on_click=lambda: self._end(action.id)).props(
                    "flat no-caps dense"
                ).classes("moat-do")

    async def _end(self, id: str) -> None:
        try:
            await self.services.desk.end(self.visit.visitor, self.visit.address, id, self.services.now())
            ui.notify("Ended. The edge lets it pass again.", type="positive")
        except MoatError as exc:
            ui.notify(exc.message, type="warning")
        self.pulse.forget()
        await self.refresh()


def _tile(title: str, note: str) -> ui.label:
    with ui.element("div").classes("moat-tile"):
        ui.label(title).classes("moat-note")
        value = ui.label().classes("moat-value")
        ui.label(note).classes("moat-small")
    return value


def _mark(label: ui.label, bad: bool) -> None:
    label.classes(add="bad" if bad else "", remove="" if bad else "bad")


def _series(beat: Beat) -> list[Series]:
    buckets = beat.buckets
    passed = tuple(float(max(0, b.requests - b.failed - b.stopped)) for b in buckets)
    return [
        Series("answered", "#0e9db8", passed),
        Series("server errors", "#e0662f", tuple(float(b.failed) for b in buckets)),
        Series("stopped", "#7c6fd6", tuple(float(b.stopped) for b in buckets)),
    ]


def _aim(action: Action) -> str:
    """The targets in a line.

    Several are counted: the incident's page lists them.
    """
    shown = [" and ".join(value for _, value in target) for target in action.targets[:3]]
    more = len(action.targets) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _moment(beat: Beat) -> datetime:
    return datetime.fromtimestamp(beat.at, UTC)
