#!/bin/sh
# Installs PostgreSQL's server programs with apt when there are none. No cluster is made and no service is started.
# Where that cannot be done it says why, keeps the reason for the tests that are skipped then, and still ends well.
set -eu
cd "$(dirname "$0")/../.."
reason_file=.pytest_cache/no-postgres.txt

found() {
    command -v postgres >/dev/null 2>&1 && command -v initdb >/dev/null 2>&1 && return 0
    for folder in /usr/lib/postgresql/*/bin; do
        [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ] && return 0
    done
    return 1
}

give_up() {
    mkdir -p "$(dirname "$reason_file")"
    echo "$1" >"$reason_file"
    echo "PostgreSQL is not here, and the tests that need it will be skipped: $1" >&2
    exit 0
}

rm -f "$reason_file"
if found; then
    exit 0
fi
command -v apt-get >/dev/null 2>&1 || give_up "there is no apt-get; install PostgreSQL 14 or newer by hand"
if [ "$(id -u)" = 0 ]; then
    root=""
elif sudo -n true 2>/dev/null; then
    root="sudo -n"
else
    give_up "installing it needs root, or sudo without a password; run: sudo apt-get install postgresql"
fi
log=$(mktemp)
no_cluster=/etc/postgresql-common/createcluster.d/whatsapp-flows-tests.conf
trap 'rm -f "$log"; $root rm -f "$no_cluster"' EXIT
apt() {
    $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 ||
        give_up "apt-get $1 failed: $(grep -v '^ *$' "$log" | tail -n 1)"
}
echo "installing PostgreSQL for the tests"
apt update
# With this setting present, installing the server does not make and start a cluster of its own.
apt install --no-install-recommends -y postgresql-common
$root mkdir -p "$(dirname "$no_cluster")"
echo "create_main_cluster = false" | $root tee "$no_cluster" >/dev/null
apt install --no-install-recommends -y postgresql
found || give_up "apt-get installed postgresql, but there is no /usr/lib/postgresql/*/bin/postgres"
