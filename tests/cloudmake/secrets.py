"""Projects with secrets and a GitHub that listens: small builders, and what came of them."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cloudmake.github_secrets import store
from cath_dagster.cloudmake.keyring import read_keyring
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.development.simulators.github import GitHubServer
from tests.cloudmake.cloudmake import CloudMake
from tests.support.maintained import outcome

JOB = "github_secrets_sync"
MASTER_KEY = "made up master key " + "0123456789abcdef" * 2
SCOPES = ("actions", "codespaces", "dependabot")
WORDS = ("synced", "skipped", "conflict", "deleted", "failed", "missing", "left")


@dataclass
class Secrets:
    """A CloudMake whose projects have repositories `acme/<slug>` at a GitHub of the test's own."""

    cloudmake: CloudMake
    github: GitHubServer

    @classmethod
    @contextlib.contextmanager
    def open(cls, cloudmake: CloudMake) -> Iterator["Secrets"]:
        with GitHubServer(now=lambda: datetime.now(UTC)) as github:
            cloudmake.environ |= {
                "CLOUDMAKE_GITHUB_API_URL": github.url,
                "CLOUDMAKE_GITHUB_TOKEN": github.token,
                "CLOUDMAKE_MASTER_ENCRYPTION_KEY": MASTER_KEY,
            }
            yield cls(cloudmake, github)

    def add_project(self, slug: str, *environments: str, **values: Any) -> uuid.UUID:
        """Add an active project and its repository at GitHub, with environments of these names."""
        values = {"integrations": f'{{"githubRepo": "acme/{slug}"}}', **values}
        project_id = self.cloudmake.add_project(slug=slug, **values)
        self.github.add_repository(f"acme/{slug}", *environments)
        return project_id

    def map(self, project_id: uuid.UUID, name: str, *scopes: str, **values: Any) -> "Secrets":
        """Map a secret into scopes, into Actions alone unless told otherwise."""
        source, *targets = scopes or ("actions",)
        row = {
            "project_id": project_id,
            "secret_name": name,
            "value_hash": "0" * 64,
            "source_scope": source,
            "target_scopes": targets or [source],
            "created_at": self.cloudmake.ago(days=9).replace(tzinfo=None),
        }
        self.cloudmake.insert("secret_mappings", **{**row, **values})
        return self

    def put(self, project_id: uuid.UUID, name: str, value: str | bytes, environment: str = "") -> "Secrets":
        """Store a value."""
        content = value.encode() if isinstance(value, str) else value
        keyring = read_keyring(self.cloudmake.environ)
        with EnvironmentBackends("CLOUDMAKE", self.cloudmake.environ).database("test") as database:
            database.transaction(
                lambda connection: store.put(connection, keyring, project_id, environment, name, content)
            )
        return self

    def add(self, project_id: uuid.UUID, name: str, value: str, *scopes: str) -> "Secrets":
        """Map a secret and store its value."""
        return self.map(project_id, name, *scopes).put(project_id, name, value)

    def exclude(self, pattern: str, project_id: uuid.UUID | None = None) -> uuid.UUID:
        pattern_id: uuid.UUID = self.cloudmake.insert(
            "secret_exclusion_patterns",
            id=uuid.uuid4(),
            project_id=project_id,
            pattern=pattern,
            reason="test",
            is_global=project_id is None,
        )
        return pattern_id

    def sync(self, **config: Any) -> RunResult:
        return self.cloudmake.run(JOB, **config)

    def synced(self, **config: Any) -> dict[str, int]:
        """Run the job well, and return what it counted but for what is 0."""
        result = self.sync(**config)
        assert result.error is None, result.error
        return counts(result)

    def values(self, slug: str, place: str = "actions") -> dict[str, str]:
        return {name: value.decode() for name, value in self.github.values(f"acme/{slug}", place).items()}

    def states(self) -> dict[tuple[str, str], str]:
        """Return how our rows say it stands, by secret and place."""
        query = "SELECT secret_name, target, status FROM maintenance.secret_target ORDER BY 1, 2"
        return {(name, target): status for name, target, status in self.cloudmake.rows(query)}

    def statuses(self) -> dict[str, str]:
        """Return what the service's own rows say, by secret."""
        query = "SELECT secret_name, sync_status::text FROM secret_mappings ORDER BY 1"
        return dict(self.cloudmake.rows(query))

    def events(self) -> list[tuple[Any, ...]]:
        """Return operation, secret, scopes and status of all events, in the order of their names."""
        query = (
            "SELECT operation::text, secret_name, affected_scopes, status::text FROM secret_sync_events "
            "ORDER BY secret_name, operation, created_at"
        )
        return self.cloudmake.rows(query)

    def writes(self) -> list[str]:
        """Return what was written to GitHub so far, and forget nothing."""
        return self.github.writes


def counts(result: RunResult) -> dict[str, int]:
    """Return what a run counted, but for what is 0."""
    details = outcome(result, "secret_mappings").details
    return {word: int(str(details[word])) for word in (*WORDS, "excluded") if details.get(word)}


def check(result: RunResult) -> tuple[bool, str]:
    """Return how SC-005 came out."""
    (found,) = [each for each in result.checks if each.check == "sc_005_secrets_valid"]
    return found.passed, found.message
