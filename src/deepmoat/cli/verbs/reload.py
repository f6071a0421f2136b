"""``deepmoat reload``: new settings for the edges, without dropping a connection."""

import json

import click

from deepmoat.cli.options import data_option, json_option, settings_option


@click.command(help="Have the running edges read settings and certificates again. No connection is dropped.")
@settings_option
@data_option
@json_option
def command(settings: str | None, data: str | None, as_json: bool) -> None:
    """The file is checked here first: one with a mistake is not sent to anybody."""
    from deepmoat.app.check import check
    from deepmoat.app.running import reload
    from deepmoat.app.settings import read
    from deepmoat.kit.errors import ConfigError

    place = read(settings, data)
    check(place)
    found = reload(place.data)
    if as_json:
        click.echo(json.dumps({"taken": found["taken"], "refused": found["refused"]}))
    else:
        click.echo(f"{found['taken']} edges use the new settings")
    if found["refused"]:
        raise ConfigError(
            f"{found['refused']} edges kept the old ones", where=str(place.data), hint="see their log"
        )
