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
    from deepmoat.app.folder import FILE
    from deepmoat.app.settings import read

    name = file or FILE
    place = read(name)
    check(place)
    if as_json:
        shown = msgspec.to_builtins(place.moat)
        # The rest of a channel may be a secret.
        shown["alert"]["channels"] = [
            {"kind": c.settings.kind, "name": c.name} for c in place.moat.alert.opened()
        ]
        click.echo(msgspec.json.encode(shown).decode())
        return
    click.echo(f"{name}: ok (edge {place.moat.edge.listen}, core {place.moat.api.listen}, data {place.data})")
