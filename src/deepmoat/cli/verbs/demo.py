"""``deepmoat demo``: the whole path on loopback."""

import sys

import click


@click.command(help="Watch an attack be found, told and blocked, on loopback. Ctrl-C ends it.")
@click.option("--seconds", type=float, help="End by itself after this long.")
@click.option("--keep", metavar="DIR", help="Keep the demo's data folder and log in this new folder.")
def command(seconds: float | None, keep: str | None) -> None:
    """Exit status 0 when an incident, an alert and a block were seen and nobody honest was refused."""
    from deepmoat.app.demo.run import demo
    from deepmoat.app.process import run

    sys.exit(run("demo", lambda stop: demo(seconds, keep, stop)))
