# make demo   a private PostgreSQL, a small shop, and the daemon at work on it
# make test   every test, on every PostgreSQL version that can be had
# make oracle CASES=10000 SEED=1   more random cases of fast refresh, beginning with that one
# make lint   formatting and lints
# make bench  the figures of docs/benchmarks.md
# make deb    a Debian package in <target directory>/debian; needs cargo-deb (cargo install cargo-deb)
# make setup  installs what the others need; they do it themselves

# Arguments for the demo, such as DEMO="--seconds 20".
DEMO ?=

CASES ?= 10000
SEED ?= 1

.PHONY: demo test oracle lint bench deb setup

# Built without optimisation: the work is PostgreSQL's, and a release build takes minutes longer.
demo: setup
	cargo run --quiet -- demo $(DEMO)

test:
	@scripts/setup.sh tests
	scripts/test.sh

oracle: setup
	ORACLE_CASES=$(CASES) ORACLE_SEED=$(SEED) cargo test --quiet --test oracle exactly_the_rows -- --nocapture --test-threads 1

lint: setup
	cargo fmt --check
	cargo clippy --quiet --all-targets -- -D warnings

bench: setup
	cargo bench

deb: setup
	scripts/deb.sh

setup:
	@scripts/setup.sh
