#!/bin/sh
# Makes sure that everything is here to build and to run `make demo` and `make test`: Rust, a C compiler,
# libclang, a PostgreSQL server. Installs what it can on Debian and Ubuntu; says exactly what to do where it can't. Quick when all is present.
#
# `setup.sh tests` also looks for what single tests need: a headless browser, systemd-analyze and PgBouncer. Without these, those
# tests say that they did not run; only in continuous integration (CI is set) they fail then.
set -eu
cd "$(dirname "$0")/.."

oldest=15

complain() {
    echo "setup: $1" >&2
    exit 1
}

# --- Rust

# Whether version $1 is at least version $2.
at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

check_rust() {
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    how='install it with rustup (https://www.rust-lang.org/tools/install; on newer Debian and Ubuntu also: apt-get install rustup && rustup default stable)'
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        # Where rustup puts it, which a shell that was open at its installation doesn't know yet.
        [ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ] ||
            complain "Rust is installed but not in PATH: run: . \"${CARGO_HOME:-$HOME/.cargo}/env\""
        complain "Rust $needed or newer is needed: $how"
    fi
    have=$(rustc --version 2>/dev/null | cut -d ' ' -f 2)
    [ -n "$have" ] || complain 'rustc does not run: with rustup, run: rustup default stable'
    at_least "${have%%-*}" "$needed" || complain "Rust $needed or newer is needed, this is $have: run: rustup update stable, or $how"
}

# --- What the system is to provide

has_compiler() { command -v cc >/dev/null; }

# The parser of PostgreSQL, which is built from C, has its Rust declarations made by libclang.
has_libclang() {
    for library in "${LIBCLANG_PATH:-/nowhere}"/libclang*.so* "${LIBCLANG_PATH:-/nowhere}"/libclang*.dylib \
        /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-[0-9]*.so* /usr/lib/*/libclang.so* /usr/lib/*/libclang-[0-9]*.so* \
        /usr/lib/libclang.so* /usr/lib64/libclang.so* /usr/lib64/llvm*/lib/libclang.so* /usr/lib/llvm*/lib/libclang.so* \
        /opt/homebrew/opt/llvm/lib/libclang.dylib /usr/local/opt/llvm/lib/libclang.dylib \
        /Library/Developer/CommandLineTools/usr/lib/libclang.dylib /Applications/Xcode.app/Contents/Developer/Toolchains/*/usr/lib/libclang.dylib; do
        [ ! -e "$library" ] || return 0
    done
    return 1
}

major_of() { "$1/postgres" --version 2>/dev/null | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p'; }

# Looks where src/scratch/binaries.rs does.
has_server() {
    if [ -n "${SCRATCH_PG_BIN:-}" ]; then
        set -- "$SCRATCH_PG_BIN"
    else
        on_path=$(command -v postgres || true)
        set -- "$(dirname "$(readlink -f "${on_path:-/nowhere/postgres}" 2>/dev/null || echo /nowhere/postgres)")" \
            /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* \
            /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
            /Applications/Postgres.app/Contents/Versions/*/bin /usr/local/pgsql/bin \
            "$(pg_config --bindir 2>/dev/null || echo /nowhere)"
    fi
    for directory; do
        [ -x "$directory/initdb" ] || continue
        major=$(major_of "$directory")
        [ "${major:-0}" -lt "$oldest" ] || return 0
    done
    return 1
}

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

