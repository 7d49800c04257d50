#!/usr/bin/env bash
# deb.sh PROFILE [ARGUMENT...]   make target/debian/vos-fastpath_VERSION_ARCH.deb of the programs in target/PROFILE, and print
#                               its name; ARGUMENT... are cargo-deb's, such as --deb-version 0.1.0-2
#
# Without --deb-version each commit's package is later than those of the commits before it, as apt sees it:
# 0.1.0-1+git550.387a403, the number of commits and the last one's hash; with changes that are not committed, the time behind
# that. 0.1.0-1 where there is no git, or not all commits. `deb.sh version` prints it, and makes nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { echo "deb: $*" >&2; exit 1; }

# The version of today's package.
version() {
    local version hash
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)-1
    # No other repository's that this folder happens to be in.
    if [ -e .git ] && hash=$(git rev-parse --short=7 HEAD 2>/dev/null) && [ "$(git rev-parse --is-shallow-repository)" = false ]; then
        version+=+git$(git rev-list --count HEAD).$hash
        [ -z "$(git status --porcelain)" ] || version+=.$(date -u +%Y%m%d%H%M%S)
    else
        echo "deb: no git, or not all commits: version $version, which apt does not take for later than another $version" >&2
    fi
    echo "$version"
}

[ $# -ge 1 ] || die "usage: deb.sh PROFILE [ARGUMENT...], or deb.sh version"
if [ "$*" = version ]; then version; exit; fi
[[ " $* " == *' --deb-version'* ]] || set -- "$@" --deb-version "$(version)"
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
