"""Prices: what the tokens of a call cost, by the name of its model.

A price never decides whether a call may pass by itself: an unknown model costs 0 and is counted.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Annotated, Self

from msgspec import Meta

from deepmoat.edge.llm.tally import Usage
from deepmoat.kit.meters import count
from deepmoat.kit.settings import Settings, load

Price = Annotated[float, Meta(ge=0, le=100_000)]
_MILLION = 1_000_000
_MOST_REMEMBERED = 4096


class ModelPrice(Settings, frozen=True):
    """What a million tokens of the models that fit ``pattern`` cost.

    In a pattern ``*`` stands for any characters, ``?`` for one, ``[5-9]`` for one of these; the case of
    letters does not count. ``cached`` is for input read from the provider's prompt cache, ``cache_write``
    for input written to it; each is ``input`` when left out.
    """

    pattern: Annotated[str, Meta(min_length=1, max_length=200)]
    input: Price = 0.0
    cached: Price | None = None
    cache_write: Price | None = None
    output: Price = 0.0


class PriceList(Settings, frozen=True):
    """A file of prices: the ``date`` they are of, their ``unit``, which is only shown, and the models."""

    date: str = ""
    unit: str = "USD per million tokens"
    models: tuple[ModelPrice, ...] = ()


class Prices:
    """Price lists in the order they are asked; within one the longest pattern that fits counts."""

    def __init__(self, lists: Iterable[PriceList]) -> None:
        self._models = [m for each in lists for m in sorted(each.models, key=lambda m: -len(m.pattern))]
        self._found: dict[str, ModelPrice | None] = {}
        self.unpriced = 0

    @classmethod
    def load(cls, text: str = "", *, where: str = "prices") -> Self:
        """The prices in ``text`` (TOML, the operator's own file), before the built-in ones.

        Raises ConfigError, naming ``where`` and the key, for a list that cannot be read, a negative price
        among it: an operator's mistake is told at the start, not found in a bill.
        """
        built_in = files("deepmoat.edge.llm").joinpath("prices.toml").read_text("utf-8")
        own = [load(PriceList, text, where=where)] if text else []
        return cls([*own, load(PriceList, built_in, where="prices.toml")])

    def price(self, model: str) -> ModelPrice | None:
        """What ``model`` costs; None when no list has it. A router's prefix up to "/" may be missing in the
        pattern.

        >>> Prices.load().price("openai/gpt-4o-mini-2024-07-18").output
        0.6
        """
        try:
            return self._found[model]
        except KeyError:
            pass
        if len(self._found) >= _MOST_REMEMBERED:
            self._found.clear()  # names come from clients
        found = self._found[model] = self._search(model.lower())
        return found

    def cost(self, model: str, usage: Usage) -> float:
        """What ``usage`` of ``model`` costs, in the lists' unit of money; 0.0 when the model has no price."""
        price = self.price(usage.model) or self.price(model)
        if price is None:
            if usage.input_tokens or usage.output_tokens:
                self.unpriced += 1
                count("deepmoat_edge_unpriced_calls_total")
            return 0.0
        cached, written = usage.cached_tokens, usage.cache_write_tokens
        plain = max(0, usage.input_tokens - cached - written)
        return (
            plain * price.input
            + cached * (price.input if price.cached is None else price.cached)
            + written * (price.input if price.cache_write is None else price.cache_write)
            + usage.output_tokens * price.output
        ) / _MILLION

    def _search(self, model: str) -> ModelPrice | None:
        names = (model, model.rpartition("/")[2])
        return next((m for m in self._models if any(fnmatchcase(n, m.pattern.lower()) for n in names)), None)
