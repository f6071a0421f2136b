"""``deepmoat core``: the core role alone, as the supervisor or another machine runs it."""

import sys

import click

from deepmoat.cli.options import data_option, settings_option


@click.command(
    hidden=True, help="The core role: collect, store, query, detect, alert, respond, API, console."
)
@settings_option
@data_option
def command(settings: str | None, data: str | None) -> None:
    """Run the core role until told to stop."""
    from deepmoat.app.core import core
    from deepmoat.app.process import run
    from deepmoat.app.settings import read

    place = read(settings, data)
    sys.exit(run("core", lambda stop: core(place, stop)))
