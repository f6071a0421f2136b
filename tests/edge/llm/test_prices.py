"""What calls cost, and that no price list can stop one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.llm.answer import Usage
from deepmoat.edge.llm.prices import Prices
from deepmoat.kit.errors import ConfigError

OWN = """
date = "2026-01-01"
[[models]]
pattern = "own-*"
input = 1
output = 10
[[models]]
pattern = "own-large*"
input = 2
cached = 0.5
cache_write = 4
output = 20
[[models]]
pattern = "gpt-4o*"
input = 100
"""


def test_the_longest_pattern_counts_and_the_operators_own_file_comes_first() -> None:
    prices = Prices.load(OWN)
    million = Usage(1_000_000, 1_000_000)
    cases = {
        "own-1": 11.0,
        "OWN-Large-2": 22.0,
        "router/own-1": 11.0,
        "gpt-4o-mini": 100.0,
        "gpt-4.1-mini-2025-04-14": 2.0,
        "claude-opus-4-5-20251101": 30.0,
        "llama3": 0.0,
        "": 0.0,
    }
    assert {model: prices.cost(model, million) for model in cases} == cases
    assert prices.unpriced == 2


def test_cached_and_written_input_have_their_own_prices() -> None:
    prices = Prices.load(OWN)
    usage = Usage(1_000_000, 0, cached_tokens=400_000, cache_write_tokens=100_000)
    assert prices.cost("own-large", usage) == pytest.approx(0.5 * 2 + 0.4 * 0.5 + 0.1 * 4)
    assert prices.cost("own-1", usage) == pytest.approx(1.0)


def test_the_model_that_answered_is_priced_before_the_one_asked_for() -> None:
    assert Prices.load(OWN).cost("alias", Usage(1_000_000, 0, "own-large")) == 2.0
    assert Prices.load(OWN).cost("own-large", Usage(1_000_000, 0, "renamed")) == 2.0


def test_a_list_that_cannot_be_right_is_refused_with_its_place() -> None:
    for text in (
        '[[models]]\npattern = "a"\ninput = -1',
        '[[models]]\npattern = "a"\ninput = nan',
        '[[models]]\npattern = "a"\ninput = inf',
        '[[models]]\npattern = "a"\nprice = 1',
        "[[models]]\ninput = 1",
        "models = 7",
        "[[[",
    ):
        with pytest.raises(ConfigError) as caught:
            Prices.load(text, where="own.toml")
        assert "own.toml" in caught.value.where, text


def test_the_built_in_list_is_whole_and_dated() -> None:
    prices = Prices.load()
    assert len(prices._models) == 14
    assert all(m.input > 0 and (m.output > m.input or "embedding" in m.pattern) for m in prices._models)


@given(st.text(), st.integers(0, 2**42), st.integers(0, 2**42), st.integers(0, 2**42))
def test_any_usage_has_a_cost_and_none_is_negative(
    model: str, asked: int, answered: int, cached: int
) -> None:
    prices = Prices.load(OWN)
    assert prices.cost(model, Usage(asked, answered, cached_tokens=cached)) >= 0.0
    assert prices.cost("own-large", Usage(asked, answered, cached_tokens=cached)) >= 0.0


def test_names_made_up_by_clients_do_not_fill_the_memory() -> None:
    prices = Prices.load()
    for n in range(10_000):
        prices.cost(f"made-up-{n}", Usage(1, 1))
    assert len(prices._found) <= 4096 and prices.unpriced == 10_000
