#!/bin/sh
# Builds the Debian package and looks whether everything is in it. Arguments go to cargo-deb.
set -eu
cd "$(dirname "$0")/.."

if ! cargo deb --version >/dev/null 2>&1; then
    echo 'cargo-deb is not installed: cargo install cargo-deb' >&2
    exit 69
fi
target=${CARGO_TARGET_DIR:-target}
cargo build --release --locked
rm -rf "$target/release/package"
"$target/release/mvrefreshd" generate man "$target/release/package/man"
gzip -9n "$target"/release/package/man/*.1
"$target/release/mvrefreshd" generate completions "$target/release/package/completions"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
printf 'mvrefreshd (%s-1) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' "$version" \
    "$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)" "$(date -R)" | gzip -9n >"$target/release/package/changelog.Debian.gz"
package=$(cargo deb --no-build "$@" | tail -n 1)
contents=$(dpkg-deb -c "$package")
for wanted in ./usr/bin/mvrefreshd ./etc/mvrefreshd/mvrefreshd.toml ./etc/default/mvrefreshd \
    ./usr/lib/systemd/system/mvrefreshd.service ./usr/share/man/man1/mvrefreshd.1.gz ./usr/share/man/man1/mvrefreshd-run.1.gz \
    ./usr/share/bash-completion/completions/mvrefreshd ./usr/share/zsh/vendor-completions/_mvrefreshd \
    ./usr/share/fish/vendor_completions.d/mvrefreshd.fish ./usr/share/doc/mvrefreshd/copyright; do
    if ! echo "$contents" | grep -qF " $wanted"; then
        echo "$package lacks $wanted" >&2
        echo "$contents" >&2
        exit 1
    fi
done
dpkg-deb -f "$package" Package Version Depends Installed-Size
dpkg-deb -I "$package" conffiles
if command -v lintian >/dev/null; then
    lintian --allow-root --fail-on error "$package"
else
    echo 'not checked by lintian, which is not installed'
fi
echo "$package"
