#!/bin/sh
# Builds the container image with buildah and tries it out, without any image registry: image.sh build | try | clean
#
#   build  the image `mvrefreshd`. Base images of the Dockerfile that are not there are made here: the one to run in of
#          Debian's packages (debootstrap), the one to build in of that and of this machine's Rust toolchain.
#   try    runs the image's file system as a container engine does (root read-only, numeric user, no capabilities, only
#          DATABASE_URL set) beside a PostgreSQL of its own: it waits for the database, installs, refreshes, is healthy,
#          and stops in order. Takes half a minute.
#   clean  removes all that build has made.
#
# Needs root, buildah and debootstrap. Images are kept in $IMAGE_HOME.
set -eu
cd "$(dirname "$0")/.."

home=${IMAGE_HOME:-${CARGO_TARGET_DIR:-target}/image}
mkdir -p "$home"
home=$(cd "$home" && pwd)
runtime=$(sed -n 's/^ARG RUNTIME_IMAGE=//p' Dockerfile)
builder=$(sed -n 's/^ARG BUILD_IMAGE=//p' Dockerfile)
# where the toolchain is mounted while it builds
rust=/usr/local/rust
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

images() { buildah --root "$home/storage" --runroot "$home/run" "$@"; }
has() { images inspect --type image "$1" >/dev/null 2>&1; }
step() { echo "== $*"; }

make_runtime() {
    step "$runtime"
    mirror=$(sed -n 's/^URIs: *//p; s/^deb  *\(\[[^]]*\] *\)*\([^ ]*\).*/\2/p' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -n 1)
    debootstrap --variant=minbase bookworm "$home/base" "$mirror" >"$home/debootstrap.log"
    # as the slim images
    (cd "$home/base" && rm -rf usr/share/doc/* usr/share/man/* usr/share/info/* usr/share/locale/* \
        var/lib/apt/lists/* var/cache/apt/*.bin var/cache/apt/archives/*.deb var/log/*.log)
    container=$(images from scratch)
    images add --quiet "$container" "$home/base" / >/dev/null
    images config --cmd /bin/bash --env PATH=$path "$container"
    images commit --quiet --rm --format docker "$container" "$runtime" >/dev/null
    rm -rf "$home/base"
}

make_builder() {
    step "$builder"
    container=$(images from --pull-never "$runtime")
    images run --isolation chroot --network host "$container" sh -c \
        'apt-get update -q && apt-get install -qy --no-install-recommends ca-certificates' >"$home/builder.log" 2>&1
    # whom this machine trusts, for the crates
    images copy --quiet "$container" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt >/dev/null
    images config --env PATH=$rust/bin:$path "$container"
    images commit --quiet --rm --format docker "$container" "$builder" >/dev/null
}

build() {
    has "$runtime" || make_runtime
    has "$builder" || make_builder
    step mvrefreshd
    # Docker's format has HEALTHCHECK, which OCI's has not
    images bud --isolation chroot --network host --pull-never --format docker \
        --volume "$(rustc --print sysroot):$rust:ro" --tag mvrefreshd .
    images images --format '{{.Name}} {{.Size}}' mvrefreshd
}

# Everything from here on happens in namespaces of its own, which take network, mounts and processes along when they end.
try() {
    container=$(images from --pull-never mvrefreshd)
    root=$(images mount "$container")
    status=0
    unshare --net --mount --pid --fork --kill-child --mount-proc "$0" inside "$root" "$(mktemp -d)" \
        "$(images inspect --type image --format '{{range .Docker.Config.Env}}{{println .}}{{end}}' mvrefreshd)" || status=$?
    images unmount "$container" >/dev/null
    images rm "$container" >/dev/null
    return $status
}

inside() {
    root=$1 place=$2 environment=$3
    bin=$(ls -d /usr/lib/postgresql/*/bin | head -n 1)
    url=postgres://postgres@127.0.0.1:5432/postgres
    ip link set lo up
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -o remount,bind,ro "$root"
    chown postgres: "$place"

    step 'starts without a database, and waits'
    contained run >"$place/log" 2>&1 &
    daemon=$!
    until_line 'is not ready'
    contained healthcheck || fail 'waiting is no failure'
    if contained healthcheck --ready 2>"$place/unready"; then fail 'ready without a database'; fi

    step 'installs as soon as there is one'
    as_postgres "$bin/initdb" --auth=trust --no-sync --pgdata "$place/data" >/dev/null
    as_postgres "$bin/pg_ctl" --wait --silent --pgdata "$place/data" --log "$place/server" \
        --options "-c unix_socket_directories=$place -c fsync=off" start
    until_line 'has been installed'
    until_done contained healthcheck --ready

    step 'refreshes'
    query "CREATE TABLE base (n integer); INSERT INTO base VALUES (1);
           SELECT mvrefresh.create_materialized_view('mv', 'SELECT n FROM base', 1); INSERT INTO base VALUES (2)" >/dev/null
    until_done query_says 2 'SELECT count(*) FROM mv'

    step 'writes nothing, is nobody, has no capabilities, logs JSON'
    process=$(pgrep -f '^/usr/bin/mvrefreshd run')
    for field in 'Uid:.65532.65532.65532.65532' 'CapEff:.0000000000000000' 'CapBnd:.0000000000000000' 'NoNewPrivs:.1'; do
        grep -q "^$field" "/proc/$process/status" || fail "not $field"
    done
    ! contained generate man /tmp 2>/dev/null || fail 'its root can be written to'
    ! grep -qv '^{.*}$' "$place/log" || fail "$(grep -v '^{.*}$' "$place/log")"

    step 'stops in order'
    kill -TERM "$process"
    wait "$daemon" || fail "exit code $?"
    as_postgres "$bin/pg_ctl" --silent --mode=immediate --pgdata "$place/data" stop
    rm -rf "$place"
    echo 'the image is fine'
}

# A command in the image, as its container would run it.
contained() {
    # shellcheck disable=SC2086 # one variable per line
    (IFS='
'; exec env -i $environment "DATABASE_URL=$url" chroot "$root" setpriv --reuid 65532 --regid 65532 --clear-groups \
        --bounding-set=-all --inh-caps=-all --no-new-privs /usr/bin/mvrefreshd "$@")
}

as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
query() { psql --no-psqlrc --quiet --no-align --tuples-only --dbname "$url" --command "$1"; }
query_says() { [ "$(query "$2")" = "$1" ]; }
until_line() { until_done grep -q "$1" "$place/log"; }
until_done() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "still not: $*"
        sleep 0.1
    done
}
fail() {
    echo "FAILED: $*" >&2
    tail -n 20 "$place/log" >&2
    exit 1
}

case ${1:-} in
build | try) "$1" ;;
inside) shift && inside "$@" ;;
clean)
    images rmi --all --force >/dev/null 2>&1 || true
    umount "$home"/storage/overlay 2>/dev/null || true
    rm -rf "$home"
    ;;
*) sed -n '2,13s/^# \{0,1\}//p' "$0" && exit 64 ;;
esac
