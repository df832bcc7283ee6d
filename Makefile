# Everything there is to do with the tree; `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help test style build bed check fmt fuzz bench scoreboard chaos clean
.NOTPARALLEL:

say = printf '\n== %(%H:%M:%S)T %s\n' -1

help: ## what there is to do
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 14

test: style build check ## set everything up, then check and test everything: what CI runs
	@$(say) 'tests'
	cargo test --locked --no-fail-fast
	$(say) 'every step passed'

style: ## check the formatting, which takes no time
	@$(say) 'formatting'
	cargo fmt --check

# Side by side: on a new machine the bed's Go programs take a quarter of an hour, and kubestrata's
# crates five minutes. When one fails, the other is not waited for.
build: ## build kubestrata, its tests and the test bed
	@$(say) 'kubestrata and the test bed (about 25 minutes on a new machine, a second on a warm one)'
	set -m
	tests/bed/build &
	bed=$$!
	set +m
	trap 'kill -- -$$bed 2>/dev/null || true' EXIT
	cargo build --locked --all-targets
	wait $$bed

bed: ## build the programs of the test bed only
	@tests/bed/build

# No advisories: their database is a git repository, and package registries are all there is here.
check: ## check lints, licences and bans
	@$(say) 'lints'
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target -- -D warnings
	$(say) 'licences, bans and sources of crates'
	cargo fetch --locked
	"$$(tests/bed/build --bin cargo-deny)/cargo-deny" --locked --offline check bans licenses sources

fmt: ## format the code
	cargo fmt

fuzz: ## fuzz each decoder for ten minutes; needs a nightly toolchain and cargo-fuzz
	fuzz/run

bench: ## run the benchmarks
	cargo bench --locked

scoreboard: ## write docs/scoreboard.md, then score everything in ten clusters
	cargo test --release --locked --test scoreboard || cargo test --release --locked --test scoreboard
	cargo run --release --locked -- evaluate --seeds 10

chaos: ## play a hundred seeds of chaos for the daemon itself
	KUBESTRATA_CHAOS_SEEDS=$${KUBESTRATA_CHAOS_SEEDS:-100} cargo test --release --locked --test chaos -- --nocapture

clean: ## remove what cargo built; the bed's cache is told, and stays
	cargo clean
	@echo "the bed's programs stay in $${KUBESTRATA_BED_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/kubestrata/bed}"
