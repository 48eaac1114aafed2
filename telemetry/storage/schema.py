"""The tables of series, spans and logs."""

SCHEMA = """
CREATE TABLE series (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, service TEXT NOT NULL, metric TEXT NOT NULL, key TEXT NOT NULL,
    first_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL, UNIQUE (key, kind)
);
CREATE INDEX series_by_metric ON series (metric);
CREATE INDEX series_by_service ON series (service);
CREATE TABLE points (
    id INTEGER PRIMARY KEY, level INTEGER NOT NULL, grp INTEGER NOT NULL, start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL, num INTEGER NOT NULL, block BLOB NOT NULL
);
CREATE INDEX points_by_group ON points (grp, level, start_ms);
CREATE INDEX points_by_end ON points (level, end_ms);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY, signal TEXT NOT NULL, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL,
    num INTEGER NOT NULL, services TEXT NOT NULL, traces BLOB NOT NULL, block BLOB NOT NULL
);
CREATE INDEX requests_by_end ON requests (signal, end_ms);
CREATE TABLE checkpoint (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
TABLES = ("series", "points", "requests", "checkpoint")
