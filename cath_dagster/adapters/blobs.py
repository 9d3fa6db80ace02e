"""Keep files in a folder or in an Azure storage account, through one library for both."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, cast
from urllib.parse import SplitResult, quote, unquote, urlsplit

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.instants import as_utc
from cath_dagster.core.ports.blobs import (
    BlobMissingError,
    BlobNameError,
    BlobStoreError,
    Listed,
    Removal,
    RemovalResult,
    UnusablePathError,
)
from cath_dagster.core.ports.breaker import Breaker

if TYPE_CHECKING:
    # A library of clouds, which a run without files does not load.
    from obstore import ObjectMeta
    from obstore.store import AzureConfig, AzureStore, ObjectStore

T = TypeVar("T")

# Deletions are one small request each: enough at a time to hide the latency, few enough not to be throttled.
MAX_CONCURRENT_DELETIONS = 16
MAX_SILENCES = 2 * MAX_CONCURRENT_DELETIONS
"""Deletions in a row without an answer, twice those that are under way at once."""
NO_ANSWER = "no answer"
AZURE_DOMAIN = ".blob.core.windows.net"
EMULATOR_URL = "http://127.0.0.1:10000"

# The library takes its own spelling of a setting once only; of several variables for one setting the first wins.
_AZURE_VARIABLES: Mapping[str, Sequence[str]] = {
    "account_key": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY"),
    "sas_token": ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"),
    "token": ("AZURE_STORAGE_TOKEN",),
    "client_id": ("AZURE_STORAGE_CLIENT_ID", "AZURE_CLIENT_ID"),
    "client_secret": ("AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET"),
    "tenant_id": (
        "AZURE_STORAGE_TENANT_ID",
        "AZURE_STORAGE_AUTHORITY_ID",
        "AZURE_TENANT_ID",
        "AZURE_AUTHORITY_ID",
    ),
    "authority_host": ("AZURE_STORAGE_AUTHORITY_HOST", "AZURE_AUTHORITY_HOST"),
    "federated_token_file": ("AZURE_FEDERATED_TOKEN_FILE",),
    "msi_endpoint": ("AZURE_MSI_ENDPOINT", "AZURE_IDENTITY_ENDPOINT"),
    "object_id": ("AZURE_OBJECT_ID",),
    "msi_resource_id": ("AZURE_MSI_RESOURCE_ID",),
    "azure_credential_type": ("AZURE_CREDENTIAL_TYPE",),
    "use_azure_cli": ("AZURE_USE_AZURE_CLI",),
    "skip_signature": ("AZURE_SKIP_SIGNATURE",),
    "use_emulator": ("AZURE_STORAGE_USE_EMULATOR",),
    "endpoint": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}

# Azure says so as the whole request's error code, or as the reason of one deletion in a batch.
_CONTAINER_MISSING = re.compile("ContainerNotFound|specified container does not exist")


_ODD_NAME = re.compile(r'Path "(.*?)"(?: contained|: Encountered)', re.DOTALL)
"""As the library says of what it has listed and cannot address: by the very name, and no URL."""
MAX_NAME = 300


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How long the network may take. `total` covers one operation, its retries and a token fetched for it."""

    request: timedelta = timedelta(seconds=10)
    total: timedelta = timedelta(seconds=30)
    retries: int = 3


