"""Mutants of the jobs of CaTH, BON and CheckTick."""

from benchmarks.mutations.mutant import Mutant

_USERS = "cath_dagster/cath/inactive_users.py"
_USER_TESTS = "tests/cath/test_inactive_verification.py::"
_SOFT_TESTS, _HARD_TESTS = "tests/checktick/test_soft_delete.py::", "tests/checktick/test_hard_delete.py::"
_TOKEN_TESTS = "tests/bon/test_shaam_token_refresh.py::"

MUTANTS = (
    Mutant(
        name="cath-audit-cutoff",
        path="cath_dagster/cath/jobs/clear_audit.py",
        text="predicate=column < naive_utc(cutoff),",
        becomes="predicate=column <= naive_utc(cutoff),",
        loses="A log entry goes that is exactly as old as it is to be kept.",
        noticed_by=("tests/cath/test_clear_audit.py::test_keeps_an_entry_exactly_ninety_days_old",),
    ),
    Mutant(
        name="cath-artefact-cutoff",
        path="cath_dagster/cath/jobs/expired_artefacts.py",
        text="predicate=artefact.c.display_to < naive_utc(planning.as_of),",
        becomes="predicate=artefact.c.display_to <= naive_utc(planning.as_of),",
        loses="A publication goes while it is still to be shown.",
        noticed_by=(
            "tests/cath/test_expired_artefacts.py::test_keeps_an_artefact_whose_display_ends_at_the_reference_time",
        ),
    ),
    Mutant(
        name="cath-user-deleted-unwarned",
        path=_USERS,
        text="        conditions.append(sent_notice.c.sent_at < sent_before)\n",
        becomes="        pass\n",
        loses="Somebody is deleted on the day of the warning, without the days to come back in.",
        noticed_by=(f"{_USER_TESTS}test_keeps_a_user_warned_a_day_too_late",),
    ),
    Mutant(
        name="cath-old-warning-counts",
        path=_USERS,
        text="        sent_notice.c.period_start >= sa.cast(warned.c.last_activity, sa.Date),\n",
        becomes="",
        loses="Somebody who came back after a warning is deleted by it in the next idle period.",
        noticed_by=(
            f"{_USER_TESTS}test_a_cancelled_warning_does_not_count_in_the_next_idle_period",
            f"{_USER_TESTS}test_warns_anew_in_the_next_idle_period",
        ),
    ),
    Mutant(
        name="cath-last-administrator",
        path=_USERS,
        text="return sa.and_(_is_due(rules(settings), as_of), _is_not_protected())",
        becomes="return _is_due(rules(settings), as_of)",
        loses="The last administrator is deleted, and nobody can let anybody in.",
        noticed_by=(f"{_USER_TESTS}test_keeps_the_administrator_who_was_active_last",),
    ),
    Mutant(
        name="cath-applications-before-the-delivery",
        path="cath_dagster/cath/jobs/media_reporting.py",
        text="    if is_delivered or run.dry_run:\n",
        becomes="    if True:\n",
        loses="Applications are deleted of which the team never had the report.",
        noticed_by=(
            "tests/cath/test_media_reporting.py::test_deletes_nothing_that_notify_refused",
            "tests/cath/test_media_reporting.py::test_deletes_nothing_without_a_key",
        ),
    ),
    Mutant(
        name="bon-issued-invoices",
        path="cath_dagster/bon/jobs/draft_cleanup.py",
        text='predicate=sa.and_(invoices.c.status == "draft", is_untouched),',
        becomes="predicate=is_untouched,",
        loses="Issued invoices go, which the law wants kept.",
        noticed_by=("tests/bon/test_draft_cleanup.py::test_keeps_whatever_is_no_draft",),
    ),
    Mutant(
        name="bon-session-cutoff",
        path="cath_dagster/bon/jobs/session_cleanup.py",
        text="predicate=sessions.c.expires_at < planning.as_of,",
        becomes="predicate=sessions.c.expires_at <= planning.as_of,",
        loses="A session goes in the instant in which it is valid still.",
        noticed_by=("tests/bon/test_session_cleanup.py::test_keeps_a_session_that_expires_at_this_instant_or_later",),
    ),
    Mutant(
        name="bon-tokens-over-newer-ones",
        path="cath_dagster/bon/shaam.py",
        text="if row is None or row.encrypted_refresh_token != self._spent:",
        becomes="if row is None:",
        loses="Tokens of an owner who has authorised meanwhile are overwritten by those of the grant before.",
        noticed_by=(f"{_TOKEN_TESTS}test_new_tokens_do_not_replace_those_of_an_owner_who_authorised_meanwhile",),
    ),
    Mutant(
        name="bon-owner-not-told",
        path="cath_dagster/bon/jobs/shaam_token_refresh.py",
        text="    enqueue(connection, notices, job=JOB, run_id=run.run_id, as_of=run.as_of)\n",
        becomes="    del notices\n",
        loses="A business is flagged, and no owner ever learns that invoices are no longer allocated.",
        noticed_by=(f"{_TOKEN_TESTS}test_a_revoked_token_flags_its_business_and_tells_its_owners",),
    ),
    Mutant(
        name="checktick-soft-deletion-under-a-hold",
        path="cath_dagster/checktick/retention.py",
        text="survey.c.closed_at.is_not(None), ~is_republished(), ~is_held())\n\n\ndef is_past_soft_deletion",
        becomes="survey.c.closed_at.is_not(None), ~is_republished())\n\n\ndef is_past_soft_deletion",
        loses="A survey under a legal hold is taken from its owner.",
        noticed_by=(f"{_SOFT_TESTS}test_an_active_hold_stops_it_and_a_removed_one_does_not",),
    ),
    Mutant(
        name="checktick-hard-deletion-under-a-hold",
        path="cath_dagster/checktick/retention.py",
        text="return sa.and_(is_past_hard_deletion(as_of), ~is_republished(), ~is_held())",
        becomes="return sa.and_(is_past_hard_deletion(as_of), ~is_republished())",
        loses="Evidence under a legal hold is destroyed for good.",
        noticed_by=(
            f"{_HARD_TESTS}test_an_active_hold_stops_it_with_all_that_belongs_to_it",
            f"{_HARD_TESTS}test_a_hold_placed_while_the_run_waits_is_seen",
        ),
    ),
    Mutant(
        name="checktick-holds-not-locked",
        path="cath_dagster/checktick/retention.py",
        text="        .where(is_any(legal_hold.c.survey_id, locked))\n",
        becomes="        .where(sa.false())\n",
        loses="A hold that is being placed anew comes after the decision, and its survey is gone.",
        noticed_by=(
            f"{_HARD_TESTS}test_a_hold_placed_anew_while_the_run_waits_is_seen",
            f"{_SOFT_TESTS}test_a_hold_placed_anew_while_the_run_waits_is_seen",
        ),
    ),
    Mutant(
        name="checktick-image-of-another-survey",
        path="cath_dagster/checktick/erasure.py",
        text=".where(removal.goes(image), ~is_shared)",
        becomes=".where(removal.goes(image))",
        loses="A survey that stays loses an image that a deleted one showed as well.",
        noticed_by=(f"{_HARD_TESTS}test_an_image_that_another_survey_shows_as_well_stays_until_that_goes_too",),
    ),
    Mutant(
        name="checktick-no-record",
        path="cath_dagster/checktick/erasure.py",
        text="        self._leave_record(connection, chosen)\n",
        becomes="",
        loses="Nothing proves that a survey was deleted, when, and what it held.",
        noticed_by=(f"{_HARD_TESTS}test_leaves_a_record_that_outlives_the_survey",),
    ),
)
