#!/bin/sh
# Install Debian's Chromium, in which the tests open the HTML reports.
# Where it is there already, or this is not root on Debian, nothing happens and those tests skip with a reason.
set -eu

if command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "no Chromium, and it cannot be installed here: the tests that open a report will skip" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; }; then
    echo "Chromium could not be installed: the tests that open a report will skip" >&2
fi
