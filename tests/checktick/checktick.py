"""CheckTick as a test sees it: small builders for its rows, and a way to run its jobs."""

import contextlib
import itertools
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.checktick import CHECKTICK
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.outbox.notices import Patience
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import load_specs
from cath_dagster.development.simulators.smtp import SmtpServer
from tests.support.command import PROGRAM, Done, call
from tests.support.maintained import Maintained
from tests.support.warm import COMMAND, start

SITE = "https://checktick.example.org"
DEPENDENT = (
    *("surveys_auditlog", "surveys_collectiondefinition", "surveys_collectionitem", "surveys_dataexport"),
    *("surveys_datacustodian", "surveys_dataretentionextension", "surveys_datasubjectrequest"),
    *("surveys_identityverification", "surveys_legalhold", "surveys_llmconversationsession"),
    *("surveys_questionimage", "surveys_recoveryauditentry", "surveys_recoveryrequest", "surveys_responsefreezelog"),
    *("surveys_survey_question_groups", "surveys_surveyaccesstoken", "surveys_surveymembership"),
    *("surveys_surveyprogress", "surveys_surveyquestion", "surveys_surveyquestioncondition"),
    *("surveys_surveyresponse", "surveys_usersurveykekescrow"),
)
"""Every table with rows that belong to a survey, each of which `add_everything` fills."""

PLACE_HOLD = """
INSERT INTO surveys_legalhold (placed_at, reason, authority, removal_reason, survey_id)
VALUES (now(), '', 'High Court', '', %s)
"""
RESPOND = """
INSERT INTO surveys_surveyresponse (answers, submitted_at, survey_id, frozen_reason, is_frozen, freeze_source)
VALUES ('{}', now(), %s, '', false, '')
"""

_numbers = itertools.count(1)


