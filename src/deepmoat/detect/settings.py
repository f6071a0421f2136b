"""DetectSettings: the ``[detect]`` section, with one section of thresholds a detector."""

from typing import Any

import msgspec

from deepmoat.detect.detector import DETECTORS, Detector
from deepmoat.detect.detectors import (
    error_surge,
    injection,
    login_bruteforce,
    new_country,
    request_burst,
    scanner,
)
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import Settings


class DetectSettings(Settings, frozen=True):
    """``[detect]``: ``disabled`` names detectors that do not run; each has thresholds of its own."""

    disabled: tuple[str, ...] = ()
    error_surge: error_surge.Thresholds = msgspec.field(default_factory=error_surge.Thresholds)
    injection: injection.Thresholds = msgspec.field(default_factory=injection.Thresholds)
    login_bruteforce: login_bruteforce.Thresholds = msgspec.field(default_factory=login_bruteforce.Thresholds)
    new_country: new_country.Thresholds = msgspec.field(default_factory=new_country.Thresholds)
    request_burst: request_burst.Thresholds = msgspec.field(default_factory=request_burst.Thresholds)
    scanner: scanner.Thresholds = msgspec.field(default_factory=scanner.Thresholds)


def validate(settings: DetectSettings) -> None:
    """Raises ConfigError for a name in ``disabled`` that is no detector."""
    for name in settings.disabled:
        try:
            DETECTORS.get(name)
        except ConfigError as exc:
            raise ConfigError(exc.message, where="[detect] disabled", hint=exc.hint) from exc


def detectors(settings: DetectSettings) -> tuple[Detector[Any], ...]:
    """The detectors that run, with their thresholds, by name. ConfigError as ``validate``."""
    validate(settings)
    names = [name for name in DETECTORS.names() if name not in settings.disabled]
    return tuple(DETECTORS.get(name)(getattr(settings, name, None)) for name in names)
