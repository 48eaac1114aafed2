"""How soon faults are found, whether incidents end before they are over, how often nothing is called something.

Simulated hours, through a real collector. Each figure is the worst, or the number, over all runs; what was missed is
printed. `--quick` takes a few of the runs.
"""

import argparse
import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.observing.fleet import MIB, START_S, Fleet, Load
from benchmarks.throughput import Figures
from telemetry.watching.alerts import Alert
from telemetry.watching.decision import State

Change = Callable[[Load, float], None]
"""What a fault makes of a load, `seconds` after it began."""
HOUR_S = 3600.0
GRACE_S = 15.0
"""What a sudden fault may take to be found, so also a ramp that is as good as sudden."""


def _errors(share: float) -> Change:
    def change(load: Load, _: float) -> None:
        load.error_ratio = max(load.error_ratio, share)

    return change


def _slower(factor: float) -> Change:
    def change(load: Load, _: float) -> None:
        load.median_s *= factor

    return change


def _fewer(kept: float) -> Change:
    def change(load: Load, _: float) -> None:
        load.rate *= kept

    return change


def _dead(load: Load, _: float) -> None:
    load.dead = True


def _leak(per_s: float) -> Change:
    def change(load: Load, seconds: float) -> None:
        load.memory += per_s * seconds

    return change


SUDDEN: dict[str, tuple[str, float, tuple[Change, ...]]] = {
    "detect_error_s": ("server_errors", 60.0, (_errors(0.1), _errors(0.3), _errors(1.0))),
    "detect_latency_s": ("latency", 60.0, (_slower(5.0), _slower(20.0), _slower(100.0))),
    "detect_drop_s": ("throughput", 60.0, (_fewer(0.0), _fewer(0.2), _fewer(0.35))),
    "detect_absence_s": ("absence", 90.0, (_dead,)),
    "detect_leak_s": ("memory", 600.0, (_leak(8 * MIB), _leak(2 * MIB), _leak(0.5 * MIB))),
}
"""By figure: the signal that should fire, how long is waited for it, faults."""


def detect_figures(options: argparse.Namespace) -> Figures:
    """Seconds from the fault to the alert, the longest."""
    figures: Figures = {}
    for key, (signal, limit_s, changes) in SUDDEN.items():
        delays = []
        for at, change in enumerate(changes):
            for seed in range(1 if options.quick else 3):
                fleet = Fleet(seed=100 * at + seed, num_replicas=1 + 2 * (seed % 2))
                _run(fleet, 900.0 + 7 * seed, Load)
                began_s, known = fleet.elapsed_s, len(list(fleet.collector.alerts))
                _run(fleet, limit_s, Load, change, until=signal)
                fired = [a for a in list(fleet.collector.alerts)[known:] if a.signal == signal]
                delays.append(fired[0].fired_s - START_S - began_s if fired else math.inf)
        print(f"{key}: {sorted(round(delay, 1) for delay in delays)}", flush=True)
        figures[key] = max(delays)
    return figures


RAMPS = {
    "server_errors": (0.12, 0.2, 0.4, 0.7, 1.0),
    "latency": (8.0, 15.0, 50.0, 200.0, 1000.0),
    "throughput": (0.0, 0.05, 0.1, 0.15, 0.2),
    "memory": (3.0, 4.0, 8.0, 20.0, 100.0),
}
"""Where each ends: a share, or times what it was."""


def ramp_figures(options: argparse.Namespace) -> Figures:
    """One-hour ramps that nobody was told of before they were twice as far as is allowed.

    Allowed are 5 points of errors, three times the latency, half of the requests away, and 80 % more memory.
    """
    missed = num = 0
    for seed in range(1 if options.quick else 3):
        for kind, values in RAMPS.items():
            for end in values[:: 2 if options.quick else 1]:
                num += 1
                load = partial(Load, rate=(20.0, 100.0, 5.0)[seed])
                fleet = Fleet(seed=seed, interval_s=5.0)
                _run(fleet, (1800.0, 5400.0, 3600.0)[seed], load)
                began_s, known = fleet.elapsed_s, len(list(fleet.collector.alerts))
                _run(fleet, HOUR_S, load, _ramp(kind, end), until=kind)
                fired = [a for a in list(fleet.collector.alerts)[known:] if a.signal == kind]
                allowed_s = _doubled_s(kind, end)
                delay_s = fired[0].fired_s - START_S - began_s if fired else math.inf
                if delay_s > allowed_s:
                    missed += 1
                    print(
                        f"ramp of {kind} to {end:g}, seed {seed}: {delay_s:.0f} s, allowed {allowed_s:.0f}", flush=True
                    )
    print(f"ramps: {num}")
    return {"ramps_missed": missed}


def _ramp(kind: str, end: float) -> Change:
    def change(load: Load, seconds: float) -> None:
        done = min(1.0, seconds / HOUR_S)
        match kind:
            case "server_errors":
                load.error_ratio += (end - load.error_ratio) * done
            case "latency":
                load.median_s *= 1 + (end - 1) * done
            case "throughput":
                load.rate *= 1 + (end - 1) * done
            case _:
                load.memory *= 1 + (end - 1) * done

    return change


def _doubled_s(kind: str, end: float) -> float:
    """When a ramp has gone twice as far as is allowed, or at its end; not before what a sudden fault may take."""
    match kind:
        case "server_errors":
            share = 0.1 / end
        case "latency":
            share = 4.0 / (end - 1)
        case "throughput":
            share = 1.0 / (1 - end)
        case _:
            share = 1.6 / (end - 1)
    return max(min(1.0, share) * HOUR_S, GRACE_S * (20 if kind == "memory" else 1))


