# syntax=docker/dockerfile:1
# One image for every code location, the daemon, the UI and the pods of runs.
#
# The base is a tag, since a digest must come from where you pull from. Pin it there:
#   docker buildx imagetools inspect python:3.11-slim-bookworm
#   docker build --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:… .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
# Each with its hash, and nothing that the locks do not name. There is no compiler here, so that nothing needs one.
COPY requirements/azure.txt requirements/build.txt requirements/
RUN pip install --require-hashes --no-deps --only-binary=:all: -r requirements/build.txt
RUN pip wheel --require-hashes --no-deps --no-build-isolation --wheel-dir wheels -r requirements/azure.txt
COPY pyproject.toml README.md LICENSE ./
COPY cath_dagster cath_dagster
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels .
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-index --no-deps wheels/*.whl \
    # The root file system is read-only: what is not compiled now is compiled at every start.
    && python -m compileall -q -j 0 /opt/venv/lib

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="cath-dagster" \
      org.opencontainers.image.description="Scheduled maintenance of services on PostgreSQL, run by Dagster" \
      org.opencontainers.image.licenses="MIT"
# Nothing is installed in a running container.
RUN pip uninstall --yes --quiet --root-user-action=ignore pip setuptools wheel
COPY --from=build /opt/venv /opt/venv
# Everything that a process writes goes to /tmp, the only place that need be writable.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    DAGSTER_HOME=/opt/dagster/dagster_home
WORKDIR /opt/dagster
USER 10001:10001
EXPOSE 3030
# The code server of cath; the chart says which code location a pod serves, and has probes of its own.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["dagster", "api", "grpc-health-check", "-p", "3030"]
CMD ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", "3030", "-m", "cath_dagster.cath.definitions", "--location-name", "cath"]
