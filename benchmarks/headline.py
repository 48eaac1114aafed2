"""The whole of it: a fp32 teacher on plain Ray Serve against its student on Trimtab, both asked in plain text."""

import json
from contextlib import ExitStack

from benchmarks.servers import infer_path, plain_ray_serve, trimtab
from benchmarks.throughput import CONNECTIONS, Figures, Rounds, driver_of, in_turn, rates_of
from optimization.artifact.manifest import TextPreprocessing
from optimization.artifact.store import Artifact

SENTENCES = (
    "a gorgeous, witty, seductive movie",
    "the plot is nothing but boilerplate clichés from start to finish",
    "it is a charming and often affecting journey",
    "unflinchingly bleak and desperate",
    "allows us to hope that he is poised to embark on a major career as a commercial yet inventive filmmaker",
    "the acting, costumes, music, cinematography and sound are all astounding given the production's locales",
    "it's slow, very, very slow",
    "although laced with humor and a few fanciful touches, the film is a refreshingly serious look at young women",
    "a sometimes tedious film",
    "or doing last year's taxes with your ex-wife",
    "you do not have to know about music to appreciate its easygoing blend of comedy and romance",
    "in exactly 89 minutes, most of which passed as slowly as if i had been sitting naked on an igloo, it sank",
)


def headline_figures(teacher: Artifact, student: Artifact, rounds: Rounds) -> Figures:
    """Requests per second, student over teacher; quality kept, of the student's manifest."""
    with ExitStack() as stack:
        ours = stack.enter_context(trimtab(student))
        plain = stack.enter_context(plain_ray_serve(teacher, body=_requests(teacher)[0]))
        found = in_turn(
            {
                "trimtab": driver_of(ours.http_port, infer_path(student), _requests(student)),
                "rayserve": driver_of(plain.http_port, "/", _requests(teacher)),
            },
            rounds,
            CONNECTIONS,
        )
    rates = rates_of(found)
    first, last = student.manifest.measurements[0], student.manifest.measurements[-1]
    return {
        "headline": rates["trimtab"] / rates["rayserve"],
        "headline_quality": last.quality.value / first.quality.value,
    }


def _requests(artifact: Artifact) -> list[bytes]:
    preprocessing = artifact.manifest.preprocessing
    if not isinstance(preprocessing, TextPreprocessing):
        raise SystemExit(f"{artifact.path} must take text (manifest.preprocessing), for headline")
    entry = {"name": preprocessing.input, "datatype": "BYTES", "shape": [1]}
    return [json.dumps({"inputs": [entry | {"data": [sentence]}]}).encode() for sentence in SENTENCES]
