"""``deepmoat edge``: one edge worker, as the supervisor or another machine runs it."""

import signal
import sys

import click

from deepmoat.cli.options import data_option, settings_option


@click.command(hidden=True, help="The edge role: one worker of the traffic path.")
@click.option("--worker", type=int, default=0, help="Which worker this is, from 0.")
@settings_option
@data_option
def command(worker: int, settings: str | None, data: str | None) -> None:
    """Run one worker until told to stop."""
    # A request to read the settings again waits until somebody is there who can.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from deepmoat.app.edge import edge
    from deepmoat.app.process import run
    from deepmoat.app.settings import read

    place = read(settings, data)
    sys.exit(run(f"edge-{worker}", lambda stop: edge(place, worker, stop)))