@dataclass(kw_only=True)
class CheckTick(Maintained):
    """A CheckTick of its own."""

    location = CHECKTICK

    smtp: SmtpServer
    media: Path
    owner_id: int = field(init=False)

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: str, smtp: SmtpServer, folder: Path, *, as_of: datetime) -> Iterator["CheckTick"]:
        media = folder / "media"
        media.mkdir()
        environ = {
            "CHECKTICK_DATABASE_URL": url,
            "CHECKTICK_SMTP_URL": smtp.url,
            "CHECKTICK_MAIL_FROM": "CheckTick <noreply@checktick.example>",
            "CHECKTICK_SITE_URL": SITE,
            "CHECKTICK_MEDIA_URL": media.as_uri(),
        }
        with psycopg.connect(url, autocommit=True, row_factory=tuple_row) as connection:
            connection.execute("SET timezone = 'UTC'")
            opened = cls(url=url, environ=environ, connection=connection, as_of=as_of, smtp=smtp, media=media)
            opened.owner_id = opened.add_user()
            yield opened

    def run(
        self,
        job: str,
        *,
        partition: str | None = None,
        run_id: str | None = None,
        is_scheduled: bool = False,
        now: datetime | None = None,
        **config: Any,
    ) -> RunResult:
        """Run a job in this process, now being `self.as_of` or the config's, unless it is given."""
        spec = next(spec for spec in load_specs(self.location) if spec.name == job)
        as_of = config.pop("as_of", self.as_of)
        return execute(
            spec,
            {"as_of": as_of, **config},
            run_id=run_id or str(uuid.uuid4()),
            now=now or as_of,
            backends=EnvironmentBackends(self.location.prefix, self.environ),
            reporter=self.reporter,
            partition=partition,
            is_scheduled=is_scheduled,
            patience=Patience(sleep=self.waited.append),
        )

    def govern(self, **config: Any) -> RunResult:
        return self.run("data_governance", **config)

    @contextlib.contextmanager
    def child_running(self, job: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a job in a process of its own, which does not outlive the block."""
        command = [PROGRAM, "run", job, "--as-of", self.as_of.isoformat(), "--quiet", *arguments]
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("CHECKTICK_", "PG"))}
        with start(command, environ=plain | self.environ, modules=COMMAND) as child:
            try:
                yield child
            finally:
                child.kill()
                child.wait()

    def cli(self, *arguments: str) -> Done:
        """Call the command line as a person does."""
        return call(self.environ, *arguments)

    def ago(self, **duration: float) -> datetime:
        """Return an instant so long before `as_of`."""
        return self.as_of - timedelta(**duration)

    def ahead(self, **duration: float) -> datetime:
        """Return an instant so long after `as_of`."""
        return self.as_of + timedelta(**duration)

    def add(self, table: str, **values: Any) -> int:
        """Insert one row of a table whose key is generated; return the key."""
        names = ", ".join(f'"{name}"' for name in values)
        places = ", ".join("%s" for _ in values)
        key: int = self.value(f"INSERT INTO {table} ({names}) VALUES ({places}) RETURNING id", *values.values())
        return key

    def add_user(self, **values: Any) -> int:
        number = next(_numbers)
        row = {
            "password": "!",
            "is_superuser": False,
            "username": f"user{number}",
            "first_name": "",
            "last_name": "",
            "email": f"user{number}@example.org",
            "is_staff": False,
            "is_active": True,
            "date_joined": self.ago(days=900),
        }
        return self.add("auth_user", **{**row, **values})

    def add_survey(self, **values: Any) -> int:
        """Add a survey that was closed a hundred days ago and has 80 days left, unless told otherwise."""
        number = next(_numbers)
        row = {
            "name": f"Survey {number}",
            "slug": f"survey-{number}",
            "description": "",
            "created_at": self.ago(days=300),
            "owner_id": self.owner_id,
            "style": "{}",
            "captcha_required": False,
            "no_patient_data_ack": False,
            "published_at": self.ago(days=200),
            "status": "closed",
            "visibility": "public",
            "recovery_code_hint": "",
            "closed_at": self.ago(days=100),
            "deletion_date": self.ahead(days=80),
            "retention_months": 6,
            "allow_any_authenticated": False,
            "is_original": True,
            "language": "en",
            "require_passphrase_for_patient_data": False,
            "dsr_warning_message": "",
            "has_pending_dsr": False,
            "suspended_reason": "",
        }
        return self.add("surveys_survey", **{**row, **values})

    def add_due(self, **values: Any) -> int:
        """Add a survey that is due for soft deletion."""
        return self.add_survey(**{"deletion_date": self.ago(hours=1), **values})

    def add_doomed(self, **values: Any) -> int:
        """Add a survey that is due for hard deletion."""
        row = {
            "deletion_date": self.ago(days=31),
            "deleted_at": self.ago(days=30, hours=1),
            "hard_deletion_date": self.ago(hours=1),
        }
        return self.add_survey(**{**row, **values})

    def add_hold(self, survey_id: int, **values: Any) -> int:
        row = {
            "placed_at": self.ago(days=10),
            "reason": "a complaint",
            "authority": "High Court",
            "removal_reason": "",
            "placed_by_id": self.owner_id,
            "survey_id": survey_id,
        }
        return self.add("surveys_legalhold", **{**row, **values})

    def add_response(self, survey_id: int, **values: Any) -> int:
        row = {
            "answers": "{}",
            "submitted_at": self.ago(days=120),
            "survey_id": survey_id,
            "frozen_reason": "",
            "is_frozen": False,
            "freeze_source": "",
        }
        return self.add("surveys_surveyresponse", **{**row, **values})

    def add_question(self, survey_id: int) -> int:
        return self.add(
            "surveys_surveyquestion", text="?", type="text", options="[]", required=False, order=0, survey_id=survey_id
        )

    def add_image(self, question_id: int, path: str) -> Path:
        """Add an image to a question, and its file."""
        self.add(
            "surveys_questionimage",
            image=path,
            label="",
            order=0,
            created_at=self.as_of,
            question_id=question_id,
        )
        return self.add_file(path)

    def add_file(self, path: str) -> Path:
        file = self.media / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"image")
        return file

    def add_condition(self, question_id: int, target_question_id: int | None) -> int:
        return self.add(
            "surveys_surveyquestioncondition",
            operator="eq",
            value="1",
            action="jump_to" if target_question_id else "end_survey",
            order=0,
            description="",
            created_at=self.as_of,
            updated_at=self.as_of,
            question_id=question_id,
            target_question_id=target_question_id,
        )

    def add_token(self, survey_id: int) -> int:
        return self.add(
            "surveys_surveyaccesstoken",
            token=uuid.uuid4().hex,
            created_at=self.as_of,
            note="",
            created_by_id=self.owner_id,
            survey_id=survey_id,
            for_authenticated=False,
        )

    def add_request(self, survey_id: int, response_id: int | None = None, **values: Any) -> int:
        row = {
            "request_type": "erasure",
            "status": "pending",
            "respondent_email": "someone@example.org",
            "request_details": "",
            "controller_response": "",
            "resolution_notes": "",
            "ico_reported": False,
            "created_at": self.as_of,
            "updated_at": self.as_of,
            "response_id": response_id,
            "survey_id": survey_id,
        }
        return self.add("surveys_datasubjectrequest", **{**row, **values})

    def add_freeze_log(self, response_id: int, request_id: int | None = None) -> int:
        return self.add(
            "surveys_responsefreezelog",
            action="freeze",
            source="controller",
            reason="",
            created_at=self.as_of,
            data_subject_request_id=request_id,
            response_id=response_id,
        )

    def add_collection(self, survey_id: int, parent_id: int | None = None) -> int:
        return self.add(
            "surveys_collectiondefinition",
            key=uuid.uuid4().hex,
            name="",
            cardinality="many",
            min_count=0,
            parent_id=parent_id,
            survey_id=survey_id,
        )

    def add_collection_item(self, collection_id: int, child_collection_id: int | None = None) -> int:
        return self.add(
            "surveys_collectionitem",
            item_type="group",
            order=0,
            collection_id=collection_id,
            child_collection_id=child_collection_id,
        )

    def add_progress(self, survey_id: int, **values: Any) -> int:
        row = {
            "session_key": uuid.uuid4().hex,
            "partial_answers": "{}",
            "total_questions": 10,
            "answered_count": 3,
            "created_at": self.ago(days=20),
            "updated_at": self.ago(days=20),
            "expires_at": self.ahead(days=10),
            "survey_id": survey_id,
        }
        return self.add("surveys_surveyprogress", **{**row, **values})

    def add_audit(self, survey_id: int | None, **values: Any) -> int:
        row = {
            "scope": "survey",
            "action": "survey_updated",
            "metadata": "{}",
            "created_at": self.as_of,
            "survey_id": survey_id,
            "message": "",
            "severity": "info",
            "user_agent": "",
            "username_attempted": "",
        }
        return self.add("surveys_auditlog", **{**row, **values})

    def add_recovery(self, survey_id: int, *, document_path: str = "", video_path: str = "") -> uuid.UUID:
        """Add a request to recover a survey's key, with its verification and its trail."""
        request_id = uuid.uuid4()
        self.insert(
            "surveys_recoveryrequest",
            id=request_id,
            request_code=request_id.hex[:20],
            status="completed",
            submitted_at=self.as_of,
            time_delay_hours=24,
            custodian_component_used=False,
            vault_recovery_path=f"recovery/{survey_id}",
            user_context="{}",
            survey_id=survey_id,
            user_id=self.owner_id,
        )
        self.insert(
            "surveys_identityverification",
            id=uuid.uuid4(),
            verification_type="document",
            status="verified",
            document_path=document_path,
            video_recording_path=video_path,
            questions_asked="[]",
            recovery_request_id=request_id,
        )
        self.insert(
            "surveys_recoveryauditentry",
            id=uuid.uuid4(),
            timestamp=self.as_of,
            event_type="requested",
            severity="info",
            actor_type="user",
            details="{}",
            entry_hash="",
            previous_hash="",
            forwarded_to_siem=False,
            recovery_request_id=request_id,
        )
        return request_id

    def add_escrow(self, survey_id: int) -> None:
        self.connection.execute("INSERT INTO surveys_platformkeyversion VALUES ('v1') ON CONFLICT DO NOTHING")
        self.add(
            "surveys_usersurveykekescrow",
            vault_path=f"users/{self.owner_id}/surveys/{survey_id}/recovery-kek",
            escrowed_at=self.as_of,
            email_encrypted=False,
            recovered_count=0,
            platform_key_version_id="v1",
            survey_id=survey_id,
            user_id=self.owner_id,
        )

    def add_everything(self, survey_id: int) -> None:
        """Add to a survey a row of every kind that can belong to one, linked among each other as they can be."""
        token = self.add_token(survey_id)
        response = self.add_response(survey_id, access_token_id=token, is_frozen=True)
        request = self.add_request(survey_id, response)
        self.add_freeze_log(response, request)
        first, second = self.add_question(survey_id), self.add_question(survey_id)
        self.add_image(first, f"question_images/{survey_id}/{first}/one.png")
        self.add_condition(first, second)
        self.add_condition(second, None)
        outer = self.add_collection(survey_id)
        inner = self.add_collection(survey_id, outer)
        self.add_collection_item(outer, inner)
        self.add_progress(survey_id, access_token_id=token)
        self.add_audit(survey_id)
        self.add_hold(survey_id, removed_at=self.ago(days=5))
        self.add_escrow(survey_id)
        self.add_recovery(survey_id, document_path=f"identity/{survey_id}.pdf")
        self.add_file(f"identity/{survey_id}.pdf")
        self.insert(
            "surveys_dataexport",
            id=uuid.uuid4(),
            created_at=self.as_of,
            download_token=uuid.uuid4().hex,
            download_url_expires_at=self.as_of,
            download_count=0,
            response_count=1,
            export_format="csv",
            is_encrypted=False,
            survey_id=survey_id,
        )
        self.insert(
            "surveys_llmconversationsession",
            id=uuid.uuid4(),
            conversation_history="[]",
            current_markdown="",
            created_at=self.as_of,
            updated_at=self.as_of,
            is_active=False,
            survey_id=survey_id,
            user_id=self.owner_id,
        )
        self.add(
            "surveys_surveymembership",
            role="editor",
            created_at=self.as_of,
            survey_id=survey_id,
            user_id=self.owner_id,
        )
        self.add(
            "surveys_datacustodian",
            granted_at=self.as_of,
            reason="",
            survey_id=survey_id,
            user_id=self.owner_id,
        )
        self.add(
            "surveys_dataretentionextension",
            requested_at=self.as_of,
            previous_deletion_date=self.as_of,
            new_deletion_date=self.as_of,
            months_extended=1,
            reason="",
            survey_id=survey_id,
        )
        group = self.value("INSERT INTO surveys_questiongroup DEFAULT VALUES RETURNING id")
        self.add("surveys_survey_question_groups", survey_id=survey_id, questiongroup_id=group)

    def survey(self, survey_id: int, *columns: str) -> tuple[Any, ...]:
        (row,) = self.rows(f"SELECT {', '.join(columns)} FROM surveys_survey WHERE id = %s", survey_id)
        return row

    def survey_ids(self) -> list[int]:
        return [row[0] for row in self.rows("SELECT id FROM surveys_survey ORDER BY id")]

    def rows_of_every_table(self) -> dict[str, int]:
        """Return how many rows each table has of those that hold what belongs to a survey."""
        return {table: self.count(table) for table in DEPENDENT}

    def records(self) -> list[dict[str, Any]]:
        """Return what the audit log keeps of surveys that are gone."""
        query = "SELECT metadata FROM surveys_auditlog WHERE action = 'survey_hard_deleted' ORDER BY id"
        return [row[0] if isinstance(row[0], dict) else json.loads(row[0]) for row in self.rows(query)]
