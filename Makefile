# Side: everything a person needs. `make` alone lists it.

.DEFAULT_GOAL := help
.PHONY: help demo demo-btc test lint bench bench-peers bench-curves bench-signatures fuzz prereqs prereqs-bitcoin prereqs-test

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: prereqs ## four nodes and their page: typed lines, payments, blocks, equal digests; then node1's console is yours
	@scripts/demo.sh

demo-btc: prereqs-bitcoin ## a Bitcoin chain of your own, two wallets, a payment and two hash time locked contracts
	@scripts/demo-btc.sh

test: prereqs-test ## format, lints, tests, doc tests, documentation
	@scripts/test.sh

lint: prereqs-bitcoin ## format and lints only
	@scripts/test.sh lint

bench: prereqs-bitcoin ## our figures beside their limits (WHAT="name …" runs only those)
	@scripts/bench.sh $(WHAT)

bench-peers: prereqs ## the CRDT beside loro, yrs, automerge, diamond-types, cola (TRACES=folder of editing traces, RUNS=5)
	@TRACES="$(TRACES)" RUNS="$(RUNS)" ONLY="$(ONLY)" WRITE="$(WRITE)" scripts/bench-peers.sh

bench-curves: prereqs ## what operations cost at 1,000 to 1,000,000 of them, ordinary and hostile (MOST=100000 stops there)
	@MOST="$(MOST)" WRITE="$(WRITE)" scripts/bench-curves.sh

bench-signatures: prereqs ## what checking a signature costs by batch size, beside ed25519-zebra and ed25519-dalek
	@scripts/bench-signatures.sh

fuzz: prereqs ## every fuzz target, one minute each (SECONDS_EACH=600 for longer); needs cargo-fuzz
	@scripts/fuzz.sh

prereqs: ## name the system packages that are missing; install them on Debian and Ubuntu
	@scripts/prereqs.sh

prereqs-bitcoin: ## the same, and what building Bitcoin Core's validation takes: for btc-devnet, the tests and the lints
	@scripts/prereqs.sh bitcoin

prereqs-test: ## the same, and the browser that the page is tested in: for the tests
	@scripts/prereqs.sh bitcoin browser
