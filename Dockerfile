# A small image with nothing but the daemon: docker build -t mvrefreshd .
# Needs DATABASE_URL only; see compose.yaml and kubernetes/mvrefreshd.yaml.
ARG BUILD_IMAGE=docker.io/library/rust:1-bookworm
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
# for the parser of PostgreSQL, which is built from C
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends gcc libc6-dev libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs README.md ./
COPY benches benches
COPY migrations migrations
COPY src src
RUN cargo build --release --locked --bin mvrefreshd

FROM ${RUNTIME_IMAGE}
# certificates, to verify the database's
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log
COPY --from=build /src/target/release/mvrefreshd /usr/bin/mvrefreshd
# Inside a container loopback would reach nobody; what is published is up to whoever runs it.
ENV MVREFRESHD_HTTP__LISTEN=0.0.0.0:9841 \
    MVREFRESHD_LOG__FORMAT=json
# no name, so that Kubernetes can see that it isn't root's; it writes nothing, so the root may be read-only
USER 65532:65532
EXPOSE 9841
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=20s --start-period=30s --retries=3 CMD ["/usr/bin/mvrefreshd", "healthcheck"]
ENTRYPOINT ["/usr/bin/mvrefreshd"]
CMD ["run"]
