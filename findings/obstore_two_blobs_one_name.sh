#!/usr/bin/env bash
# obstore: deleting the old blob of a listing deletes the young one, where another client began a key with a slash.
#
# Versions: obstore 0.12.1, azure-storage-blob 12.31.1, Azurite 3.35.0 as the blob service.
#
# One would guess: what a listing returns names the blob that it describes, so a purge may list, choose by
# last_modified and delete what it chose. A key that the library cannot hold would cost that one blob.
#
# What happens: a blob service takes "/minutes.csv" and "minutes.csv" as two keys. obstore drops the slash when it
# lists, so one name comes twice, with two sizes and two ages. Deleting the name of the old entry succeeds and deletes
# the young blob; the old one stays and cannot be read or deleted through obstore at all. A slash at the end of a key
# is dropped alike. An empty part in the middle ("reports/2025//all.csv") is instead an error of the listing as a whole:
# nothing under the prefix is returned, not even the blobs that sort before it.
#
# Why it matters: an exporter that joins folder and name with one slash too many writes such keys every day. A purge
# by age would delete what it must keep, and report success; with the third key it does nothing for anybody. A purge
# must refuse a listing in which a name occurs twice, and have the blob's etag or age confirmed under the name itself.
#
# Output seen:
#> in the service: /minutes.csv (3 bytes), minutes.csv (7 bytes)
#> listed by obstore: minutes.csv (3 bytes), minutes.csv (7 bytes)
#> older than the cutoff: minutes.csv (3 bytes)
#> deleted minutes.csv without an error
#> in the service: /minutes.csv (3 bytes)
#> listed by obstore: minutes.csv (3 bytes)
#> reading minutes.csv: FileNotFoundError
#> deleting minutes.csv: FileNotFoundError
#> in the service: reports/2024.csv (3 bytes), reports/2025//all.csv (3 bytes), reports/2026.csv (3 bytes)
#> listing reports: InvalidPathError, 0 blobs returned before it

set -euo pipefail
expected=$(sed -n 's/^#> //p' "${BASH_SOURCE[0]}")
work=$(mktemp -d)
service=
trap '[[ -z $service ]] || { kill "$service"; wait "$service"; } 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check obstore==0.12.1 azure-storage-blob==12.31.1
npm install --silent --no-fund --no-audit --prefix "$work" azurite@3.35.0

port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
key=$(venv/bin/python -c 'import base64, secrets; print(base64.b64encode(secrets.token_bytes(32)).decode())')
AZURITE_ACCOUNTS="finding:$key" node_modules/.bin/azurite-blob --silent --disableTelemetry --skipApiVersionCheck --inMemoryPersistence \
    --blobPort "$port" >service.txt 2>&1 &
service=$!

cat >purge.py <<'PYTHON'
import sys
import time

import obstore
from azure.storage.blob import BlobServiceClient, ContainerClient
from obstore.exceptions import InvalidPathError
from obstore.store import AzureStore

ACCOUNT = "finding"
PORT, KEY = sys.argv[1:]
ENDPOINT = f"http://127.0.0.1:{PORT}/{ACCOUNT}"


def container(name: str) -> tuple[ContainerClient, AzureStore]:
    service = BlobServiceClient(ENDPOINT, credential={"account_name": ACCOUNT, "account_key": KEY})
    store = AzureStore(
        name, account_name=ACCOUNT, account_key=KEY, endpoint=ENDPOINT, client_options={"allow_http": True}
    )
    return service.create_container(name), store


def show_service(client: ContainerClient) -> None:
    print("in the service:", ", ".join(f"{blob.name} ({blob.size} bytes)" for blob in client.list_blobs()))


def listed(store: AzureStore) -> list:
    return sorted((blob for part in obstore.list(store) for blob in part), key=lambda blob: blob["last_modified"])


def named(blobs: list) -> str:
    return ", ".join(f"{blob['path']} ({blob['size']} bytes)" for blob in blobs)


client, store = container("minutes")
client.upload_blob("/minutes.csv", b"old")
time.sleep(1.1)  # last_modified counts whole seconds
client.upload_blob("minutes.csv", b"current")
cutoff = client.get_blob_client("minutes.csv").get_blob_properties().last_modified

show_service(client)
print("listed by obstore:", named(listed(store)))
expired = [blob for blob in listed(store) if blob["last_modified"] < cutoff]
print("older than the cutoff:", named(expired))
for blob in expired:
    obstore.delete(store, blob["path"])
    print("deleted", blob["path"], "without an error")
show_service(client)
print("listed by obstore:", named(listed(store)))
for doing, attempt in (("reading", obstore.get), ("deleting", obstore.delete)):
    try:
        attempt(store, "minutes.csv")
        print(doing, "minutes.csv: done")
    except FileNotFoundError as error:
        print(doing, f"minutes.csv: {type(error).__name__}")

client, store = container("reports")
for key in ("reports/2024.csv", "reports/2025//all.csv", "reports/2026.csv"):
    client.upload_blob(key, b"row")
show_service(client)
returned = 0
try:
    for part in obstore.list(store, "reports", chunk_size=1):
        returned += len(part)
    print("listing reports:", returned, "blobs returned")
except InvalidPathError as error:
    print(f"listing reports: {type(error).__name__}, {returned} blobs returned before it")
PYTHON

for _ in {1..100}; do
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.2
done
seen=$(venv/bin/python purge.py "$port" "$key")
diff <(echo "$expected") <(echo "$seen")
echo "$seen"
