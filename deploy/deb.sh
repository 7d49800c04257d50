#!/usr/bin/env bash
# deb.sh PROFILE [ARGUMENT...]   make target/debian/vos-fastpath_VERSION_ARCH.deb of the programs in target/PROFILE, and print
#                               its name; ARGUMENT... are cargo-deb's, such as --deb-version 0.1.0-2
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { echo "deb: $*" >&2; exit 1; }

[ $# -ge 1 ] || die "usage: deb.sh PROFILE [ARGUMENT...]"
profile=$1 bin=target/$1 package=target/package
shift
[ -x "$bin/vos-engine" ] && [ -x "$bin/vosctl" ] || die "no programs in $bin: cargo build --profile $profile -p vos-engine"

rm -rf $package
mkdir -p $package/completions
"$bin/vosctl" man --dir $package/man
"$bin/vosctl" completions bash >$package/completions/vosctl
"$bin/vosctl" completions zsh >$package/completions/_vosctl
"$bin/vosctl" completions fish >$package/completions/vosctl.fish
# deploy/debian/postinst changes this line for the first start.
grep -qx '#mode = "relay"' configs/vos.toml || die "configs/vos.toml has no line #mode = \"relay\""

"${DEB_TOOLS:-/opt/deb-tools}/bin/cargo-deb" deb --package vos-engine --no-build --locked --profile "$profile" -q "$@"
