# The demo server in a small image.
#
#   docker build -t session-demo .
#   docker run --rm -p 127.0.0.1:3000:3000 -e DEMO_COOKIE=development \
#     -e DEMO_COOKIE_KEY="$(openssl rand -base64 48)" --stop-timeout 20 session-demo
#
# BUILD_IMAGE needs a Rust toolchain, a C compiler and ca-certificates. RUN_IMAGE needs the same C
# library.
ARG BUILD_IMAGE=rust:1-bookworm
ARG RUN_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package demo-server

FROM ${RUN_IMAGE}
# The authorities that the server trusts for `rediss://`. RUN_IMAGE does not contain them.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /source/target/release/demo-server /usr/local/bin/demo-server
# An account without rights. The server needs no file that belongs to it.
USER 65534:65534
# A variable, so that the arguments of `docker run` add settings and do not replace the address.
ENV DEMO_LISTEN=0.0.0.0:3000
EXPOSE 3000
# The primary is process 1: it reaps orphans, and SIGTERM lets requests finish.
ENTRYPOINT ["/usr/local/bin/demo-server"]
