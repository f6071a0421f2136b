"""Settings: a frozen struct beside the component that reads it; unknown keys are refused."""

import re
import tomllib
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec

from deepmoat.kit.errors import ConfigError


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every component's settings. A misspelt key is an error, not a default."""


S = TypeVar("S", bound=Settings)
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_PLACE = re.compile(r" - at `\$\.?([^`]*)`")


def load(kind: type[S], text: str, *, where: str) -> S:
    """Read TOML into ``kind``; ``where`` names the file in the error.

    Raises ConfigError that names the file, the section and the key.
    """
    try:
        return msgspec.convert(tomllib.loads(text), kind)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(str(exc), where=where, hint="the file must be TOML") from exc
    except msgspec.ValidationError as exc:
        raise _explained(kind, str(exc), where) from exc


def _explained(kind: type[S], message: str, where: str) -> ConfigError:
    place = _PLACE.search(message)
    section = place[1] if place else ""
    at = f"{where}: [{section}]" if section else where
    text = _PLACE.sub("", message)
    unknown = _UNKNOWN.search(message)
    if not unknown:
        return ConfigError(text, where=at)
    names = _names(kind, section)
    close = get_close_matches(unknown[1], names, 1)
    hint = f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(names)
    return ConfigError(f"unknown key {unknown[1]!r}", where=at, hint=hint)


def _names(kind: Any, section: str) -> list[str]:
    for part in filter(None, re.split(r"[.\[\]]", section)):
        if part in {"...", ""} or part.isdigit():
            continue
        field = {f.name: f.type for f in msgspec.structs.fields(kind)}.get(part)
        kind = _struct_in(field) or kind
    return [f.encode_name for f in msgspec.structs.fields(kind)]


def _struct_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    return next((s for a in getattr(annotation, "__args__", ()) if (s := _struct_in(a))), None)
