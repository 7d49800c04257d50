# Names for what deploy/ does. As root, or through sudo where something needs root.

# rustup's cargo where it is new enough, else Debian's; its directory goes first so that rustc,
# rustfmt and clippy are of the same toolchain.
export PATH := $(shell deploy/setup.sh rust):$(PATH)
# The profile of what demo and tests run: optimised, quick to build.
export PROFILE := test-fast
BIN := target/$(PROFILE)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo bench bench-answers bench-verdict bench-parse bench-store test test-zerocopy fuzz install bpf fmt clean

demo: build
	$(SUDO) $(BIN)/vos-bench demo --engine $(BIN)/vos-engine --vosctl $(BIN)/vosctl

.PHONY: build
build:
	deploy/setup.sh build run
	cargo build --profile $(PROFILE) -p vos-engine -p vos-bench

# A short form of what is measured, in nine minutes: good traffic under floods by each way in, round trips by each path, what
# a verdict costs, and what lists and sources do to that. The page is bench/report/index.html; the tables of
# "Good traffic under attack" in README.md are renewed.
REPORT := bench/report
bench: build
	deploy/setup.sh load
	mkdir -p $(REPORT)
	$(SUDO) $(BIN)/vos-bench shield --rounds 3 --seconds 1.5 --flood scanner@max,register@150000,register:0@150000 \
		--json $(REPORT)/shield.json --readme README.md
	$(SUDO) $(BIN)/vos-bench rtt --core 0 --rounds 2 --seconds 1.5
	$(SUDO) $(BIN)/vos-bench verdict --rounds 9 --packets 900000 --json >$(REPORT)/verdict.json
	$(SUDO) $(BIN)/vos-bench scale --json >$(REPORT)/scale.json
	$(BIN)/vos-bench page $(REPORT)/shield.json $(REPORT)/verdict.json $(REPORT)/scale.json >$(REPORT)/index.html
	@echo "$(REPORT)/index.html"

# All floods, at more rates and for longer; and round trips wherever the scheduler likes.
.PHONY: bench-long
bench-long: build
	deploy/setup.sh load
	mkdir -p $(REPORT)
	$(SUDO) $(BIN)/vos-bench shield --json $(REPORT)/long.json --html $(REPORT)/long.html
	$(SUDO) $(BIN)/vos-bench rtt --core 0
	$(SUDO) $(BIN)/vos-bench rtt --flood

# What a reply to OPTIONS costs at the NIC and by Kamailio, which Debian has built for speed: so is the engine here.
bench-answers:
	deploy/setup.sh build run load
	cargo build --release -p vos-engine -p vos-bench
	$(SUDO) target/release/vos-bench answers --core 0

# What a verdict costs, frame by frame, as multiples of an empty program; the tables in README.md are renewed.
# Beside another XDP program: make bench-verdict OBJECTS="--object other=FILE --fill other:MAP=c6336409:01"
bench-verdict: build
	$(SUDO) $(BIN)/vos-bench verdict $(OBJECTS) --readme README.md

# The SIP parser beside others, in its two builds where the CPU runs both; the tables in README.md are renewed.
PEERS := target/peers
V3 := $(shell grep -qw avx2 /proc/cpuinfo && grep -qw bmi2 /proc/cpuinfo && echo target/x86-64-v3)
bench-parse:
	deploy/setup.sh build bench
	cargo build --release -p vos-bench --features parsers
	$(if $(V3),RUSTFLAGS="-C target-cpu=x86-64-v3" cargo build --release -p vos-bench --features parsers --target-dir $(V3))
	mkdir -p $(PEERS)
	cc -O2 -Wall -Wextra -o $(PEERS)/osip2 bench/peers/osip2.c $$(pkg-config --cflags --libs libosip2)
	cc -O2 -Wall -Wextra -o $(PEERS)/sofia bench/peers/sofia.c $$(pkg-config --cflags --libs sofia-sip-ua)
	target/release/vos-bench parse $(V3:%=--v3 %/release/vos-bench) \
		--peer $(PEERS)/osip2 --peer $(PEERS)/sofia --readme README.md

# What a million decisions cost: to import, load, list, compare and undo, and a single one beside them.
bench-store:
	deploy/setup.sh build run
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$(SUDO) env VOS_DECISIONS=1000000" \
		cargo test --release -p vos-engine --test million -- --nocapture

# Load, junk, blocks, reloads and restarts, for as long as one likes; then all books must balance: make soak MINUTES=60
MINUTES := 10
.PHONY: soak
soak: build
	deploy/setup.sh load
	$(SUDO) $(BIN)/vos-bench soak --minutes $(MINUTES)

test:
	deploy/test.sh

# The engine on drivers that grant zero-copy, in emulated machines: virtio_net, and igb with four queues.
test-zerocopy: build
	deploy/test.sh zero-copy

# A long campaign: make fuzz FUZZ=3600. The tests run a minute of it.
FUZZ := 600
fuzz:
	deploy/setup.sh build fuzz
	deploy/fuzz.sh linear
	deploy/fuzz.sh $(FUZZ)

# An existing configuration is left alone.
PREFIX := /usr/local
install:
	deploy/setup.sh build run
	cargo build --release -p vos-engine
	$(SUDO) install -D -t $(DESTDIR)$(PREFIX)/sbin target/release/vos-engine target/release/vosctl
	$(SUDO) target/release/vosctl man --dir $(DESTDIR)$(PREFIX)/share/man/man8
	target/release/vosctl completions bash | $(SUDO) install -D -m 644 /dev/stdin \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/vosctl
	$(SUDO) install -D -t $(DESTDIR)$(PREFIX)/share/vos/hooks configs/hooks/*
	$(SUDO) install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/vos/prometheus configs/prometheus/*
	$(SUDO) install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/vos/grafana configs/grafana/*
	[ -e $(DESTDIR)/etc/vos/vos.toml ] || $(SUDO) install -D -m 644 -t $(DESTDIR)/etc/vos configs/vos.toml

# target/debian/vos-fastpath_VERSION_ARCH.deb
.PHONY: deb
deb:
	deploy/setup.sh build deb
	cargo build --release -p vos-engine
	deploy/deb.sh release

# The container's image vos-fastpath: static programs, nothing else. By docker, podman, or BUILDER="PROGRAM FLAGS".
STATIC := RUSTFLAGS="-C target-feature=+crt-static" cargo build --target $(shell uname -m)-unknown-linux-gnu --target-dir target/static
.PHONY: image test-container
image:
	deploy/setup.sh build
	$(STATIC) --release -p vos-engine
	deploy/container/image.sh release

# It, by podman, with the capabilities that deploy/container grants it.
test-container: build
	deploy/setup.sh container
	$(STATIC) --profile $(PROFILE) -p vos-engine
	$(SUDO) env BENCH=$(BIN)/vos-bench deploy/container/check.sh $(PROFILE)

bpf:
	deploy/setup.sh bpf
	deploy/bpf.sh build

fmt:
	cargo fmt --all
	cargo fmt --manifest-path ebpf/Cargo.toml
	cargo fmt --manifest-path fuzz/Cargo.toml

clean:
	rm -rf target ebpf/target
