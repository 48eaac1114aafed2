"""What clients see when things die, change and end: `python -m benchmarks.reliability [--quick] [--only KEY ...]`.

Figures of several hosts are measured with `--hosts` alone, which needs root. The last line is JSON.
"""

from benchmarks import planning
from benchmarks.measurements import Measurement, parser_of, print_figures, wanted_of
from benchmarks.surviving import kills

AT_MOST: dict[str, float] = {"killed_replica_failed": 0, "recover_s": 10, "plan_error": 0.2}
AT_LEAST: dict[str, float] = {}

MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement(keys=("killed_replica_failed", "recover_s"), measure=lambda options, _: kills.replica_figures(options)),
    Measurement(keys=("plan_error",), measure=lambda options, _: planning.error_figures(options)),
)
ON_HOSTS: tuple[Measurement, ...] = ()
"""Those that need hosts with networks of their own."""


def main() -> None:
    """Measure what was asked for and print it."""
    parser = parser_of(__doc__)
    parser.add_argument("--hosts", action="store_true", help="measure what needs several hosts, too; needs root")
    options = parser.parse_args()
    measurements = (*MEASUREMENTS, *(ON_HOSTS if options.hosts else ()))
    wanted = wanted_of(parser, options, measurements)
    print_figures(measurements, wanted, options, at_least=AT_LEAST, at_most=AT_MOST)


if __name__ == "__main__":
    main()
