"""What of CheckTick is an asset: the tables that its jobs report on, and the report on retention with its checks."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.checktick import CHECKTICK, OWNER
from cath_dagster.checktick.deletion import find_gaps
from cath_dagster.checktick.jobs import data_governance
from cath_dagster.checktick.report import Deletion, RetentionReport, day_of, last_tick, read_report
from cath_dagster.checktick.strays import Strays
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.postgres.database import Database
from cath_dagster.orchestration.runs import ledger_spec

GROUP = CHECKTICK.name
TABLES = {
    "surveys_auditlog": "What was done to surveys, and the records of those that are gone.",
    "surveys_collectiondefinition": "Collections of question groups within surveys.",
    "surveys_collectionitem": "What the collections consist of.",
    "surveys_datacustodian": "Who may export a survey's data beside its owner.",
    "surveys_dataexport": "Exports of responses; their content is made on demand.",
    "surveys_dataretentionextension": "Extensions of retention periods.",
    "surveys_datasubjectrequest": "Requests of respondents about their data.",
    "surveys_identityverification": "How those who asked for a key proved who they are.",
    "surveys_legalhold": "Legal holds on surveys, removed ones included.",
    "surveys_llmconversationsession": "Conversations by which surveys were drafted.",
    "surveys_questionimage": "Images of questions; the files lie in the media store.",
    "surveys_recoveryauditentry": "The trail of requests to recover keys.",
    "surveys_recoveryrequest": "Requests to recover a survey's key.",
    "surveys_responsefreezelog": "Responses that were frozen and released.",
    "surveys_survey": "Surveys, soft-deleted ones included.",
    "surveys_survey_question_groups": "Which question groups a survey uses.",
    "surveys_surveyaccesstoken": "Tokens by which respondents are let in.",
    "surveys_surveymembership": "Who works on which survey.",
    "surveys_surveyprogress": "Answers that people began and did not submit.",
    "surveys_surveyquestion": "Questions.",
    "surveys_surveyquestioncondition": "Which question follows which answer.",
    "surveys_surveyresponse": "Submitted responses, most of them encrypted.",
    "surveys_usersurveykekescrow": "Where in the vault users' keys to surveys are kept.",
}
REPORT_KEY = dg.AssetKey([CHECKTICK.name, "retention_report"])
FIRST_DAY = date(2024, 1, 1)
DAYS = dg.DailyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), end_offset=1, timezone="UTC")
OVERDUE_CHECK, DECISION_CHECK, POLICY_CHECK = (
    *("no_overdue_deletion", "no_deletion_to_decide_on"),
    "deletion_policy_complete",
)
SHOWN = 50
"""Deletions that metadata lists by id; `cath-dagster governance report` lists all of them."""

TABLE_SPECS = [
    dg.AssetSpec(
        dg.AssetKey([CHECKTICK.name, name]),
        description=description,
        group_name=GROUP,
        kinds={"postgres", "table"},
        owners=[OWNER],
    )
    for name, description in TABLES.items()
] + [ledger_spec(CHECKTICK, OWNER)]


@dg.asset(
    key=REPORT_KEY,
    deps=[[CHECKTICK.name, name] for name in ("surveys_survey", "surveys_legalhold", "surveys_auditlog")],
    description=(
        "Which deletions were due on a day, done, held and overdue. Every run of data_governance reports its day; another "
        "day is materialised from here or read with cath-dagster governance report, which also names the authorities of "
        "legal holds."
    ),
    group_name=GROUP,
    kinds={"postgres"},
    owners=[OWNER],
    partitions_def=DAYS,
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26)),
)
def retention_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """Report on one day, as far as it has come."""
    day, at = day_of(context.partition_key, datetime.now(UTC))
    with _resources().database("retention_report") as database:
        report = database.transaction(partial(read_report, day=day, at=at, tick=_tick(at)))
    return dg.MaterializeResult(metadata=report_metadata(report))


@dg.multi_asset_check(
    name="retention_checks",
    specs=[
        dg.AssetCheckSpec(
            OVERDUE_CHECK,
            asset=REPORT_KEY,
            description="Every deletion whose time has come is done, or held: by a legal hold, or by a survey published again.",
        ),
        dg.AssetCheckSpec(
            DECISION_CHECK,
            asset=REPORT_KEY,
            description=(
                "No survey waits for somebody's decision: none past its date was published again, every closed one has a "
                "date of deletion, none is there again that was deleted for good, and no file is left to be done by hand."
            ),
        ),
        dg.AssetCheckSpec(
            POLICY_CHECK,
            asset=REPORT_KEY,
            description="The database has no foreign key for which no policy says what becomes of its rows with the survey.",
        ),
    ],
)
def retention_checks() -> Iterator[dg.AssetCheckResult]:
    """Look at how things stand now."""
    now = datetime.now(UTC)
    with _resources().database("retention_checks") as database:
        for name, passed, severity, metadata in _judge(database, now, _tick(now)):
            yield dg.AssetCheckResult(passed=passed, check_name=name, severity=severity, metadata=metadata)


def report_after_run(result: RunResult) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Report on the day of a run that has come to its end, and check how things stand: what it left is overdue."""
    if result.dry_run or result.as_of is None:
        return
    now = max(datetime.now(UTC), result.as_of)
    day, at = day_of(result.as_of.date().isoformat(), now)
    with _resources().database("retention_report") as database:
        report = database.transaction(partial(read_report, day=day, at=at, tick=result.as_of))
        checks = list(_judge(database, now, max(result.as_of, _tick(now))))
    yield dg.AssetMaterialization(REPORT_KEY, partition=day.isoformat(), metadata=report_metadata(report))
    for name, passed, severity, metadata in checks:
        yield dg.AssetCheckEvaluation(
            asset_key=REPORT_KEY, check_name=name, passed=passed, severity=severity, metadata=metadata
        )


