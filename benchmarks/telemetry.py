"""Every figure of telemetry, measured in one run: `python -m benchmarks.telemetry [--quick] [--only KEY ...]`.

The last line is JSON.
"""

from pathlib import Path

from benchmarks.measurements import Measurement, parser_of, print_figures, wanted_of
from benchmarks.observing import (
    backends,
    detectors,
    drift,
    fidelity,
    incidents,
    ingest,
    nab,
    outages,
    overhead,
    page,
    sketches,
)

MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement(
        keys=("outage_lost_kills", "outage_acknowledged_kills"),
        measure=lambda options, _: outages.kill_figures(options),
    ),
    Measurement(
        keys=("outage_lost_disk", "outage_acknowledged_disk"), measure=lambda options, _: outages.disk_figures(options)
    ),
    Measurement(
        keys=("metrics_ingest", "metrics_ingest_grpc", "rotel_metrics_ingest"),
        measure=lambda options, _: ingest.metric_figures(options),
    ),
    Measurement(
        keys=("ingest_per_core", "ingest_per_core_grpc", "rotel_ingest"),
        measure=lambda options, _: ingest.span_figures(options),
    ),
    Measurement(keys=("memory_mib",), measure=lambda options, _: ingest.memory_figures(options)),
    Measurement(keys=("outage_lost_backend",), measure=backends.outage_figures),
    Measurement(keys=("outage_lost_unavailable",), measure=backends.unavailable_figures),
    Measurement(
        keys=(
            "overhead_pct",
            "overhead_full_pct",
            "overhead_cpu_pct",
            "overhead_full_cpu_pct",
            "replica_us",
        ),
        measure=lambda _, rounds: overhead.figures(rounds),
    ),
    Measurement(
        keys=("refused_p99",), measure=lambda options, rounds: overhead.refusal_figures(rounds, options.refuse_s)
    ),
    Measurement(keys=tuple(incidents.SUDDEN), measure=lambda options, _: incidents.detect_figures(options)),
    Measurement(keys=("ramps_missed",), measure=lambda options, _: incidents.ramp_figures(options)),
    Measurement(keys=("ended_early",), measure=lambda options, _: incidents.ending_figures(options)),
    Measurement(keys=("false_per_day",), measure=lambda options, _: incidents.false_figures(options)),
    Measurement(keys=("incidents_per_fault",), measure=lambda options, _: incidents.grouping_figures(options)),
    Measurement(keys=("drift_delay", "drift_delay_p95"), measure=lambda options, _: drift.delay_figures(options)),
    Measurement(keys=("drift_false", "drift_false_streams"), measure=lambda options, _: drift.false_figures(options)),
    Measurement(
        keys=("fidelity_delay", "fidelity_delay_p90", "fidelity_false"),
        measure=lambda options, _: fidelity.figures(options),
    ),
    Measurement(
        keys=("nab_shared", "nab_chosen_on", "nab_others", "nab_value_us"),
        measure=lambda options, _: nab.figures(options),
    ),
    Measurement(keys=("detector_slowest_us", "detectors_us"), measure=lambda options, _: detectors.figures(options)),
    Measurement(keys=("page_ms", "page_slowest_ms"), measure=page.figures),
    Measurement(keys=("sketch_overhead_pct",), measure=lambda options, _: sketches.figures(options)),
)


def main() -> None:
    """Measure what was asked for and print it."""
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the benchmarks' data")
    parser.add_argument("--refuse-s", type=float, default=60.0, help="how long the collector refuses for refused_p99")
    options = parser.parse_args()
    print_figures(MEASUREMENTS, wanted_of(parser, options, MEASUREMENTS), options)


if __name__ == "__main__":
    main()
