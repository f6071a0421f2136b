"""``deepmoat backend``: what the edges think of the backends; drain one, take it back."""

import json

import click

from deepmoat.cli.options import data_option, json_option, settings_option


@click.group(help="List backends, drain one before its maintenance, take it back.")
def command() -> None:
    """Works without core: the edges look at the list within half a second."""


@command.command("list", help="List the backends of the running edges.")
@settings_option
@data_option
@json_option
def show(settings: str | None, data: str | None, as_json: bool) -> None:
    """One line a backend."""
    import msgspec

    from deepmoat.app.folder import data_folder
    from deepmoat.app.running import backends

    found = backends(data_folder(settings, data))
    if as_json:
        click.echo(json.dumps({"backends": msgspec.to_builtins(found)}))
        return
    for one in found:
        state = "drained" if one.drained else "healthy" if one.healthy == one.workers else "unhealthy"
        click.echo(f"{one.backend}  {state}  seen well by {one.healthy} of {one.workers} workers")


@command.command(help="Send nothing new to the backend ADDRESS; what is under way ends as usual.")
@click.argument("address")
@settings_option
@data_option
def drain(address: str, settings: str | None, data: str | None) -> None:
    """Holds until `restore`, over restarts too."""
    from deepmoat.app.folder import data_folder
    from deepmoat.app.running import drain as set_drained

    set_drained(data_folder(settings, data), address, drained=True)
    click.echo(f"draining {address}")


@command.command(help="Send to the backend ADDRESS again.")
@click.argument("address")
@settings_option
@data_option
def restore(address: str, settings: str | None, data: str | None) -> None:
    """The opposite of `drain`."""
    from deepmoat.app.folder import data_folder
    from deepmoat.app.running import drain as set_drained

    set_drained(data_folder(settings, data), address, drained=False)
    click.echo(f"sending to {address} again")