def open_blob_store(
    url: str,
    *,
    variable: str,
    environ: Mapping[str, str],
    bounds: Bounds | None = None,
    made_on_demand: bool = False,
) -> "ObjectBlobStore":
    """Open the blob store at `url`, without a request to it yet.

    `file:///path` is a folder whose sub-folders are the containers; `az://account[/container[/folder]]`, or the
    same with https://account.blob.core.windows.net, an Azure storage account. What follows the account stands
    before every path. A folder that is `made_on_demand` need not exist before something is put into it. Azure's credentials and endpoint come from `AZURE_STORAGE_*` and `AZURE_*` in `environ`.

    Raises `ConfigurationError` naming `variable`, never with the URL in it: that may hold a secret.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _unusable(variable) from None
    if parts.username or parts.password or parts.query or parts.fragment or port:
        raise _unusable(variable)
    bounds = bounds or Bounds()
    if parts.scheme == "file":
        return ObjectBlobStore(_open_folder(parts, variable, made_on_demand=made_on_demand), bounds)
    return ObjectBlobStore(_open_account(parts, variable, environ, bounds), bounds)


class ObjectBlobStore:
    """A blob store over obstore; each operation ends within its bounds, whatever the other side does."""

    def __init__(self, root: "_Root", bounds: Bounds) -> None:
        self._root = root
        self._bounds = bounds
        self._breaker = Breaker(limit=MAX_SILENCES)

    def __repr__(self) -> str:
        return f"ObjectBlobStore({self._root.address([])!r})"

    def delete(self, paths: Sequence[str]) -> Mapping[str, RemovalResult]:
        """Delete many files, several at a time; every path gets a result, none raises.

        A missing container is FAILED on Azure, where a wrong account looks just so, and MISSING in a folder;
        a missing root folder is FAILED: it may be a volume that is not mounted. Once the store has not answered for so
        many in a row, the others are FAILED without being tried.
        """
        return asyncio.run(self._delete_all(list(dict.fromkeys(paths))))

    def put(self, path: str, content: bytes) -> None:
        """Write a file that does not exist yet; raise `BlobStoreError` if it does or cannot be written.

        In a folder, folders that are missing are created.
        """
        self._put(path, content, "create")

    def replace(self, path: str, content: bytes) -> None:
        """Write a file in place of what is there, at once and whole; raise `BlobStoreError` if it cannot be written."""
        self._put(path, content, "overwrite")

    def get(self, path: str) -> bytes:
        """Return a file's content; raise `BlobMissingError` if there is none, `BlobStoreError` if it cannot be read."""
        import obstore

        if self._root.is_yet_to_be_made():
            raise BlobMissingError(f"there is no {path}")
        store, key = self._locate_file(path)

        async def read() -> bytes:
            return bytes(await (await obstore.get_async(store, key)).bytes_async())

        return self._run(f"cannot read {path}", read)

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the paths below the folder `prefix`, in no particular order; raise `BlobStoreError` on the way."""
        return (listed.path for listed in self.list_files(prefix))

    def list_files(self, prefix: str) -> Iterator[Listed]:
        """Yield the files below the folder `prefix`, in no particular order; raise `BlobStoreError` on the way."""
        segments = _split(prefix)
        if self._root.is_yet_to_be_made():
            return
        store, key = self._root.locate(segments)
        for page in _read_pages(store, key, f"cannot list {prefix or 'the root'}"):
            for entry in page:
                if (path := self._root.name(segments, entry["path"])) is not None:
                    yield Listed(path, as_utc(entry["last_modified"]))

    def address(self, path: str) -> str:
        """Return where a person finds the file, without credentials."""
        return self._root.address(_split(path))

    def check(self, container: str) -> None:
        """Raise `BlobStoreError` if the container cannot be listed. In a folder it need not exist yet."""
        if self._root.is_yet_to_be_made():
            return
        store, key = self._root.locate(_split(container))
        next(_read_pages(store, key, f"cannot list {container or 'the root'}"), None)

    def _put(self, path: str, content: bytes, mode: Literal["create", "overwrite"]) -> None:
        import obstore

        store, key = self._locate_file(path, create=True)
        self._run(f"cannot write {path}", lambda: obstore.put_async(store, key, content, mode=mode))

    def _locate_file(self, path: str, *, create: bool = False) -> tuple["ObjectStore", str]:
        store, key = self._root.locate(_split(path), create=create)
        if not key:
            raise UnusablePathError(f"{path!r} names no file in a container")
        return store, key

    async def _delete_all(self, paths: Sequence[str]) -> Mapping[str, RemovalResult]:
        gate = asyncio.Semaphore(MAX_CONCURRENT_DELETIONS)
        results = await asyncio.gather(*(self._delete(path, gate) for path in paths))
        return dict(zip(paths, results, strict=True))

    async def _delete(self, path: str, gate: asyncio.Semaphore) -> RemovalResult:
        async with gate:
            if self._breaker.is_open:
                return RemovalResult(Removal.FAILED, "not tried, because the store does not answer")
            result = await self._delete_one(path)
            self._breaker.record(is_outage=NO_ANSWER in (result.error or ""))
        return result

    async def _delete_one(self, path: str) -> RemovalResult:
        import obstore
        from obstore.exceptions import BaseError

        try:
            async with asyncio.timeout(self._bounds.total.total_seconds()):
                store, key = self._locate_file(path)
                # One path a call: of several paths the library reports the first failure only.
                await obstore.delete_async(store, key)
        except BlobStoreError as error:
            return RemovalResult(Removal.FAILED, str(error), is_unusable=isinstance(error, UnusablePathError))
        except (BaseError, OSError, ValueError) as error:
            if _is_missing(error):
                return RemovalResult(Removal.MISSING)
            return RemovalResult(Removal.FAILED, _describe(error))
        return RemovalResult(Removal.DELETED)

    def _run(self, failure: str, operation: Callable[[], Awaitable[T]]) -> T:
        from obstore.exceptions import BaseError

        async def finish() -> T:
            async with asyncio.timeout(self._bounds.total.total_seconds()):
                return await operation()

        try:
            return asyncio.run(finish())
        except (BaseError, OSError, ValueError) as error:
            kind, reason = BlobMissingError if _is_missing(error) else BlobStoreError, _describe(error)
        # Raised out here so that the library's text, which holds URLs, does not travel along as the context.
        raise kind(f"{failure}: {reason}")


class _Root(Protocol):
    """Where the paths of one store begin."""

    def locate(self, segments: Sequence[str], *, create: bool = False) -> tuple["ObjectStore", str]:
        """Return the library's store and the key in it; `create` where a missing root may be made."""
        ...

    def name(self, folder: Sequence[str], key: str) -> str | None:
        """Return the path of a key that was listed below `folder`, None if it is not ours to see."""
        ...

    def address(self, segments: Sequence[str]) -> str: ...

    def is_yet_to_be_made(self) -> bool:
        """Whether there is nothing yet, and rightly so."""
        ...


