#!/bin/sh
# Installs Chromium with apt when there is none, and Playwright, which drives it, into the virtual environment.
# Where that cannot be done it says why, keeps the reason for the tests that are skipped then, and still ends well.
set -eu
cd "$(dirname "$0")/../.."
reason_file=.pytest_cache/no-browser.txt
constraints=${CONSTRAINTS:-constraints.txt}

give_up() {
    mkdir -p "$(dirname "$reason_file")"
    echo "$1" >"$reason_file"
    echo "There is no browser here, and the tests that need one will be skipped: $1" >&2
    exit 0
}

rm -f "$reason_file"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! .venv/bin/python -c 'import axe_playwright_python, playwright' 2>/dev/null; then
    echo "installing Playwright for the tests"
    .venv/bin/python -m pip --quiet --disable-pip-version-check install --constraint "$constraints" \
        --group browser >"$log" 2>&1 || give_up "pip could not install playwright: $(tail -n 1 "$log")"
fi
for name in chromium chromium-browser google-chrome-stable google-chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
command -v apt-get >/dev/null 2>&1 || give_up "there is no apt-get; install Chromium by hand"
if [ "$(id -u)" = 0 ]; then
    root=""
elif sudo -n true 2>/dev/null; then
    root="sudo -n"
else
    give_up "installing it needs root, or sudo without a password; run: sudo apt-get install chromium"
fi
apt() {
    $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 ||
        give_up "apt-get $1 failed: $(grep -v '^ *$' "$log" | tail -n 1)"
}
echo "installing Chromium for the tests"
apt update
apt install --no-install-recommends -y chromium
command -v chromium >/dev/null 2>&1 || give_up "apt-get installed chromium, but there is no such program"
