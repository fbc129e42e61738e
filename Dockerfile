# The demo server in a small image.
#
#   docker build -t session-demo .
#   docker run --rm -p 3000:3000 -e DEMO_COOKIE_KEY="$(openssl rand -base64 48)" session-demo
#
# BUILD_IMAGE needs a Rust toolchain and a C compiler, RUN_IMAGE the same C library.
ARG BUILD_IMAGE=rust:1-bookworm
ARG RUN_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package demo-server

FROM ${RUN_IMAGE}
COPY --from=build /source/target/release/demo-server /usr/local/bin/demo-server
# An account without rights. The server needs no file that belongs to it.
USER 65534:65534
EXPOSE 3000
# The primary is process 1: it reaps orphans, and SIGTERM lets requests finish.
ENTRYPOINT ["/usr/local/bin/demo-server"]
CMD ["--listen", "0.0.0.0:3000"]
