"""What a job comes after: names that are there, and no circle, also across locations."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from cath_dagster import registry
from cath_dagster.core.run.spec import SpecificationError
from cath_dagster.registry import check_dependencies, find_spec
from tests.support.registered import registered

JOB = """
from {location} import {constant}
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.run.spec import JobSpec

SPEC = JobSpec(
    location={constant}, name="{name}", owner="team:test", summary="Tidies.", description="Tidies.",
    settings=JobSettings, run=lambda run, settings: None, after={after},
)
"""


def _job(location: str, name: str, *after: str) -> str:
    return JOB.format(location=location, constant=location.upper(), name=name, after=after)


def test_a_job_may_come_after_one_of_another_location() -> None:
    check_dependencies([replace(find_spec("bon/draft_cleanup"), after=("cath/clear_audit", "bon/session_cleanup"))])


@pytest.mark.parametrize(
    ("after", "wrong"),
    [
        ("cath/clear_audits", "comes after 'cath/clear_audits', which is no job; did you mean cath/clear_audit?"),
        ("cth/clear_audit", "comes after 'cth/clear_audit', which is no job; write location/name"),
        ("clear_audit", "comes after 'clear_audit', which is no job; write location/name"),
        ("bon/draft_cleanup", "comes after itself: bon/draft_cleanup after bon/draft_cleanup"),
    ],
)
def test_refuses_what_a_job_cannot_come_after(after: str, wrong: str) -> None:
    with pytest.raises(SpecificationError, match=re.escape(f"bon/draft_cleanup {wrong}")):
        check_dependencies([replace(find_spec("bon/draft_cleanup"), after=(after,))])


def test_refuses_a_circle_across_locations(tmp_path: Path) -> None:
    jobs = {"open": _job("shop", "open", "shop/clean"), "clean": _job("shop", "clean", "yard/sweep")}
    yard = {"sweep": _job("yard", "sweep", "shop/clean")}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        registered(tmp_path / "a", "shop", jobs),
        registered(tmp_path / "b", "yard", yard),
        pytest.raises(
            SpecificationError, match="shop/clean comes after itself: shop/clean after yard/sweep after shop/cl"
        ),
    ):
        registry.all_specs()
