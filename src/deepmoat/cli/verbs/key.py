"""``deepmoat key``: API keys for senders and for queries."""

import json
import time
from datetime import UTC, datetime

import click

from deepmoat.cli.options import data_option, json_option, settings_option


@click.group(help="Create, list and revoke API keys.")
def command() -> None:
    """Works while core runs, and before its first start."""


@command.command(help="Create a key called NAME and print its secret, once.")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["ingest", "analyst", "admin"]),
    default="ingest",
    show_default=True,
    help="ingest may only send; analyst may only read; admin may do all.",
)
@settings_option
@data_option
def create(name: str, role: str, settings: str | None, data: str | None) -> None:
    """The secret goes to standard output alone, so that it can be piped."""
    from deepmoat.app.credentials import open_identity
    from deepmoat.app.settings import read

    with open_identity(read(settings, data)) as identity:
        key, secret = identity.make_key(name, role, "command line", time.time())
    click.echo(f"key {key.prefix} ({role}): keep it now, it is not shown again", err=True)
    click.echo(secret)


@command.command("list", help="List keys; never their secrets.")
@settings_option
@data_option
@json_option
def show(settings: str | None, data: str | None, as_json: bool) -> None:
    """One line a key."""
    from deepmoat.app.credentials import open_identity
    from deepmoat.app.settings import read

    with open_identity(read(settings, data)) as identity:
        keys = identity.keys.all()
    rows = [
        {
            "key": k.prefix,
            "name": k.name,
            "role": k.role,
            "created": _day(k.created),
            "used": _day(k.used),
            "revoked": _day(k.revoked),
        }
        for k in keys
    ]
    if as_json:
        click.echo(json.dumps({"keys": rows}))
        return
    for row in rows:
        click.echo("  ".join(str(v or "-") for v in row.values()))


@command.command(help="End the key KEY (its prefix, as `list` shows it).")
@click.argument("key")
@settings_option
@data_option
def revoke(key: str, settings: str | None, data: str | None) -> None:
    """Takes effect within two seconds in a running core."""
    from deepmoat.app.credentials import open_identity
    from deepmoat.app.settings import read
    from deepmoat.kit.errors import ConfigError

    with open_identity(read(settings, data)) as identity:
        if not identity.revoke_key(key, time.time()):
            raise ConfigError(f"no such key: {key!r}", hint="see `deepmoat key list`")
    click.echo(f"revoked {key}")


@command.command("hash", help="Print the hash that logs, budgets and orders know a client's API key by.")
@settings_option
@data_option
@json_option
def hash_of(settings: str | None, data: str | None, as_json: bool) -> None:
    """The key is read from standard input: arguments can be seen by others."""
    import sys

    from deepmoat.app.folder import data_folder
    from deepmoat.app.secret import secret_keys
    from deepmoat.edge.llm.key import key_hasher
    from deepmoat.kit.errors import ConfigError

    given = sys.stdin.readline().strip().encode()
    if not given:
        raise ConfigError("no key on standard input", hint='printf %s "$KEY" | deepmoat key hash')
    hashes = key_hasher(secret_keys(data_folder(settings, data))).hashes(given)
    if as_json:
        click.echo(json.dumps({"hash": hashes[0], "before": hashes[1:]}))
        return
    click.echo(hashes[0])
    for old in hashes[1:]:
        click.echo(f"{old}  before the secret was rotated", err=True)


@command.command("rotate", help="Make a new secret for all keyed hashes. It counts from the next start.")
@settings_option
@data_option
def rotate_secret(settings: str | None, data: str | None) -> None:
    """The one before is kept, so that `hash` can tell what old logs say."""
    from deepmoat.app.folder import data_folder
    from deepmoat.app.secret import rotate

    rotate(data_folder(settings, data))
    click.echo("a new secret is in place: restart deepmoat")
    click.echo(
        "orders, budgets' `keys` and old logs name keys by their old hashes; `deepmoat key hash` tells both"
    )


def _day(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
