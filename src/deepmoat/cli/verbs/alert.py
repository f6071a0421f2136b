"""``deepmoat alert``: can deepmoat reach you?"""

import sys
from datetime import UTC, datetime

import click

from deepmoat.cli.options import data_option, settings_option


@click.command(help="Send a test message through every alert channel of the settings file.")
@settings_option
@data_option
def command(settings: str | None, data: str | None) -> None:
    """Exit status 1 when a channel did not take it."""
    from deepmoat.alert.send import send_test
    from deepmoat.app.settings import read

    place = read(settings, data)
    failed = False
    for channel, outcome in send_test(place.moat.alert, datetime.now(UTC)):
        click.echo(f"{channel}: {'sent' if outcome == 'sent' else 'failed'}")
        failed |= outcome != "sent"
    sys.exit(1 if failed else 0)
