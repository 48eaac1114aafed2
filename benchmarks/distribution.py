"""Every figure of spreading work, measured in one run: `python -m benchmarks.distribution [--quick] [--only KEY ...]`.

The last line is JSON.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.spreading import embeddings, offline, placing, scatter
from benchmarks.throughput import Figures, Rounds


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One set-up and the figures it gives."""

    keys: tuple[str, ...]
    measure: Callable[[Rounds], Figures]


MEASUREMENTS = (
    Measurement(keys=("scatter_speedup",), measure=scatter.speedup_figures),
    Measurement(keys=("offline_over_raw",), measure=offline.speed_figures),
    Measurement(keys=("offline_resume",), measure=offline.resume_figures),
    Measurement(keys=("offline_memory",), measure=offline.memory_figures),
    Measurement(keys=("place_gain",), measure=placing.gain_figures),
    Measurement(keys=("place_p50_error", "place_p99_error"), measure=placing.error_figures),
    Measurement(keys=("ps_lookup_us", "ps_hit", "ps_over_local"), measure=embeddings.lookup_figures),
    Measurement(keys=("ps_staleness_s", "ps_lost"), measure=embeddings.fault_figures),
)


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: for a look, not for a claim")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one round")
    parser.add_argument("--only", nargs="+", metavar="KEY", help="figures to measure (default: all)")
    options = parser.parse_args()
    rounds = Rounds(rounds=1, seconds=2) if options.quick else Rounds(rounds=options.rounds, seconds=options.seconds)
    known = [key for measurement in MEASUREMENTS for key in measurement.keys]
    wanted = set(options.only or known)
    if unknown := sorted(wanted - set(known)):
        parser.error(f"--only must name figures of {', '.join(known)}; got {', '.join(unknown)}")
    figures: Figures = {}
    for measurement in MEASUREMENTS:
        if wanted & set(measurement.keys):
            print(f"measuring {', '.join(measurement.keys)}", flush=True)
            figures |= measurement.measure(rounds)
    print(json.dumps({key: round(value, 4) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
