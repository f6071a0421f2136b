"""The exact tail of a binomial count: how likely are this many or more by chance?"""

from math import inf, lgamma, log, log1p


def log_tail(hits: int, tries: int, share: float) -> float:
    """The natural logarithm of P(X >= hits) for X of ``tries`` tries, each a hit with chance ``share``.

    Exact to float precision above the mean; at or below the mean it is 0 (the tail is no surprise).
    For small shares it is the Poisson tail of the mean ``tries * share``, so small counts need no other rule.

    >>> round(log_tail(3, 3, 0.5), 4), log_tail(1, 10, 0.5), round(log_tail(1000, 1000, 0.01))
    (-2.0794, 0.0, -4605)
    """
    if hits <= tries * share:
        return 0.0
    if share <= 0:
        return -inf
    if share >= 1:
        return 0.0
    ways = lgamma(tries + 1) - lgamma(hits + 1) - lgamma(tries - hits + 1)
    first = ways + hits * log(share) + (tries - hits) * log1p(-share)
    return min(0.0, first + log(_series(hits, tries, share / (1 - share))))


def _series(hits: int, tries: int, odds: float) -> float:
    """The sum of the terms from ``hits`` on, the first being 1. Above the mean they shrink."""
    total = term = 1.0
    for k in range(hits, tries):
        term *= (tries - k) / (k + 1) * odds
        total += term
        if term < total * 1e-12:
            break
    return total
