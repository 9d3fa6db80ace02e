#!/bin/sh
# Lock the dependencies with hashes and without the address of any registry.
set -eu
uv=$1
compile() {
    "$uv" pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links "$@"
}
compile --output-file requirements/runtime.txt
compile --extra dev --constraint requirements/runtime.txt --output-file requirements/dev.txt
compile --extra run --constraint requirements/dev.txt --output-file requirements/run.txt
# What builds the package itself in the image, and docopt, of which there is no wheel.
printf 'hatchling>=1.27\nsetuptools\n' | "$uv" pip compile - --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --constraint requirements/dev.txt --output-file requirements/build.txt
compile --extra azure --extra cloudmake --extra scan --constraint requirements/runtime.txt --output-file requirements/azure.txt
# What installs the rest, many times as fast as pip.
printf 'uv\n' | "$uv" pip compile - --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --constraint requirements/dev.txt --output-file requirements/install.txt
