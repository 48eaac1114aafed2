"""When a budget is spent too fast: a long window for weight, a short one so that an alert ends when its fault does.

Site Reliability Workbook, chapter 5, "Multiwindow, multi-burn-rate alerts" (https://sre.google/workbook/alerting-on-slos/).
"""

from dataclasses import dataclass
from typing import Literal

from telemetry.slo.budget import DAY_S, HOUR_S, MINUTE_S, Budget


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Spending at `burn` times the allowed rate in both windows is worth an alert."""

    burn: float
    long_s: float
    short_s: float
    severity: Literal["page", "ticket"]


RULES = (
    Rule(burn=14.4, long_s=HOUR_S, short_s=5 * MINUTE_S, severity="page"),
    Rule(burn=6.0, long_s=6 * HOUR_S, short_s=30 * MINUTE_S, severity="page"),
    Rule(burn=1.0, long_s=3 * DAY_S, short_s=6 * HOUR_S, severity="ticket"),
)
"""The workbook's: 2 % of the budget in an hour, 5 % in six, 10 % in three days."""

FEWEST_BAD = 3
"""Bad requests that the long window must hold: of ten requests in an hour, one that failed burns 100 times too fast."""


def broken(budget: Budget, now_s: float) -> Rule | None:
    """The first rule that both of its windows break, None where none is."""
    for rule in RULES:
        if budget.num_bad(rule.long_s, now_s) < FEWEST_BAD:
            continue
        if all(budget.burn(window_s, now_s) >= rule.burn for window_s in (rule.long_s, rule.short_s)):
            return rule
    return None
