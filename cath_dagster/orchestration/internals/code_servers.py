"""Where code locations are loaded from, and whether they load."""

from dagster._api.list_repositories import sync_list_repositories_grpc
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_origin import (
    CodeLocationOrigin,
    GrpcServerCodeLocationOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
)

__all__ = [
    "CodeLocationOrigin",
    "DagsterUserCodeUnreachableError",
    "GrpcServerCodeLocationOrigin",
    "ManagedGrpcPythonEnvCodeLocationOrigin",
    "sync_list_repositories_grpc",
]
