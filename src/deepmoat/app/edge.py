"""The edge role: one worker of the traffic path on one data folder."""

import asyncio

from deepmoat.app.secret import secret_key
from deepmoat.app.settings import Place
from deepmoat.edge.serve import serve


async def edge(place: Place, worker: int, stop: asyncio.Event) -> None:
    """Serve until ``stop``."""
    secret = await asyncio.to_thread(secret_key, place.data)
    await serve(place.moat.edge, worker=worker, data=place.data, secret=secret, stop=stop)