@dataclass(frozen=True)
class _FolderRoot:
    folder: Path
    made_on_demand: bool = False

    def is_yet_to_be_made(self) -> bool:
        return self.made_on_demand and not self.folder.exists()

    def locate(self, segments: Sequence[str], *, create: bool = False) -> tuple["ObjectStore", str]:
        from obstore.exceptions import BaseError
        from obstore.store import LocalStore

        key = "/".join(segments)
        if not self._holds(key):
            raise UnusablePathError(f"{key}: a link leads out of the root folder")
        if not create and not self.folder.is_dir():
            raise BlobStoreError(f"the root folder {self.folder} does not exist")
        try:
            return LocalStore(self.folder, mkdir=create), key
        except (BaseError, OSError) as error:
            raise BlobStoreError(f"cannot open the root folder {self.folder}: {_describe(error)}") from None

    def name(self, folder: Sequence[str], key: str) -> str | None:
        del folder
        return key if self._holds(key) else None

    def address(self, segments: Sequence[str]) -> str:
        return self.folder.joinpath(*segments).as_uri()

    def _holds(self, key: str) -> bool:
        # realpath and not Path.resolve, which raises on a link that leads to itself.
        return Path(os.path.realpath(self.folder / key)).is_relative_to(os.path.realpath(self.folder))


@dataclass(frozen=True)
class _AccountRoot:
    endpoint: str
    prefix: Sequence[str]
    open_container: Callable[[str], "AzureStore"] = field(repr=False)
    _containers: dict[str, "AzureStore"] = field(default_factory=dict, repr=False)

    def is_yet_to_be_made(self) -> bool:
        return False

    def locate(self, segments: Sequence[str], *, create: bool = False) -> tuple["ObjectStore", str]:
        del create
        container, *rest = [*self.prefix, *segments] or [""]
        if not container:
            raise BlobStoreError("a path in a storage account begins with a container")
        if container not in self._containers:
            self._containers[container] = self.open_container(container)
        return self._containers[container], "/".join(rest)

    def name(self, folder: Sequence[str], key: str) -> str | None:
        container = [*self.prefix, *folder][0]
        return "/".join([container, *key.split("/")][len(self.prefix) :])

    def address(self, segments: Sequence[str]) -> str:
        return "/".join([self.endpoint, *(quote(segment, safe="") for segment in [*self.prefix, *segments])])


def _open_folder(parts: SplitResult, variable: str, *, made_on_demand: bool) -> _FolderRoot:
    folder = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not folder.is_absolute() or ".." in folder.parts:
        raise _unusable(variable)
    return _FolderRoot(folder, made_on_demand)


