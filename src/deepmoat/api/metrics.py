"""/metrics: the meters of all processes, as Prometheus reads them."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from deepmoat.api.errors import documented
from deepmoat.api.guard import guard
from deepmoat.api.services import Services
from deepmoat.kit.meters import Sample

TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Meters(Collector):
    """Our samples in the client library's terms."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        """``samples`` of one moment."""
        self.samples = samples

    def collect(self) -> Iterator[Metric]:
        """One Metric a name, with all its samples."""
        metrics: dict[str, Metric] = {}
        for sample in self.samples:
            family = sample.name.removesuffix("_total") if sample.counter else sample.name
            kind = "counter" if sample.counter else "gauge"
            metric = metrics.setdefault(family, Metric(family, family.replace("_", " "), kind))
            name = f"{family}_total" if sample.counter else family
            metric.add_sample(name, dict(sample.labels), sample.value)
        yield from metrics.values()


def text(samples: Iterable[Sample]) -> bytes:
    """``samples`` in the Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Meters(samples))
    return generate_latest(registry)


def routes(services: Services) -> APIRouter:
    """The router of this noun."""
    router = APIRouter(tags=["health"])
    allowed = guard(services, "metrics")

    @router.get("/metrics", summary="Meters for Prometheus", responses=documented())
    async def metrics(request: Request) -> Response:
        """Free for this machine itself; from elsewhere with a key that may query."""
        if not from_here(request):
            await allowed(request)
        samples = await to_thread.run_sync(services.meters)
        return Response(await to_thread.run_sync(text, samples), media_type=TYPE)

    return router


def from_here(request: Request) -> bool:
    """Did this machine ask itself, by an address or ``localhost``?

    A page of some other site, whose name was made to resolve to this machine, still sends that name as
    Host; and what came through a proxy says so.
    """
    headers = request.headers
    if "x-forwarded-for" in headers or "forwarded" in headers or not request.client:
        return False
    host = request.url.hostname or ""
    return _loopback(request.client.host) and (host == "localhost" or _loopback(host))


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
