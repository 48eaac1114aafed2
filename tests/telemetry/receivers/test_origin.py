"""Who reports, by OpenTelemetry's semantic conventions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from telemetry.receivers.attributes import MAX_TEXT, attributes
from telemetry.receivers.origin import Peer, grpc_peer, origin
from tests.telemetry.traffic import attributes as pairs

PEER = Peer("10.0.0.9", "4242")


def of(**named):
    return origin(Resource(attributes=pairs(service__name="web", **named)), PEER)


@pytest.mark.parametrize(
    ("named", "instance"),
    [
        ({"service__instance__id": "a", "process__pid": 7, "host__name": "h"}, "a"),
        ({"process__pid": 7, "host__name": "h"}, "h:7"),
        ({"process__pid": 1, "host__name": "h", "container__id": "c"}, "c:1"),
        ({"process__pid": 7}, "10.0.0.9:7"),
        ({"host__name": "h"}, ""),  # a host runs many processes: the connection has to tell
        ({}, ""),
    ],
)
def test_an_instance_is_named_by_its_id_or_by_where_it_runs_and_its_process(named, instance):
    assert of(**named).instance == instance


@pytest.mark.parametrize(
    ("named", "service"),
    [
        ({}, "web"),
        ({"service__namespace": "shop"}, "shop/web"),
        ({"service__namespace": ""}, "web"),
        ({"service__namespace": "trimtab"}, "web"),
    ],
)
def test_services_of_one_name_in_two_namespaces_are_two(named, service):
    assert of(**named).service == service


@pytest.mark.parametrize(
    ("named", "host"),
    [
        ({"host__id": "i", "host__name": "h"}, "i"),
        ({"k8s__node__name": "n", "host__name": "pod"}, "n"),
        ({"host__name": "h"}, "h"),
        ({}, "10.0.0.9"),
    ],
)
def test_a_host_is_known_by_its_id_or_name_or_address(named, host):
    assert of(**named).host == host


def test_grpc_names_its_peers_so():
    assert grpc_peer("ipv4:127.0.0.1:50642") == Peer("127.0.0.1", "50642")
    assert grpc_peer("ipv6:%5B::1%5D:50642") == Peer("[::1]", "50642")
    assert grpc_peer("unix:") == Peer("unix:")


texts = st.text(max_size=300)
values = st.recursive(
    st.builds(AnyValue, string_value=texts)
    | st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1))
    | st.builds(AnyValue, double_value=st.floats())
    | st.builds(AnyValue, bool_value=st.booleans())
    | st.builds(AnyValue, bytes_value=st.binary(max_size=9))
    | st.builds(AnyValue),
    lambda inner: st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(inner, max_size=3))),
    max_leaves=5,
)


@given(st.lists(st.builds(KeyValue, key=st.sampled_from("ab") | texts, value=values), max_size=6))
def test_any_attributes_have_each_key_once_in_order_and_equal_themselves(given_pairs):
    found = attributes(given_pairs)
    keys = [key for key, _ in found]
    assert keys == sorted(set(keys))
    assert {found: 1}[attributes(given_pairs)] == 1
    assert all(len(text) <= MAX_TEXT for pair in found for text in pair if isinstance(text, str))
