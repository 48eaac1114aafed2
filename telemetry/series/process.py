"""A process that sends: its clock, its series, and where they are kept."""

import logging
import math
from dataclasses import dataclass, field

import numpy as np

from telemetry.receivers.attributes import Attributes
from telemetry.receivers.origin import Origin
from telemetry.series.clock import SenderClock
from telemetry.series.linking import Linking
from telemetry.series.service import Service
from telemetry.series.stream import Stream
from telemetry.series.table import Ints, Table
from telemetry.series.template import Name, Template

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Where some points of one part of a template belong."""

    table: Table
    rows: Ints
    """Each once."""
    points: Ints | None = None
    """Which points of the part, None for all of them."""
    merged: Ints | None = None
    """For each of the points its index in `rows`, where several are added up in one overflow series."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bound:
    """A template's points among a process's series."""

    rounds: tuple[tuple[tuple[int, Rows], ...], ...]
    """Taken one after the other, as a series may have several points: of each part, numbers first, its rows."""
    num_refused: int
    """Points for which there was no room."""
    reason: str


@dataclass(slots=True, kw_only=True)
class Process:
    """What is known of one process."""

    origin: Origin
    service: Service
    clock: SenderClock = field(default_factory=SenderClock)
    last_ns: int | None = None
    """When it reported last, by the collector's clock."""
    seen_s: float = 0.0
    places: dict[Name, tuple[Table, int]] = field(default_factory=dict)
    """The table and row of each of its series."""
    streams: dict[Name, Stream] = field(default_factory=dict)
    """Its exponential histograms."""
    linking: Linking = field(default_factory=Linking)
    described_as: Attributes = ()
    """Its resource's attributes, but those that name it."""
    described_s: float = -math.inf
    """When these were recorded last."""
    bound: dict[Template, Bound] = field(default_factory=dict)
    """Where a template's points belong."""

    def see_clock(self, times_ns: Ints, now_ns: int) -> int:
        """Take the times of a request that are not all near the collector's; returns what to add to them.

        The one in the middle stands for the clock, so that a single wrong time moves no other. One beyond 2262 is read
        as negative; it counts as 0, for what is added must have 64 bits.
        """
        was_right = self.clock.offset_ns == 0
        offset_ns = self.clock.see(max(0, int(np.sort(times_ns)[len(times_ns) // 2])), now_ns)
        if offset_ns and was_right:
            logger.warning(
                "the clock of %s, instance %s, must agree with the collector's, got %+.0f s; the collector's is used",
                self.origin.service,
                self.origin.instance,
                -offset_ns / 1e9,
            )
        return offset_ns

    @property
    def num_series(self) -> int:
        """All of its series."""
        return len(self.places) + len(self.streams)
