"""Check a settings file as far as that is possible without starting anything."""

from deepmoat.app.settings import Place, read
from deepmoat.detect.settings import validate as validate_detect
from deepmoat.edge.settings import endpoint
from deepmoat.kit.addresses import Networks
from deepmoat.kit.errors import ConfigError
from deepmoat.model import LOGSTORES


def check(file: str) -> Place:
    """Read ``file`` and try what can be tried; ConfigError names the first thing that is wrong."""
    place = read(file)
    moat = place.moat
    Networks(moat.edge.trusted_forwarders, where=f"{file}: [edge] trusted_forwarders")
    Networks(moat.respond.allow, where=f"{file}: [respond] allow")
    for name in moat.store.retention.logstores:
        if name not in LOGSTORES:
            raise ConfigError(
                f"no such logstore: {name!r}",
                where=f"{file}: [store.retention.logstores]",
                hint="known: " + ", ".join(LOGSTORES),
            )
    for where, listen in (("[edge] listen", moat.edge.listen), ("[api] listen", moat.api.listen)):
        endpoint(listen, where=f"{file}: {where}")
    validate_detect(moat.detect)
    return place
