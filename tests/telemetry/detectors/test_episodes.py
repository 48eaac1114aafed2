"""Looking back over a series."""

from telemetry.detectors.episodes import QUIET, episodes
from tests.telemetry.detectors.families import steady


def test_an_incident_is_one_episode_and_the_next_another():
    values = steady("normal", 2000)
    for place, rise in ((800, 100.0), (801, 100.0), (830, 90.0), (1500, 500.0)):
        values[place] += rise
    found = episodes([60.0 * place for place in range(2000)], values)
    assert [episode.place for episode in found] == [800, 1500]
    assert found[0].time_s == 800 * 60.0
    low, high = found[0].expected
    assert low < 100 < high < found[0].value


def test_what_follows_belongs_to_it_for_a_while_and_counts_by_its_highest_score():
    values = steady("normal", 1000)
    values[500], values[500 + QUIET - 1] = 150.0, 1e6
    (found,) = episodes(range(1000), values)
    assert found.score > 3
    assert found.value == 150.0
