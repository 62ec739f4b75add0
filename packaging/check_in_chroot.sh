#!/usr/bin/env bash
# Runs bootstrap.sh in a fresh clone on a bare Debian 13, created with debootstrap.
#   bash packaging/check_in_chroot.sh [setup|demo|test ...]     default: setup; needs root
# Environment:
#   CHROOT    folder to work in (default /tmp/chroot): `bare` contains the bare system, and `changes` what the
#             last run changed
#   MIRROR    Debian mirror (default: the first one in this machine's apt sources where it is a Debian)
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

readonly chroot=${CHROOT:-/tmp/chroot}
readonly root=$chroot/root home=/root/lora-studio

if [ "${1:-}" != --inside ]; then
    [ "$(id -u)" = 0 ] || { echo "This check needs root, for chroot and mounts." >&2; exit 1; }
    command -v debootstrap >/dev/null || { echo "Please install debootstrap." >&2; exit 1; }
    # Mounts and processes end with the check, even if it is killed.
    exec unshare --mount --pid --fork --kill-child bash "$0" --inside "${@:-setup}"
fi
shift

make_bare_system() {
    local mirror=${MIRROR:-}
    if [ -z "$mirror" ] && grep -qx 'ID=debian' /etc/os-release; then
        # shellcheck disable=SC2016  # apt's own placeholder
        mirror=$(apt-get indextargets --format '$(SITE)' | grep -m1 '^http' || true)
    fi
    mirror=${mirror:-http://deb.debian.org/debian}
    rm -rf "$chroot/making"
    debootstrap --variant=minbase trixie "$chroot/making" "$mirror" >"$chroot/debootstrap.log"
    mv "$chroot/making" "$chroot/bare"
}

# The bare system isn't changed: each run writes to its own overlay.
mount_system() {
    rm -rf "$chroot/changes" "$chroot/overlay"
    mkdir -p "$root" "$chroot"/{changes,overlay}
    mount -t overlay overlay "$root" \
        -o "lowerdir=$chroot/bare,upperdir=$chroot/changes,workdir=$chroot/overlay"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
}

# Only what this machine needs to reach the network.
copy_network_access() {
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
    {
        env | grep -iE '^(https?_proxy|no_proxy|SSL_CERT_FILE|REQUESTS_CA_BUNDLE)=' || true
        python3 -m pip config list | sed -nE \
            "s/^.*\.(cert|index-url|extra-index-url|proxy|trusted-host|timeout|default-timeout)='(.*)'$/\1 \2/p" |
            while read -r key value; do
                key=${key^^}
                echo "PIP_${key//-/_}=$value"
            done
    } >"$chroot/environment"
}

inside() {
    local -a environment
    mapfile -t environment <"$chroot/environment"
    chroot "$root" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        "${environment[@]}" bash -c "cd $home && $1"
}

timed() {
    local started=$SECONDS
    echo "-- $1"
    inside "$1"
    echo "-- $((SECONDS - started)) s: $1"
}

check_window_and_command_line() {
    timed ".venv/bin/lora-studio --version"
    timed ".venv/bin/lora-studio doctor"
    timed "QT_QPA_PLATFORM=offscreen .venv/bin/python -c '
from PySide6.QtWidgets import QApplication
import lora_studio.gui.app
application = QApplication([])
print(\"window: Qt starts on\", application.platformName())'"
    # The plug-ins for a real display, and all libraries that they link to.
    timed 'cd .venv/lib/python3*/site-packages/PySide6/Qt/plugins/platforms
! ldd libqxcb.so libqwayland.so | grep "not found"'
}

mkdir -p "$chroot"
[ -d "$chroot/bare" ] || make_bare_system
mount_system
copy_network_access
git clone --quiet . "$root$home"
echo "-- at $(git log -1 --format='%h %s')"
for command in "$@"; do
    timed "bash packaging/bootstrap.sh $command"
done
timed "bash packaging/bootstrap.sh setup"
check_window_and_command_line
echo "-- sizes: $(du -sh "$root$home/.venv" | cut -f1) .venv," \
    "$(du -sh "$chroot/changes/usr" | cut -f1) system packages"
