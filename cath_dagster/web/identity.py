"""Find out who sends a request: somebody with a token, somebody whom a trusted proxy names, or a developer's browser."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from cath_dagster.web import sessions, tokens
from cath_dagster.web.guesses import Guesses
from cath_dagster.web.problems import Problem, too_many, unauthenticated
from cath_dagster.web.rights import Kind, Principal, merged
from cath_dagster.web.settings import ConsoleSettings, is_loopback

BEARER = "bearer "
MAX_HEADER = 4_096
"""Of a name or a list of groups: what is longer is none that a directory has."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What a request says of who sends it."""

    peer: str | None
    """The address at the other end of the socket; no header says another."""
    header: Callable[[str], Sequence[str]]
    """All values of a header, which may come more than once."""
    session: str | None = None
    """The session's cookie."""


@dataclass(frozen=True)
class Doorkeeper:
    """Knows by what people and machines are known."""

    settings: ConsoleSettings
    engine: sa.Engine
    clock: Callable[[], datetime]
    guesses: Guesses = field(default_factory=Guesses)

    def identify(self, asking: Asking) -> Principal:
        """Return who sends a request; raise a `Problem` with 401 for nobody, with 429 for who guesses."""
        given = asking.header("authorization")
        if given:
            return self._by_token(asking, given)
        found = self._by_proxy(asking) or self._by_session(asking)
        if found is None:
            raise unauthenticated("say who you are: through the proxy, or by a token in the header Authorization")
        return found

    def origin(self, asking: Asking) -> str:
        """Return where a request came from: the peer, and whom it speaks for if it is a proxy of ours."""
        peer = asking.peer or "unknown"
        passed_on = ",".join(asking.header("x-forwarded-for"))
        if not passed_on or not self.settings.trusts(asking.peer):
            return peer
        # The proxy itself added the last one; those before it are what the client says.
        return f"{passed_on.rpartition(',')[2].strip()[:100]} by {peer}"

    def _by_token(self, asking: Asking, given: Sequence[str]) -> Principal:
        if len(given) != 1 or given[0][: len(BEARER)].lower() != BEARER:
            raise unauthenticated("the header Authorization holds no bearer token")
        parsed = tokens.parse(given[0][len(BEARER) :].strip())
        origin = self.origin(asking)
        # What has not the form of a token is counted as well: it may be a guess at the form.
        who = (origin, parsed[0] if parsed else "")
        if wait := self.guesses.must_wait(who):
            raise too_many(wait)
        found = None
        if parsed is not None:
            with self.engine.begin() as connection:
                found = tokens.check(connection, *parsed, now=self.clock(), origin=origin)
        if found is None:
            self.guesses.was_wrong(who)
            raise unauthenticated("the token is unknown, expired or revoked")
        return found

    def _by_proxy(self, asking: Asking) -> Principal | None:
        names = asking.header(self.settings.user_header)
        if not names or not self.settings.trusts(asking.peer):
            return None
        groups = asking.header(self.settings.groups_header)
        if len(names) != 1 or len(groups) > 1:
            raise unauthenticated(
                "the proxy names more than one person; it must replace the headers that a client sends"
            )
        name = names[0].strip()
        if not name or not name.isprintable() or max(len(name), *map(len, groups), 0) > MAX_HEADER:
            raise unauthenticated("the proxy gives no name that can be used")
        members_of = [group.strip() for listed in groups for group in listed.split(",")]
        grants = [self.settings.roles[group] for group in members_of if group in self.settings.roles]
        # So that nobody's name can be taken for a token's or for a command's.
        actor = f"user:{name}" if ":" in name or name == sessions.LOCAL_ADMIN else name
        return Principal(actor=actor, kind=Kind.PERSON, roles=merged(grants), origin=self.origin(asking))

    def _by_session(self, asking: Asking) -> Principal | None:
        # Only where a developer's machine was set up for it, and from that machine.
        if not asking.session or not self.settings.sign_in_code or not is_loopback(asking.peer):
            return None
        with self.engine.connect() as connection:
            return sessions.find(connection, asking.session, now=self.clock(), origin=self.origin(asking))


def no_right(principal: Principal, action: str, location: str) -> Problem:
    """Return the answer to somebody who may not do what he wants."""
    role = principal.role_in(location)
    has = f"has the role {role}" if role else "has no role"
    why = "; a token may not, whatever its role" if principal.kind is Kind.TOKEN and role else ""
    return Problem(403, "not allowed", f"{principal.actor} {has} in {location}, which does not allow: {action}{why}")
