"""What the environment says of the console; read once, when it starts."""

import ipaddress
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cath_dagster.core.errors import ConfigurationError, MissingConfigurationError
from cath_dagster.web.rights import EVERYWHERE, Role

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 3001
LAST_PORT = 65_535


@dataclass(frozen=True, kw_only=True)
class ConsoleSettings:
    """Everything that the console is told."""

    database_url: str = field(repr=False)
    dagster_url: str
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    user_header: str = "X-Forwarded-User"
    groups_header: str = "X-Forwarded-Groups"
    roles: Mapping[str, Mapping[str, Role]] = field(default_factory=dict)
    """By group, what its members may do where."""
    trusted_proxies: tuple[Network, ...] = ()
    ui_url: str = ""
    """Where people reach Dagster's own UI; no link leads there where it is not set."""
    sign_in_code: str = field(default="", repr=False)
    is_scheduling: bool = True
    """Whether `SCHEDULER_ENABLED` lets schedules and sensors tick."""

    def trusts(self, peer: str | None) -> bool:
        """Return whether a socket's peer is a proxy whose headers count."""
        return is_within(peer, self.trusted_proxies)


def is_within(peer: str | None, networks: Iterable[Network]) -> bool:
    """Return whether an address is in one of the networks; what is no address never is."""
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    # A socket that listens on IPv6 too sees those of IPv4 in a form of its own.
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in networks)


def is_loopback(address: str | None) -> bool:
    """Return whether an address is this machine's own."""
    loopback = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
    return address == "localhost" or is_within(address, loopback)


def read_console_settings(
    environ: Mapping[str, str], locations: Iterable[str], *, host: str | None = None, port: int | None = None
) -> ConsoleSettings:
    """Return the console's settings; the command's own options win over the environment.

    Raises `ConfigurationError` naming the variable, what is wrong with it, and what to write.
    """
    for name in ("DAGSTER_POSTGRES_URL", "CONSOLE_DAGSTER_URL"):
        if not environ.get(name):
            raise MissingConfigurationError(f"{name} not set; the console needs {_MEANS[name]}")
    settings = ConsoleSettings(
        database_url=environ["DAGSTER_POSTGRES_URL"],
        dagster_url=_http_url("CONSOLE_DAGSTER_URL", environ["CONSOLE_DAGSTER_URL"]),
        host=host or environ.get("CONSOLE_HOST") or DEFAULT_HOST,
        port=port if port is not None else _port(environ.get("CONSOLE_PORT")),
        user_header=environ.get("CONSOLE_USER_HEADER") or ConsoleSettings.user_header,
        groups_header=environ.get("CONSOLE_GROUPS_HEADER") or ConsoleSettings.groups_header,
        roles=parse_roles(environ.get("CONSOLE_ROLES") or "{}", locations),
        trusted_proxies=parse_networks(environ.get("CONSOLE_TRUSTED_PROXIES") or ""),
        ui_url=environ.get("CONSOLE_UI_URL") or environ.get("OPERATIONS_UI_URL") or "",
        sign_in_code=environ.get("CONSOLE_SIGN_IN_CODE") or "",
        is_scheduling=(environ.get("SCHEDULER_ENABLED") or "true").lower() != "false",
    )
    if settings.sign_in_code and not is_loopback(settings.host):
        raise ConfigurationError(
            f"CONSOLE_SIGN_IN_CODE is set and the console listens on {settings.host}; a code signs in a local admin, "
            "so listen on 127.0.0.1, or unset it"
        )
    return settings


_MEANS = {
    "DAGSTER_POSTGRES_URL": "the database in which Dagster keeps runs and events",
    "CONSOLE_DAGSTER_URL": "the address of Dagster's web server, by which it launches and cancels",
}


def parse_roles(text: str, locations: Iterable[str]) -> dict[str, dict[str, Role]]:
    """Return who may do what by group; raise `ConfigurationError` for what is no such object, or names nothing."""
    example = '{"team-cath": {"cath": "operator"}, "platform": {"*": "admin"}}'
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"CONSOLE_ROLES is no JSON: {error}; write {example}") from None
    known = {*locations, EVERYWHERE}
    if not isinstance(given, dict) or not all(isinstance(each, dict) for each in given.values()):
        raise ConfigurationError(f"CONSOLE_ROLES is no object of objects; write {example}")
    return {
        group: {_location(group, name, known): _role(group, role) for name, role in grants.items()}
        for group, grants in given.items()
    }


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return addresses and networks from a list with commas or blanks between."""
    try:
        return tuple(ipaddress.ip_network(each) for each in text.replace(",", " ").split())
    except ValueError as error:
        raise ConfigurationError(
            f"CONSOLE_TRUSTED_PROXIES: {error}; write addresses or networks, like 10.0.3.7, 10.0.4.0/24"
        ) from None


def _location(group: str, name: str, known: set[str]) -> str:
    if name not in known:
        raise ConfigurationError(
            f"CONSOLE_ROLES gives {group!r} a role in {name!r}, of which there is none; there are {', '.join(sorted(known))}"
        )
    return name


def _role(group: str, role: object) -> Role:
    if role not in list(Role):
        raise ConfigurationError(f"CONSOLE_ROLES gives {group!r} the role {role!r}; there are {', '.join(Role)}")
    return Role(str(role))


def _http_url(name: str, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        # The value is not shown: a URL with a user may have a password as well.
        raise ConfigurationError(f"{name} is no address like http://cath-dagster-webserver:3000")
    return value.rstrip("/")


def _port(value: str | None) -> int:
    if not value:
        return DEFAULT_PORT
    if not value.isdigit() or not 0 < int(value) <= LAST_PORT:
        raise ConfigurationError(f"CONSOLE_PORT is {value!r}; write a number up to {LAST_PORT}")
    return int(value)
