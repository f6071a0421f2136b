"""DetectSettings: the ``[detect]`` section, with one section of thresholds a detector."""

from typing import Any

import msgspec

from deepmoat.detect.detector import DETECTORS, Detector
from deepmoat.detect.detectors.error_surge import Thresholds as ErrorSurge
from deepmoat.detect.detectors.injection import Thresholds as Injection
from deepmoat.detect.detectors.login_bruteforce import Thresholds as LoginBruteforce
from deepmoat.detect.detectors.new_country import Thresholds as NewCountry
from deepmoat.detect.detectors.request_burst import Thresholds as RequestBurst
from deepmoat.detect.detectors.scanner import Thresholds as Scanner
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import Settings


class DetectSettings(Settings, frozen=True):
    """``[detect]``: ``disabled`` names detectors that do not run; each has thresholds of its own."""

    disabled: tuple[str, ...] = ()
    error_surge: ErrorSurge = msgspec.field(default_factory=ErrorSurge)
    injection: Injection = msgspec.field(default_factory=Injection)
    login_bruteforce: LoginBruteforce = msgspec.field(default_factory=LoginBruteforce)
    new_country: NewCountry = msgspec.field(default_factory=NewCountry)
    request_burst: RequestBurst = msgspec.field(default_factory=RequestBurst)
    scanner: Scanner = msgspec.field(default_factory=Scanner)


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
