"""Every figure of serving, measured in one run: `python -m benchmarks.serving [--quick] [--only KEY ...]`.

Peers are installed in environments of their own and driven by the same load generator. The last line is JSON.
"""

from pathlib import Path

from benchmarks import auth, overload, replicas, scaling, swaps, throughput
from benchmarks.headline import headline_figures
from benchmarks.measurements import Measurement, parser_of, print_figures, wanted_of
from optimization.artifact.store import load

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
    Measurement(keys=("auth_bypass", "auth_insides", "auth_keys_seen"), measure=lambda *_: auth.figures()),
)


def main() -> None:
    """Measure what was asked for and print it."""
    parser = parser_of(__doc__)
    parser.add_argument("--teacher", type=Path, help="artifact of the sentiment teacher, for headline")
    parser.add_argument("--student", type=Path, help="artifact of the sentiment student, for headline")
    options = parser.parse_args()
    wanted = wanted_of(parser, options, MEASUREMENTS)
    headline = {key for key in wanted if key.startswith("headline")}
    if headline and not (options.teacher and options.student):
        if options.only:
            made_by = "`python -m benchmarks.optimization --only sst2_retention` makes them"
            parser.error(f"headline needs --teacher and --student: {made_by}")
        wanted -= headline
    print_figures(MEASUREMENTS, wanted, options)


if __name__ == "__main__":
    main()