def ending_figures(options: argparse.Namespace) -> Figures:
    """Incidents that were resolved before their fault ended, though processes and the collector restart amid them."""
    changes: tuple[tuple[str, Change], ...] = (
        ("server_errors", _errors(0.15)),
        ("server_errors", _errors(1.0)),
        ("latency", _slower(8.0)),
        ("latency", _slower(100.0)),
        ("throughput", _fewer(0.1)),
        ("absence", _dead),
    )
    hours = (1 / 6, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.5, 6.0)
    early = num = 0
    for at, (signal, change) in enumerate(changes):
        for place, lasting in enumerate(hours[:: 4 if options.quick else 1]):
            with tempfile.TemporaryDirectory() as folder:
                fleet = Fleet(seed=10 * at + place, interval_s=10.0 if lasting > 1 else 5.0, folder=Path(folder))
                _run(fleet, 1800.0, Load)
                num += 1
                for part in range(4):
                    _run(fleet, lasting * HOUR_S / 4, Load, change)
                    if part == 1:
                        fleet.restart_collector()
                    elif part == 2 and signal != "absence":
                        fleet.restart_processes()
                alerts = [a for a in fleet.collector.alerts if a.signal == signal]
                if not alerts or alerts[0].state is not State.FIRING:
                    early += 1
                    print(f"{signal}, {lasting:.1f} h: {_told(alerts)}", flush=True)
                fleet.collector.data.close()
    print(f"incidents: {num}")
    return {"ended_early": early}


def false_figures(options: argparse.Namespace) -> Figures:
    """Alerts on a day of traffic without faults, for 100 series: rhythm of ten to one, new versions, replicas that come
    and go, a request in ten seconds, bursts."""
    num_alerts = num_series = 0
    for name, run in DAYS.items():
        for seed in range(1 if options.quick else 2):
            fleet = Fleet(seed=seed, num_replicas=2, interval_s=10.0)
            run(fleet, 24 * HOUR_S)
            alerts = list(fleet.collector.alerts)
            num_alerts += len(alerts)
            num_series += len(fleet.collector.services["digits"].history)
            if alerts:
                print(f"{name}, seed {seed}: {_told(alerts)}", flush=True)
    print(f"{num_alerts} alerts, {num_series} series")
    return {"false_per_day": 100 * num_alerts / num_series}


def _rhythm(seconds: float, most: float = 50.0) -> float:
    return most * (0.55 - 0.45 * math.cos(2 * math.pi * seconds / (24 * HOUR_S)))


def _steady_day(fleet: Fleet, seconds: float) -> None:
    _run(fleet, seconds, lambda: Load(rate=_rhythm(fleet.elapsed_s)))


def _deployments(fleet: Fleet, seconds: float) -> None:
    for version in range(2, 8):
        _run(fleet, seconds / 6, lambda: Load(rate=_rhythm(fleet.elapsed_s + 6 * HOUR_S)))
        fleet.roll(str(version))


def _autoscaling(fleet: Fleet, seconds: float) -> None:
    while fleet.elapsed_s < seconds:
        fleet.scale(2 + int(_rhythm(fleet.elapsed_s) / 13))
        _run(fleet, 900.0, lambda: Load(rate=_rhythm(fleet.elapsed_s)))


def _few(fleet: Fleet, seconds: float) -> None:
    _run(fleet, seconds, lambda: Load(rate=0.1, sigma=0.8))


def _bursts(fleet: Fleet, seconds: float) -> None:
    _run(fleet, seconds, lambda: Load(rate=40.0 if fleet.elapsed_s % 120 < 40 else 2.0))


DAYS: dict[str, Callable[[Fleet, float], None]] = {
    "rhythm": _steady_day,
    "deployments": _deployments,
    "autoscaling": _autoscaling,
    "a request in ten seconds": _few,
    "bursts": _bursts,
}


def grouping_figures(_: argparse.Namespace) -> Figures:
    """Incidents that one fault in a model of 8 replicas makes, the most of several faults."""
    most = 0
    for change in (_errors(0.5), _slower(30.0), _dead):
        for places in ({3}, set(range(8))):
            fleet = Fleet(seed=5, num_replicas=8)
            _run(fleet, 600.0, lambda: Load(rate=400.0))
            _run(fleet, 300.0, lambda: Load(rate=400.0), change, places=places)
            incidents = list(fleet.collector.incidents)
            most = max(most, len(incidents) or 99)
            print([incident.title for incident in incidents], flush=True)
    return {"incidents_per_fault": most}


def _run(
    fleet: Fleet,
    seconds: float,
    load: Callable[[], Load],
    change: Change | None = None,
    *,
    until: str = "",
    places: set[int] | None = None,
) -> None:
    """Let `seconds` pass, or until a new alert of a signal fires."""
    began_s = fleet.elapsed_s
    known = len(list(fleet.collector.alerts))

    def now(at_s: float, place: int) -> Load:
        made = load()
        if change is not None and (places is None or place in places):
            change(made, at_s - began_s)
        return made

    while fleet.elapsed_s - began_s < seconds:
        fleet.step(now)
        if until and any(alert.signal == until for alert in list(fleet.collector.alerts)[known:]):
            return


def _told(alerts: list[Alert]) -> list[str]:
    return [f"{each.signal} {each.state} at {each.fired_s - START_S:.0f} s: {each.sentence}" for each in alerts[:5]]
