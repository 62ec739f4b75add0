#!/usr/bin/env bash
# Sets up this checkout on a bare machine, then runs one command. Safe and quick to repeat.
#   bash packaging/bootstrap.sh demo     train, merge, export, and verify the sample project
#   bash packaging/bootstrap.sh test     run every check and test
#   bash packaging/bootstrap.sh setup    set up only, including the test tools
# Environment:
#   LORA_STUDIO_TORCH_INDEX   URL of a package index for PyTorch, for example for a CPU build
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

# Each line: a shared library and the Debian package that contains it (older name after a slash).
readonly window_libraries="
libglib-2.0.so.0        libglib2.0-0t64/libglib2.0-0
libEGL.so.1             libegl1
libGL.so.1              libgl1
libdbus-1.so.3          libdbus-1-3
libfontconfig.so.1      libfontconfig1
libxkbcommon.so.0       libxkbcommon0
libxkbcommon-x11.so.0   libxkbcommon-x11-0
libxcb-cursor.so.0      libxcb-cursor0
libxcb-icccm.so.4       libxcb-icccm4
libxcb-keysyms.so.1     libxcb-keysyms1
libxcb-shape.so.0       libxcb-shape0
libwayland-cursor.so.0  libwayland-cursor0
libwayland-egl.so.1     libwayland-egl1
"

# Where Debian and Fedora have the certificates: Fedora 44 no longer has the first file.
readonly certificates="/etc/ssl/certs/ca-certificates.crt /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"

# Exists where NVIDIA's driver is loaded.
readonly nvidia_device=/dev/nvidiactl

# Seconds to wait for the locks of apt, and between two attempts.
readonly apt_patience=600 apt_interval=3

say() { printf '\n== %s\n' "$*"; }
fail() { printf '\n%s\n' "$*" >&2; exit 1; }

