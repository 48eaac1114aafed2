"""Requests that schemathesis makes up from the OpenAPI document: what is documented is what happens, never a 500."""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

URL = f"http://{os.environ['TRIMTAB_HTTP']}"
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
schema = schemathesis.openapi.from_url(f"{URL}/v2/openapi.json")
schema.config.update(base_url=URL)
MODELS = {"model": "simple", "version": "1"}


@schema.exclude(path_regex="/(un)?load$").parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_what_is_documented_is_what_happens(case):
    if case.path_parameters:
        case.path_parameters = {name: MODELS[name] for name in case.path_parameters}
    case.call_and_validate(checks=CHECKS)


@pytest.mark.parametrize("path", ["/v2/models/{model}", "/v2/models/{model}/infer", "/v2/health/ready"])
def test_the_document_covers_the_protocol(path):
    assert path in schema.raw_schema["paths"]
