#!/usr/bin/env bash
# Builds the .deb, installs it on a bare system, and uses it as a user would, from first start to removal.
#   sudo bash packaging/test_deb.sh [--cut]
# With --cut, the network is cut for a while during the engine download.
# Needs root and debootstrap (installed with apt if missing); without them the test is skipped, with the reason.
# It creates two Debian systems, one to build in and a bare one to install in. Mounts and processes of the test
# end with it.
# Environment:
#   WORK          folder to work in (default /tmp/lora-studio-deb); `base-*` and `tools-*` in it are kept
#   BUILD_SUITE   Debian release to build in (default bookworm, the oldest with a supported Python)
#   SUITE         Debian release to install in (default trixie)
#   MIRROR        Debian mirror (default: the first one in this machine's apt sources where it is a Debian)
#   NO_SKIP       1: fail instead of skipping
#   KEEP          1: keep both systems as the test left them, to inspect them or to run further STEPS
#   STEPS         steps to run (default: all of "build lint install window engine train purge"); without
#                 "build", they use the result of the last build that was kept
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

readonly work=${WORK:-/tmp/lora-studio-deb} build_suite=${BUILD_SUITE:-bookworm} suite=${SUITE:-trixie}
readonly base=$work/base-$suite build_base=$work/base-$build_suite tools=$work/tools-$build_suite
readonly builder=$work/builder bare=$work/bare
readonly authorities=/lent/authorities.crt
# A user without special permissions, with a realistic name.
readonly user=zoe home="/home/Zoë Müller"
readonly steps=" ${STEPS:-build lint install window engine train purge} "

skip() { echo "SKIPPED: the test of the .deb. $*"; exit "${NO_SKIP:-0}"; }
say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

if [ "${1:-}" != --inside ]; then
    [ "$(id -u)" = 0 ] || skip "It needs root, for chroot and mounts."
    mkdir -p "$work/try"/{lower,upper,work,root}
    unshare --mount --pid --fork mount -t overlay overlay "$work/try/root" \
        -o "lowerdir=$work/try/lower,upperdir=$work/try/upper,workdir=$work/try/work" 2>/dev/null ||
        skip "This machine does not allow the mounts that it needs."
    rm -rf "$work/try"
    if ! command -v debootstrap >/dev/null; then
        command -v apt-get >/dev/null || skip "debootstrap is not installed."
        { apt-get -qq update && apt-get -qq -y --no-install-recommends install debootstrap; } \
            >/dev/null 2>&1 || skip "debootstrap is not installed and could not be."
    fi
    exec unshare --mount --pid --fork --kill-child bash "$0" --inside "$@"
fi
shift
cut_network=
[ "${1:-}" != --cut ] || cut_network=1

