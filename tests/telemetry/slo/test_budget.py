import json
import math

import pytest

from telemetry.slo.budget import DAY_S, HOUR_S, PERIOD_S, Budget
from telemetry.slo.burn import RULES, broken

MONDAY_S = 1_750_000_000.0


def spent(
    seconds: float, bad_share: float, *, rate: float = 600.0, budget: Budget | None = None
) -> tuple[Budget, float]:
    """A budget of 0.1 % after `seconds` of which a share was bad, and the time then."""
    budget, now_s = budget or Budget(0.999), MONDAY_S
    for minute in range(int(seconds // 60)):
        now_s = MONDAY_S + 60.0 * minute
        budget.add(rate * (1.0 - bad_share), rate, now_s)
    return budget, now_s


def test_at_a_burn_of_one_a_budget_is_gone_after_thirty_days():
    budget, now_s = spent(30 * DAY_S, 0.001)
    assert budget.burn(HOUR_S, now_s) == pytest.approx(1.0)
    assert budget.left(now_s) == pytest.approx(0.0, abs=1e-4)


def test_at_fourteen_times_the_allowed_rate_an_hour_takes_two_percent_of_the_budget():
    budget, now_s = spent(HOUR_S, 0.0144)
    assert budget.left(now_s) == pytest.approx(0.98, abs=0.001)


def test_what_is_older_than_thirty_days_is_forgotten():
    budget, now_s = spent(HOUR_S, 1.0)
    later_s = now_s + PERIOD_S + HOUR_S
    budget.add(100, 100, later_s)
    assert budget.left(later_s) == 1.0


def test_a_silent_service_spends_nothing():
    budget, now_s = spent(HOUR_S, 0.0)
    assert math.isnan(budget.burn(HOUR_S, now_s + DAY_S))
    assert broken(budget, now_s + DAY_S) is None


@pytest.mark.parametrize(
    ("seconds", "bad_share", "severity"),
    [
        (HOUR_S, 0.0148, "page"),  # 14.8 times for an hour
        (6 * HOUR_S, 0.0061, "page"),
        (3 * DAY_S, 0.00101, "ticket"),
        (3 * DAY_S, 0.00099, None),
        (HOUR_S, 0.0, None),
    ],
)
def test_the_workbooks_rules_break_where_it_says(seconds, bad_share, severity):
    rule = broken(*spent(seconds, bad_share))
    assert (rule.severity if rule else None) == severity


def test_an_alert_ends_within_the_short_window_of_the_fault():
    budget, now_s = spent(HOUR_S, 0.05)
    assert broken(budget, now_s) is RULES[0]
    for minute in range(1, 7):
        budget.add(600, 600, now_s + 60.0 * minute)
    assert broken(budget, now_s + 360.0) is not RULES[0]


def test_a_minute_long_gone_is_left_out_and_a_clock_set_back_counts_where_it_belongs():
    budget = Budget(0.999)
    budget.add(10, 10, MONDAY_S)
    budget.add(0, 10, MONDAY_S - 40 * DAY_S)
    assert budget.left(MONDAY_S) == 1.0
    budget.add(5, 10, MONDAY_S - 60.0)
    assert budget.num_bad(HOUR_S, MONDAY_S) == 5


def test_one_failure_of_a_few_requests_pages_nobody():
    budget = Budget(0.999)
    budget.add(9, 10, MONDAY_S)
    assert budget.burn(60.0, MONDAY_S) == pytest.approx(100.0)
    assert broken(budget, MONDAY_S) is None


def test_a_budget_goes_on_after_a_restart():
    budget, now_s = spent(3 * DAY_S, 0.00101)
    again = Budget(0.999)
    again.restore(json.loads(json.dumps(budget.document())))
    assert again.left(now_s) == budget.left(now_s)
    assert broken(again, now_s) is broken(budget, now_s) is RULES[2]


def test_what_is_no_budget_is_refused():
    with pytest.raises(ValueError, match="counts must be"):
        Budget(0.999).restore({"began_s": 0, "minutes": {"latest": 1, "counts": [[0, 0]]}, "hours": {}})
