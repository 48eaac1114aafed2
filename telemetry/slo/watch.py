"""Objectives among what is watched of a service: an alert while a budget is spent too fast."""

import math
from typing import Any

from telemetry.series.frame import Frame
from telemetry.slo.budget import Budget
from telemetry.slo.burn import RULES, Rule, broken
from telemetry.slo.objective import Objective
from telemetry.watching.decision import Decision, State
from telemetry.watching.watch import Verdict


class BudgetWatch:
    """Watches one objective of one service. What is too fast does not depend on what was usual: nothing is learnt, and
    an objective cannot be accepted away.
    """

    decision = Decision(num_needed=1, num_considered=1, num_calm=1, calm_s=0.0)

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.budget = Budget(objective.share)
        self.signal = f"objective:{objective.name}"

    def see(self, frame: Frame) -> Verdict | None:
        """Count the frame's requests, then say whether a rule is broken."""
        good, total = self.objective.count(frame)
        if total:
            self.budget.add(good, total, frame.time_s)
        rule = broken(self.budget, frame.time_s)
        shown = rule or RULES[0]
        burn = self.budget.burn(shown.long_s, frame.time_s)
        if math.isnan(burn):
            return None
        return Verdict(
            unusual=rule is not None,
            calm=rule is None,
            score=burn / shown.burn,
            value=burn,
            expected=(0.0, shown.burn),
            sentence=self._sentence(rule, burn, frame.time_s) if rule else "",
        )

    def settle(self, state: State, now_s: float) -> None:
        """Nothing is learnt."""

    def relearn(self) -> None:
        """An objective stays what it is; only its owner can change it."""

    def document(self) -> dict[str, Any]:
        """What was counted, as JSON; it is of this objective alone."""
        return {"objective": self.objective.model_dump(), "counted": self.budget.document()}

    def restore(self, document: dict[str, Any]) -> None:
        """Go on from what `document` returned, unless the objective was changed: then it is counted anew."""
        if document["objective"] == self.objective.model_dump():
            self.budget.restore(document["counted"])

    def _sentence(self, rule: Rule, burn: float, now_s: float) -> str:
        left = self.budget.left(now_s)
        spent = f"{left:.0%} of 30 days' error budget is left" if left > 0 else "its error budget of 30 days is spent"
        return (
            f"{self.objective.name} ({self.objective.share:.6g} of requests) is missed {burn:.3g} times as often as "
            f"allowed over {rule.long_s / 3600:.0f} h; {spent}"
        )
