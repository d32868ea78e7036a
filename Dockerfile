# A static binary in an image without a shell. `docker build .` needs nothing but the base images and the Go modules.
FROM golang:1.26-bookworm AS build
WORKDIR /src
# The toolchain that go.mod names comes with the modules.
ENV CGO_ENABLED=0 GOTOOLCHAIN=auto GOFLAGS=-buildvcs=false
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go build -trimpath -ldflags="-s -w" -o /kasbah ./cmd/kasbah

FROM gcr.io/distroless/static-debian12:nonroot
LABEL org.opencontainers.image.title="Kasbah" \
      org.opencontainers.image.description="The authorization service behind Envoy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/kasbah-authz/kasbah"
COPY --from=build /kasbah /kasbah
# The ext_authz gRPC service, and /livez, /readyz and /metrics.
EXPOSE 9191 9192
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/kasbah", "probe"]
ENTRYPOINT ["/kasbah"]
CMD ["serve", "--config", "/etc/kasbah/kasbah.yaml"]