def report_metadata(report: RetentionReport) -> dict[str, Any]:
    """Return a report as metadata: counts, and ids; whose authority a hold names is told by the command line only."""
    lists = {"done": report.done, "held": report.held, "overdue": report.overdue, "waiting": report.waiting}
    return {
        "as_it_stood_at": dg.MetadataValue.timestamp(report.at),
        "due": len(report.due),
        **{name: len(deletions) for name, deletions in lists.items()},
        "warnings": dg.MetadataValue.json(report.warnings),
        **_strays(report.strays),
        **{f"{name}_deletions": _listed(deletions) for name, deletions in lists.items() if deletions},
    }


def _judge(
    database: Database, at: datetime, tick: datetime
) -> Iterator[tuple[str, bool, dg.AssetCheckSeverity, dict[str, Any]]]:
    """Yield name, result, severity and metadata of each check."""
    report = database.transaction(partial(read_report, day=at.date(), at=at, tick=tick))
    gaps = database.transaction(find_gaps)
    yield OVERDUE_CHECK, not report.alerts, dg.AssetCheckSeverity.ERROR, _overdue(report.alerts)
    is_decided = not report.undecided and not report.strays.told()
    metadata = {**_overdue(report.undecided), **_strays(report.strays)}
    yield DECISION_CHECK, is_decided, dg.AssetCheckSeverity.WARN, metadata
    yield POLICY_CHECK, not gaps, dg.AssetCheckSeverity.ERROR, {"gaps": dg.MetadataValue.json(gaps)}


def _overdue(deletions: tuple[Deletion, ...]) -> dict[str, Any]:
    return {"overdue": len(deletions), **({"deletions": _listed(deletions)} if deletions else {})}


def _strays(strays: Strays) -> dict[str, Any]:
    lists = {"undated": strays.undated, "returned": strays.returned}
    return {
        "files_by_hand": strays.files_by_hand,
        **{name: len(survey_ids) for name, survey_ids in lists.items()},
        **{
            f"{name}_surveys": dg.MetadataValue.json(list(survey_ids[:SHOWN]))
            for name, survey_ids in lists.items()
            if survey_ids
        },
    }


def _listed(deletions: tuple[Deletion, ...]) -> dg.JsonMetadataValue:
    return dg.MetadataValue.json([_plain(deletion) for deletion in deletions[:SHOWN]])


def _plain(deletion: Deletion) -> dict[str, object]:
    plain: dict[str, object] = {
        "survey_id": deletion.survey_id,
        "deletion": deletion.phase.value,
        "due_at": deletion.due_at.isoformat(),
        "done_at": deletion.done_at.isoformat() if deletion.done_at else None,
        "run_id": deletion.run_id,
        "why": deletion.why,
    }
    if deletion.hold is not None:
        plain |= {
            "hold_id": deletion.hold.hold_id,
            "placed_by_id": deletion.hold.placed_by_id,
            "held_since": deletion.hold.placed_at.isoformat(),
        }
    return {name: value for name, value in plain.items() if value is not None}


def _tick(at: datetime) -> datetime:
    return last_tick(data_governance.SPEC.cron, at)


def _resources() -> EnvironmentBackends:
    return EnvironmentBackends(CHECKTICK.prefix)
