"""``deepmoat backup DIR``: everything deepmoat knows, in a new folder."""

import click

from deepmoat.cli.options import data_option, settings_option


@click.command(help="Write everything deepmoat knows to the new folder DIR; core may be running.")
@click.argument("directory", metavar="DIR")
@settings_option
@data_option
def command(directory: str, settings: str | None, data: str | None) -> None:
    """A running core makes the backup itself; else this process does."""
    from deepmoat.app.backup import backup
    from deepmoat.app.settings import read

    manifest = backup(read(settings, data), directory)
    click.echo(f"{directory}: {sum(manifest.records.values()):,} records, state and key")
