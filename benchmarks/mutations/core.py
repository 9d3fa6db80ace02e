"""Mutants of what all jobs rest on: the purge engine, the ledger, the outbox, locks and transactions."""

from benchmarks.mutations.mutant import Mutant

_BATCH = "cath_dagster/core/purge/batch.py"
_DATABASE = "cath_dagster/core/postgres/database.py"
_ENGINE_TESTS = "tests/core/purge/test_engine.py::"
_DATABASE_TESTS = "tests/core/postgres/test_database.py::"
_NOTICE_TESTS = "tests/core/outbox/test_notices.py::"
_SUBSCRIPTION_TESTS = "tests/cath/test_subscriptions.py::"
_FILE_TESTS = "tests/core/outbox/test_files.py::"

MUTANTS = (
    Mutant(
        name="delete-by-keys-without-its-predicate",
        path=_BATCH,
        text="statement = sa.delete(purge.table).where(is_any(purge.key, keys), purge.is_due)",
        becomes="statement = sa.delete(purge.table).where(is_any(purge.key, keys))",
        loses="A row that is rescued after its key was read goes all the same.",
        noticed_by=(f"{_ENGINE_TESTS}test_keeps_a_row_rescued_while_its_batch_waited",),
    ),
    Mutant(
        name="walk-without-its-predicate",
        path=_BATCH,
        text="return sa.delete(table).where(within, predicate)",
        becomes="return sa.delete(table).where(within)",
        loses="A walk takes every row of its blocks, due or not.",
        noticed_by=(f"{_ENGINE_TESTS}test_a_range_deleted_by_one_statement_loses_what_matches_and_the_ledger_says_so",),
    ),
    Mutant(
        name="row-that-stays-without-its-children",
        path=_BATCH,
        text="        if deleted != len(keys):\n",
        becomes="        if False:\n",
        loses="A row that something keeps from going loses its children and its files.",
        noticed_by=("tests/core/purge/test_refusal.py::test_what_goes_along_with_a_refused_row_stays_with_it",),
    ),
    Mutant(
        name="others-not-locked",
        path=_BATCH,
        text="        _lock_others(connection, purge, candidates)\n",
        becomes="",
        loses="A row is decided while another is being changed that would rescue it, and goes.",
        noticed_by=(
            f"{_SUBSCRIPTION_TESTS}test_a_user_who_signs_in_while_the_batch_waits_keeps_the_subscriptions",
            f"{_SUBSCRIPTION_TESTS}test_a_location_restored_while_the_batch_waits_keeps_its_subscriptions",
            "tests/cath/test_inactive_verification.py::test_keeps_who_became_the_last_administrator_while_the_batch_waits",
        ),
    ),
    Mutant(
        name="files-not-queued",
        path=_BATCH,
        text="        self._queue_files(connection, purge, chosen)\n",
        becomes="",
        loses="A row goes without an entry of its files in the outbox: nobody knows of them any more.",
        noticed_by=(
            f"{_ENGINE_TESTS}test_queues_the_files_of_what_it_deletes",
            "tests/cath/test_expired_artefacts.py::test_deletes_the_artefacts_files_of_every_name",
        ),
    ),
    Mutant(
        name="copy-in-a-transaction-of-its-own",
        path=_BATCH,
        text="        copied = _copy(connection, purge, chosen)\n",
        becomes="        with connection.engine.begin() as elsewhere:\n"
        "            copied = _copy(elsewhere, purge, chosen)\n",
        loses="A copy stays of a row that did not go, and the row as it is when it goes is never copied.",
        noticed_by=(f"{_ENGINE_TESTS}test_undoes_archive_files_and_children_of_a_row_that_does_not_go",),
    ),
    Mutant(
        name="ledger-without-a-batch",
        path=_BATCH,
        text='        self._record(connection, purge, {purge.target: {"deleted": deleted}}, position)\n',
        becomes="",
        loses="What a walk has deleted stands in no ledger, and a killed run's deletions are never told.",
        noticed_by=(
            f"{_ENGINE_TESTS}test_a_range_deleted_by_one_statement_loses_what_matches_and_the_ledger_says_so",
            "tests/cath/test_clear_audit.py::test_finds_every_old_entry_among_new_ones_in_several_batches",
        ),
    ),
    Mutant(
        name="ledger-in-a-transaction-of-its-own",
        path="cath_dagster/core/ledger/ledger.py",
        text="            connection.execute(_INSERT, events)\n",
        becomes="            with connection.engine.begin() as elsewhere:\n"
        "                elsewhere.execute(_INSERT, events)\n",
        loses="The ledger counts deletions that were rolled back.",
        noticed_by=("tests/core/ledger/test_ledger.py::test_undoes_a_batch_s_counts_with_the_batch",),
    ),
    Mutant(
        name="guard-lets-through",
        path="cath_dagster/core/purge/blast_radius.py",
        text="return self.matched > MIN_ROWS and self.share > MAX_SHARE",
        becomes="return self.matched > MIN_ROWS and self.share >= 1.0",
        loses="A mistaken setting takes nearly a whole table in one night.",
        noticed_by=("tests/core/purge/test_blast_radius.py::test_refuses",),
    ),
    Mutant(
        name="guard-forgets-children",
        path="cath_dagster/core/run/planning.py",
        text="too_large = None if self.request.options.allow_large else refusal(measures)",
        becomes="too_large = None if self.request.options.allow_large else refusal(plan.measured for plan in planned)",
        loses="A purge of few rows takes most of another table along.",
        noticed_by=(
            "tests/core/purge/test_blast_radius.py::test_refuses_a_run_for_the_children_it_would_take_along",
            "tests/cath/test_inactive_verification.py::test_refuses_to_take_most_subscriptions_along",
        ),
    ),
    Mutant(
        name="dry-run-by-another-predicate",
        path="cath_dagster/core/run/planning.py",
        text="tables = [(purge.table, purge.predicate), *purge.every_child()]",
        becomes="tables = [(purge.table, purge.is_due), *purge.every_child()]",
        loses="A dry run counts other rows than the run then takes, and who trusts it allows what was not meant.",
        noticed_by=("tests/bon/test_draft_cleanup.py::test_a_dry_run_counts_what_would_go_and_what_is_held",),
    ),
    Mutant(
        name="cap-forgotten",
        path="cath_dagster/core/purge/engine.py",
        text="        most = recorded() + limit\n",
        becomes="        most = recorded() + 2 * limit\n",
        loses="A run that should try a few rows first takes twice as many.",
        noticed_by=(f"{_ENGINE_TESTS}test_stops_at_the_limit",),
    ),
    Mutant(
        name="unknown-cascade-let-through",
        path="cath_dagster/core/references/examination.py",
        text="        *(_describe_cascade(each, allowed) for each in cascades),\n",
        becomes="",
        loses="Rows of a table that no job knows go by ON DELETE CASCADE, uncounted.",
        noticed_by=(
            "tests/core/references/test_examination.py::test_refuses_a_cascade_that_nobody_declared_before_anything_is_deleted",
        ),
    ),
    Mutant(
        name="lock-not-taken",
        path="cath_dagster/core/run/steps.py",
        text="        run.database.lock(lock_name(spec, run.request.partition))\n",
        becomes="        pass\n",
        loses="Two runs of one job delete, send and spend at once.",
        noticed_by=("tests/core/run/test_execution.py::test_is_refused_while_another_run_of_the_job_is_at_work",),
    ),
    Mutant(
        name="lock-lost-by-a-retry",
        path=_DATABASE,
        text="                            _take_lock_back(connection, name)\n",
        becomes="                            pass\n",
        loses="After a lost connection a run goes on without its lock, beside the run that has it now.",
        noticed_by=(
            f"{_DATABASE_TESTS}test_takes_its_lock_anew_after_the_connection_was_cut",
            f"{_DATABASE_TESTS}test_does_no_work_when_another_took_the_lock_while_the_connection_was_lost",
        ),
    ),
    Mutant(
        name="commit-dropped",
        path=_DATABASE,
        text="            return work(connection)\n    except DBAPIError as error:\n        if is_read_only",
        becomes="            done = work(connection)\n            connection.rollback()\n            return done\n"
        "    except DBAPIError as error:\n        if is_read_only",
        loses="Nothing that a run says it has done is done.",
        noticed_by=(f"{_DATABASE_TESTS}test_commits_what_a_transaction_did",),
    ),
    Mutant(
        name="notice-sent-before-its-claim-commits",
        path="cath_dagster/core/outbox/notices.py",
        text="        earlier = self.database.transaction(lambda connection: self._claim(connection, notice))\n"
        "        if earlier is None:\n            return self._settle(notice, self.mailer.send(notice.message))\n",
        becomes="        def claim(connection: sa.Connection) -> tuple[_Earlier | None, Receipt | None]:\n"
        "            before = self._claim(connection, notice)\n"
        "            return before, self.mailer.send(notice.message) if before is None else None\n\n"
        "        earlier, receipt = self.database.transaction(claim)\n"
        "        if earlier is None and receipt is not None:\n            return self._settle(notice, receipt)\n",
        loses="A run killed while it sends leaves no claim, and the next one sends the message a second time.",
        noticed_by=(f"{_NOTICE_TESTS}test_has_claimed_a_notice_when_it_sends_it",),
    ),
    Mutant(
        name="notice-sent-again",
        path="cath_dagster/core/outbox/notices.py",
        text="        if earlier.status in DONE:\n            return None\n",
        becomes="",
        loses="Whoever was told is told again, of a deletion too.",
        noticed_by=(f"{_NOTICE_TESTS}test_sends_nothing_again_when_a_row_joins_the_matter",),
    ),
    Mutant(
        name="files-before-the-disk-has-the-commit",
        path="cath_dagster/core/outbox/files.py",
        text="    database.flush()\n    total = count_due(database, job, as_of)\n",
        becomes="    total = count_due(database, job, as_of)\n",
        loses="A crash of the server brings a row back whose files are gone.",
        noticed_by=(f"{_FILE_TESTS}test_the_disk_has_what_was_committed_before_a_file_is_deleted",),
    ),
    Mutant(
        name="file-of-a-row-that-is-there-again",
        path="cath_dagster/core/outbox/files.py",
        text="files=tuple(file for file in files if file.path not in needed),",
        becomes="files=tuple(files),",
        loses="A row that was restored loses its files.",
        noticed_by=(
            f"{_FILE_TESTS}test_a_file_whose_row_is_there_again_is_let_be_whatever_key_the_table_has",
            "tests/cath/test_undo.py::test_a_file_whose_row_is_there_again_is_never_deleted",
        ),
    ),
    Mutant(
        name="file-that-failed-is-forgotten",
        path="cath_dagster/core/outbox/files.py",
        text="gone = [file for file in (*batch.files, *batch.needed) if file not in failed]",
        becomes="gone = [*batch.files, *batch.needed]",
        loses="A file that could not be deleted is taken off the queue, and stays for ever.",
        noticed_by=(f"{_FILE_TESTS}test_keeps_a_file_that_fails_queued_and_deletes_the_others",),
    ),
)
