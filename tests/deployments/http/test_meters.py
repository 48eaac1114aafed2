"""What is reported of a request."""

import pytest

from deployments.http.meters import RequestMeter, scheme_of
from telemetry import conventions
from telemetry.emitting.emitter import Emitter


@pytest.mark.parametrize(
    ("scheme", "forwarded", "reported"),
    [
        ("http", None, "http"),
        ("http", b"https", "https"),  # the ingress ended TLS
        ("https", None, "https"),
        ("http", b"gopher", "http"),  # a client's own words make no series
    ],
)
def test_the_scheme_is_the_clients(scheme, forwarded, reported):
    emitter = Emitter(service="m", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:9")
    headers = [(b"host", b"m")] + ([(b"x-forwarded-proto", forwarded)] if forwarded else [])
    RequestMeter(emitter).request(
        method="POST",
        route="/infer",
        status=200,
        start_ns=0,
        end_ns=10**6,
        trace=None,
        scheme=scheme_of({"scheme": scheme, "headers": headers}),
    )
    (point,) = emitter.histogram(conventions.REQUEST_DURATION).data(0, 1).data_points
    assert point.attributes["url.scheme"] == reported
