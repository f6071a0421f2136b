"""Housekeeping: what core does twice a minute besides."""

import asyncio
import logging
from datetime import UTC, datetime

from deepmoat.kit.errors import MoatError
from deepmoat.kit.meters import count
from deepmoat.store.logs.database import Database
from deepmoat.store.logs.retention import RetentionSettings, enforce

log = logging.getLogger("deepmoat.housekeeping")
EVERY_SECONDS = 30.0


async def keep_house(database: Database, retention: RetentionSettings) -> None:
    """Enforce retention until cancelled."""
    while True:
        try:
            dropped = await asyncio.to_thread(enforce, database, retention, datetime.now(UTC))
            if dropped:
                log.info("retention dropped %s records", dropped)
        except MoatError as exc:
            count("deepmoat_store_retention_failures_total")
            log.error("retention failed: %s", exc)
        await asyncio.sleep(EVERY_SECONDS)
