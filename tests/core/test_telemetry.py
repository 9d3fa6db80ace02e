"""The id of a run's trace, and what the core tells while nobody listens."""

import pytest

from cath_dagster.core import telemetry
from cath_dagster.core.model.outcome import Outcome

RUN = "15e687a9-6823-4dd8-a6aa-2f1b8c541193"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_the_trace_of_a_run_has_the_runs_own_id() -> None:
    assert telemetry.trace_id(RUN, {}) == "15e687a968234dd8a6aa2f1b8c541193"


def test_a_run_started_within_a_trace_belongs_to_it() -> None:
    assert telemetry.trace_id(RUN, {"TRACEPARENT": f"00-{TRACE}-b7ad6b7169203331-01"}) == TRACE


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
    ],
)
def test_a_parent_that_is_no_trace_context_is_ignored(parent: str) -> None:
    assert telemetry.trace_id(RUN, {"TRACEPARENT": parent}) == "15e687a968234dd8a6aa2f1b8c541193"


def test_a_run_id_that_is_no_uuid_has_a_trace_of_its_own_all_the_same() -> None:
    first, second = telemetry.trace_id("run-1", {}), telemetry.trace_id("run-2", {})

    assert first != second
    assert first == telemetry.trace_id("run-1", {})
    assert len(bytes.fromhex(first)) == 16


def test_where_nobody_listens_an_error_within_a_span_stays_what_it_is() -> None:
    def fail() -> None:
        with telemetry.span("batches", target="entry") as span:
            span.set_attributes(changed=1)
            span.set_outcome(Outcome(target="entry"))
            telemetry.batch(0.1, changed=1)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert telemetry.current_trace_id() is None
