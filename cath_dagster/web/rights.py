"""Who may do what: roles for each code location, each with the rights of those before it, and the actions that they allow."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

EVERYWHERE = "*"
"""In place of a location: in every one, those that come later included."""


class Role(enum.StrEnum):
    """In ascending order."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        return list(Role).index(self)


class Action(enum.StrEnum):
    """What somebody may want to do, by the names that the audit log has for it."""

    VIEW = "view"
    RUN = "run"
    CANCEL = "cancel"
    ENABLE = "enable"
    DISABLE = "disable"
    HOLD = "hold"
    RELEASE = "release"
    REQUEST = "request"
    APPROVE = "approve"
    REJECT = "reject"
    TOKEN = "token"  # noqa: S105 - the name of an action
    FORGET = "forget"


NEEDS: Mapping[Action, Role] = {
    Action.VIEW: Role.VIEWER,
    Action.RUN: Role.OPERATOR,
    Action.CANCEL: Role.OPERATOR,
    Action.ENABLE: Role.OPERATOR,
    Action.DISABLE: Role.OPERATOR,
    Action.HOLD: Role.OPERATOR,
    Action.RELEASE: Role.OPERATOR,
    Action.REQUEST: Role.OPERATOR,
    Action.APPROVE: Role.APPROVER,
    Action.REJECT: Role.APPROVER,
    Action.TOKEN: Role.ADMIN,
    Action.FORGET: Role.ADMIN,
}
OF_PEOPLE = frozenset({Action.APPROVE, Action.REJECT})
"""What no token may do, whatever its role: two pairs of eyes are two people's."""


class Kind(enum.StrEnum):
    """How somebody came in."""

    PERSON = "person"
    """Through the proxy."""
    TOKEN = "token"  # noqa: S105 - the name of a kind
    LOCAL = "local"
    """By the one-time code of a developer's machine."""


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Somebody who has said who he is, and what he may do where."""

    actor: str
    kind: Kind
    roles: Mapping[str, Role] = field(default_factory=dict)
    """By location, or `*`."""
    origin: str = ""
    """Where the request came from, for the audit log."""

    def role_in(self, location: str) -> Role | None:
        """Return the highest role in a location, None for no right at all."""
        return highest(self.roles[name] for name in (location, EVERYWHERE) if name in self.roles)

    def may(self, action: Action, location: str) -> bool:
        """Return whether the action is allowed in a location, or everywhere."""
        role = self.role_in(location)
        if role is None or (action in OF_PEOPLE and self.kind is Kind.TOKEN):
            return False
        return role.rank >= NEEDS[action].rank

    def may_somewhere(self, action: Action) -> bool:
        """Return whether the action is allowed in any location."""
        return any(self.may(action, location) for location in self.roles)

    def seen(self, locations: Iterable[str]) -> list[str]:
        """Return those of the locations that may be looked at."""
        return [location for location in locations if self.may(Action.VIEW, location)]


def highest(roles: Iterable[Role]) -> Role | None:
    """Return the role that contains the others, None of none."""
    return max(roles, key=lambda role: role.rank, default=None)


def merged(grants: Iterable[Mapping[str, Role]]) -> dict[str, Role]:
    """Return what several grants give together."""
    roles: dict[str, Role] = {}
    for grant in grants:
        for location, role in grant.items():
            roles[location] = role if location not in roles else max(role, roles[location], key=lambda each: each.rank)
    return roles
