#!/bin/sh
# Runs all tests and says which versions of PostgreSQL they cover. Arguments go to the test runner.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
supported='15 16 17 18'

has_major() {
    for postgres in "$(command -v postgres || true)" /usr/lib/postgresql/"$1"/bin/postgres "/usr/pgsql-$1/bin/postgres" \
        "${SCRATCH_PG_BIN:-/nowhere}/postgres" "$target/postgresql/$1/bin/postgres" /usr/libexec/postgresql"$1"/postgres \
        /opt/homebrew/opt/postgresql@"$1"/bin/postgres /usr/local/opt/postgresql@"$1"/bin/postgres; do
        if [ -x "$postgres" ] && "$postgres" --version | grep -q "(PostgreSQL) $1\."; then return 0; fi
    done
    return 1
}

for major in $supported; do
    has_major "$major" || scripts/fetch-postgres.sh "$major"
done
scripts/fetch-pg-upgrade.sh
scripts/fetch-validators.sh
covered=
missing=
for major in $supported; do
    if has_major "$major"; then covered="$covered $major"; else missing="$missing $major"; fi
done
echo "PostgreSQL versions under test:$covered${missing:+; NOT tested, as there are no programs:$missing}"

# Each test copies a data directory of 40 MB: in memory, where there is plenty, that takes half the time and no disk.
plenty=$((4 * 1024 * 1024))
free_in_kb() { df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print $4 }'; }
available_in_kb() { awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo 2>/dev/null; }
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then
    shared=$(free_in_kb /dev/shm)
    memory=$(available_in_kb)
    if [ "${shared:-0}" -ge "$plenty" ] && [ "${memory:-0}" -ge "$plenty" ]; then export TMPDIR=/dev/shm; fi
fi

status=0
cargo test --quiet --doc || status=$?
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --no-fail-fast "$@" || status=$?
    exit "$status"
fi
# Several programs, several summaries: add them up.
results=$(mktemp)
trap 'rm -f "$results"' EXIT
{ cargo test --no-fail-fast --lib --bins --tests "$@" 2>&1 || echo "$?" >"$results.status"; } | tee "$results"
if [ -f "$results.status" ]; then
    status=$(cat "$results.status")
    rm -f "$results.status"
fi
sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2/p' "$results" |
    awk '{ passed += $1; failed += $2 } END { printf "%d passed, %d failed\n", passed, failed }'
exit "$status"
