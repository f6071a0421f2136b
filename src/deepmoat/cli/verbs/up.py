"""``deepmoat up``: one supervisor, one core, an edge worker for each core of the machine."""

import sys

import click

from deepmoat.cli.options import data_option, settings_option


@click.command(help="Start everything on this machine: edge, core, console. Stops on Ctrl-C or SIGTERM.")
@settings_option
@data_option
def command(settings: str | None, data: str | None) -> None:
    """Supervise until told to stop."""
    from deepmoat.app.check import check
    from deepmoat.app.folder import claim
    from deepmoat.app.process import run
    from deepmoat.app.running import publish
    from deepmoat.app.settings import read
    from deepmoat.app.supervisor import DRAIN_SECONDS, children, supervise

    place = read(settings, data)
    check(place)
    claim(place.data)
    publish(place.data)
    shared = ["--data", str(place.data), *(["--settings", str(place.file)] if place.file else [])]
    kept = children(place.moat.edge.workers, shared)
    drain = max(DRAIN_SECONDS, place.moat.edge.timeouts.drain + 3)
    sys.exit(run("supervisor", lambda stop: supervise(kept, stop, drain)))
