"""What the dates miss: surveys closed without one, surveys there again after their deletion, files left to be done by hand.

The service writes a survey back whole, keys included, where a request that had read it before its deletion saves it
afterwards. All of it is told as it stands now, whatever day is asked about.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.checktick import CHECKTICK
from cath_dagster.checktick.erasure import ACTION
from cath_dagster.checktick.retention import JOB, is_undated
from cath_dagster.checktick.tables import audit_log, survey
from cath_dagster.core.outbox.left_files import find_left


@dataclass(frozen=True, kw_only=True)
class Strays:
    """The ids of such surveys."""

    undated: tuple[int, ...] = ()
    returned: tuple[int, ...] = ()
    files_by_hand: int = 0
    """Files of deleted surveys that no run can delete, and nobody has settled yet."""

    def told(self) -> list[str]:
        """Return in words what there is, with what to do."""
        says = []
        if self.undated:
            says.append(
                f"{len(self.undated)} closed surveys have no date of deletion, so that no rule will ever take them: "
                f"surveys {_listed(self.undated)}; set their closed_at and deletion_date, or close them in the service"
            )
        if self.returned:
            says.append(
                f"{len(self.returned)} surveys were deleted for good and are there again, written back by the service: "
                f"surveys {_listed(self.returned)}; they go again by their own dates, or with the next run once their "
                "deleted_at and hard_deletion_date are set to its time"
            )
        if self.files_by_hand:
            says.append(
                f"{self.files_by_hand} files of deleted surveys are left to be done by hand; cath-dagster files list "
                f"{CHECKTICK.name} tells which"
            )
        return says


def find_strays(connection: sa.Connection) -> Strays:
    """Return them, in the caller's transaction."""
    record = sa.exists().where(
        audit_log.c.action == ACTION,
        audit_log.c.survey_id.is_(None),
        audit_log.c.metadata["survey_id"].astext == sa.cast(survey.c.id, sa.Text),
    )
    query = sa.select(survey.c.id).order_by(survey.c.id)
    return Strays(
        undated=tuple(connection.scalars(query.where(is_undated()))),
        returned=tuple(connection.scalars(query.where(record))),
        files_by_hand=len(find_left(connection, JOB)),
    )


def _listed(survey_ids: tuple[int, ...]) -> str:
    return ", ".join(map(str, survey_ids))
