"""The binomial tail against exact arithmetic."""

from fractions import Fraction
from math import comb, exp, isclose

from hypothesis import given
from hypothesis import strategies as st

from deepmoat.detect.tail import log_tail


def exact(hits: int, tries: int, share: Fraction) -> Fraction:
    terms = (comb(tries, k) * share**k * (1 - share) ** (tries - k) for k in range(hits, tries + 1))
    return sum(terms, Fraction(0))


@given(st.integers(1, 80), st.integers(0, 80), st.integers(1, 99))
def test_it_is_the_exact_tail_above_the_mean(tries: int, hits: int, percent: int) -> None:
    share = Fraction(percent, 100)
    hits = min(hits, tries)
    if hits <= tries * share:
        assert log_tail(hits, tries, percent / 100) == 0
        return
    assert isclose(exp(log_tail(hits, tries, percent / 100)), float(exact(hits, tries, share)), rel_tol=1e-6)


@given(st.integers(1, 10**7), st.data(), st.floats(0, 1))
def test_it_is_a_logarithm_of_a_chance_whatever_the_counts(
    tries: int, data: st.DataObject, share: float
) -> None:
    hits = data.draw(st.integers(0, tries))
    assert log_tail(hits, tries, share) <= 0


def test_small_shares_give_the_poisson_tail() -> None:
    assert isclose(exp(log_tail(3, 1_000_000, 1e-6)), 0.0803, abs_tol=1e-3)
