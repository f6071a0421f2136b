"""The reference pages, made from the code: every settings key, every logstore's columns and aliases."""

import inspect
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from deepmoat.alert.channel import CHANNELS
from deepmoat.app.settings import Moat
from deepmoat.model import LOGSTORES, Logstore

_MADE = "<!-- Made by `make docs` from the code; a test fails when it is stale. -->\n\n"


def pages() -> dict[str, str]:
    """File name to text."""
    return {"settings.md": _settings(), "logstores.md": _logstores()}


def _settings() -> str:
    intro = (
        "# moat.toml\n\n"
        + _MADE
        + "Every key has a default; without a file all of them hold. `deepmoat check` "
        "validates a file, and a key that is not listed here is refused with the nearest one that is.\n\n"
    )
    sections = [*_sections(Moat, ""), *_channels()]
    return intro + "\n".join(sections).replace("``", "`").rstrip() + "\n"


def _channels() -> Iterator[str]:
    """Alert channels: tables whose keys depend on ``kind``."""
    for kind, channel in CHANNELS:
        yield from _sections(channel.SETTINGS, "[alert.channels]", f' of kind "{kind}"')


def _sections(kind: Any, name: str, more: str = "") -> Iterator[str]:
    hints = get_type_hints(kind, include_extras=True)
    fields = msgspec.structs.fields(kind)
    plain = [f for f in fields if not _struct(hints[f.name])]
    nested = [f for f in fields if f not in plain]
    yield f"## {f'[{name}]' if name else 'Top level'}{more}\n"
    yield inspect.cleandoc(kind.__doc__ or "") + "\n"
    if plain:
        yield "| key | type | default |\n|---|---|---|"
        yield from (f"| `{f.encode_name}` | {_type(hints[f.name])} | {_default(f)} |" for f in plain)
        yield ""
    for field in nested:
        path = f"{name}.{field.encode_name}".lstrip(".")
        if get_origin(hints[field.name]) in (tuple, list):
            path = f"[{path}]"
        elif get_origin(hints[field.name]) is dict:
            path = f"{path}.NAME"
        yield from _sections(_struct(hints[field.name]), path)


def _struct(annotation: Any) -> Any:
    """The settings struct in ``annotation``, if it holds one."""
    if inspect.isclass(annotation) and issubclass(annotation, msgspec.Struct):
        return annotation
    return next((s for a in get_args(annotation) if (s := _struct(a))), None)


def _type(annotation: Any) -> str:
    if hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is tuple:
        return f"list of {_type(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return "table"
    if get_origin(annotation) is Literal:
        return " or ".join(f'`"{choice}"`' for choice in get_args(annotation))
    names = {
        datetime: "time",
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        Any: "any",
    }
    return names.get(annotation, str(annotation).replace("|", "or"))


def _default(field: Any) -> str:
    if field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"`{json.dumps(msgspec.to_builtins(value), ensure_ascii=False)}`"


def _logstores() -> str:
    intro = (
        "# Logstores\n\n"
        + _MADE
        + "Columns are OpenTelemetry names with underscores for dots. An alias is another name for a column, "
        "for people who come from other products; it works in every query. What has no column of its own "
        "is in `attributes` and is asked for by its own name.\n\n"
    )
    return intro + "\n".join(_logstore(s) for s in LOGSTORES.values())


def _logstore(store: Logstore) -> str:
    rows = "\n".join(
        f"| `{c.name}` | {c.type} | {c.about} | {_aliases(store, c.name)} |" for c in store.columns
    )
    head = "| column | type | holds | aliases |\n|---|---|---|---|"
    return f"## {store.name}\n\n{store.about}\n\n{head}\n{rows}\n"


def _aliases(store: Logstore, column: str) -> str:
    return ", ".join(f"`{alias}`" for alias, name in store.aliases.items() if name == column)
