"""decide: from an incident to an order, its impact counted first."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from deepmoat.kit.errors import MoatError
from deepmoat.kit.meters import count
from deepmoat.model import Action, Incident, Query, Result
from deepmoat.respond.impact import MOST, good, impact
from deepmoat.respond.playbooks.block_clients import Order, candidates, order
from deepmoat.respond.settings import Allowed, RespondSettings

Ask = Callable[[Query, datetime], Result]
Earlier = Callable[[Incident], Sequence[Incident]]
TRIES = 3
OVER = timedelta(minutes=5)
"""An attack without a sign for so long (and longer than a block lasts) is not blocked any more."""


class Decider:
    """Order what the playbook wants, never before the impact is known.

    When the impact cannot be counted the incident is ``unsure``: the caller decides again at its next
    turn, and after ``TRIES`` failures a person is asked. Not thread-safe.
    """

    def __init__(
        self,
        ask: Ask,
        settings: RespondSettings,
        allowed: Allowed,
        earlier: Earlier = lambda incident: (),
    ) -> None:
        """``ask`` is the query door; ``allowed`` holds the forwarders, too; ``earlier`` gives the incidents
        of the day before one.
        """
        self.ask, self.settings, self.allowed, self.earlier = ask, settings, allowed, earlier
        self.unsure: dict[str, int] = {}

    def decide(self, incident: Incident, current: Action | None, now: datetime, released: str = "") -> Order:
        """The incident's new or extended action, if there is to be one. Never raises on a failed query."""
        wanted = candidates(incident, current, self.allowed, self.settings, released=released)
        if incident.status == "closed" or (not wanted.fresh and (wanted.held or current is None)):
            self.unsure.pop(incident.id, None)
            return Order(held=wanted.held)
        if current is None and now - incident.last > max(OVER, self.settings.block()):
            return Order(held="it was over before it was known")
        try:
            known = self._good(incident, wanted.fresh, now)
        except MoatError as exc:
            return self._unknown(incident, exc)
        self.unsure.pop(incident.id, None)
        decided = order(incident, wanted.fresh, known, current, now, self.settings)
        return Order(action=decided.action, added=decided.added, held=decided.held or wanted.held)

    def _good(self, incident: Incident, addresses: Sequence[str], now: datetime) -> Mapping[str, int]:
        known: dict[str, int] = {}
        earlier = self.earlier(incident) if addresses else ()
        for start in range(0, len(addresses), MOST):
            part = addresses[start : start + MOST]
            known |= good(self.ask(impact(incident, part, now, earlier), now))
        return known

    def _unknown(self, incident: Incident, exc: MoatError) -> Order:
        count("deepmoat_respond_impact_failures_total")
        failures = self.unsure.get(incident.id, 0) + 1
        if failures < TRIES:
            self.unsure[incident.id] = failures
            return Order()
        self.unsure.pop(incident.id, None)
        return Order(held=f"its impact could not be counted ({exc.message}): a person must decide")
