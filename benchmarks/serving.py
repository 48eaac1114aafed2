"""Every figure of serving, measured in one run: `python -m benchmarks.serving [--quick] [--only KEY ...]`.

Peers are installed in environments of their own and driven by the same load generator. The last line is JSON.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import auth, overload, replicas, scaling, swaps, throughput
from benchmarks.headline import headline_figures
from benchmarks.throughput import Figures, Rounds
from optimization.artifact.store import load


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One set-up and the figures it gives."""

    keys: tuple[str, ...]
    measure: Callable[[argparse.Namespace, Rounds], Figures]


MEASUREMENTS = (
    Measurement(
        keys=(
            *(
                f"mlp_over_{peer}"
                for peer in ("mosec", "litserve", "bentoml", "mlserver", "triton", "rayserve", "bare")
            ),
            "p50_over_bare_ms",
        ),
        measure=lambda _, rounds: throughput.mlp_figures(rounds),
    ),
    Measurement(
        keys=("minilm_over_raw", "minilm_best_peer"), measure=lambda _, rounds: throughput.minilm_figures(rounds)
    ),
    Measurement(keys=("binary_over_json",), measure=lambda _, rounds: throughput.binary_figures(rounds)),
    Measurement(
        keys=("headline", "headline_quality"),
        measure=lambda options, rounds: headline_figures(load(options.teacher), load(options.student), rounds),
    ),
    Measurement(keys=("weight_sharing", "cold_start_s"), measure=lambda *_: replicas.figures()),
    Measurement(
        keys=("overload_goodput", "overload_growth"), measure=lambda _, rounds: overload.overload_figures(rounds)
    ),
    Measurement(keys=("swap_failures",), measure=lambda *_: swaps.swap_figures()),
    Measurement(keys=("scale_up_s",), measure=lambda *_: scaling.scaling_figures()),
    Measurement(keys=("scale_flaps", "scale_down_failures"), measure=lambda *_: scaling.burst_figures()),
    Measurement(keys=("auth_bypass", "auth_insides"), measure=lambda *_: auth.figures()),
)


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: for a look, not for a claim")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one round")
    parser.add_argument("--only", nargs="+", metavar="KEY", help="figures to measure (default: all)")
    parser.add_argument("--teacher", type=Path, help="artifact of the sentiment teacher, for headline")
    parser.add_argument("--student", type=Path, help="artifact of the sentiment student, for headline")
    options = parser.parse_args()
    rounds = Rounds(rounds=1, seconds=2) if options.quick else Rounds(rounds=options.rounds, seconds=options.seconds)
    known = [key for measurement in MEASUREMENTS for key in measurement.keys]
    wanted = options.only or [key for key in known if options.student or not key.startswith("headline")]
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        parser.error(f"--only must name figures of {', '.join(known)}; got {', '.join(unknown)}")
    if any(key.startswith("headline") for key in wanted) and not (options.teacher and options.student):
        made_by = "`python -m benchmarks.optimization --only sst2_retention` makes them"
        parser.error(f"headline needs --teacher and --student: {made_by}")
    figures: Figures = {}
    for measurement in MEASUREMENTS:
        if set(measurement.keys) & set(wanted):
            print(f"measuring {', '.join(measurement.keys)}", flush=True)
            figures |= measurement.measure(options, rounds)
    print(json.dumps({key: round(value, 4) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