def _open_account(parts: SplitResult, variable: str, environ: Mapping[str, str], bounds: Bounds) -> _AccountRoot:
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore

    account = parts.netloc.lower()
    if parts.scheme == "https" and account.endswith(AZURE_DOMAIN):
        account = account.removesuffix(AZURE_DOMAIN)
    elif parts.scheme != "az":
        raise _unusable(variable)
    # Azure's own rule for the name of an account.
    if not re.fullmatch(r"[a-z0-9]{3,24}", account):
        raise _unusable(variable)
    settings = _read_settings(environ)
    endpoint = _check_endpoint(settings.get("endpoint"))

    def open_container(name: str) -> AzureStore:
        return AzureStore(
            name,
            config=cast("AzureConfig", {"account_name": account, **settings}),
            client_options={"allow_http": endpoint.startswith("http://"), "timeout": bounds.request},
            retry_config={"max_retries": bounds.retries, "retry_timeout": bounds.total - bounds.request},
        )

    try:
        # Wrong credentials are found here and not half-way through a run; nothing is sent.
        open_container("container")
        prefix = _split(unquote(parts.path).strip("/"))
    except BlobStoreError:
        raise _unusable(variable) from None
    except (BaseError, ValueError) as error:
        raise ConfigurationError(
            f"the account in {variable} cannot be opened with the AZURE_* variables: {_describe_settings(error)}"
        ) from None
    return _AccountRoot(endpoint or _find_endpoint(account, environ), prefix, open_container)


def _read_settings(environ: Mapping[str, str]) -> dict[str, str]:
    given = {
        setting: next((environ[name] for name in names if environ.get(name)), "")
        for setting, names in _AZURE_VARIABLES.items()
    }
    return {setting: value for setting, value in given.items() if value}


def _check_endpoint(endpoint: str | None) -> str:
    if endpoint is None:
        return ""
    # No user, no query: an endpoint stands in the addresses that people are shown.
    if not re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w./-]*)?", endpoint):
        raise ConfigurationError("AZURE_STORAGE_ENDPOINT must be an address such as https://storage.example:443")
    return endpoint.rstrip("/")


def _find_endpoint(account: str, environ: Mapping[str, str]) -> str:
    if environ.get("AZURE_STORAGE_USE_EMULATOR", "").lower() in ("1", "true", "yes", "on"):
        return f"{EMULATOR_URL}/{account}"
    return f"https://{account}{AZURE_DOMAIN}"


def _describe_settings(error: Exception) -> str:
    # Chosen words alone: the library may quote a value, and a value may be a secret in the wrong variable.
    if "Access Key" in str(error):
        return "the account key is not base64"
    if "SAS" in str(error):
        return "the SAS token is not of the form name=value&name=value"
    return f"{type(error).__name__}, check each of them"


def _unusable(variable: str) -> ConfigurationError:
    return ConfigurationError(
        f"{variable} must be file:///absolute/folder, az://account or https://account{AZURE_DOMAIN}, the latter two"
        " with /container/folder after it where all files lie below one; credentials belong in AZURE_STORAGE_*"
        " variables, not in the address"
    )


def _split(path: str) -> list[str]:
    """Return the segments of a path; raise `BlobStoreError` for one that could lead out of the root."""
    if not path:
        return []
    segments = path.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        raise UnusablePathError(f"{path!r} is not a path below the root: no empty segment, no '.' and no '..'")
    if re.search(r"[\x00-\x1f\x7f\\]", path):
        raise UnusablePathError(f"{path!r} is not a path below the root: it holds a backslash or a control character")
    return segments


def _read_pages(store: "ObjectStore", key: str, failure: str) -> Iterator[Sequence["ObjectMeta"]]:
    import obstore
    from obstore.exceptions import BaseError

    pages = obstore.list(store, key or None)
    while True:
        try:
            page = next(pages)
        except StopIteration:
            return
        except (BaseError, OSError, ValueError) as error:
            kind, reason = BlobNameError if _ODD_NAME.search(str(error)) else BlobStoreError, _describe(error)
            break
        yield page
    raise kind(f"{failure}: {reason}")


def _is_missing(error: Exception) -> bool:
    """Return whether there is no such file; a missing container may be a wrong account."""
    return isinstance(error, FileNotFoundError) and not _CONTAINER_MISSING.search(str(error))


def _describe(error: Exception) -> str:
    """Return the class of an error with its status: the library's own text holds URLs and what the server said."""
    if isinstance(error, TimeoutError):
        return f"{NO_ANSWER} in time"
    text = str(error)
    if odd := _ODD_NAME.search(text):
        return f"the file {odd[1][:MAX_NAME]!a} has a name that no client can use; rename or delete it"
    name = type(error).__name__
    if status := re.search(r"status code: (\d{3})|\(code: (\d{3})\)", text):
        code = re.search(r"<Code>([A-Za-z]+)</Code>", text)
        return f"{name}, HTTP status {status[1] or status[2]}" + (f" {code[1]}" if code else "")
    if number := re.search(r"\(os error (\d+)\)", text):
        return f"{name}, {os.strerror(int(number[1]))}"
    return f"{name}, {NO_ANSWER}" if "HTTP error" in text else name
