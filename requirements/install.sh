#!/bin/sh
# Install a lock and this checkout into a virtual environment, which is made if it is missing: install.sh VENV LOCK DOWNLOAD
# DOWNLOAD says how much comes where no cache has it.
set -eu
venv=$1 lock=$2 download=$3 python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $python is older than 3.11; name another one, as in: make run PYTHON=python3.12" >&2
    exit 1
}
started=$(date +%s)
count=$(grep -c '^[a-z0-9].*==' "$lock")
echo "installing $count packages into $venv, each with its hash: about $download to download the first time, half a minute or so"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
[ -x "$venv/bin/uv" ] || "$venv/bin/pip" install --quiet --require-hashes --no-deps -r requirements/install.txt
# Only pip may have been told of an index or a certificate.
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --require-hashes --no-deps -r "$lock" ||
    "$venv/bin/pip" install --quiet --require-hashes --no-deps -r "$lock"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
echo "installed in $(($(date +%s) - started)) s: $(du -sh "$venv" | cut -f1) in $venv"
