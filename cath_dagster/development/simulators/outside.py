"""What the sampled services speak to, on loopback: GOV.UK Notify, a mail server, an OAuth provider, MCP, GitHub, Neon."""

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cath_dagster.cath.messages import TEMPLATES
from cath_dagster.development.local import REPOSITORY
from cath_dagster.development.samples.bon import sample as bon_sample
from cath_dagster.development.samples.cloudmake import sample as cloudmake_sample
from cath_dagster.development.simulators.github import GitHubServer
from cath_dagster.development.simulators.mcp import McpSimulator
from cath_dagster.development.simulators.notify import NotifySimulator
from cath_dagster.development.simulators.oauth import OAuthProvider
from cath_dagster.development.simulators.previews import PreviewProviders
from cath_dagster.development.simulators.smtp import SmtpServer

THIRTY_DAYS = 30 * 86_400
"""How long the local provider's tokens live: a second look at the sample finds nothing to refresh."""
_NAMESPACE = uuid.UUID("5d1f2e0a-7a6e-4b56-9a5b-0c7f3b1f9c11")


def template_id(name: str) -> str:
    """Return the provider's id of a template of ours, the same on every machine."""
    return str(uuid.uuid5(_NAMESPACE, name))


def is_repository() -> bool:
    """Return whether this checkout has a history that can be scanned; one that was unpacked has none."""
    return (REPOSITORY / ".git").exists() and shutil.which("git") is not None


@dataclass(frozen=True)
class Outside:
    """The stand-ins that listen."""

    notify: NotifySimulator
    smtp: SmtpServer
    provider: OAuthProvider
    github: GitHubServer
    previews: PreviewProviders
    mcp_config: Path
    """The service's configuration of its MCP servers, which names the one that listens here."""

    @classmethod
    @contextlib.contextmanager
    def listening(cls, *, notify_log: Path, mail_folder: Path) -> Iterator["Outside"]:
        """Start them all, and stop them at the end."""
        with (
            NotifySimulator(log_path=notify_log) as notify,
            SmtpServer(folder=mail_folder) as smtp,
            OAuthProvider(
                lifetime=THIRTY_DAYS, seconds=0.05, is_single_use=False, revoked=bon_sample.revoked_tokens()
            ) as provider,
            McpSimulator() as mcp,
            GitHubServer() as github,
            PreviewProviders(branches=cloudmake_sample.preview_branches()) as previews,
        ):
            for repository in cloudmake_sample.REPOSITORIES:
                github.add_repository(repository, *cloudmake_sample.ENVIRONMENTS)
            config = mail_folder.parent / "mcp" / "config.json"
            config.parent.mkdir(parents=True, exist_ok=True)
            # One that is started with each look would be most of what a look takes.
            servers = {"catalogue": mcp.configuration()["mcpServers"]["catalogue"]}
            config.write_text(json.dumps({"mcpServers": servers}))
            yield cls(notify, smtp, provider, github, previews, config)

    def environment(self) -> dict[str, str]:
        """Return the variables by which the jobs find them."""
        return {
            "CATH_NOTIFY_BASE_URL": self.notify.base_url,
            "CATH_NOTIFY_API_KEY": self.notify.api_key,
            "CATH_TEAM_EMAIL": "team@example.org",
            "CATH_ENV_NAME": "local",
            "CATH_CFT_SIGN_IN_LINK": "http://localhost/cft-login",
            "CATH_CRIME_SIGN_IN_LINK": "http://localhost/crime-login",
            "CATH_MEDIA_VERIFICATION_LINK": "http://localhost/media-verification",
            **{f"CATH_NOTIFY_TEMPLATE_{name.upper()}": template_id(name) for name in TEMPLATES},
            "BON_SMTP_URL": self.smtp.url,
            "BON_MAIL_FROM": "BON <noreply@bon.example>",
            "BON_SHAAM_TOKEN_URL": self.provider.token_url,
            "BON_SHAAM_CLIENT_ID": self.provider.client[0],
            "BON_SHAAM_CLIENT_SECRET": self.provider.client[1],
            "BON_SHAAM_ENCRYPTION_KEY": bon_sample.KEY,
            "CHECKTICK_SMTP_URL": self.smtp.url,
            "CHECKTICK_MAIL_FROM": "CheckTick <noreply@checktick.example>",
            "CHECKTICK_SITE_URL": "http://localhost:8000",
            "CLOUDMAKE_ENVIRONMENT": "production",
            "CLOUDMAKE_MASTER_ENCRYPTION_KEY": cloudmake_sample.KEY,
            "CLOUDMAKE_MCP_CONFIG": str(self.mcp_config),
            "CLOUDMAKE_MCP_LOAD_TEST_MAX_CALLS_PER_MINUTE": "100000",
            "CLOUDMAKE_GITHUB_API_URL": self.github.url,
            "CLOUDMAKE_GITHUB_TOKEN": self.github.token,
            "CLOUDMAKE_GITHUB_SECRETS_SYNC_ENVIRONMENT_NAMES": "production=prod",
            # The stand-in has no limit to spare.
            "CLOUDMAKE_GITHUB_SECRETS_SYNC_WRITES_PER_MINUTE": "6000",
            **self.previews.environment(),
            # Nothing else is at work on the sample.
            "HAY_RETENTION_OWNS": "true",
            **({"CLOUDMAKE_SCAN_PATH": str(REPOSITORY)} if is_repository() else {}),
        }
