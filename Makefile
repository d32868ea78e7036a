# Targets for developers. Everything that they need is installed by go and by the tests themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := all
export GOTOOLCHAIN ?= auto
buf := go tool -modfile=../tools/go.mod buf
golangci := go tool -modfile=tools/go.mod golangci-lint

.PHONY: all help generate build test race lint fmt bench demo
all: generate build race lint ## everything that CI asks for

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

generate: ## Go from the .proto files, and the descriptors that tests read
	cd proto && $(buf) generate
	cd proto && $(buf) build schema/testdata --as-file-descriptor-set --exclude-source-info -o schema/testdata/bank.binpb

build: ## the kasbah program
	CGO_ENABLED=0 go build -trimpath -o kasbah ./cmd/kasbah

test: ## every test, through a real Envoy
	go test ./...

race: ## every test, with the race detector
	go vet ./...
	go test -race ./...

lint: ## golangci-lint (gofumpt among its formatters) and buf lint
	$(golangci) run ./...
	$(golangci) fmt --diff ./...
	cd proto && $(buf) lint && $(buf) format -d --exit-code

fmt: ## formats Go and .proto files
	$(golangci) fmt ./...
	cd proto && $(buf) format -w

bench: ## the server's benchmarks, beside a server that does nothing
	go test -run '^$$' -bench . -benchmem ./server

demo: ## Envoy, Kasbah, an issuer and an upstream on this machine
	go run ./cmd/kasbah demo