# --- Debian and Ubuntu

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_be_root() { [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; }

check_distribution() {
    offered=$(apt-cache policy postgresql | sed -n 's/^  Candidate: \([0-9]*\).*/\1/p')
    [ -z "$offered" ] || [ "$offered" -ge "$oldest" ] || complain "this distribution offers PostgreSQL $offered, but $oldest or newer is needed:
add the PostgreSQL project's own apt repository (apt-get install postgresql-common && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh),
install postgresql-18, and run this again"
}

# Debian's package makes and starts a server for the whole machine; nobody asked for that here. A machine that has the
# package's common part already keeps whatever its administrator chose.
no_main_cluster=/etc/postgresql-common/createcluster.d/mvrefreshd-setup.conf
forbid_main_cluster() {
    ! installed postgresql-common || return 0
    trap allow_main_cluster EXIT
    as_root mkdir -p "${no_main_cluster%/*}"
    echo 'create_main_cluster = false' | as_root tee "$no_main_cluster" >/dev/null
}
allow_main_cluster() {
    as_root rm -f "$no_main_cluster"
    as_root rmdir "${no_main_cluster%/*}" 2>/dev/null || true
}

install_by_apt() {
    command="apt-get install --yes --no-install-recommends $*"
    can_be_root || complain "missing: $*
ask an administrator to run: sudo $command"
    echo "setup: installing $*"
    # The lists may be old or, in a container's image, not there at all; without network the old ones must do.
    as_root apt-get update -qq </dev/null || echo 'setup: the package lists could not be renewed' >&2
    case " $* " in *' postgresql '*) check_distribution && forbid_main_cluster ;; esac
    # shellcheck disable=SC2086 # words on purpose
    as_root env DEBIAN_FRONTEND=noninteractive $command -qq </dev/null ||
        complain "the installation failed; run it by hand to see more: sudo $command"
}

# --- Others

say_what_to_install() {
    case "$(uname -s) $(. /etc/os-release 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}")" in
    Darwin*) how='xcode-select --install; brew install llvm postgresql@18' ;;
    *fedora* | *rhel*) how='sudo dnf install gcc clang-devel postgresql-server postgresql-contrib' ;;
    *alpine*) how='sudo apk add build-base clang-dev postgresql postgresql-client' ;;
    *arch*) how='sudo pacman -S base-devel clang postgresql' ;;
    *suse*) how='sudo zypper install gcc clang-devel postgresql-server postgresql-contrib' ;;
    *) how='' ;;
    esac
    if [ -n "$how" ]; then how="run: $how"; else how="install them with your system's package manager"; fi
    complain "missing: $1; $how"
}

# --- What single tests need

has_browser() {
    for program in chromium chromium-browser google-chrome; do
        ! command -v "$program" >/dev/null || return 0
    done
    return 1
}

# Its package puts it where not everybody's PATH goes.
has_pgbouncer() { command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ]; }

install_for_tests() {
    wanted=
    has_browser || wanted="$wanted chromium"
    command -v systemd-analyze >/dev/null || wanted="$wanted systemd"
    has_pgbouncer || wanted="$wanted pgbouncer"
    [ -n "$wanted" ] || return 0
    if ! command -v apt-get >/dev/null || ! can_be_root; then
        echo "setup: not installed:$wanted; the tests that need them will say so" >&2
        return 0
    fi
    # shellcheck disable=SC2086 # words on purpose
    (install_by_apt $wanted) || echo "setup: the tests that need$wanted will say so" >&2
}

check_rust
[ "${1:-}" != tests ] || install_for_tests
missing=
if ! has_compiler; then missing="$missing gcc libc6-dev"; fi
if ! has_libclang; then missing="$missing libclang-dev"; fi
if ! has_server; then
    [ -z "${SCRATCH_PG_BIN:-}" ] ||
        complain "SCRATCH_PG_BIN is $SCRATCH_PG_BIN, where there is no PostgreSQL server ($oldest or newer): correct or unset it"
    missing="$missing postgresql"
fi
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    # shellcheck disable=SC2086 # words on purpose
    install_by_apt $missing
    has_compiler && has_libclang && has_server || complain 'something is still missing after the installation; see above'
else
    has_compiler || needs='a C compiler'
    has_libclang || needs="${needs:+$needs, }libclang"
    has_server || needs="${needs:+$needs, }a PostgreSQL server ($oldest or newer)"
    say_what_to_install "$needs"
fi
