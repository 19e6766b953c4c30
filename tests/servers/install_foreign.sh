#!/bin/sh
# Installs what the acceptance tests use: with apt PHP and iptables, and with npm Express, multer, Prism, WireMock and
# others.
# They are used from .pytest_cache; nothing is started. Where one cannot be had it says why, keeps the reason for the
# tests that are skipped then, and still ends well.
set -eu
cd "$(dirname "$0")/../.."
home=.pytest_cache/foreign
log=$(mktemp)
trap 'rm -f "$log"' EXIT
mkdir -p "$home"

give_up() {
    echo "$2" >"$home/no-$1.txt"
    echo "$1 is not here, and the tests that need it will be skipped: $2" >&2
}

install_programs() {
    rm -f "$home/no-php.txt"
    command -v php >/dev/null 2>&1 && command -v iptables >/dev/null 2>&1 && return 0
    command -v apt-get >/dev/null 2>&1 || { give_up php "there is no apt-get; install PHP's command line by hand"; return 0; }
    if [ "$(id -u)" = 0 ]; then
        root=""
    elif sudo -n true 2>/dev/null; then
        root="sudo -n"
    else
        give_up php "installing it needs root, or sudo without a password; run: sudo apt-get install php-cli"
        return 0
    fi
    echo "installing PHP and iptables for the acceptance tests"
    for words in "update" "install --no-install-recommends -y php-cli iptables"; do
        # shellcheck disable=SC2086
        $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 $words >"$log" 2>&1 ||
            { give_up php "apt-get failed: $(grep -v '^ *$' "$log" | tail -n 1)"; return 0; }
    done
}

install_node_packages() {
    rm -f "$home/no-node.txt"
    command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 ||
        { give_up node "there is no node or no npm; install Node.js 20 or newer"; return 0; }
    cmp -s tests/servers/foreign/package.json "$home/installed.json" && return 0
    echo "installing the npm packages of the acceptance tests"
    rm -rf "$home/installed.json" "$home/node_modules"
    cp tests/servers/foreign/package.json "$home/package.json"
    if (cd "$home" && npm install --no-package-lock --no-audit --no-fund --ignore-scripts) >"$log" 2>&1; then
        cp "$home/package.json" "$home/installed.json"
    else
        give_up node "npm install failed: $(grep -v '^ *$' "$log" | tail -n 1)"
    fi
}

install_programs
install_node_packages
