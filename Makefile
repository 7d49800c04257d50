# Names for what deploy/ does. As root, or through sudo where something needs root.

# rustup's cargo where it is new enough, else Debian's; its directory goes first so that rustc,
# rustfmt and clippy are of the same toolchain.
export PATH := $(shell deploy/setup.sh rust):$(PATH)
# The profile of what demo and tests run: optimised, quick to build.
export PROFILE := test-fast
BIN := target/$(PROFILE)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo bench test bpf fmt clean

demo: build
	$(SUDO) $(BIN)/vos-bench demo --engine $(BIN)/vos-engine --vosctl $(BIN)/vosctl

.PHONY: build
build:
	deploy/setup.sh build run
	cargo build --profile $(PROFILE) -p vos-engine -p vos-bench

# Round trips by each path, in one run: on the core that takes the interrupt, then wherever the scheduler likes.
bench: build
	$(SUDO) $(BIN)/vos-bench rtt --core 0
	$(SUDO) $(BIN)/vos-bench rtt --flood

test:
	deploy/test.sh

bpf:
	deploy/setup.sh bpf
	deploy/bpf.sh build

fmt:
	cargo fmt --all
	cargo fmt --manifest-path ebpf/Cargo.toml

clean:
	rm -rf target ebpf/target
