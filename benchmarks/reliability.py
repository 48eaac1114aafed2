"""What clients see when things die, change and end: `python -m benchmarks.reliability [--quick] [--only KEY ...]`.

Figures of several hosts are measured with `--hosts` alone, which needs root. The last line is JSON.
"""

from benchmarks import planning
from benchmarks.measurements import Measurement, parser_of, print_figures, wanted_of
from benchmarks.surviving import (
    draining,
    fuzz,
    good_versions,
    growth,
    host_kills,
    kills,
    partition,
    rollouts,
    shard_kills,
    shifting_stream,
    soak,
    stage_kills,
    three_hosts,
)

AT_MOST: dict[str, float] = {
    "killed_replica_failed": 0,
    "killed_stage_failed": 0,
    "killed_shard_failed": 0,
    "recover_s": 10,
    "drain_failed": 0,
    "false_rollback": 1,
    "growth": 1.05,
    "soak_failed": 0,
    "soak_growing": 0,
    "plan_error": 0.2,
    "fuzz_crashes": 0,
    "fuzz_hangs": 0,
    "fuzz_5xx": 0,
    "crashing_failed": 0,
    "crashing_missing": 0,
    **{f"rollback_{fault}_s": seconds for fault, seconds in rollouts.ROLLED_BACK.items()},
    rollouts.FAILED_SHARE: 0.005,
    "up_s": 120,
    **dict.fromkeys(three_hosts.WANTED_0, 0),
    **dict.fromkeys((*host_kills.WANTED_0, *partition.KEYS), 0),
}
AT_LEAST: dict[str, float] = {"fuzz_tried": 200_000}

MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement(keys=("killed_replica_failed", "recover_s"), measure=lambda options, _: kills.replica_figures(options)),
    Measurement(
        keys=("fuzz_tried", "fuzz_crashes", "fuzz_hangs", "fuzz_5xx"), measure=lambda options, _: fuzz.figures(options)
    ),
    Measurement(keys=("plan_error",), measure=lambda options, _: planning.error_figures(options)),
    Measurement(keys=("killed_stage_failed",), measure=lambda options, _: stage_kills.figures(options)),
    Measurement(keys=("killed_shard_failed",), measure=lambda options, _: shard_kills.figures(options)),
    Measurement(keys=("drain_failed",), measure=lambda options, _: draining.figures(options)),
    Measurement(keys=("growth",), measure=lambda options, _: growth.figures(options)),
    Measurement(
        keys=("crashing_failed", "crashing_missing"), measure=lambda options, _: rollouts.crashing_figures(options)
    ),
    Measurement(
        keys=(*(f"rollback_{fault}_s" for fault in rollouts.ROLLED_BACK), rollouts.FAILED_SHARE),
        measure=lambda options, _: rollouts.rollback_figures(options),
    ),
    Measurement(keys=("false_rollback",), measure=lambda options, _: good_versions.false_figures(options)),
    Measurement(keys=shifting_stream.KEYS, measure=lambda options, _: shifting_stream.loop_figures(options)),
    Measurement(keys=soak.KEYS, measure=lambda options, _: soak.figures(options)),
)
ON_HOSTS: tuple[Measurement, ...] = (
    Measurement(keys=three_hosts.KEYS, measure=lambda options, _: three_hosts.figures(options)),
    Measurement(keys=host_kills.NODE_KEYS, measure=lambda options, _: host_kills.node_figures(options)),
    Measurement(keys=host_kills.HEAD_KEYS, measure=lambda options, _: host_kills.head_figures(options)),
    Measurement(keys=host_kills.DRAIN_KEYS, measure=lambda options, _: host_kills.drain_figures(options)),
    Measurement(keys=partition.KEYS, measure=lambda options, _: partition.figures(options)),
)
"""Those that need hosts with networks of their own."""


def main() -> None:
    """Measure what was asked for and print it."""
    parser = parser_of(__doc__)
    parser.add_argument("--hosts", action="store_true", help="measure what needs several hosts, too; needs root")
    parser.add_argument("--kills", type=int, default=10, help="hosts that die, or are drained, with --hosts (10)")
    parser.add_argument("--soak-s", type=float, default=7200.0, help="length of soak_* (7200)")
    parser.add_argument("--swap-every-s", type=float, default=300.0, help="time between versions in soak_* (300)")
    parser.add_argument(
        "--piece", type=fuzz.piece_of, default=(1, 1), metavar="N/OF", help="try one piece of fuzz_tried (1/1)"
    )
    options = parser.parse_args()
    measurements = (*MEASUREMENTS, *(ON_HOSTS if options.hosts else ()))
    wanted = wanted_of(parser, options, measurements)
    print_figures(measurements, wanted, options, at_least=AT_LEAST, at_most=AT_MOST)


if __name__ == "__main__":
    main()
