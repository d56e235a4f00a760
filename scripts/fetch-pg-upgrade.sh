#!/bin/sh
# Fetches a newer PostgreSQL with pg_upgrade for the test of an upgrade, as the servers of fetch-postgres.sh come without
# it: a package of Python's registry (pgserver, PostgreSQL 16), into <target directory>/postgresql/with-pg-upgrade.
# What can't be had is said in a line and is no error: the test then upgrades to the same version.
set -eu
cd "$(dirname "$0")/.."

# makes the place for it
scripts/fetch-postgres.sh
target=${CARGO_TARGET_DIR:-target}
home=$target/postgresql/with-pg-upgrade
program=pgserver/pginstall/bin/pg_upgrade

if "$home/$program" --version >/dev/null 2>&1; then exit; fi
work=$(mktemp -d "$target/postgresql/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! (cd "$work" && python3 -m pip download --quiet --no-deps --only-binary :all: pgserver==0.1.4 &&
    python3 -m zipfile -e ./*.whl .) >/dev/null 2>&1; then
    echo "pg_upgrade: not fetched: the package can't be downloaded"
    exit
fi
rm -f "$work"/*.whl
chmod -R u+rwX,go+rX,go-w "$work"
chmod -R +x "$work/pgserver/pginstall/bin"
if "$work/$program" --version >/dev/null 2>&1; then
    rm -rf "$home"
    mv "$work" "$home"
    echo "pg_upgrade: fetched ($("$home/$program" --version))"
else
    echo "pg_upgrade: not fetched: its programs don't run here"
fi
