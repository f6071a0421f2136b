"""The page about the detectors is made from them."""

from pathlib import Path

from deepmoat.detect.describe import page
from deepmoat.detect.detector import DETECTORS

DOCS = Path(__file__).parents[2] / "docs" / "detectors.md"


def test_the_page_is_not_stale() -> None:
    assert DOCS.read_text() == page(), "run: python -m deepmoat.detect.describe > docs/detectors.md"


def test_the_page_has_a_section_for_every_detector_with_its_blindness_and_thresholds() -> None:
    text = page()
    for name, kind in DETECTORS:
        assert f"## {name}\n" in text and kind.BLIND in text and f"[detect.{name}]" in text
    assert text.count("**Its evidence:**") == len(DETECTORS.names()) == 6
