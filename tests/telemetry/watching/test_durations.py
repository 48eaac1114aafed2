"""Durations as people say them."""

from telemetry.watching.durations import duration_range, duration_text


def test_durations_are_said_in_their_own_unit():
    assert [duration_text(s) for s in (0.212, 0.0018, 2.5, 0.00035)] == ["212 ms", "1.8 ms", "2.5 s", "350 µs"]
    assert duration_range((0.0018, 0.0024)) == "1.8-2.4 ms"