# Prints the path of a Python that the program supports: the system's, else the downloaded one.
find_python() {
    local name
    for name in python3 python3.12 python3.13 python3.11 "$PWD"/.python/cpython-*/bin/python3; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
            2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

# Downloads a Python into .python: Ubuntu 22.04 has an older one, the newest distributions have newer ones.
download_python() {
    say "Python 3.12, into .python (the system has none of Python 3.11, 3.12, and 3.13)"
    {
        python3 -m venv .python/uv &&
            .python/uv/bin/python -m pip install --quiet uv &&
            .python/uv/bin/uv python install 3.12 --install-dir "$PWD/.python" --no-bin --no-config
    } || fail "Python couldn't be downloaded. Install Python 3.11, 3.12, or 3.13, then run this script again."
}

# Prints the versions of PyTorch whose default Linux build supports this computer's NVIDIA driver and newest GPU,
# nothing if all do. From 2.11 on, it is for CUDA 13 (driver 580, Turing), from 2.8 on for CUDA 12.8 (driver 525,
# Volta), and before for CUDA 12.6 (Maxwell and Pascal). Sources: detect.py in lora_studio/setup.
torch_versions() {
    [ "$(uname -sm)" = "Linux x86_64" ] || return 0
    { nvidia-smi --query-gpu=driver_version,compute_cap --format=csv,noheader 2>/dev/null || true; } |
        awk -F ', *' '
            { driver = int($1); split($2, version, "."); capability = 10 * version[1] + version[2] }
            capability > newest { newest = capability }
            END {
                if (driver < 525 || !newest) exit
                if (newest < 70) print "<2.8"
                else if (newest < 75 || driver < 580) print "<2.11"
            }'
}

# has_nvidia_gpu [FOLDER]: whether the kernel lists a display controller of NVIDIA, with or without a driver.
has_nvidia_gpu() {
    local device
    for device in "${1:-/sys/bus/pci/devices}"/*; do
        if grep -qs '^0x10de' "$device/vendor" && grep -qs '^0x03' "$device/class"; then
            return 0
        fi
    done
    return 1
}

# Prints what is wrong with NVIDIA's driver, nothing if it works or this computer has no NVIDIA GPU.
driver_problem() {
    local driver
    if ! command -v nvidia-smi >/dev/null; then
        ! has_nvidia_gpu || echo "isn't installed"
        return 0
    fi
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null) || driver=""
    driver=${driver%%$'\n'*}
    if ! [[ $driver =~ ^[0-9]+ ]]; then
        echo "doesn't respond"
    elif [ "${BASH_REMATCH[0]}" -lt 525 ]; then
        echo "($driver) is too old"
    fi
}

# explain_driver PROBLEM
explain_driver() {
    echo "NVIDIA's driver $1, so training uses the CPU. To use the GPU, install driver 525 or newer, restart the"
    echo "computer, and run this command again."
}

# missing_packages EXTRAS: prints the Debian packages that this machine lacks.
missing_packages() {
    local extras=$1 python="" version known library package file bundle=""
    if python=$(find_python); then
        version=$("$python" -c 'import sys; print("python3.%d" % sys.version_info[1])')
        # Debian has these parts of Python in separate packages.
        "$python" -c 'import ensurepip, venv' 2>/dev/null || echo "$version-venv"
    elif ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        echo python3 python3-venv # any version, to download another one
    fi
    # The tests, and Triton on a GPU, compile small programs.
    command -v gcc >/dev/null || echo gcc libc6-dev
    if [ -n "$python" ] && command -v nvidia-smi >/dev/null && ! "$python" -c \
        'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("include"), "Python.h").stat()' \
        2>/dev/null; then
        echo "$version-dev"
    fi
    for file in $certificates; do
        [ ! -e "$file" ] || bundle=$file
    done
    [ -n "$bundle" ] || echo ca-certificates
    known=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p || true)
    # The tests freeze the program, which includes Python's library; Debian has it in a separate package.
    if [[ $extras = *test* && $python = /usr/bin/* && $known != *"lib$version.so"* ]]; then
        echo "lib$version"
    fi
    while read -r library package; do
        if [ -n "$library" ] && [[ $known != *[[:space:]]"$library "* ]]; then
            echo "$package"
        fi
    done <<<"$window_libraries"
}

# run_apt ARGUMENTS: runs apt-get as root, and waits while another program, such as unattended-upgrades, holds its locks.
run_apt() {
    local errors waited=0 holder
    errors=$(mktemp)
    until "${as_root[@]}" env LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" \
        >/dev/null 2>"$errors"; do
        if [ "$waited" -ge "$apt_patience" ] || ! grep -q 'Could not get lock' "$errors"; then
            cat "$errors" >&2
            rm -f "$errors"
            return 1
        fi
        if [ "$waited" = 0 ]; then
            holder=$(sed -n 's/.*held by process \([0-9]*\) (\(.*\)).*/: \2, process \1/p' "$errors" | head -n 1)
            echo "Another program is installing packages$holder. Waiting for it, up to $((apt_patience / 60)) minutes…"
        fi
        sleep "$apt_interval"
        waited=$((waited + apt_interval))
    done
    rm -f "$errors"
}

# install_system_packages EXTRAS: what the system lacks for these extras.
install_system_packages() {
    local -a missing names=() as_root=()
    local package by_hand
    mapfile -t missing < <(missing_packages "$1" | tr ' ' '\n')
    [ ${#missing[@]} -gt 0 ] || return 0
    by_hand="Install these packages (Debian names), then run this script again:
  ${missing[*]%%/*}"
    command -v apt-get >/dev/null || fail "This script supports only Debian and Ubuntu. $by_hand"
    if [ "$(id -u)" != 0 ]; then
        as_root=(sudo)
        command -v sudo >/dev/null || fail "Root privileges are required: run as root or install sudo. $by_hand"
        # Without a terminal nobody can type a password.
        [ -t 0 ] || sudo -n true 2>/dev/null || fail "sudo requires a password, but there is no terminal. $by_hand"
    fi
    say "System packages: ${missing[*]%%/*}"
    run_apt update || fail "apt-get update failed. $by_hand"
    for package in "${missing[@]}"; do
        # The older name if the release doesn't have the newer one.
        if apt-cache show "${package%/*}" >/dev/null 2>&1; then
            names+=("${package%/*}")
        else
            names+=("${package#*/}")
        fi
    done
    run_apt -y --no-install-recommends -o Dpkg::Use-Pty=0 install "${names[@]}" ||
        fail "apt-get failed. $by_hand"
}

# install_python_packages EXTRAS: a virtual environment in .venv, this checkout editable in it.
install_python_packages() {
    local extras=$1 python stamp versions problem
    local -a pip=(.venv/bin/python -m pip install)
    # Compiling all 25,000 modules takes two minutes of one core; the tests import a part of them,
    # and several processes compile it.
    [[ $extras != *test* ]] || pip+=(--no-compile)
    [ -t 1 ] || pip+=(--quiet)
    find_python >/dev/null || download_python
    python=$(find_python) || fail "Python 3.11, 3.12, or 3.13 wasn't found. Install one of them."
    versions=$(torch_versions)
    stamp=$(cat <(echo "$PWD $extras ${LORA_STUDIO_TORCH_INDEX:-$versions}") pyproject.toml | sha256sum)
    if [ -e ".venv/set-up-$extras" ] && [ "$stamp" = "$(cat ".venv/set-up-$extras")" ] &&
        .venv/bin/python -c '' 2>/dev/null; then
        return
    fi
    say "Python packages ($extras) with $("$python" --version), into .venv"
    # Recreate an environment whose Python is missing, or that was created elsewhere.
    if [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)' 2>/dev/null)" != "$PWD/.venv" ]; then
        rm -rf .venv
        "$python" -m venv .venv
    fi
    # Older versions don't continue a download whose connection breaks.
    "${pip[@]}" "pip>=25.2" ||
        echo "pip can't be updated, so a download whose connection breaks starts from zero."
    problem=$(driver_problem)
    if [ -n "${LORA_STUDIO_TORCH_INDEX:-}" ]; then
        # Another index has other builds of the same version.
        [ "$LORA_STUDIO_TORCH_INDEX" = "$(cat .venv/torch-index 2>/dev/null)" ] ||
            "${pip[@]}" --force-reinstall --index-url "$LORA_STUDIO_TORCH_INDEX" torch torchvision
        echo "$LORA_STUDIO_TORCH_INDEX" >.venv/torch-index
        versions=""
    elif [ -n "$versions" ]; then
        echo "PyTorch $versions, because newer builds don't support this computer's NVIDIA driver or GPU."
    elif [ -n "$problem" ]; then
        explain_driver "$problem"
    elif ! command -v nvidia-smi >/dev/null && [ "$(uname -sm)" = "Linux x86_64" ]; then
        echo "No NVIDIA GPU found. PyTorch's default Linux build includes CUDA (about 3 GB)."
        echo "For a smaller download, set LORA_STUDIO_TORCH_INDEX to the URL of PyTorch's CPU index."
    fi
    "${pip[@]}" --editable ".[$extras]" ${versions:+"torch$versions"}
    if command -v nvidia-smi >/dev/null && ! .venv/bin/python -c \
        'import sys, torch; sys.exit(bool(torch.version.cuda) and not torch.cuda.is_available())' \
        2>/dev/null; then
        if [ -n "$problem" ]; then
            explain_driver "$problem"
        elif [ -n "${LORA_STUDIO_TORCH_INDEX:-}" ]; then
            echo "The build of PyTorch from LORA_STUDIO_TORCH_INDEX needs a newer NVIDIA driver, so training uses the CPU."
            echo "Unset the variable or update the driver, then run this command again."
        else
            echo "The installed PyTorch can't use this computer's GPU, so training uses the CPU. Update NVIDIA's driver,"
            echo "restart the computer, and run this command again."
        fi
    fi
    echo "$stamp" >".venv/set-up-$extras"
}

set_up() {
    if [ "$(uname -s)" = Linux ]; then
        install_system_packages "$1"
    fi
    install_python_packages "$1"
    export PATH="$PWD/.venv/bin:$PATH"
}

run_tests() {
    export QT_QPA_PLATFORM=offscreen
    # If it is set, each of the hundreds of processes compiles this checkout's modules again.
    unset PYTHONDONTWRITEBYTECODE
    say "Format, lint, types, import rules"
    ruff format --check .
    ruff check .
    python packaging/wording.py
    mypy
    lint-imports
    # A crash of a test process ends its tier: pytest-xdist can wait forever for the process that replaces it.
    # A test that hangs fails after ten minutes.
    set -- --max-worker-restart 0 --timeout 600 "$@"
    # Tiny models are fastest on one thread each, so that several test processes share the cores.
    say "Fast tests"
    OMP_NUM_THREADS=1 pytest -n auto --maxprocesses 4 --dist loadfile \
        -m "not slow and not end2end" "$@"
    say "Frozen program: every command and page, as the packages have them"
    python packaging/check_frozen.py
    say "Slow tests: real models, servers, and end-to-end runs"
    # In the order of the folders: by number of tests, files with few long ones would come last, in one process.
    # Three processes keep two cores busy, because many tests wait for a worker, a server, or a disk.
    OMP_NUM_THREADS=1 pytest -n 3 --dist loadfile --no-loadscope-reorder \
        -m "(slow or end2end) and not thorough" "$@"
    # Containers may have a GPU without nvidia-smi; /dev/kfd is that of AMD's driver.
    if command -v nvidia-smi >/dev/null || [ -e "$nvidia_device" ] || [ -e /dev/kfd ]; then
        say "Checks on the GPU"
        python -m tests.gpu --out tests/gpu/results
    fi
}

case "${1:-}" in
demo)
    set_up engine
    exec lora-studio demo "${@:2}"
    ;;
test)
    set_up engine,unsloth,liger,test
    run_tests "${@:2}"
    ;;
setup)
    set_up engine,unsloth,liger,test
    ;;
*)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
    ;;
esac
