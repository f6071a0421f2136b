"""Options that several verbs share."""

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

settings_option: Decorator = click.option(
    "--settings",
    metavar="FILE",
    help="The settings file; without it ./moat.toml where there is one, else defaults.",
)
data_option: Decorator = click.option(
    "--data", metavar="DIR", help="The data folder; overrides `data` of the settings file."
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
