"""A replica's part in rollouts: it follows the split, and tells what it sees."""

import asyncio
import logging
from collections.abc import Callable

from deployments.execution.byte_budget import ByteBudget
from deployments.rollout.canary import Ask, Canary
from deployments.rollout.counting import ArmName, Counting
from deployments.rollout.evidence import Window
from deployments.rollout.shared import Shared
from deployments.rollout.split import Split
from deployments.rollout.witness import Witness

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
"""Longest that a replica answers by a split that is over."""


class Follower:
    """Of one replica of the model that serves; belongs to its event loop."""

    canary: Canary | None = None
    """What shares out requests; none while nothing is rolled out."""

    def __init__(
        self,
        shared: Shared,
        model: str,
        process: str,
        witness: Witness,
        *,
        ask: Callable[[str], Ask],
        max_body_bytes: int,
        budget: ByteBudget,
    ) -> None:
        """`ask` gives what asks the application of that name."""
        self._shared = shared
        self._model = model
        self._process = process
        self._witness = witness
        self._ask = ask
        self._max_body_bytes = max_body_bytes
        self._budget = budget
        self._teller: Teller | None = None
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow from now on."""
        self._following = asyncio.create_task(_forever(self.look, self._model))

    def stop(self) -> None:
        """Follow no more."""
        if self._following is not None:
            self._following.cancel()
        self._switch(None)

    async def look(self) -> None:
        """Share requests as is said now, and tell of the windows that are over."""
        split = await asyncio.to_thread(self._shared.split, self._model)
        if split != (self.canary.split if self.canary else None):
            self._switch(split)
        if self._teller is not None:
            await self._teller.tell()

    def _switch(self, split: Split | None) -> None:
        if self.canary is not None:
            self.canary.stop()
            self.canary = None
        if split is None:
            self._teller = None
            self._witness.rest()
            return
        if self._teller is None or self._teller.rollout != split.rollout:
            counting = Counting("baseline", self._process, split.window_s)
            self._teller = Teller(self._shared, split.rollout, "baseline", self._process, counting)
            self._witness.watch(counting.see, counting.teacher_compared)
        ask = self._ask(split.candidate)
        self.canary = Canary(split, ask, self._teller.counting, self._max_body_bytes, self._budget)


class Teller:
    """Tells what one process counts for one rollout; all the part that a replica of the candidate has in it."""

    canary: Canary | None = None

    def __init__(self, shared: Shared, rollout: str, arm: ArmName, process: str, counting: Counting) -> None:
        self.rollout = rollout
        self.counting = counting
        self._shared = shared
        self._arm = arm
        self._process = process
        self._told: tuple[Window, ...] | None = None
        self._telling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Tell from now on."""
        self._telling = asyncio.create_task(_forever(self.tell, self.rollout))

    def stop(self) -> None:
        """Tell no more."""
        if self._telling is not None:
            self._telling.cancel()

    async def tell(self) -> None:
        """Tell of the windows that are over, where there are new ones; the first time, that there is somebody."""
        over = self.counting.over()
        if over != self._told:
            await asyncio.to_thread(self._shared.tell, self.rollout, self._arm, self._process, over)
            self._told = over


async def _forever(look: Callable[[], object], name: str) -> None:
    while True:
        try:
            await look()  # type: ignore[misc]
        except Exception:
            logger.exception("the rollout of %r cannot be followed; trying again", name)
        await asyncio.sleep(LOOK_EVERY_S)
