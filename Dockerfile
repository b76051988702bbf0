# backfill in a container, with the locked versions and every extra:
#   docker build -t backfill .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" backfill --version
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/build && python -m venv /opt/backfill
COPY requirements-all.lock requirements-build.lock ./
RUN /opt/build/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements-build.lock
RUN /opt/backfill/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements-all.lock
COPY pyproject.toml README.md LICENSE ./
COPY backfill backfill
COPY jobs/recipes jobs/recipes
RUN /opt/build/bin/hatchling build --target wheel --directory /opt/wheel
RUN /opt/backfill/bin/pip install --no-cache-dir --no-index --no-deps /opt/wheel/*.whl

FROM python:3.11-slim
COPY --from=build /opt/backfill /opt/backfill
ENV PATH=/opt/backfill/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# Jobs, their data and .backfill, the memory of what was sent: mount it, and keep it.
VOLUME /work
WORKDIR /work
RUN useradd --uid 1000 --create-home backfill
USER backfill
ENTRYPOINT ["backfill"]
CMD ["--help"]
