"""``deepmoat link``: a fresh one-time sign-in link."""

import time
from typing import Literal

import click

from deepmoat.cli.options import data_option, settings_option


@click.command(help="Print a fresh one-time sign-in link for the user NAME (created when there is none).")
@click.argument("name", default="admin")
@click.option("--role", type=click.Choice(["admin", "analyst"]), default="admin", help="For a new user.")
@settings_option
@data_option
def command(name: str, role: Literal["admin", "analyst"], settings: str | None, data: str | None) -> None:
    """Works while core runs, and before its first start."""
    from deepmoat.app.credentials import open_identity
    from deepmoat.app.links import link_url
    from deepmoat.app.settings import read

    place = read(settings, data)
    with open_identity(place) as identity:
        click.echo(link_url(place.moat, identity.link(name, time.time(), role=role)))
