from hypothesis import given
from hypothesis import strategies as st

from optimization.search import pareto

POINTS = st.lists(st.tuples(st.integers(0, 8).map(float), st.integers(0, 8).map(float)), max_size=30)


@given(points=POINTS)
def test_front_is_what_a_search_over_all_pairs_finds(points: list[tuple[float, float]]) -> None:
    def beaten(cost: float, quality: float) -> bool:
        return any(c <= cost and q >= quality and (c, q) != (cost, quality) for c, q in points)

    expected = {index for index, point in enumerate(points) if not beaten(*point)}
    found = pareto.front(points)
    assert set(found) == expected
    assert len(found) == len(expected)


@given(points=POINTS)
def test_front_runs_from_the_cheapest_to_the_best(points: list[tuple[float, float]]) -> None:
    along = [points[index] for index in pareto.front(points)]
    assert along == sorted(along)
    assert [quality for _, quality in along] == sorted(quality for _, quality in along)
