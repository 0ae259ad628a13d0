# bearerd: what a person types. CI runs `lint`, `docs` and `test`.

.PHONY: demo release release-check sbom test soak bench bench-functions profile layout fuzz mutants lint docs

export PATH := $(CURDIR)/target/tools/bin:$(PATH)

demo: ## Four vendor simulators, a proxy and an app, all on loopback
	cargo run --release -- demo

release: ## The binary as it is shipped: the same bytes wherever it is built, and it names its crates
	.ci/release

release-check: ## Builds it twice in different folders and compares; takes two builds, and is not part of CI
	.ci/release-check

sbom: ## What the release is made of (CycloneDX): target/sbom/bearerd.cdx.json
	.ci/sbom

test: ## All tests, also those against servers and clients that others wrote
	.ci/tools cargo cc
	tests/peers/install.sh
	cargo test --doc --quiet
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run; else cargo test --all-targets; fi

SOAK_SECONDS ?= 600
soak: ## Ten minutes at load while everything changes, on the release build; the tests do 60 s of it
	.ci/tools cargo cc
	SOAK_SECONDS=$(SOAK_SECONDS) cargo test --release --test soak nothing_fails -- --nocapture

bench: ## bearerd beside nginx, HAProxy, Envoy and nghttpx, in one run
	.ci/tools cargo cc python3 nginx haproxy envoy nghttpx wrk h2load curl openssl valgrind strace
	cargo build --release
	python3 bench/run.py

bench-functions: ## Instructions of single functions, beside those that were recorded
	.ci/tools cargo cc python3 valgrind gungraun-runner
	python3 bench/functions/run.py

profile: ## How often each branch is taken under load (bench/profile/bearerd.profdata), for the compiler; once in a while
	.ci/tools cargo cc python3 nginx wrk h2load openssl llvm-profdata
	python3 bench/profile/profile.py

layout: ## Which functions the linker lays side by side (bench/layout/layout.ld): those that run now; once in a while
	.ci/tools cargo cc python3 nginx valgrind
	cargo build --release
	python3 bench/layout/layout.py target/release/bearerd

# `address` looks for what only unsafe code can do, of which there is next to none, and is several times slower.
FUZZ_SANITIZER ?= none
FUZZ_SECONDS ?= 1800
# The profile is of the stable compiler.
fuzz: export RUSTC_WRAPPER =
fuzz: ## Each fuzz target for so long, beginning with its corpus; what it finds lies in fuzz/artifacts
	.ci/tools cargo c++ nightly cargo-fuzz
	for target in $$(ls fuzz/corpus); do mkdir -p target/fuzz-corpus/$$target; \
	  cargo +nightly fuzz run --sanitizer $(FUZZ_SANITIZER) --target-dir target/fuzz $$target target/fuzz-corpus/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=8192 -print_final_stats=1 || exit 1; done

mutants: ## Which changes to the code that decides does no test notice? They are told, and lie in target/mutants/survivors
	.ci/tools cargo cc python3 cargo-mutants
	.ci/mutants target/mutants

lint: ## Format, lints, licences, sources
	.ci/tools cargo cc rustfmt clippy cargo-deny
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo check --quiet --locked --benches --manifest-path bench/functions/Cargo.toml --target-dir target
	cargo deny check licenses bans sources

docs: ## The code's own documentation, into target/doc
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib --document-private-items
