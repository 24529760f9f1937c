# bootagent. `make` without a target lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The version comes from the tag, or else from CHANGELOG.md. The date in the
# packages is the changelog's, so that the same tree makes the same bytes.
VERSION ?= $(shell packaging/changelog version)
BUILD   ?= build
ARCHES  := amd64 arm64

export GOTOOLCHAIN := local
# All builds here use the same flags, so that each package is compiled once: the
# SDK's EC2 alone takes minutes. The race detector needs cgo, and compiles again.
export GOFLAGS     := -trimpath
export CGO_ENABLED := 0
export SOURCE_DATE_EPOCH := $(shell packaging/changelog date)

tool := go tool -modfile=test/tools.mod

help: ## list the targets; the times are budgets on two cores without KVM
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

# Building

build: build-$(shell go env GOARCH) ## build the two programs, static, into build/
	cp $(BUILD)/$(shell go env GOARCH)/bootagent* $(BUILD)/

build-%:
	mkdir -p $(BUILD)/$*
	GOOS=linux GOARCH=$* go build -buildvcs=false \
		-ldflags '-s -w -X main.version=$(VERSION)' -o $(BUILD)/$*/ ./cmd/...

package: $(ARCHES:%=package-%) ## build .deb and .rpm, amd64 and arm64, into build/ (20 s; the first time 3 min)

package-%: build-% package-doc
	rm -f $(BUILD)/bootagent_*_$*.deb $(BUILD)/bootagent-*.$(if $(filter arm64,$*),aarch64,x86_64).rpm
	for format in deb rpm; do \
		ARCH=$* BUILD=$(BUILD) VERSION=$(VERSION) \
		$(tool) nfpm package --config packaging/nfpm.yaml --packager $$format --target $(BUILD)/; \
	done

package-doc:
	mkdir -p $(BUILD)/doc
	gzip -9nc packaging/man/bootagent.8 >$(BUILD)/doc/bootagent.8.gz
	gzip -9nc packaging/man/bootagent-role.5 >$(BUILD)/doc/bootagent-role.5.gz
	gzip -9nc CHANGELOG.md >$(BUILD)/doc/changelog.gz
	packaging/changelog debian | gzip -9nc >$(BUILD)/doc/changelog.Debian.gz

# Checking. Each suite writes its counts to build/results. The target that you
# call ends with their sum.

results := $(abspath $(BUILD))/results
summary := $(abspath $(BUILD))/summary
total    = $(summary) -to $(results) total

test: prerequisites ## run lint and all tests, also those in virtual machines; first install what they need (60 min)
	rm -rf $(results)
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory package summary
	status=0; $(MAKE) --no-print-directory --keep-going total=: unit simulated lab e2e debian13 || status=1; \
		$(summary) -packages -to $(results) total unit rules sim race mutants fleet walks lab e2e trixie-ci && exit $$status

unit: prerequisites package summary ## run the tests that need no virtual machine, with the race detector (2 min; the first time 9, for the AWS SDK)
	CGO_ENABLED=1 $(summary) -to $(results) -budget 140s unit -race -timeout 5m ./...
	cd test && $(summary) -to $(results) -budget 60s rules -count=1 -timeout 5m -skip TheWalksOfThePageWork \
		$$(go list ./... | grep -vE '/(lab|e2e|demo|sim|fleet)(/|$$)')
	$(total) unit rules

simulated: prerequisites summary ## run 10,000 schedules of boots and faults in a simulated world, its mutants, a fleet, and the walks of docs/contributing.md (8 min)
	cd test && $(summary) -to $(results) -budget 4m sim -count=1 -timeout 20m -skip Mutant ./sim -seeds 10000 -twice 1000
	cd test && CGO_ENABLED=1 $(summary) -to $(results) -budget 2m race -race -count=1 -timeout 20m -skip Mutant ./sim -seeds 600 -twice 20
	cd test && $(summary) -to $(results) -budget 2m mutants -count=1 -timeout 20m -run Mutant ./sim
	cd test && $(summary) -to $(results) -budget 2m fleet -count=1 -timeout 20m ./fleet
	cd test && $(summary) -to $(results) -budget 90s walks -count=1 -timeout 10m -run TheWalksOfThePageWork ./rules
	$(total) sim race mutants fleet walks

