#!/bin/sh
# Tries the systemd unit under a systemd that really runs: service.sh try [PROGRAM]
#
#   Boots systemd in a container over this machine's files, none of which it changes, with the unit, PROGRAM (else the
#   release build) and a PostgreSQL that asks for a password. There it is started, told of its password by a credential,
#   reloaded, killed, stopped in its tracks, until the watchdog notices, ended, and given a wrong configuration. Takes two
#   minutes, one of which is the watchdog's.
#
# Needs root, systemd-nspawn (of systemd-container) and PostgreSQL.
set -eu
cd "$(dirname "$0")/.."

step() { echo "== $*"; }
fail() {
    echo "FAILED: $*"
    systemctl status mvrefreshd --no-pager --lines 20
    exit 1
}

try() {
    program=${1:-${CARGO_TARGET_DIR:-target}/release/mvrefreshd}
    place=$(mktemp -d)
    mount -t tmpfs none "$place"
    mkdir "$place/changes" "$place/work" "$place/root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$place/changes,workdir=$place/work" "$place/root"
    trap 'umount "$place/root" "$place"; rmdir "$place"' EXIT
    prepare "$place/root" "$program"
    systemd-nspawn --quiet --register=no --keep-unit --private-network --directory "$place/root" --boot >"$place/console" 2>&1 ||
        { tail -n 20 "$place/console" && exit 1; }
    cat "$place/root/tried"
    grep -q '^the unit is fine$' "$place/root/tried"
}

prepare() {
    root=$1
    install -D -m 755 "$2" "$root/usr/bin/mvrefreshd"
    install -D -m 644 systemd/mvrefreshd.service "$root/lib/systemd/system/mvrefreshd.service"
    install -D -m 644 config/mvrefreshd.toml "$root/etc/mvrefreshd/mvrefreshd.toml"
    install -D -m 600 config/mvrefreshd.default "$root/etc/default/mvrefreshd"
    echo 'DATABASE_URL=postgres://keeper@127.0.0.1:5432/postgres' >>"$root/etc/default/mvrefreshd"
    mkdir -p -m 700 "$root/etc/credstore"
    printf 'a password' >"$root/etc/credstore/mvrefreshd.database-password"
    # nothing of this machine's services but what a boot needs
    find "$root/etc/systemd/system" -path '*.wants/*' -exec rm -f {} +
    install -m 755 "$0" "$root/service.sh"
    cat >"$root/etc/systemd/system/try.service" <<UNIT
[Service]
Type=oneshot
ExecStart=/service.sh inside
ExecStopPost=/bin/systemctl poweroff --no-block
StandardOutput=append:/tried
StandardError=inherit
UNIT
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -s ../try.service "$root/etc/systemd/system/multi-user.target.wants/try.service"
}

inside() {
    cd /
    bin=$(ls -d /usr/lib/postgresql/*/bin | head -n 1)
    mkdir /run/server && chown postgres: /run/server
    as_postgres "$bin/initdb" --auth=trust --no-sync --pgdata /run/server/data >/dev/null
    as_postgres sh -c 'echo "local all all trust
host all all 127.0.0.1/32 scram-sha-256" >/run/server/data/pg_hba.conf'
    as_postgres "$bin/pg_ctl" --wait --silent --pgdata /run/server/data --log /run/server/log \
        --options '-c unix_socket_directories=/run/server -c fsync=off' start
    query "CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'a password'"

    step 'is ready when started, logs in with its credential, and installs'
    systemctl start mvrefreshd || fail 'not started'
    until_done says StatusText '.*database up'
    query "CREATE TABLE base (n integer); INSERT INTO base VALUES (1);
           SELECT mvrefresh.create_materialized_view('mv', 'SELECT n FROM base', 1); INSERT INTO base VALUES (2)" >/dev/null
    until_done query_says 2 'SELECT count(*) FROM mv'

    step 'is nobody, without capabilities, in its sandbox'
    process=$(show MainPID)
    ! grep -q '^Uid:.0' "/proc/$process/status" || fail 'it is root'
    for field in 'CapEff:.0000000000000000' 'CapBnd:.0000000000000000' 'NoNewPrivs:.1' 'Seccomp:.2'; do
        grep -q "^$field" "/proc/$process/status" || fail "not $field"
    done

    step 'reloads'
    systemctl reload mvrefreshd || fail 'not reloaded'
    [ "$(show MainPID)" = "$process" ] || fail 'it was restarted'

    step 'is restarted after kill -9'
    kill -KILL "$process"
    until_done says NRestarts 1
    until_done says StatusText '1 view,.*database up'

    step 'is restarted by the watchdog when it stands still'
    kill -STOP "$(show MainPID)"
    until_done says NRestarts 2
    journalctl --unit mvrefreshd --quiet | grep -q 'Watchdog timeout' || fail 'by whatever else'
    until_done says StatusText '1 view,.*database up'
    query 'INSERT INTO base VALUES (3)'
    until_done query_says 3 'SELECT count(*) FROM mv'

    step 'stops in order'
    systemctl stop mvrefreshd
    says Result success && says ExecMainStatus 0 || fail 'not in order'

    step 'is not started over and over with a wrong configuration'
    echo 'DATABASE_URL=nonsense://' >>/etc/default/mvrefreshd
    ! systemctl start mvrefreshd 2>/dev/null || fail 'it was started'
    says ExecMainStatus 78 && says ActiveState failed && says NRestarts 0 || fail 'it is tried again'
    echo 'the unit is fine'
}

as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
show() { systemctl show mvrefreshd --property "$1" --value; }
says() { show "$1" | grep -qx "$2"; }
query() { psql --no-psqlrc --quiet --no-align --tuples-only --host /run/server --username postgres --command "$1"; }
query_says() { [ "$(query "$2")" = "$1" ]; }
until_done() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 900 ] || fail "still not: $*"
        sleep 0.1
    done
}

case ${1:-} in
try) shift && try "$@" ;;
inside) inside ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0" && exit 64 ;;
esac
