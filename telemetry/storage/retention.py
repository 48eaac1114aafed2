"""Removes what is older, or more, than is to be kept."""

from telemetry.storage import points
from telemetry.storage.config import StorageConfig
from telemetry.storage.database import Database

NUM_AT_ONCE = 32
"""Rows that are removed before the size is looked at again."""


def apply(database: Database, config: StorageConfig, now_ms: int) -> None:
    """Remove what is too old; then the oldest, until what is left is small enough."""
    ages = {points.RAW: config.raw_s, points.HOURS: config.raw_s, points.MINUTES: config.minutes_s}
    with database.writing() as connection:
        for level, age_s in ages.items():
            connection.execute("DELETE FROM points WHERE level = ? AND end_ms < ?", (level, now_ms - age_s * 1e3))
        connection.execute("DELETE FROM requests WHERE end_ms < ?", (now_ms - config.requests_s * 1e3,))
        connection.execute("DELETE FROM series WHERE seen_ms < ?", (now_ms - max(ages.values()) * 1e3 - 3_600_000,))
    max_bytes = config.max_bytes if database.path else config.memory_bytes
    while database.num_bytes > max_bytes and _remove_oldest(database):
        pass


def _remove_oldest(database: Database) -> bool:
    """Remove the oldest rows of what takes the most room for its time: first requests and points as they came, by age,
    then minutes. Returns whether there were any.
    """
    with database.writing() as connection:
        (oldest_points,) = connection.execute(
            "SELECT min(end_ms) FROM points WHERE level IN (?, ?)", (points.RAW, points.HOURS)
        ).fetchone()
        (oldest_request,) = connection.execute("SELECT min(end_ms) FROM requests").fetchone()
        if oldest_request is not None and (oldest_points is None or oldest_request <= oldest_points):
            removed = connection.execute(
                "DELETE FROM requests WHERE id IN (SELECT id FROM requests ORDER BY end_ms LIMIT ?)", (NUM_AT_ONCE,)
            )
        else:
            is_minute = oldest_points is None
            removed = connection.execute(
                "DELETE FROM points WHERE id IN (SELECT id FROM points WHERE (level = ?) = ? ORDER BY end_ms LIMIT ?)",
                (points.MINUTES, is_minute, NUM_AT_ONCE),
            )
        return removed.rowcount > 0