sim: prerequisites ## run the simulated world for 5 minutes: boots per second, and the table of faults; FOR=1h for longer
	cd test && go test ./sim -count=1 -timeout 0 -run Schedules -v -for $(FOR) -from $$RANDOM$$RANDOM | grep -v '^=== '

FOR ?= 5m

fleet: ## write docs/fleet.md: a thousand instances of one account, and their calls to EC2 (1 min)
	cd test && go test ./fleet -count=1 -timeout 20m -update

lab: prerequisites package summary ## run the tests of the lab itself, in a virtual machine (5 min)
	cd test && $(summary) -to $(results) -live -budget 5m lab -count=1 -timeout 20m ./lab/...
	$(total) lab

e2e: prerequisites package summary ## run the end-to-end tests in virtual machines (40 min)
	cd test && $(summary) -to $(results) -live -budget 40m e2e -count=1 -p 1 -timeout 60m ./e2e/...
	$(total) e2e

debian13: prerequisites package summary ## run the demo on Debian 13, with systemd 257 (4 min; the first time 6)
	cd test && export BOOTAGENT_LAB_PLATFORM=trixie && $(summary) -to $(results) -budget 4m $$(go run ./platforms suite -ci trixie)
	$(total) trixie-ci

# Each platform has its own suite. What changes daily is only reported.
platforms: prerequisites package summary ## run the demo, the life of a database and the contract on the platforms of docs/platforms.md (90 min; the first time 100)
	$(if $(filter arm64,$(PLATFORMS)),test/prerequisites arm64)
	status=0; cd test; for on in $(PLATFORMS); do \
		BOOTAGENT_LAB_PLATFORM=$$on $(summary) -to $(results) $$(go run ./platforms suite $$on) || status=1; done; \
		$(total) $(PLATFORMS) && exit $$status

PLATFORMS ?= bookworm trixie sid arm64 selinux

platforms-page: ## write docs/platforms.md from the results of make test and make platforms
	cd test && go run ./platforms page $(results)

contract: prerequisites package ## make each engine go through each situation in virtual machines, and write docs/contract.md (12 min)
	rm -f $(results)/contract-*.jsonl
	-cd test && go test ./e2e -count=1 -timeout 40m -v -run Contract
	cd test && go test ./contract -count=1 -update

powercut: prerequisites package ## cut the power of machines with each engine CUTS times, and count the rows that clients saw committed (1 min a cut)
	cd test && go test ./e2e -count=1 -timeout 0 -v -run NoCommitIsLost -cuts $(CUTS) -cut-seed $$RANDOM

CUTS ?= 200

demo: prerequisites package ## run the README's example in virtual machines, and print what happens (5 min)
	cd test && go run ./demo

figures: prerequisites package ## measure what bootagent costs: CPU, memory, time to start, sizes (15 min)
	cd test && go run ./figures

proof-table: prerequisites ## measure what the blank proof finds, and write it into docs/proof.md; needs root (5 min, 2 GB of disk at most)
	go test ./pkg/blankproof -count=1 -timeout 60m -v -run TheTableOfTheProofsPage -write-proof-table

lint: prerequisites ## run gofumpt, go vet, staticcheck, shellcheck, mandoc (1 min; the first time 3 min)
	unformatted=$$($(tool) gofumpt -l cmd pkg test); \
		[ -z "$$unformatted" ] || { echo "not formatted; run: $(tool) gofumpt -l -w cmd pkg test"; echo "$$unformatted"; exit 1; }
	go vet ./...
	$(tool) staticcheck ./...
	cd test && go vet ./...
	cd test && go tool -modfile=tools.mod staticcheck ./...
	find . \( -name .git -o -path ./build \) -prune -o -type f -print0 | \
		xargs -0 awk 'FNR == 1 && /^#!.*sh|^# shellcheck shell=/ { print FILENAME } { nextfile }' | \
		xargs shellcheck
	mandoc -T lint -W warning packaging/man/*

clean: ## delete build/
	rm -rf $(BUILD)

prerequisites:
	@test/prerequisites

summary:
	cd test && go build -buildvcs=false -o $(summary) ./summary

.PHONY: help build package package-doc test unit simulated sim fleet lab e2e debian13 platforms platforms-page demo contract powercut figures proof-table lint clean prerequisites summary
