"""Every figure of spreading work, measured in one run: `python -m benchmarks.distribution [--quick] [--only KEY ...]`.

The last line is JSON.
"""

from pathlib import Path

from benchmarks.measurements import Measurement, parser_of, print_figures, wanted_of
from benchmarks.spreading import cascade, embeddings, offline, placing, push, scatter, stages, training

MEASUREMENTS = (
    Measurement(keys=("scatter_speedup",), measure=lambda _, rounds: scatter.speedup_figures(rounds)),
    Measurement(keys=("offline_over_raw",), measure=lambda _, rounds: offline.speed_figures(rounds)),
    Measurement(keys=("offline_resume",), measure=lambda _, rounds: offline.resume_figures(rounds)),
    Measurement(keys=("offline_memory",), measure=lambda _, rounds: offline.memory_figures(rounds)),
    Measurement(keys=("stages_equal", "stages_throughput", "stages_hop_ms"), measure=stages.figures),
    Measurement(keys=("place_gain",), measure=lambda _, rounds: placing.gain_figures(rounds)),
    Measurement(keys=("place_p50_error", "place_p99_error"), measure=lambda _, rounds: placing.error_figures(rounds)),
    Measurement(
        keys=("cascade_quality", "cascade_cost", "cascade_rate", "cascade_rate_in_process"),
        measure=lambda options, rounds: cascade.figures(options.student, options.teacher, options.max_loss, rounds),
    ),
    Measurement(keys=("push_copies", "push_s", "push_acknowledged_s"), measure=push.figures),
    Measurement(
        keys=("ps_lookup_us", "ps_over_local", "ps_hit", "ps_far_lookup_us", "ps_far_over_local"),
        measure=lambda _, rounds: embeddings.lookup_figures(rounds),
    ),
    Measurement(keys=("ps_staleness_s", "ps_lost"), measure=lambda _, rounds: embeddings.fault_figures(rounds)),
    Measurement(
        keys=("ps_train", "ps_train_low", "ps_train_high", "ps_train_alone", "ps_train_shards"),
        measure=lambda options, rounds: training.quality_figures(options.data, rounds),
    ),
)


def main() -> None:
    """Measure what was asked for and print it."""
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the benchmarks' data")
    parser.add_argument("--student", type=Path, help="artifact for cascade_*; else a small one is trained")
    parser.add_argument("--teacher", type=Path, help="artifact of its teacher, for cascade_*")
    parser.add_argument("--max-loss", type=float, metavar="POINTS", help="budget of cascade_* (1)")
    parser.add_argument("--hosts", action="store_true", help="on hosts with networks of their own, where that is known")
    options = parser.parse_args()
    if (options.student is None) != (options.teacher is None):
        parser.error("cascade_* needs both --student and --teacher, or neither")
    print_figures(MEASUREMENTS, wanted_of(parser, options, MEASUREMENTS), options)


if __name__ == "__main__":
    main()
