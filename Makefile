# Everything that is done to this repository more than once. The two commands of the README need none of it.

GOLANGCI_LINT_VERSION := v2.15.0

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null)
FUZZTIME  ?= 30s
BENCH     ?= .
OUT       ?= bin/ocicache
E2E_FLAGS ?= -v

BIN    := $(CURDIR)/.bin
LINT   := $(BIN)/golangci-lint
STAMP  := $(BIN)/.golangci-lint-$(GOLANGCI_LINT_VERSION)
SHELLS := bash zsh fish powershell
WORKFLOWS := $(wildcard $(CURDIR)/.github/workflows/*.yml) $(CURDIR)/scripts/examples/github-actions.yml $(CURDIR)/scripts/examples/github-convert.yml

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

.PHONY: help
help: ## show this list
	@echo 'usage: make TARGET'
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  %-14s %s\n", $$1, $$2 }'

.PHONY: build
build: ## build bin/ocicache (OUT): static, and the same bytes wherever and whenever it is built
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o $(OUT) ./cmd/ocicache

.PHONY: test
test: ## run the tests in random order, on a disk, with the race detector where there is a C compiler
	@export TMPDIR=$${TMPDIR:-/tmp} OCICACHE_TEST_TAGS=$${OCICACHE_TEST_TAGS:-550} OCICACHE_TEST_WHOLE=1; \
	cc=$$(go env CC); if command -v "$${cc%% *}" >/dev/null; then \
	  set -x; CGO_ENABLED=1 go test -race -shuffle=on -parallel $$(nproc) -timeout 30m ./...; \
	else \
	  echo "**********************************************************************"; \
	  echo "** NO C COMPILER ($$cc): the tests run WITHOUT THE RACE DETECTOR"; \
	  echo "**********************************************************************"; \
	  set -x; CGO_ENABLED=0 go test -shuffle=on -timeout 30m ./...; \
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

.PHONY: e2e-kubernetes
e2e-kubernetes: ## run the Job of scripts/kubernetes on a real cluster, with shards killed and a node silent (needs root; builds Kubernetes once)
	scripts/kubernetes/cluster/build.sh
	mkdir -p bin/kubernetes
	go -C scripts/kubernetes test -tags e2e -count=1 -timeout 30m -v -artifacts -outputdir $(CURDIR)/bin/kubernetes ./e2e | grep --line-buffered -v '^ *=== '

.PHONY: kills
kills: ## kill ocicache 900 times, have the power fail at every moment, and 64 processes write at once; look at what is left
	OCICACHE_TEST_KILLS=50 OCICACHE_TEST_RIVALS=64 go test -count=1 -timeout 30m -v -run '^Test(Killed|PowerCut|PowerCutNeedsSyncs|PowerCutAfterFailure|Rival.*)$$' ./cmd/ocicache
	OCICACHE_TEST_KILLS=50 OCICACHE_TEST_RIVALS=64 go test -count=1 -timeout 30m -v -run '^Test(Killed|Writers.*)$$' ./convert ./layout

.PHONY: faults
faults: ## let every third operation of every command that writes fail once, and fill a real disk (E2E=required makes a skip a failure)
	OCICACHE_TEST_FAULTS=3 go test -count=1 -timeout 30m -v -run '^(TestFaults|TestFullDisk)$$' ./cmd/ocicache | grep -v '^ *=== '

.PHONY: faults-full
faults-full: ## the same for every operation, of which there are 14000
	OCICACHE_TEST_FAULTS=all go test -count=1 -timeout 120m -v -run '^(TestFaults|TestFullDisk)$$' ./cmd/ocicache | grep -v '^ *=== '

.PHONY: page
page: ## look at the pages of migrate, inspect and diff in chromium, and keep screenshots in bin/page (E2E=required makes a skip a failure)
	mkdir -p bin/page
	OCICACHE_TEST_BROWSER=1 go test -count=1 -v -run '^Test(Page|.*InBrowser)' -artifacts -outputdir $(CURDIR)/bin/page ./migrate ./inspect ./cmd/ocicache ./internal/webpage

.PHONY: lint
lint: $(STAMP) ## check formatting, go.mod, scripts, workflows and code
	@echo 'gofmt'; out=$$(find . -name '*.go' -not -path './.*' -exec gofmt -l {} +); if [ -n "$$out" ]; then echo "not formatted:"; echo "$$out"; exit 1; fi
	go mod tidy -diff
	for script in .ci/run scripts/*.sh scripts/release/*.sh; do bash -n "$$script"; done
	go -C scripts/release tool actionlint $(WORKFLOWS)
	$(LINT) run ./...
	$(LINT) run --build-tags man ./cmd/...
	$(LINT) run --build-tags e2e ./scripts/...
	cd scripts/image && $(LINT) run ./...
	cd scripts/kubernetes && $(LINT) run --build-tags e2e ./cluster/... ./e2e/...
	cd scripts/release && $(LINT) run --build-tags release ./...

.PHONY: govulncheck
govulncheck: ## look for known vulnerabilities; needs vuln.go.dev or GOVULNDB, so it is no part of ci
	scripts/govulncheck.sh

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
bench: ## run the benchmarks (BENCH chooses), also that of a 2 GiB layer, which needs 5 GB of disk, a migration of 1000 caches, and 10 000 tags
	go test -run '^$$' -bench '$(BENCH)' -benchmem $$(go list ./... | grep -v /scripts/)
	go test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 30m ./scripts/bench
	OCICACHE_TEST_FLEET=1000 go test -count=1 -timeout 30m -v -run '^TestMigrateFleet$$' ./cmd/ocicache | grep -v '^ *=== '
	OCICACHE_TEST_TAGS=10000 go test -count=1 -timeout 30m -v -run '^TestTagMemory$$' ./cmd/ocicache | grep -v '^ *=== '

.PHONY: peers
peers: ## compare the speed with skopeo, regctl, crane, oras, tar and sha256sum (needs docker-registry and skopeo)
	scripts/peers.sh 256
	scripts/peers-archive.sh 512
	scripts/peers-fleet.sh 200

.PHONY: golden
golden: ## write what the program prints into the scripts that compare it; look at the diff
	go test ./cmd/ocicache -run '^(TestScripts|TestDocuments|TestSchemas)$$' -update

.PHONY: man
man: ## write man pages to man/
	mkdir -p man
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} go run -tags man -ldflags "-X main.version=$(VERSION)" ./cmd/ocicache man man/

.PHONY: completions
completions: build ## write completion scripts to dist/completions/
	mkdir -p dist/completions
	for shell in $(SHELLS); do bin/ocicache completion $$shell >dist/completions/ocicache.$$shell; done
	mv dist/completions/ocicache.powershell dist/completions/ocicache.ps1

.PHONY: repro
repro: ## build twice, in different directories and from an empty cache, and compare the bytes
	scripts/repro.sh

.PHONY: release
release: ## make all that is published of a version in dist/release, and the container image in dist/image
	scripts/release/release.sh dist

.PHONY: release-test
release-test: release ## install the packages, run the image and the action, and make it all again (E2E=required makes a skip a failure)
	go -C scripts/release test -tags release -count=1 -timeout 20m -v ./... | grep -v '^ *=== '

.PHONY: release-repro
release-repro: ## make the release twice, as repro does, which takes minutes
	scripts/repro.sh release

.PHONY: ci
ci: lint test test-modules repro ## what a change has to pass, but for e2e

.PHONY: clean
clean: ## remove what was built, tools included
	rm -rf bin dist man .bin
