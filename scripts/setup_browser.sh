#!/bin/sh
# Makes sure that a headless browser is there for the tests of the HTML pages; Debian and Ubuntu.
set -eu

if command -v chromedriver >/dev/null && { command -v chromium || command -v chromium-browser ||
        command -v google-chrome || command -v google-chrome-stable; } >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo 'no Chromium with its chromedriver, and no apt-get to install them with' >&2
    exit 1
fi
run=''
if [ "$(id -u)" -ne 0 ]; then run=sudo; fi
$run apt-get update -q
DEBIAN_FRONTEND=noninteractive $run apt-get install -q -y --no-install-recommends \
    chromium chromium-driver
