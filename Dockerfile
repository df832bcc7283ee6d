# syntax=docker/dockerfile:1

# Builds on the platform that the image is for: `docker buildx build --platform linux/amd64,linux/arm64 .`
FROM rust:1.95.0-alpine AS build
RUN apk add --no-cache build-base ca-certificates
WORKDIR /kubestrata
COPY . .
# Messages of panics name files: as they are named here they do not depend on where cargo keeps crates.
ENV RUSTFLAGS="--remap-path-prefix=/usr/local/cargo/registry/src=/crates --remap-path-prefix=/kubestrata=/source"
# The toolchain of the image, not one more that is fetched. Alpine's target is static by itself.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/kubestrata/target \
    RUSTUP_TOOLCHAIN=1.95.0 cargo build --release --locked --bin kubestrata \
    && install -D -m 0755 target/release/kubestrata /image/usr/local/bin/kubestrata \
    && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

# Nothing but the program and the authorities by which it knows collectors: no shell, no libraries.
FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kubestrata" \
      org.opencontainers.image.description="Tells which layer of a Kubernetes cluster is unhealthy, since when, why, and what changed" \
      org.opencontainers.image.source="https://github.com/kubestrata/kubestrata" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/ /
ENV PATH=/usr/local/bin
USER 65532:65532
EXPOSE 9868 9869
ENTRYPOINT ["/usr/local/bin/kubestrata"]
CMD ["run"]
