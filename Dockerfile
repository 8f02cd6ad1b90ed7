# One image for every process: `docker run candlewick COMMAND`. Slim, without root, without a compiler.
FROM python:3.11-slim-bookworm

RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin candlewick \
    && mkdir /data /weight && chown candlewick:candlewick /data /weight

WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY producers producers
COPY consumer consumer
COPY simulator simulator
COPY candlewick candlewick
RUN python -m pip install --no-cache-dir --disable-pip-version-check '.[simulator,alarm,dashboard,object-store]'

USER candlewick
WORKDIR /data
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 CANDLEWICK_DATA_FOLDER=/data
ENTRYPOINT ["python", "-P", "-m", "candlewick"]
CMD ["--help"]
