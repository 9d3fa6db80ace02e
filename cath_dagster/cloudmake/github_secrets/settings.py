"""What a synchronisation may be told: which projects, and how hard GitHub is leant on."""

from pydantic import Field

from cath_dagster.cloudmake.github_secrets.hashes import HashKind
from cath_dagster.core.model.settings import JobSettings

JOB = "github_secrets_sync"


class GithubSecretsSyncSettings(JobSettings):
    """Which projects' secrets go to GitHub, and how hard GitHub is leant on."""

    projects: str = Field(
        default="",
        description="Only these projects, by slug or id, with commas between; all active ones by default.",
    )
    force: bool = Field(
        default=False,
        description="Overwrite, and delete, what somebody else has written at GitHub since, or before the first time. "
        "Without it that is a conflict, and stays as it is.",
    )
    environment_names: str = Field(
        default="",
        description="What environments are called at GitHub where it is not dev, staging and production, such as "
        "production=prod in repositories that provisioning made.",
    )
    reserve: int = Field(
        default=100, ge=0, le=100_000, description="Requests of GitHub's hourly quota that are left to others."
    )
    max_writes_per_hour: int = Field(
        default=5_000,
        ge=0,
        le=1_000_000,
        description="Secrets written or deleted at GitHub within an hour, by all runs.",
    )
    writes_per_minute: int = Field(
        default=60,
        ge=1,
        le=6_000,
        description="GitHub's secondary limits ask for a second between two writes; more at once brings them about.",
    )
    retries: int = Field(
        default=3,
        ge=0,
        le=10,
        description="Further attempts at what got no answer, a 5xx or a 429, after 1, 2, 4 seconds and so on.",
    )
    hash: HashKind = Field(
        default=HashKind.HMAC,
        description="What is written to secret_mappings.value_hash: hmac, or sha256 for a database whose service writes "
        "hashes there itself. A plain SHA-256 tells anybody who can read it which of some likely values it is.",
    )