# make_base SUITE: a bare Debian, once.
make_base() {
    local release=$1 mirror=${MIRROR:-}
    [ ! -d "$work/base-$release" ] || return 0
    if [ -z "$mirror" ] && grep -qx 'ID=debian' /etc/os-release; then
        # shellcheck disable=SC2016  # apt's own placeholder
        mirror=$(apt-get indextargets --format '$(SITE)' | grep -m1 '^http' || true)
    fi
    mirror=${mirror:-http://deb.debian.org/debian}
    say "Bare Debian $release"
    rm -rf "$work/making"
    debootstrap --variant=minbase "$release" "$work/making" "$mirror" >"$work/debootstrap.log" ||
        { tail -5 "$work/debootstrap.log" >&2; skip "debootstrap could not make a system from $mirror."; }
    mv "$work/making" "$work/base-$release"
}

# mount_layer ROOT CHANGES LOWER...: mounts a system that writes only to CHANGES.
mount_layer() {
    local root=$1 changes=$2 lower
    lower=$(IFS=:; echo "${*:3}")
    mkdir -p "$root" "$changes" "$changes.work"
    mount -t overlay overlay "$root" -o "lowerdir=$lower,upperdir=$changes,workdir=$changes.work"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mkdir -p "$root/tmp/.X11-unix" "$work/x11"
    mount --bind "$work/x11" "$root/tmp/.X11-unix"
    lend_network "$root"
}

# Only what this machine needs to reach the network and its own wheels. Certificates are in a separate
# folder, because ca-certificates manages /etc itself, also when it is purged.
lend_network() {
    local root=$1 file
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    if has_own_authorities; then
        mkdir -p "$root/lent"
        cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$root$authorities"
        echo "Acquire::https::CAInfo \"$authorities\";" >"$root/lent/apt.conf"
    fi
    for file in $(pip_values find-links) $(pip_values constraint); do
        [ ! -e "$file" ] || mountpoint -q "$root$file" || {
            if [ -d "$file" ]; then mkdir -p "$root$file"; else
                mkdir -p "$root$(dirname "$file")"; touch "$root$file"; fi
            mount --bind -o ro "$file" "$root$file"
        }
    done
}

# Whether this machine trusts more certificates than every Debian, such as a proxy's.
has_own_authorities() { [ -n "$(ls -A /usr/local/share/ca-certificates 2>/dev/null)" ]; }

pip_values() { python3 -m pip config list 2>/dev/null | sed -nE "s/^.*\.$1='(.*)'$/\1/p" | sort -u; }

network_environment() {
    local key value
    env | grep -iE '^(https?_proxy|no_proxy|LORA_STUDIO_TORCH_INDEX)=' || true
    ! has_own_authorities || printf '%s\n' {SSL_CERT_FILE,REQUESTS_CA_BUNDLE,PIP_CERT}="$authorities" \
        APT_CONFIG=/lent/apt.conf
    python3 -m pip config list 2>/dev/null |
        sed -nE "s/^.*\.(index-url|extra-index-url|find-links|constraint|trusted-host|default-timeout)='(.*)'$/\1 \2/p" |
        while read -r key value; do
            key=${key^^}
            echo "PIP_${key//-/_}=$value"
        done
}

# in_builder COMMAND, in_bare COMMAND: as root; as_user COMMAND: as the person who installed it.
in_builder() {
    chroot "$builder" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive "${network[@]}" bash -euo pipefail -c "cd /source; $1"
}
in_bare() {
    chroot "$bare" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive "${network[@]}" bash -euo pipefail -c "$1"
}
as_user() {
    chroot "$bare" setpriv --reuid=$user --regid=$user --clear-groups env -i HOME="$home" USER=$user \
        LANG=C.UTF-8 PATH=/usr/bin:/bin "${network[@]}" ${through[@]+"${through[@]}"} \
        DISPLAY=:99 OMP_NUM_THREADS="$(nproc)" bash -euo pipefail -c "cd; $1"
}

quietly() { "$@" >"$work/quiet.log" 2>&1 || { tail -30 "$work/quiet.log" >&2; fail "$*"; }; }

install_tools() {
    [ ! -e "$tools/ready" ] || return 0
    say "Tools"
    quietly in_builder "apt-get -qq update
    apt-get -qq -y -o Dpkg::Options::=--force-unsafe-io --no-install-recommends install python3-venv python3-dev binutils xz-utils \
        squashfs-tools rpm lintian appstream desktop-file-utils shared-mime-info nsis man-db groff \
        xvfb x11-utils xauth imagemagick file libegl1 libgl1 libglib2.0-0 libdbus-1-3 libfontconfig1 \
        libxkbcommon0 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 \
        libxcb-image0 libxcb-render-util0 libxcb-xkb1 ca-certificates"
    touch "$tools/ready"
}

copy_source() {
    rm -rf "$builder/source"
    mkdir -p "$builder/source"
    git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
        tar --create --null --files-from=- --ignore-failed-read 2>/dev/null | tar --extract -C "$builder/source"
    SOURCE_DATE_EPOCH=$(git -c safe.directory='*' log -1 --format=%ct)
}

build() {
    say "Build"
    in_builder "XZ_LEVEL=1 SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH bash packaging/linux/build.sh /out" >"$work/build.log" 2>&1 ||
        { tail -30 "$work/build.log" >&2; fail "The packages could not be built: $work/build.log"; }
    rm -rf "$work/packages"
    mkdir "$work/packages"
    cp "$builder"/out/*.{deb,rpm,tar.xz} "$work/packages/"
    grep -E '^[0-9.]+ MB: ' "$work/build.log" # build.sh refuses packages over 80 MB
}

lint() {
    say "Desktop file, metainfo, MIME type, manual page, rpm, AppDir"
    in_builder "cd /out/root/usr
    desktop-file-validate share/applications/lora-studio.desktop
    appstreamcli validate --no-net share/metainfo/*.metainfo.xml
    mkdir -p /tmp/mime && cp -r share/mime /tmp/mime/ && update-mime-database /tmp/mime/mime >/dev/null 2>&1
    grep -x '50:application/x-lora-studio-project:\*.lorastudio' /tmp/mime/mime/globs2
    man --warnings --encoding=UTF-8 --troff-device=utf8 --ditroff --local-file share/man/man1/lora-studio.1.gz \
        2>&1 >/dev/null | tee /tmp/man; test ! -s /tmp/man
    rpm --query --package --requires /out/*.rpm >/tmp/requires
    for name in python3 'libgomp.so.1()(64bit)' 'libxcb-cursor.so.0()(64bit)'; do
        grep -xF \"\$name\" /tmp/requires
    done
    rpm --query --package --list /out/*.rpm | grep -x /usr/bin/lora-studio
    # Instead of the runtime, a program with the same magic bytes at the same offset.
    cp /usr/bin/true /tmp/runtime
    printf 'AI\002' | dd of=/tmp/runtime bs=1 seek=8 conv=notrunc status=none
    mkdir -p '/tmp/an image' '/tmp/read back'
    VERSION=0.0.0 ZSTD_LEVEL=1 APPIMAGE_RUNTIME=/tmp/runtime bash /source/packaging/linux/appimage.sh /out/root '/tmp/an image'
    '/tmp/an image/LoRA_Studio-0.0.0-x86_64.AppImage'
    unsquashfs -quiet -no-progress -offset \$(stat -c %s /tmp/runtime) -dest '/tmp/read back/App Dir' \
        '/tmp/an image/LoRA_Studio-0.0.0-x86_64.AppImage'
    diff --no-dereference -r '/tmp/an image/LoRA_Studio.AppDir' '/tmp/read back/App Dir'
    ln -s '/tmp/read back/App Dir/AppRun' /tmp/program
    /tmp/program --version"
    say "lintian"
    in_builder "lintian --fail-on error,warning --tag-display-limit 0 --allow-root /out/*.deb"
    say "Windows installer (compiled only)"
    in_builder "bash packaging/windows/compile_check.sh /tmp/windows"
}

file_list() { (cd "$bare" && find usr etc | LC_ALL=C sort); }

install_it() {
    say "Install into a bare system"
    cp "$deb" "$bare/lora-studio.deb"
    # Every installed Debian has this file; netbase, which Python needs, creates it if it is missing.
    printf '127.0.0.1\tlocalhost\n' >"$bare/etc/hosts"
    # The folder's name differs from the account's: it has a space and non-ASCII letters.
    in_bare "useradd --no-create-home --home-dir '$home' --shell /bin/bash $user
    mkdir -p '$home' && chown $user: '$home'
    apt-get -qq update"
    file_list >"$work/before"
    quietly in_bare "apt-get -y --no-install-recommends install /lora-studio.deb"
    # All libraries that it loads exist.
    in_bare "cd /usr/lib/lora-studio/_internal
    if find . -name '*.so*' -type f -exec env LD_LIBRARY_PATH=\$PWD ldd {} + 2>/dev/null | grep 'not found'; then exit 1; fi"
    as_user "lora-studio --version
    lora-studio doctor --json >doctor.json
    python3 -c \"import json; print('doctor:', json.load(open('doctor.json'))['version'])\"
    test -x /usr/lib/lora-studio/_internal/resources/bin/uv
    /usr/lib/lora-studio/_internal/resources/bin/uv --version"
    say "What it starts sees nothing of the bundle"
    as_user "printf '#!/bin/sh\nenv >\"\$HOME/seen\"\n' >worker && chmod +x worker
    PYTHONPATH=/x LD_LIBRARY_PATH=/mine LORA_STUDIO_ENGINE=\"'\$PWD/worker'\" lora-studio doctor --json >/dev/null || true
    grep -x LD_LIBRARY_PATH=/mine seen
    if grep -E '_internal|_PYI_|^QT_PLUGIN_PATH|^PYTHONPATH' seen; then exit 1; fi"
}

open_window() {
    say "Window under X"
    rm -f "$work/x11/X99" "$builder/tmp/.X99-lock"
    in_builder "Xvfb :99 -screen 0 1280x800x24 -nolisten tcp -noreset" >"$work/xvfb.log" 2>&1 &
    local tries=0
    until in_builder "xdpyinfo -display :99" >/dev/null 2>&1; do
        sleep 0.3
        [ $((tries += 1)) -lt 60 ] || fail "Xvfb did not start."
    done
    as_user "cp -r /usr/lib/lora-studio/_internal/resources/sample 'My first project'
    echo \$\$ >window.pid
    exec lora-studio \"\$HOME/My first project/sample.lorastudio\"" >"$work/window.log" 2>&1 &
    local window=$!
    tries=0
    until in_builder "xwininfo -display :99 -root -tree" 2>/dev/null | grep -q 'LoRA Studio'; do
        sleep 0.3
        [ $((tries += 1)) -lt 100 ] || { cat "$work/window.log" >&2; fail "No window came up."; }
        kill -0 $window 2>/dev/null || { cat "$work/window.log" >&2; fail "The program has ended."; }
    done
    # A mapped window may not be painted yet; a screenshot with many colors shows that it is.
    tries=0
    until in_builder "import -display :99 -window root /tmp/window.png
        test \$(identify -format %k /tmp/window.png) -gt 200" 2>/dev/null; do
        sleep 0.5
        [ $((tries += 1)) -lt 60 ] || fail "The window stayed empty."
    done
    sleep 1 # include what is painted a moment later
    in_builder "import -display :99 -window root /tmp/window.png"
    cp "$builder/tmp/window.png" "$work/window.png"
    kill -TERM "$(cat "$bare$home/window.pid")"
    wait $window || fail "The window did not end in peace."
    [ ! -s "$work/window.log" ] || { cat "$work/window.log" >&2; fail "The window complained."; }
    echo "Screenshot: $work/window.png"
    say "Every page and dialog"
    as_user "lora-studio --check-window"
    say "Start-up, frozen and from source by turns"
    in_builder "/out/venv/bin/python packaging/startup.py :99 /out/root/usr/lib/lora-studio/lora-studio -- \
        /out/venv/bin/python -m lora_studio"
}

# If pip uses this machine's own wheels, they are for its own Python, so both are mounted. Otherwise, the
# engine uses the Python that the package depends on.
lend_python() {
    local place
    [ -n "$(pip_values find-links)" ] || return 0
    place=$(python3 -c 'import sys; print(sys.base_prefix)')
    [ "$place" != /usr ] || return 0
    mkdir -p "$bare$place"
    mount --bind -o ro "$place" "$bare$place"
    chmod a+rx "$bare/root"
    echo "$place/bin/python3"
}

set_up_engine() {
    through=()
    local lent
    lent=$(lend_python)
    local install="lora-studio engine install --yes --json ${lent:+--python $lent}"
    if [ -n "$cut_network" ]; then
        say "A line that can be cut"
        rm -rf "$work/line"
        mkdir -p "$work/line"
        echo "${CUT_AT:-120000000}" >"$work/line/cut-at"
        local port
        port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
        env "${network[@]}" python3 packaging/cutting_proxy.py "$port" "$work/line" &
        until [ -e "$work/line/bytes" ]; do sleep 0.2; kill -0 $!; done
        local proxy=http://127.0.0.1:$port
        through=("HTTPS_PROXY=$proxy" "HTTP_PROXY=$proxy" "https_proxy=$proxy" "http_proxy=$proxy")
        { until [ -e "$work/line/cut" ]; do sleep 0.2; done
            echo "-- line cut at $(cat "$work/line/bytes") bytes"
            sleep 15; rm "$work/line/cut"; echo "-- line restored"; } &
    fi
    say "Engine set-up by the installed program"
    local began=$SECONDS
    if ! as_user "$install" >"$work/engine.jsonl" 2>"$work/engine.err"; then
        [ -n "$cut_network" ] && [ ! -e "$work/line/cut-at" ] ||
            { tail -n 5 "$work/engine.jsonl" "$work/engine.err" >&2; fail "The engine was not set up."; }
        tail -1 "$work/engine.jsonl"
        while [ -e "$work/line/cut" ]; do sleep 0.5; done
        say "Again, from where it was"
        as_user "$install" >>"$work/engine.jsonl" 2>>"$work/engine.err" ||
            { tail -n 5 "$work/engine.jsonl" "$work/engine.err" >&2; fail "The engine was not set up."; }
    fi
    echo "Engine set up in $((SECONDS - began)) s"
    python3 packaging/engine_events.py "$work/engine.jsonl" ${cut_network:+"$work/line/bytes"}
    through=()
    as_user "du -sh .local/share/lora-studio | cut -f1; lora-studio doctor"
}

train_sample() {
    say "Sample project, five steps, exported"
    as_user "test -d 'My first project' || cp -r /usr/lib/lora-studio/_internal/resources/sample 'My first project'
    lora-studio run 'My first project' --json --set training.max_steps=5" >"$work/run.jsonl" ||
        { tail -3 "$work/run.jsonl" >&2; fail "The sample project did not run."; }
    # The training and its results.
    as_user "cd \"\$(ls -dt 'My first project'/runs/*/ | head -1)\"
    ls -lh gguf/*.gguf adapter/adapter_model.safetensors
    test \$(grep -c '\"kind\":\"step_done\"' events.jsonl) = 5"
}

purge() {
    say "Purge"
    # Packages that were installed with it are removed with it, even if another package recommends them (as
    # apt does ca-certificates), unless they were installed before.
    quietly in_bare "apt-get -y purge lora-studio
    apt-get -y autoremove --purge -o APT::AutoRemove::RecommendsImportant=0 -o APT::AutoRemove::SuggestsImportant=0"
    file_list >"$work/after"
    diff "$work/before" "$work/after" || fail "Purging left or took files."
    echo "/usr and /etc are as they were."
}

trap 'echo "FAILED: line $LINENO: $BASH_COMMAND" >&2' ERR
set -E
mapfile -t network < <(network_environment)
through=()
mkdir -p "$work"
if [[ $steps = *" install "* ]]; then
    rm -rf "$work"/{changes,changes.work}
fi
if [[ $steps = *" build "* ]]; then
    rm -rf "$work"/{built,built.work}
fi
make_base "$build_suite"
make_base "$suite"
if [ ! -e "$tools/ready" ]; then
    mount_layer "$builder" "$tools" "$build_base"
    mkdir -p "$builder/source"
    install_tools
    umount -R "$builder"
fi
mount_layer "$builder" "$work/built" "$tools" "$build_base"
mount_layer "$bare" "$work/changes" "$base"
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' lora_studio/__init__.py)
deb=$work/packages/lora-studio_${version}_amd64.deb
copy_source
[[ $steps != *" build "* ]] || build
[[ $steps != *" lint "* ]] || lint
[[ $steps != *" install "* ]] || install_it
[[ $steps != *" window "* ]] || open_window
[[ $steps != *" engine "* ]] || set_up_engine
[[ $steps != *" train "* ]] || train_sample
[[ $steps != *" purge "* ]] || purge
if [ "${KEEP:-}" != 1 ]; then
    kill "$(jobs -p)" 2>/dev/null || true
    umount --recursive --lazy "$builder" "$bare"
    rm -rf "$work"/{built,built.work,changes,changes.work}
fi
say "Done"
