# Names for what deploy/ does. As root, or through sudo where something needs root.

# rustup's cargo where it is new enough, else Debian's; its directory goes first so that rustc,
# rustfmt and clippy are of the same toolchain.
export PATH := $(shell deploy/setup.sh rust):$(PATH)
# The profile of what demo and tests run: optimised, quick to build.
export PROFILE := test-fast
BIN := target/$(PROFILE)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo bench test install bpf fmt clean

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

# An existing configuration is left alone.
PREFIX := /usr/local
install:
	deploy/setup.sh build run
	cargo build --release -p vos-engine
	$(SUDO) install -D -t $(DESTDIR)$(PREFIX)/sbin target/release/vos-engine target/release/vosctl
	[ -e $(DESTDIR)/etc/vos/vos.toml ] || $(SUDO) install -D -m 644 -t $(DESTDIR)/etc/vos configs/vos.toml

bpf:
	deploy/setup.sh bpf
	deploy/bpf.sh build

fmt:
	cargo fmt --all
	cargo fmt --manifest-path ebpf/Cargo.toml

clean:
	rm -rf target ebpf/target
