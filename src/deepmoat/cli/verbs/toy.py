"""``deepmoat toy``: the demo's model backend."""

import os
import sys

import click


@click.command(hidden=True, help="A toy model backend, for the demo.")
@click.option("--port", type=int, required=True)
@click.option("--report", required=True, help="Where login outcomes are sent.")
def command(port: int, report: str) -> None:
    """The ingestion key comes in DEEPMOAT_KEY."""
    from deepmoat.app.demo.toy import serve
    from deepmoat.app.process import run

    key = os.environ.get("DEEPMOAT_KEY", "")
    sys.exit(run("toy", lambda stop: serve(port, report, key, stop)))
