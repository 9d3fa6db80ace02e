"""Mutants of what makes a purge undoable: the archive, and what a restore puts back."""

from benchmarks.mutations.mutant import Mutant

_BATCH = "cath_dagster/core/purge/batch.py"
_ROWS = "cath_dagster/core/restore/rows.py"
_ARCHIVE_TESTS = "tests/core/archive/test_archiver.py::"
_RESTORE_TESTS = "tests/core/restore/test_restore.py::"
_UNDO_TESTS = "tests/cath/test_undo.py::"

MUTANTS = (
    Mutant(
        name="archive-without-the-row",
        path=_BATCH,
        text="            archiver.keep(chosen)\n",
        becomes="            pass\n",
        loses="A purge that may be undone keeps nothing of the rows it takes.",
        noticed_by=(f"{_UNDO_TESTS}test_brings_back_list_type_subscriptions",),
    ),
    Mutant(
        name="archive-without-the-child",
        path=_BATCH,
        text="gone = archiver.delete(child, its_rows)",
        becomes="gone = connection.execute(sa.delete(child).where(its_rows)).rowcount",
        loses="What goes along with a row cannot be brought back with it.",
        noticed_by=(f"{_UNDO_TESTS}test_brings_back_a_subscription_with_its_notifications",),
    ),
    Mutant(
        name="archive-in-a-transaction-of-its-own",
        path="cath_dagster/core/archive/archiver.py",
        text="        self._archive(own.relation, names, lines, marks=self._marks(own.table))\n",
        becomes="        with self.connection.engine.begin() as elsewhere:\n"
        "            pin_text(elsewhere)\n"
        "            other = type(self)(\n"
        "                connection=elsewhere, purge=self.purge, deleted_tables=self.deleted_tables, frame=self.frame\n"
        "            )\n"
        "            other._archive(own.relation, names, lines, marks=self._marks(own.table))\n",
        loses="The archive holds rows that did not go, and a restore would put back what was never away.",
        noticed_by=(f"{_ARCHIVE_TESTS}test_a_row_that_refuses_to_go_is_not_archived_and_the_others_are",),
    ),
    Mutant(
        name="archive-without-what-is-set-to-null",
        path="cath_dagster/core/archive/archiver.py",
        text="                self._archive_nulled(nulled, deleted_table.table, its_chosen)\n",
        becomes="                pass\n",
        loses="What referred to a restored row refers to nothing.",
        noticed_by=(
            f"{_ARCHIVE_TESTS}test_archives_what_goes_what_goes_along_and_what_is_set_to_null",
            f"{_RESTORE_TESTS}test_puts_everything_back_as_it_was",
        ),
    ),
    Mutant(
        name="archive-deleted-too-soon",
        path="cath_dagster/core/archive/archiver.py",
        text="return archived_rows.c.job == job, archived_rows.c.keep_until <= as_of",
        becomes="return (archived_rows.c.job == job,)",
        loses="The archive of a run goes before its window ends.",
        noticed_by=(f"{_ARCHIVE_TESTS}test_deletes_archives_when_their_window_ends_and_no_sooner",),
    ),
    Mutant(
        name="restore-skips-a-child",
        path="cath_dagster/core/restore/restore.py",
        text="for table in restorable.tables for part in restorable.parts if part.name == table",
        becomes="for table in restorable.tables[:1] for part in restorable.parts if part.name == table",
        loses="A restore puts the first table's rows back and none that went along, and says that it is done.",
        noticed_by=(f"{_RESTORE_TESTS}test_puts_everything_back_as_it_was",),
    ),
    Mutant(
        name="restore-writes-over-a-newer-reference",
        path=_ROWS,
        text="AS given WHERE {found} AND {unset} AND {is_same} ",
        becomes="AS given WHERE {found} AND {is_same} ",
        loses="An undo overwrites what somebody has set since the deletion.",
        noticed_by=(f"{_UNDO_TESTS}test_a_reference_that_was_set_anew_meanwhile_stays",),
    ),
    Mutant(
        name="restored-rows-not-left-alone",
        path=_ROWS,
        text="        self._remember(connection, part, restored)\n",
        becomes="",
        loses="The next night's run takes again what somebody has just brought back.",
        noticed_by=(
            f"{_UNDO_TESTS}test_a_restored_subscription_is_left_alone_for_as_long_again_and_then_taken",
            f"{_UNDO_TESTS}test_no_other_job_takes_a_restored_row_or_what_it_belongs_to",
        ),
    ),
    Mutant(
        name="restored-files-stay-queued",
        path=_ROWS,
        text="            files.take_off(connection, part.table, keys)\n",
        becomes="",
        loses="A restored row's files are queued still, and go should the row be renamed or looked for in vain.",
        noticed_by=(f"{_UNDO_TESTS}test_restoring_what_exists_takes_its_files_off_the_queue_too",),
    ),
)
