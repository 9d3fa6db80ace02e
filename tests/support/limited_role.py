"""A role that may do just what it was given."""

from dataclasses import replace

import pytest

from cath_dagster.cath import CATH
from cath_dagster.cli.roles import Roles, give_roles
from cath_dagster.core.roles.grants import RoleChange
from tests.support.roles import Role
from tests.support.service import Service


def give(service: Service, jobs: Role | None = None, restore: Role | None = None) -> list[RoleChange]:
    """Do what `migrate --role` and `--restore-role` do, in this process."""
    roles = Roles(jobs=jobs.name if jobs else None, restore=restore.name if restore else None)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in service.environ.items():
            patch.setenv(name, value)
        return give_roles(CATH, roles, now=service.as_of)


def limited(service: Service, role: Role) -> Service:
    """Return the service as whoever logs in as the role sees it."""
    return replace(service, environ=service.environ | {"CATH_DATABASE_URL": role.url})
