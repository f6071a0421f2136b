"""``deepmoat restore DIR``: a new data folder from a backup."""

from pathlib import Path

import click

from deepmoat.cli.options import data_option, settings_option


@click.command(help="Fill a new data folder from the backup in DIR.")
@click.argument("directory", metavar="DIR")
@settings_option
@data_option
def command(directory: str, settings: str | None, data: str | None) -> None:
    """Never overwrites: the data folder must be empty or not there."""
    from deepmoat.app.settings import read
    from deepmoat.store.backup import restore

    place = read(settings, data)
    manifest = restore(Path(directory), place.data, place.moat.store.logs)
    click.echo(
        f"{place.data}: {sum(manifest.records.values()):,} records from {manifest.made:%Y-%m-%d %H:%M:%S} UTC"
    )
