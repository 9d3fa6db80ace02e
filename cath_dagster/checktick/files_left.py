"""Record in the service's audit log that files of a survey are left to be done by hand.

A verification's documents are named by free text that people edit: an absolute path or a URL is none of the media store,
and one that is not in it lies elsewhere.
"""

from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from cath_dagster.checktick.erasure import SCOPE
from cath_dagster.checktick.tables import audit_log
from cath_dagster.core.outbox.left_files import LeftFile
from cath_dagster.core.run.job_run import JobRun

ACTION = "survey_files_left"


def record_files_left(run: JobRun, connection: sa.Connection, left: Sequence[LeftFile]) -> None:
    """Write a row for each survey, with how many files are left; which, `cath-dagster files list` tells until settled."""
    counts = Counter((each.row_key, each.run_id) for each in left)
    rows = [
        {
            "scope": SCOPE,
            "action": ACTION,
            "metadata": {
                "survey_id": int(survey_id) if survey_id.isdigit() else None,
                "run_id": run_id,
                "files_left_by_hand": count,
                "file_ids": [each.file_id for each in left if (each.row_key, each.run_id) == (survey_id, run_id)],
            },
            "created_at": run.request.now,
            "message": f"{count} files of survey {survey_id} are left to be deleted by hand",
            "severity": "warning",
            "user_agent": "",
            "username_attempted": "",
        }
        for (survey_id, run_id), count in sorted(counts.items())
    ]
    connection.execute(sa.insert(audit_log), rows)
