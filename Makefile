# Escale. `make up` starts the platform with the example on it, `make test` runs every test.

KUBERNETES := v1.36.3
VERSION    ?= 0.1.0-dev
VERSIONPKG := k8s.io/component-base/version
# Clients look at the server's version: Flagger and every chart with a kubeVersion refuse a server that has none.
LDFLAGS := -s -w \
	-X $(VERSIONPKG).gitVersion=$(KUBERNETES) -X $(VERSIONPKG).gitMajor=1 -X $(VERSIONPKG).gitMinor=36 \
	-X main.version=$(VERSION)

GATEWAY_API      := $(shell go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api 2>/dev/null)
# The experimental channel has the standard one's kinds and versions, and the fields of retries and session persistence.
GATEWAY_KINDS    := gatewayclasses gateways listenersets httproutes grpcroutes tlsroutes referencegrants backendtlspolicies
CONTROLLER_TOOLS := sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0
GOLANGCI         := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: prerequisites build ## Start the platform with the example shop on it; Ctrl-C stops both.
	@CGO_ENABLED=0 go build -trimpath ./examples/shop/... # so that the first deployment finds everything compiled
	bin/escale up examples/shop

.PHONY: prerequisites
prerequisites: ## Install what `make up` needs and the machine lacks: nftables, python3, redis-server.
	@scripts/prerequisites up

.PHONY: build
build: ## Build bin/escale.
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/escale ./cmd/escale

# The race detector watches every package that does not link a Kubernetes component; those that do start the program
# itself, so instrumenting another twelve million lines would find nothing of ours.
.PHONY: test
test: build ## Run every test, the engine's included.
	@scripts/prerequisites test
	go test -race -shuffle=on $$(scripts/packages light)
	go test -shuffle=on -p 1 -timeout 20m $$(scripts/packages engine)

.PHONY: check
check: ## What to run before a commit: vet, and the tests that need no engine.
	go vet ./...
	go test -short $$(scripts/packages light)

.PHONY: lint
lint: ## Run the linters. Their cache holds file names, so each checkout has its own.
	go vet ./...
	GOLANGCI_LINT_CACHE=$(CURDIR)/bin/lint-cache go run $(GOLANGCI) run ./...

FUZZTIME ?= 20s
.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME.
	@scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: build ## Run the bench programs one after the other.
	for b in footprint podstart scaleup coldstart queue scalers scaledobjects signals proxy routes replay; do \
		go run ./test/bench/$$b || exit; done

.PHONY: conformance
conformance: build ## Run the Gateway API's conformance suite; needs root. The report is bin/conformance-report.yaml.
	ESCALE_CONFORMANCE=1 ESCALE_BINARY=$(CURDIR)/bin/escale ESCALE_CONFORMANCE_REPORT=$(CURDIR)/bin/conformance-report.yaml \
		go test -count 1 -timeout 30m -v -run TestConformance ./test/conformance

.PHONY: generate
generate: ## Make generated files anew: deep copies, definitions, the command reference.
	go run $(CONTROLLER_TOOLS) object paths=./api/... crd:headerFile= output:crd:dir=api/crds paths=./api/...
	for k in $(GATEWAY_KINDS); do install -m 644 $(GATEWAY_API)/config/crd/experimental/gateway.networking.k8s.io_$$k.yaml api/crds/; done
	go generate ./...
