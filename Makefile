# Escale. `make up` starts the platform with the example on it, `make test` runs every test.

KUBERNETES := v1.36.3
VERSION    ?= 0.1.0-dev
VERSIONPKG := k8s.io/component-base/version
# Clients look at the server's version: Flagger and every chart with a kubeVersion refuse a server that has none.
LDFLAGS := -s -w \
	-X $(VERSIONPKG).gitVersion=$(KUBERNETES) -X $(VERSIONPKG).gitMajor=1 -X $(VERSIONPKG).gitMinor=36 \
	-X main.version=$(VERSION)

.PHONY: build
build: ## Build bin/escale.
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/escale ./cmd/escale
