"""The [detect] section."""

import pytest

from deepmoat.detect.settings import DetectSettings, detectors, validate
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import load


def test_all_detectors_run_without_settings() -> None:
    assert len(detectors(DetectSettings())) == 6


def test_a_threshold_reaches_the_statement_and_the_judge() -> None:
    settings = load(DetectSettings, "request_burst.floor = 7\nrequest_burst.sharp = 10", where="moat.toml")
    burst = next(d for d in detectors(settings) if d.name == "request_burst")
    assert "having weight >= 7" in burst.query()
    assert burst.at.sharp == 10


def test_a_disabled_detector_does_not_run() -> None:
    settings = load(DetectSettings, 'disabled = ["new_country"]', where="moat.toml")
    names = [d.name for d in detectors(settings)]
    assert "new_country" not in names and len(names) == 5


@pytest.mark.parametrize("call", [validate, detectors])
def test_an_unknown_name_in_disabled_is_refused_with_a_hint(call: object) -> None:
    assert callable(call)
    with pytest.raises(ConfigError, match=r"\[detect\] disabled.*did you mean 'scanner'"):
        call(DetectSettings(disabled=("scaner",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scaner.probes = 3", "unknown key 'scaner'.*did you mean 'scanner'"),
        ("scanner.probe = 3", r"\[scanner\].*unknown key 'probe'.*did you mean 'probes'"),
        ('scanner.probes = "3"', r"\[scanner.probes\].*Expected `int`"),
    ],
)
def test_a_wrong_key_or_value_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(DetectSettings, text, where="moat.toml")
