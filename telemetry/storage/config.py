"""How much the collector keeps on disk, and for how long."""

from pydantic import BaseModel, ConfigDict, Field


class StorageConfig(BaseModel):
    """How much is kept, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    raw_s: float = Field(default=86_400.0, ge=3600)
    """Seconds for which points are kept as they came; a day. Older ones are kept by the minute."""
    minutes_s: float = Field(default=30 * 86_400.0, ge=3600)
    """Seconds for which minutes are kept; a month. Of a gauge its mean, lowest and highest, of totals the last."""
    requests_s: float = Field(default=7 * 86_400.0, ge=3600)
    """Seconds for which spans and logs are kept; a week."""
    max_bytes: int = Field(default=8 * 2**30, ge=2**24)
    """Largest size of series, spans and logs on disk; the oldest go first."""
    memory_bytes: int = Field(default=64 * 2**20, ge=2**20)
    """In place of `max_bytes` where there is no folder."""
    journal_bytes: int = Field(default=2**30, ge=2**25)
    """Largest size of the journal; where a back-end is further behind than this, it loses the oldest requests."""
    checkpoint_s: float = Field(default=30.0, gt=0)
    """Most seconds between two writes of series, spans and logs, which come as soon as 16 MiB wait; what came since the
    last is read from the journal again after the process was killed.
    """
