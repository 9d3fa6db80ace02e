"""The blob store in a folder, and against a listening Azure Blob endpoint."""

import base64
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self, cast
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from cath_dagster.adapters.blobs import MAX_CONCURRENT_DELETIONS, MAX_SILENCES, Bounds, ObjectBlobStore, open_blob_store
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.ports.blobs import (
    BlobMissingError,
    BlobNameError,
    BlobStoreError,
    Listed,
    Removal,
    RemovalResult,
)

VARIABLE = "CATH_FILES_URL"
SECRET = base64.b64encode(b"planted-secret-of-the-account-00").decode()
BOUNDS = Bounds(request=timedelta(seconds=10), total=timedelta(seconds=20), retries=2)
HANGS_SECONDS = 30
IMPATIENT = Bounds(request=timedelta(seconds=0.2), total=timedelta(seconds=0.4), retries=2)


def open_folder(root: Path) -> ObjectBlobStore:
    return open_blob_store(root.as_uri(), variable=VARIABLE, environ={})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def folder(root: Path) -> ObjectBlobStore:
    return open_folder(root)


class AzureEndpoint(ThreadingHTTPServer):
    """As much of Azure Blob storage as a client's deletions, writes, reads and listings need."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), AzureHandler)
        self.blobs: dict[str, bytes] = {}
        self.containers = {"artefact", "publications", "reports"}
        self.faults: deque[tuple[int, str]] = deque()
        self.hangs = False
        self.unsigned = 0
        self.active = 0
        self.most_active = 0
        self.delay = 0.0
        self.lock = threading.Lock()
        self.stopping = threading.Event()

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class AzureHandler(BaseHTTPRequestHandler):
    @property
    def azure(self) -> AzureEndpoint:
        return cast("AzureEndpoint", self.server)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_one(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not (self.headers.get("Authorization") or "").startswith("SharedKey cathsamples:"):
            self.azure.unsigned += 1
        if self.azure.hangs:
            self.azure.stopping.wait(HANGS_SECONDS)
            return
        container, _, name = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        if self.azure.faults:
            self.refuse(*self.azure.faults.popleft())
        elif container not in self.azure.containers:
            self.refuse(404, "ContainerNotFound")
        else:
            self.serve(container, name, parse_qs(urlsplit(self.path).query), content)

    do_GET = do_PUT = do_POST = do_DELETE = handle_one

    def serve(self, container: str, name: str, query: dict[str, list[str]], content: bytes) -> None:
        path = f"{container}/{name}"
        match self.command, query.get("comp"):
            case "POST", ["batch"]:
                self.delete_batch(content)
            case "PUT", None if path in self.azure.blobs and self.headers["If-None-Match"] == "*":
                self.refuse(409, "BlobAlreadyExists")
            case "PUT", None:
                self.azure.blobs[path] = content
                self.answer(201, b"", {"ETag": "0x1"})
            case "GET", ["list"]:
                self.list_blobs(container, query.get("prefix", [""])[0], query.get("delimiter", [""])[0])
            case "GET", None if path in self.azure.blobs:
                times = {"ETag": "0x1", "Last-Modified": "Fri, 20 Nov 2026 08:00:00 GMT"}
                self.answer(200, self.azure.blobs[path], times)
            case "GET", None:
                self.refuse(404, "BlobNotFound")

    def delete_batch(self, content: bytes) -> None:
        with self.azure.lock:
            self.azure.active += 1
            self.azure.most_active = max(self.azure.most_active, self.azure.active)
        time.sleep(self.azure.delay)
        boundary = self.headers["Content-Type"].partition("boundary=")[2]
        parts = []
        for number, target in enumerate(re.findall(rb"^DELETE /(\S+) HTTP", content, re.MULTILINE)):
            gone = self.azure.blobs.pop(unquote(target.decode()), None) is not None
            status = "202 Accepted" if gone else "404 The specified blob does not exist."
            parts.append(
                f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
                f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n\r\n"
            )
        with self.azure.lock:
            self.azure.active -= 1
        body = "".join([*parts, f"--{boundary}--\r\n"]).encode()
        self.answer(202, body, {"Content-Type": f"multipart/mixed; boundary={boundary}"})

    def list_blobs(self, container: str, prefix: str, delimiter: str) -> None:
        """List as Azure does: with a delimiter, what lies deeper is told by its folder alone."""
        every = [path.removeprefix(f"{container}/") for path in self.azure.blobs if path.startswith(f"{container}/")]
        names, folders = [], set()
        for name in every:
            head, found, _ = name.removeprefix(prefix).partition(delimiter) if delimiter else (name, "", "")
            if not name.startswith(prefix):
                continue
            if found:
                folders.add(f"{prefix}{head}{delimiter}")
            else:
                names.append(name)
        blobs = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>Fri, 20 Nov 2026 08:00:00 GMT</Last-Modified>"
            "<Content-Length>1</Content-Length><Content-Type>text/csv</Content-Type><Etag>0x1</Etag></Properties></Blob>"
            for name in names
        )
        blobs += "".join(f"<BlobPrefix><Name>{escape(folder)}</Name></BlobPrefix>" for folder in sorted(folders))
        body = f'<?xml version="1.0"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>'
        self.answer(200, body.encode(), {})

    def refuse(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said of {SECRET}</Message></Error>"
        self.answer(status, body.encode(), {"x-ms-error-code": code})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def azure() -> Iterator[AzureEndpoint]:
    with AzureEndpoint() as endpoint:
        yield endpoint


def open_account(azure: AzureEndpoint, *, url: str = "az://cathsamples", bounds: Bounds = BOUNDS) -> ObjectBlobStore:
    environ = {"AZURE_STORAGE_ENDPOINT": azure.url, "AZURE_STORAGE_ACCOUNT_KEY": SECRET}
    return open_blob_store(url, variable=VARIABLE, environ=environ, bounds=bounds)


@pytest.fixture
def account(azure: AzureEndpoint) -> ObjectBlobStore:
    return open_account(azure)


def test_tells_when_each_file_of_a_folder_was_last_written(folder: ObjectBlobStore, root: Path) -> None:
    file = root / "artefact" / "a.pdf"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"content")
    os.utime(file, (1_700_000_000, 1_700_000_000))

    assert list(folder.list_files("")) == [Listed("artefact/a.pdf", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC))]


def test_deletes_a_file_in_a_folder(folder: ObjectBlobStore, root: Path) -> None:
    folder.put("artefact/1.json", b"{}")
    assert folder.delete(["artefact/1.json"]) == {"artefact/1.json": RemovalResult(Removal.DELETED)}
    assert not (root / "artefact/1.json").exists()


def test_counts_a_missing_file_as_missing(folder: ObjectBlobStore, root: Path) -> None:
    (root / "artefact").mkdir()
    assert folder.delete(["artefact/1"])["artefact/1"].removal is Removal.MISSING


def test_counts_a_file_of_a_missing_sub_folder_as_missing(folder: ObjectBlobStore) -> None:
    assert folder.delete(["artefact/1"])["artefact/1"].removal is Removal.MISSING


def test_fails_to_delete_where_the_root_folder_is_missing(tmp_path: Path) -> None:
    result = open_folder(tmp_path / "unmounted").delete(["artefact/1"])["artefact/1"]
    assert result.removal is Removal.FAILED
    assert "does not exist" in str(result.error)


@pytest.mark.parametrize(
    "path", ["../kept", "artefact/../../kept", "/kept", "artefact//kept", "a/./kept", "a\n/kept", ""]
)
def test_fails_to_delete_what_is_no_path_below_the_root(folder: ObjectBlobStore, root: Path, path: str) -> None:
    kept = root.parent / "kept"
    kept.write_bytes(b"")
    assert folder.delete([path])[path].removal is Removal.FAILED
    assert kept.exists()


def test_fails_to_delete_through_a_link_out_of_the_root(folder: ObjectBlobStore, root: Path) -> None:
    kept = root.parent / "kept"
    kept.write_bytes(b"")
    (root / "artefact").symlink_to(root.parent)
    assert folder.delete(["artefact/kept"])["artefact/kept"].removal is Removal.FAILED
    assert kept.exists()


def test_fails_to_read_through_a_link_out_of_the_root(folder: ObjectBlobStore, root: Path) -> None:
    (root.parent / "kept").write_bytes(b"secret")
    (root / "link").symlink_to(root.parent / "kept")
    with pytest.raises(BlobStoreError, match="link leads out"):
        folder.get("link")


def test_does_not_delete_a_folder(folder: ObjectBlobStore) -> None:
    folder.put("artefact/inner/1", b"")
    assert folder.delete(["artefact/inner"])["artefact/inner"].removal is Removal.FAILED
    assert list(folder.list("artefact")) == ["artefact/inner/1"]


def test_deletes_the_rest_where_one_path_fails(folder: ObjectBlobStore) -> None:
    folder.put("artefact/1", b"")
    results = folder.delete(["../1", "artefact/1", "artefact/2", "artefact/1"])
    assert [result.removal for result in results.values()] == [Removal.FAILED, Removal.DELETED, Removal.MISSING]


def test_creates_root_and_container_when_it_writes(tmp_path: Path) -> None:
    store = open_folder(tmp_path / "new root")
    store.put("reports/2026-11-16/ü %.csv", b"a,b\n")
    assert (tmp_path / "new root/reports/2026-11-16/ü %.csv").read_bytes() == b"a,b\n"
    assert store.get("reports/2026-11-16/ü %.csv") == b"a,b\n"


def test_does_not_write_over_a_file(folder: ObjectBlobStore) -> None:
    folder.put("reports/1.csv", b"first")
    with pytest.raises(BlobStoreError, match=r"reports/1\.csv"):
        folder.put("reports/1.csv", b"second")
    assert folder.get("reports/1.csv") == b"first"


def test_replaces_a_file_whole_and_makes_the_first(folder: ObjectBlobStore, root: Path) -> None:
    folder.replace("reports/jwks.json", b"a longer first")
    folder.replace("reports/jwks.json", b"second")

    assert folder.get("reports/jwks.json") == b"second"
    assert [path.name for path in (root / "reports").iterdir()] == ["jwks.json"]


def test_lists_the_files_below_a_folder_alone(folder: ObjectBlobStore) -> None:
    for path in ("reports/a/1", "reports/a/2", "reports/ab/3", "files/4"):
        folder.put(path, b"")
    assert sorted(folder.list("reports/a")) == ["reports/a/1", "reports/a/2"]
    assert len(list(folder.list(""))) == 4


def test_lists_nothing_below_a_missing_folder(folder: ObjectBlobStore) -> None:
    assert list(folder.list("reports")) == []


def test_does_not_list_what_lies_behind_a_link(folder: ObjectBlobStore, root: Path) -> None:
    (root.parent / "other").mkdir()
    (root.parent / "other/kept").write_bytes(b"")
    (root / "artefact").symlink_to(root.parent / "other")
    assert list(folder.list("")) == []


def test_addresses_a_file_in_a_folder(folder: ObjectBlobStore, root: Path) -> None:
    assert folder.address("reports/a b.csv") == f"{root.as_uri()}/reports/a%20b.csv"


def test_checks_that_the_root_folder_exists(folder: ObjectBlobStore, tmp_path: Path) -> None:
    folder.check("artefact")
    with pytest.raises(BlobStoreError, match="does not exist"):
        open_folder(tmp_path / "unmounted").check("artefact")


def test_deletes_a_blob(account: ObjectBlobStore, azure: AzureEndpoint) -> None:
    azure.blobs = {"artefact/1": b"", "artefact/2": b""}
    assert account.delete(["artefact/1"]) == {"artefact/1": RemovalResult(Removal.DELETED)}
    assert list(azure.blobs) == ["artefact/2"]


def test_signs_every_request_with_the_account_key(account: ObjectBlobStore, azure: AzureEndpoint) -> None:
    account.put("artefact/1", b"1")
    account.get("artefact/1")
    account.delete(["artefact/1"])
    assert azure.unsigned == 0


def test_counts_a_missing_blob_as_missing(account: ObjectBlobStore) -> None:
    assert account.delete(["artefact/1"])["artefact/1"] == RemovalResult(Removal.MISSING)


def test_fails_to_delete_in_a_missing_container(account: ObjectBlobStore) -> None:
    result = account.delete(["wrong/1"])["wrong/1"]
    assert result.removal is Removal.FAILED
    assert "404 ContainerNotFound" in str(result.error)


def test_deletes_the_other_blobs_where_one_fails(account: ObjectBlobStore, azure: AzureEndpoint) -> None:
    azure.blobs = {"artefact/1": b"", "publications/1.pdf": b""}
    results = account.delete(["artefact/1", "wrong/1", "artefact/2", "publications/1.pdf"])
    assert [result.removal.name for result in results.values()] == ["DELETED", "FAILED", "MISSING", "DELETED"]


def test_deletes_sixteen_blobs_at_a_time_and_no_more(account: ObjectBlobStore, azure: AzureEndpoint) -> None:
    azure.delay = 0.05
    account.delete([f"artefact/{number}" for number in range(40)])
    assert 1 < azure.most_active <= 16


def test_deletes_after_a_passing_fault(account: ObjectBlobStore, azure: AzureEndpoint) -> None:
    azure.blobs = {"artefact/1": b""}
    azure.faults.append((503, "ServerBusy"))
    assert account.delete(["artefact/1"])["artefact/1"].removal is Removal.DELETED


def test_fails_to_delete_after_a_bounded_number_of_faults(account: ObjectBlobStore, azure: AzureEndpoint) -> None:
    azure.faults.extend([(500, "InternalError")] * 99)
    result = account.delete(["artefact/1"])["artefact/1"]
    assert result.removal is Removal.FAILED
    assert len(azure.faults) > 90


def test_fails_to_delete_where_a_request_hangs(azure: AzureEndpoint) -> None:
    azure.hangs = True
    began = time.monotonic()
    account = open_account(azure, bounds=IMPATIENT)
    assert account.delete(["artefact/1"])["artefact/1"].removal is Removal.FAILED
    assert time.monotonic() - began < HANGS_SECONDS


def test_does_not_wait_for_every_file_where_the_store_hangs(azure: AzureEndpoint) -> None:
    azure.hangs = True
    account = open_account(azure, bounds=IMPATIENT)
    paths = [f"artefact/{number}" for number in range(200)]

    results = account.delete(paths)

    assert {result.removal for result in results.values()} == {Removal.FAILED}
    untried = [path for path, result in results.items() if "not tried" in (result.error or "")]
    assert len(untried) >= len(paths) - MAX_SILENCES - MAX_CONCURRENT_DELETIONS
    assert "not tried" in (account.delete(["artefact/x"])["artefact/x"].error or "")


def test_fails_to_read_where_a_request_hangs(azure: AzureEndpoint) -> None:
    azure.hangs = True
    began = time.monotonic()
    with pytest.raises(BlobStoreError, match="cannot read artefact/1"):
        open_account(azure, bounds=IMPATIENT).get("artefact/1")
    assert time.monotonic() - began < HANGS_SECONDS


def test_fails_where_nothing_listens(azure: AzureEndpoint) -> None:
    environ = {"AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1", "AZURE_STORAGE_ACCOUNT_KEY": SECRET}
    store = open_blob_store("az://cathsamples", variable=VARIABLE, environ=environ, bounds=BOUNDS)
    assert store.delete(["artefact/1"])["artefact/1"] == RemovalResult(Removal.FAILED, "GenericError, no answer")


def test_does_not_write_over_a_blob(account: ObjectBlobStore, azure: AzureEndpoint) -> None:
    account.put("reports/1.csv", b"first")
    with pytest.raises(BlobStoreError, match="409 BlobAlreadyExists"):
        account.put("reports/1.csv", b"second")
    assert azure.blobs == {"reports/1.csv": b"first"}


def test_replaces_a_blob(account: ObjectBlobStore) -> None:
    account.replace("reports/jwks.json", b"first")
    account.replace("reports/jwks.json", b"second")

    assert account.get("reports/jwks.json") == b"second"


def test_fails_to_read_a_missing_blob(account: ObjectBlobStore) -> None:
    with pytest.raises(BlobStoreError, match="404 BlobNotFound"):
        account.get("reports/1.csv")


def test_lists_the_blobs_below_a_folder(account: ObjectBlobStore, azure: AzureEndpoint) -> None:
    azure.blobs = {"reports/weekly/1.csv": b"", "reports/weekly/2.csv": b"", "reports/other": b"", "artefact/1": b""}
    assert sorted(account.list("reports/weekly")) == ["reports/weekly/1.csv", "reports/weekly/2.csv"]


@pytest.mark.parametrize("name", ["week//report.csv", "week/../report.csv", "week/tab\t.csv", "week/."])
def test_names_a_blob_whose_name_no_client_can_use(account: ObjectBlobStore, azure: AzureEndpoint, name: str) -> None:
    azure.blobs = {"reports/week/1.csv": b"", f"reports/{name}": b"", "reports/other/1.csv": b""}

    with pytest.raises(BlobNameError) as found:
        list(account.list("reports/week"))

    assert f"the file {name!a} has a name that no client can use" in str(found.value)
    assert list(account.list("reports/other")) == ["reports/other/1.csv"]


@pytest.mark.parametrize("name", ["week/", "week/back\\slash", "week/é", "week/a%2Fb", "/week/1", "week/ ", "week"])
def test_lists_beside_a_blob_with_an_odd_name(account: ObjectBlobStore, azure: AzureEndpoint, name: str) -> None:
    azure.blobs = {"reports/week/1.csv": b"", f"reports/{name}": b""}

    assert "reports/week/1.csv" in set(account.list("reports/week"))


def test_tells_a_missing_file_from_one_that_cannot_be_read(
    account: ObjectBlobStore, folder: ObjectBlobStore, tmp_path: Path
) -> None:
    yet_to_be_made = open_blob_store((tmp_path / "none").as_uri(), variable=VARIABLE, environ={}, made_on_demand=True)
    for store in (account, folder, yet_to_be_made):
        with pytest.raises(BlobMissingError):
            store.get("reports/none.csv")
    with pytest.raises(BlobStoreError) as found:
        account.get("nowhere/none.csv")
    assert not isinstance(found.value, BlobMissingError)


def test_keeps_all_below_the_prefix_of_its_address(azure: AzureEndpoint) -> None:
    store = open_account(azure, url="https://cathsamples.blob.core.windows.net/reports/cath")
    store.put("weekly/1.csv", b"1")
    assert azure.blobs == {"reports/cath/weekly/1.csv": b"1"}
    assert list(store.list("weekly")) == ["weekly/1.csv"]
    assert store.get("weekly/1.csv") == b"1"
    assert store.address("weekly/1.csv") == f"{azure.url}/reports/cath/weekly/1.csv"


def test_does_not_delete_a_container(account: ObjectBlobStore) -> None:
    assert account.delete(["artefact"])["artefact"].removal is Removal.FAILED


def test_checks_that_a_container_can_be_listed(account: ObjectBlobStore) -> None:
    account.check("artefact")
    with pytest.raises(BlobStoreError, match="404 ContainerNotFound"):
        account.check("wrong")


def test_addresses_a_blob_at_the_account() -> None:
    store = open_blob_store("az://cathsamples", variable=VARIABLE, environ={"AZURE_STORAGE_ACCOUNT_KEY": SECRET})
    assert store.address("reports/a b.csv") == "https://cathsamples.blob.core.windows.net/reports/a%20b.csv"


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_says_nothing_of_the_key_or_of_what_the_server_says(
    account: ObjectBlobStore, azure: AzureEndpoint, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level("DEBUG")
    azure.faults.extend([(status, "AuthorizationFailure")] * 20)
    with pytest.raises(BlobStoreError) as caught:
        account.put("reports/1", b"")
    said = f"{account.delete(['reports/1'])} {caught.value!r} {account!r} {caplog.text}"
    assert str(status) in said
    assert caught.value.__context__ is None
    assert SECRET not in said
    assert "http://" not in said.replace(repr(account), "")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/files",
        "file://host/srv/files",
        "file:relative",
        "file:///srv/../etc",
        "s3://planted-secret",
        "az://UPPER_and_wrong-planted-secret",
        "az://user:planted-secret@cathsamples",
        "az://cathsamples/artefact?sig=planted-secret",
        "az://cathsamples/../planted-secret",
        "http://cathsamples.blob.core.windows.net",
        "https://planted-secret.example.org",
        "https://[planted-secret",
    ],
)
def test_names_the_variable_and_not_an_address_that_it_cannot_use(url: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{VARIABLE} must be file:///") as caught:
        open_blob_store(url, variable=VARIABLE, environ={})
    assert "planted-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "environ",
    [
        {"AZURE_STORAGE_ACCOUNT_KEY": "planted-secret"},
        {"AZURE_STORAGE_SAS_TOKEN": "planted-secret"},
        {"AZURE_STORAGE_USE_EMULATOR": "planted-secret"},
        {"AZURE_STORAGE_ENDPOINT": "https://user:planted-secret@example.org"},
        {"AZURE_STORAGE_ENDPOINT": "https://example.org/?sig=planted-secret"},
    ],
)
def test_does_not_echo_credentials_that_it_cannot_use(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_blob_store("az://cathsamples", variable=VARIABLE, environ=environ)
    assert "planted-secret" not in str(caught.value)


@pytest.mark.stack
def test_imports_the_library_only_when_it_is_used() -> None:
    code = "import cath_dagster.adapters.blobs, sys; sys.exit('obstore' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
