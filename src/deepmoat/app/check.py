"""Check a settings file as far as that is possible without starting anything."""

from deepmoat.app.settings import Place, read
from deepmoat.detect.settings import validate as validate_detect
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
        host_and_port(listen, where=f"{file}: {where}")
    validate_detect(moat.detect)
    return place


def host_and_port(text: str, *, where: str) -> tuple[str, int]:
    """Part ``HOST:PORT``; an IPv6 host stands in brackets.

    >>> host_and_port("[::1]:8600", where="x")
    ('::1', 8600)
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise ConfigError(f"{text!r} is no HOST:PORT", where=where, hint='write "127.0.0.1:8600"')
    return host.strip("[]"), int(port)
