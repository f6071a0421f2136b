"""``deepmoat check``: is this settings file right?"""

import click

from deepmoat.cli.options import json_option


@click.command(help="Say whether a settings file is right; ./moat.toml unless FILE is named.")
@click.argument("file", required=False)
@json_option
def command(file: str | None, as_json: bool) -> None:
    """Read every section, and let each component look at its own settings."""
    import msgspec

    from deepmoat.app.check import check
    from deepmoat.app.settings import FILE, read

    name = file or FILE
    place = read(name)
    check(place)
    if as_json:
        click.echo(msgspec.json.encode(place.moat).decode())
        return
    click.echo(f"{name}: ok (edge {place.moat.edge.listen}, core {place.moat.api.listen}, data {place.data})")
