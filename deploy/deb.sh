#!/usr/bin/env bash
# deb.sh PROFILE   make target/debian/vos-fastpath_VERSION_ARCH.deb of the programs in target/PROFILE, and print its name
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { echo "deb: $*" >&2; exit 1; }

[ $# = 1 ] || die "usage: deb.sh PROFILE"
profile=$1 bin=target/$1 package=target/package
[ -x "$bin/vos-engine" ] && [ -x "$bin/vosctl" ] || die "no programs in $bin: cargo build --profile $profile -p vos-engine"

rm -rf $package
mkdir -p $package/completions
"$bin/vosctl" man --dir $package/man
"$bin/vosctl" completions bash >$package/completions/vosctl
"$bin/vosctl" completions zsh >$package/completions/_vosctl
"$bin/vosctl" completions fish >$package/completions/vosctl.fish
# The first start looks and drops nothing.
sed 's/^#mode = "relay"$/mode = "monitor"/' configs/vos.toml >$package/vos.toml
grep -qx 'mode = "monitor"' $package/vos.toml || die "configs/vos.toml has no line #mode = \"relay\" to change"
"$bin/vos-engine" check --config $package/vos.toml >/dev/null

"${DEB_TOOLS:-/opt/deb-tools}/bin/cargo-deb" deb --package vos-engine --no-build --locked --profile "$profile" -q >&2
ls target/debian/vos-fastpath_*.deb
