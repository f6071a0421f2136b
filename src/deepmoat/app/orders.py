"""Orders: how a person at the desk changes the actions in force, through the watch."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from deepmoat.app.watch import Watch
from deepmoat.model import Action


class Orders:
    """What ``identity.desk`` asks for. The watch waits for the disk, so it runs in a thread."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    async def block(
        self, addresses: Sequence[str], who: str, reason: str, minutes: float, now: datetime
    ) -> Action:
        """Block by hand. QueryError for an allow-listed address, or what is none."""
        return await asyncio.to_thread(self.watch.order, addresses, who, reason, minutes)

    async def end(self, id: str, who: str, now: datetime) -> bool:
        """End an action now; False when it is not in force."""
        return await asyncio.to_thread(self.watch.end, id, who) is not None
