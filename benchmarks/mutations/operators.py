"""Mutants of the jobs of CloudMake, Hay and of the instance itself."""

from benchmarks.mutations.mutant import Mutant

_KEY_TESTS = "tests/cloudmake/test_jwt_key_rotation.py::"
_HAY_TESTS = "tests/hay/test_conversation_retention.py::"
_INSTANCE_TESTS = "tests/operations/test_clean_instance.py::"

MUTANTS = (
    Mutant(
        name="cloudmake-two-active-keys",
        path="cath_dagster/cloudmake/signing_keys/rotation.py",
        text=".values(active=False, rotated_at=ended)",
        becomes=".values(rotated_at=ended)",
        loses="A rotation leaves two keys active, of which the old one goes on signing.",
        noticed_by=(f"{_KEY_TESTS}test_a_key_is_followed_by_another_once_it_is_ninety_days_old",),
    ),
    Mutant(
        name="cloudmake-key-deleted-in-use",
        path="cath_dagster/cloudmake/jobs/jwt_key_rotation.py",
        text="predicate=sa.and_(sa.not_(jwt_keys.c.active), jwt_keys.c.rotated_at <= cutoff),",
        becomes="predicate=sa.not_(jwt_keys.c.active),",
        loses="A key in its grace is deleted, and tokens that it has signed verify no more.",
        noticed_by=(f"{_KEY_TESTS}test_a_retired_key_verifies_for_seven_days_and_is_deleted_after_eight",),
    ),
    Mutant(
        name="cloudmake-keys-not-locked",
        path="cath_dagster/cloudmake/signing_keys/work.py",
        text="        lock_keys(connection)\n",
        becomes="",
        loses="A rotation and the service write keys at once, and two sign.",
        noticed_by=(f"{_KEY_TESTS}test_a_writer_of_the_service_is_waited_for_and_seen",),
    ),
    Mutant(
        name="cloudmake-value-written-over",
        path="cath_dagster/cloudmake/master_key/values.py",
        text='            .where(*(column == given.c[f"was_{column.name}"] for column in self.columns))\n',
        becomes="",
        loses="A secret that the service has changed meanwhile is overwritten by the one that was read.",
        noticed_by=(
            "tests/cloudmake/test_master_key_rotation.py::test_a_row_that_changed_meanwhile_keeps_what_was_written_and_is_read_again",
        ),
    ),
    Mutant(
        name="cloudmake-preview-without-its-outbox",
        path="cath_dagster/cloudmake/jobs/preview_archival.py",
        text="    queued = leftovers.enqueue(connection, ids, run.run_id)\n",
        becomes="    queued = 0\n",
        loses="A preview is archived and what it leaves at providers is in no queue: it runs and costs for ever.",
        noticed_by=("tests/cloudmake/test_preview_archival.py::test_removes_what_a_preview_leaves_at_each_provider",),
    ),
    Mutant(
        name="cloudmake-resource-of-another-environment",
        path="cath_dagster/cloudmake/leftovers.py",
        text="                _is_named_by_live(provider, outbox.resource_id, outbox.project_id),\n",
        becomes="",
        loses="A database branch is removed that another environment has come to use.",
        noticed_by=(
            "tests/cloudmake/test_preview_archival.py::test_what_another_environment_has_come_to_use_since_is_kept",
        ),
    ),
    Mutant(
        name="cloudmake-most-secrets-deleted",
        path="cath_dagster/cloudmake/github_secrets/drafts.py",
        text="    if gone <= FEW or gone * 2 <= len(ours):\n",
        becomes="    if gone <= FEW or gone <= len(ours):\n",
        loses="A source that answers with nothing lets most secrets be deleted at GitHub.",
        noticed_by=(
            "tests/cloudmake/test_github_secrets_sync.py::test_a_run_that_would_delete_most_of_what_we_wrote_is_refused",
        ),
    ),
    Mutant(
        name="hay-legal-hold-ignored",
        path="cath_dagster/hay/retention.py",
        text="return sa.and_(is_past_retention(as_of, settings), ~is_held())",
        becomes="return is_past_retention(as_of, settings)",
        loses="A conversation under a legal hold is anonymised, and its messages are deleted.",
        noticed_by=(
            f"{_HAY_TESTS}test_takes_what_is_past_its_own_tenants_policy_and_nothing_else",
            f"{_HAY_TESTS}test_a_hold_that_is_set_while_the_run_waits_wins",
        ),
    ),
    Mutant(
        name="hay-conversations-not-locked",
        path="cath_dagster/hay/anonymising.py",
        text="            .with_for_update(key_share=True)\n",
        becomes="",
        loses="A policy that is prolonged while the run waits is not heeded: the decision has an old snapshot.",
        noticed_by=(f"{_HAY_TESTS}test_a_policy_that_is_prolonged_while_the_run_waits_wins",),
    ),
    Mutant(
        name="hay-request-of-a-held-customer",
        path="cath_dagster/hay/jobs/cleanup_old_privacy_requests.py",
        text="            predicate=sa.and_(which, ~requests.is_of_a_held_customer()),\n",
        becomes="            predicate=which,\n",
        loses="Who asked is taken out of a request that a legal hold keeps whole.",
        noticed_by=(
            "tests/hay/test_cleanup_old_privacy_requests.py::test_a_hold_that_is_set_while_the_run_waits_keeps_the_request_whole",
        ),
    ),
    Mutant(
        name="hay-export-without-its-outbox",
        path="cath_dagster/hay/jobs/cleanup_expired_privacy_exports.py",
        text="            _queue(run, exports.files_of(taken), connection)\n",
        becomes="            pass\n",
        loses="A row forgets its export before the file is queued, and personal data lies on, known to nobody.",
        noticed_by=(
            "tests/hay/test_cleanup_expired_privacy_exports.py::test_takes_back_what_is_over_by_its_own_word_by_downloads_or_by_age",
        ),
    ),
    Mutant(
        name="hay-audit-rows-without-a-copy",
        path="cath_dagster/hay/jobs/cleanup_old_audit_logs.py",
        text='        copies=CopyTo(audit_log_archive, _copied(planning), run="archived_by"),\n',
        becomes="",
        loses="Audit rows that should move into the archive are deleted.",
        noticed_by=(
            "tests/hay/test_cleanup_old_audit_logs.py::test_takes_what_is_older_than_its_own_days_and_keeps_the_rest",
        ),
    ),
    Mutant(
        name="operations-newest-run-of-a-job",
        path="cath_dagster/operations/jobs/clean_instance.py",
        text='        "a newer run of its job exists": _has_newer_run(),\n',
        becomes="",
        loses="A job that runs seldom loses its only run, and nobody can tell when it ran last.",
        noticed_by=(f"{_INSTANCE_TESTS}test_the_newest_run_of_every_job_is_kept",),
    ),
    Mutant(
        name="operations-latest-materialisation",
        path="cath_dagster/operations/jobs/clean_instance.py",
        text='        "it made no asset\'s latest materialisation or observation": sa.not_(_made_latest_event()),\n',
        becomes="",
        loses="An asset forgets that it was ever materialised, and all its weeks are asked for again.",
        noticed_by=(
            f"{_INSTANCE_TESTS}test_the_run_that_made_the_latest_materialisation_of_a_partition_is_kept_whole",
        ),
    ),
    Mutant(
        name="history-row-not-closed",
        path="cath_dagster/core/history/writing.py",
        text="    connection.execute(new.on_conflict_do_update(constraint=_OF_RUN, set_=final))\n    _count(",
        becomes="    _count(",
        loses="A run that has ended stands as running in the history, for ever.",
        noticed_by=("tests/operations/test_history.py::test_a_run_is_written_when_it_starts_and_closed_when_it_ends",),
    ),
    Mutant(
        name="history-closed-while-it-runs",
        path="cath_dagster/operations/scheduler/closing.py",
        text="    if is_alive(connection, row.run_id):\n        return False\n",
        becomes="",
        loses="A run that is at work is told as lost, and somebody starts it again beside itself.",
        noticed_by=(
            "tests/operations/test_scheduler_monitor.py::test_a_run_of_the_command_line_is_lost_when_its_session_is_gone_and_not_before",
        ),
    ),
)
