"""What the docs say is real: links, generated pages, verbs, settings."""

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from deepmoat.app.reference import pages
from deepmoat.app.settings import Moat
from deepmoat.cli.main import HIDDEN, VERBS, cli
from deepmoat.kit.settings import load

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.S)


def blocks(language: str) -> list[tuple[str, str]]:
    return [(p.name, text) for p in PAGES for kind, text in BLOCK.findall(p.read_text()) if kind == language]


def test_every_link_leads_somewhere() -> None:
    links = [(page, link) for page in PAGES for link in LINK.findall(CODE.sub("", page.read_text()))]
    local = [(page, link) for page, link in links if "://" not in link]
    assert len(local) > 10
    assert not [f"{page.name}: {link}" for page, link in local if not (page.parent / link).exists()]


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_reference_is_not_stale(name: str) -> None:
    assert (ROOT / "docs" / "reference" / name).read_text() == pages()[name], "run `make docs`"


def test_every_settings_example_is_accepted() -> None:
    examples = blocks("toml")
    assert len(examples) >= 3
    for page, text in examples:
        assert isinstance(load(Moat, text, where=page), Moat)


def test_every_command_shown_is_a_verb() -> None:
    shown = {
        verb for _, text in blocks("sh") for verb in re.findall(r"(?m)^(?:\S*/)?deepmoat +([a-z]+)", text)
    }
    assert len(shown) >= 4 and shown <= set(VERBS)


def test_every_verb_has_help() -> None:
    for verb in (*VERBS, *HIDDEN):
        result = CliRunner().invoke(cli, [verb, "--help"])
        assert result.exit_code == 0 and "Usage:" in result.output, result.output


def test_a_misspelt_verb_is_guessed() -> None:
    result = CliRunner().invoke(cli, ["scna"])
    assert result.exit_code == 2 and "Did you mean 'scan'?" in result.output


def test_the_lock_names_every_dependency_with_a_hash_and_no_host() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "requirements.lock").read_text()
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    pinned = set(re.findall(r"(?m)^([a-z0-9-]+)==", lock))
    assert {w.lower() for w in wanted} <= pinned
    assert lock.count("--hash=sha256:") > len(pinned) and "://" not in lock


def test_no_page_names_a_place_on_the_writers_machine() -> None:
    for page in PAGES:
        assert "/home/" not in page.read_text(), page.name
