# Everything that is done to this repository more than once. The two commands of the README need none of it.

GOLANGCI_LINT_VERSION := v2.15.0

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null)
FUZZTIME  ?= 30s
BENCH     ?= .
E2E_FLAGS ?= -v

BIN    := $(CURDIR)/.bin
LINT   := $(BIN)/golangci-lint
STAMP  := $(BIN)/.golangci-lint-$(GOLANGCI_LINT_VERSION)
SHELLS := bash zsh fish powershell

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

.PHONY: help
help: ## show this list
	@echo 'usage: make TARGET'
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  %-14s %s\n", $$1, $$2 }'

.PHONY: build
build: ## build bin/ocicache: static, and the same bytes wherever and whenever it is built
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ocicache ./cmd/ocicache

.PHONY: test
test: ## run the tests in random order, with the race detector where there is a C compiler
	@cc=$$(go env CC); if command -v "$${cc%% *}" >/dev/null; then \
	  set -x; CGO_ENABLED=1 go test -race -shuffle=on ./...; \
	else \
	  echo "**********************************************************************"; \
	  echo "** NO C COMPILER ($$cc): the tests run WITHOUT THE RACE DETECTOR"; \
	  echo "**********************************************************************"; \
	  set -x; CGO_ENABLED=0 go test -shuffle=on ./...; \
	fi

.PHONY: test-modules
test-modules: ## run the tests of the modules in scripts/, which have dependencies of their own
	@for mod in scripts/*/go.mod; do dir=$${mod%/go.mod}; \
	  if [ -n "$$(find "$$dir" -name '*_test.go' -print -quit)" ]; then (set -x; go -C "$$dir" test ./...); fi; \
	done

.PHONY: e2e
e2e: ## prove conversions with the real BuildKit, each cache once (needs root; E2E=required makes a skip a failure)
	scripts/e2e-setup.sh
	go test -tags e2e -count=1 -timeout 30m $(E2E_FLAGS) ./scripts/e2e

.PHONY: e2e-full
e2e-full: ## the same for every cache in every form and compression
	scripts/e2e-setup.sh
	E2E_FULL=1 go test -tags e2e -count=1 -timeout 120m $(E2E_FLAGS) ./scripts/e2e

.PHONY: kills
kills: ## kill pack and unpack 200 times, at any point, and look at what they leave
	OCICACHE_TEST_KILLS=50 go test -count=1 -timeout 30m -v -run '^TestKilled' ./cmd/ocicache

.PHONY: lint
lint: $(STAMP) ## check formatting, go.mod, scripts and code
	@echo 'gofmt'; out=$$(find . -name '*.go' -not -path './.*' -exec gofmt -l {} +); if [ -n "$$out" ]; then echo "not formatted:"; echo "$$out"; exit 1; fi
	go mod tidy -diff
	for script in .ci/run scripts/*.sh; do bash -n "$$script"; done
	$(LINT) run ./...
	$(LINT) run --build-tags man ./cmd/...
	$(LINT) run --build-tags e2e ./scripts/...

.PHONY: fmt
fmt: $(STAMP) ## format the code
	$(LINT) fmt ./...

$(STAMP):
	mkdir -p $(BIN)
	rm -f $(BIN)/.golangci-lint-*
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	touch $@

.PHONY: fuzz
fuzz: ## let every fuzz target look for new inputs, FUZZTIME (30s) each
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: ## run the benchmarks, also that of a 2 GiB layer, which needs 5 GB of temporary files; BENCH chooses
	go test -run '^$$' -bench '$(BENCH)' -benchmem $$(go list ./... | grep -v /scripts/)
	go test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 30m ./scripts/bench

.PHONY: peers
peers: ## compare the speed with skopeo, regctl, crane, oras, tar and sha256sum (needs docker-registry and skopeo)
	scripts/peers.sh 256
	scripts/peers-archive.sh 512

.PHONY: golden
golden: ## write what the program prints into the scripts that compare it; look at the diff
	go test ./cmd/ocicache -run '^(TestScripts|TestDocuments)$$' -update

.PHONY: man
man: ## write man pages to man/
	mkdir -p man
	go run -tags man ./cmd/ocicache man man/

.PHONY: completions
completions: build ## write completion scripts to dist/completions/
	mkdir -p dist/completions
	for shell in $(SHELLS); do bin/ocicache completion $$shell >dist/completions/ocicache.$$shell; done

.PHONY: repro
repro: ## build twice, in different directories and from an empty cache, and compare the bytes
	scripts/repro.sh

.PHONY: ci
ci: lint test test-modules repro ## what a change has to pass, but for e2e

.PHONY: clean
clean: ## remove what was built, tools included
	rm -rf bin dist man .bin
