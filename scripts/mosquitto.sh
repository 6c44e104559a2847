#!/usr/bin/env bash
# Makes sure that mosquitto, the broker of the tests and of the demo, is installed. Prints its path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

# Debian keeps it in /usr/sbin, which is not on every user's PATH.
find_broker() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v mosquitto; }

if ! find_broker >/dev/null; then
    apt_install mosquitto || die "mosquitto (an MQTT broker) is not installed and could not be installed from here." \
        "Install it (Debian, Ubuntu: sudo apt-get install mosquitto; Fedora: sudo dnf install mosquitto;" \
        "Arch: sudo pacman -S mosquitto), then run make again."
    find_broker >/dev/null || die "mosquitto was installed, but is neither on PATH nor in /usr/sbin."
    say "mosquitto is installed. Some systems start it as a service on port 1883;" \
        "if you want none: sudo systemctl disable --now mosquitto"
fi
find_broker
