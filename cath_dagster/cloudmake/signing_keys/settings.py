"""What operators may say of the rotation of signing keys."""

from datetime import timedelta

from pydantic import Field, model_validator

from cath_dagster.cloudmake.signing_keys.rotation import Rules
from cath_dagster.cloudmake.signing_keys.signing_key import Algorithm
from cath_dagster.core.model.purge import Planning
from cath_dagster.core.model.settings import GatedSettings


# No `PurgeSettings`: a deleted signing key may not live on in an archive.
class JwtKeyRotationSettings(GatedSettings):
    """When keys are changed, of which kind they are, and how long the old ones stay."""

    confirm: bool = Field(
        default=False,
        description="Rotate now, whether it is due or not. Outside production no run does anything without it.",
    )
    emergency: bool = Field(
        default=False,
        description="Rotate now, and make every other key invalid at once: deleted, and out of the JWKS. Whoever holds a "
        "token has to sign in anew. Needs confirm.",
    )
    algorithm: Algorithm = Field(
        default=Algorithm.ES256,
        description="Of new keys. HS256 only for a service that shares its key still; the JWKS leaves such a key out.",
    )
    max_age_days: int = Field(default=90, ge=1, le=365, description="Days after which the active key is due.")
    grace_days: int = Field(
        default=7, ge=0, le=90, description="Days for which a retired key still verifies, longer than any token lives."
    )
    purge_after_days: int = Field(
        default=8, ge=1, le=365, description="Days after which a retired key is deleted; more than the grace."
    )
    publish_ahead_hours: int = Field(
        default=0,
        ge=0,
        le=168,
        description="Hours for which a new key is published before it signs. 0 for verifiers that fetch the JWKS anew when "
        "they meet an unknown kid, as most do.",
    )
    keep: str = Field(
        default="",
        description="Where several keys are active, the kid of the one that stays so; the others are retired.",
    )

    @model_validator(mode="after")
    def _purged_after_grace(self) -> "JwtKeyRotationSettings":
        if self.purge_after_days <= self.grace_days:
            raise ValueError(
                f"purge_after_days is {self.purge_after_days}, and grace_days {self.grace_days}: a key would be deleted "
                "that still verifies"
            )
        return self

    @property
    def grace(self) -> timedelta:
        return timedelta(days=self.grace_days)

    def rules(self, planning: Planning) -> Rules:
        """Return by what a rotation at the reference time goes."""
        return Rules(
            as_of=planning.as_of,
            max_age=timedelta(days=self.max_age_days),
            publish_ahead=timedelta(hours=self.publish_ahead_hours),
            purge_after=timedelta(days=self.purge_after_days),
            keep=self.keep,
            is_forced=self.confirm,
            is_emergency=self.emergency,
        )
