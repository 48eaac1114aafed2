"""A request's place in its trace: what callers say is read as OpenTelemetry reads it, and passed on."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry.emitting.sampling import Sampler
from telemetry.emitting.trace import MAX_CHILDREN, MAX_STATE, Asked, Child, caller_of, current, new_span_id, state_of

IDS = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


def is_sampled(traceparent, ratio):
    return Sampler(ratio=ratio).begin(caller_of(traceparent), "").is_sampled


@pytest.mark.parametrize(
    ("traceparent", "decision"),
    [
        (f"00-{IDS}-01", True),
        (f"00-{IDS}-03", True),  # sampled and random: trace-context level 2
        (f"00-{IDS}-ff", True),
        (f"00-{IDS}-00", False),
        (f"00-{IDS}-02", False),
        (f"cc-{IDS}-01", True),  # a version of tomorrow is read as version 00, as far as that goes
        (f"cc-{IDS}-01-what-the-future-will-be-like", True),
        (f"cc-{IDS}-02-01", False),
        (f" 00-{IDS}-01\t", True),
    ],
)
def test_the_last_bit_of_the_flags_decides(traceparent, decision):
    for ratio in (0.0, 1.0):
        assert is_sampled(traceparent, ratio) is decision


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        "01",
        f"ff-{IDS}-01",
        f"00-{IDS}-01-more",
        f"cc-{IDS}-01.what",
        f"00-{IDS.upper()}-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        f"00-{IDS}-0g",
        f"{IDS}-01",
    ],
)
def test_what_is_no_traceparent_decides_nothing(traceparent):
    assert not is_sampled(traceparent, 0.0)
    assert is_sampled(traceparent, 1.0)


headers = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=70)
pieces = st.sampled_from(["00", "01", "ff", IDS, IDS.upper(), "0" * 32, "0" * 16, "-", " ", "03", "more"])


@given(headers | st.lists(pieces, max_size=9).map("".join) | st.lists(pieces, max_size=6).map("-".join))
def test_any_text_is_read_as_opentelemetry_reads_it(text):
    span = trace.get_current_span(TraceContextTextMapPropagator().extract({"traceparent": text}, trace.Context()))
    theirs, ours = span.get_span_context(), caller_of(text)
    assert theirs.is_valid is (ours is not None)
    if ours is not None:
        assert (ours.trace_id, ours.span_id) == (theirs.trace_id, theirs.span_id)
        assert ours.is_sampled is theirs.trace_flags.sampled


@given(st.integers(0, 254), st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_any_well_formed_traceparent_decides_by_its_last_bit(version, trace_id, span_id, flags):
    assert is_sampled(f"{version:02x}-{trace_id:032x}-{span_id:016x}-{flags:02x}", 0.0) is bool(flags & 1)


def test_what_is_passed_on_names_the_same_trace_the_asking_span_and_the_callers_state():
    own = Sampler(ratio=0.0).begin(caller_of(f"00-{IDS}-01"), "vendor=a")
    passed = own.passed(7)
    assert passed == (f"00-0af7651916cd43dd8448eb211c80319c-{7:016x}-01", "vendor=a")
    assert caller_of(passed.traceparent).span_id == 7


def test_what_is_asked_becomes_a_child_under_the_id_that_was_passed_on():
    async def main():
        own = Sampler(ratio=1.0).begin(None, "")
        current.set(own)
        await asyncio.gather(ask("one"), ask("other"))
        return own

    async def ask(name):
        asked = Asked(name)
        ids[name] = caller_of(asked.passed.traceparent).span_id
        asked.ended(error="it went")

    ids = {}
    own = asyncio.run(main())
    assert {child.name: child.span_id for child in own.children} == ids
    assert {child.error for child in own.children} == {"it went"}


def test_what_is_asked_outside_of_a_request_is_under_no_span():
    assert Asked("alone").passed is None


def test_a_request_keeps_a_bounded_number_of_children():
    own = Sampler(ratio=1.0).begin(None, "")
    for _ in range(MAX_CHILDREN + 5):
        own.add(Child("ask", 1, 2))
    assert len(own.children) == MAX_CHILDREN


@pytest.mark.parametrize(("given", "kept"), [(None, ""), ("a=1,b=2", "a=1,b=2"), ("a=" + "x" * MAX_STATE, "")])
def test_a_state_of_reasonable_length_is_passed_on(given, kept):
    assert state_of(given) == kept


def test_ids_do_not_follow_the_seed_that_a_models_code_sets():
    random.seed(1)
    first = new_span_id()
    random.seed(1)
    assert new_span_id() != first
