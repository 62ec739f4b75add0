#!/usr/bin/env bash
# Tests the Windows installer under wine, with substitutes for the frozen programs: installs, opens a project,
# updates, refuses while the program is running, and uninstalls with each answer, silently and interactively.
#   bash packaging/windows/check_under_wine.sh
# Needs makensis, wine for 64-bit programs (Debian: nsis, wine64), and a Python with PySide6 to draw the icons.
# Without one of them the test is skipped, with the reason. Needs no display.
# Environment:
#   PYTHON   default: the checkout's .venv, or python3
#   ICONS    folder with icons drawn by freeze.py, instead of PySide6
#   BITS     32: the installer as NSIS for Windows builds it, with 32-bit stubs only; needs wine32
#   KEEP     1: keep the working folder
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/../.."

skip() { echo "SKIPPED: the Windows installer under wine. $*"; exit 0; }
say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

command -v makensis >/dev/null || skip "makensis is not installed."
command -v wine >/dev/null || skip "wine is not installed."
python=${PYTHON:-python3}
[ -n "${PYTHON:-}" ] || [ ! -x .venv/bin/python ] || python=$PWD/.venv/bin/python
[ -n "${ICONS:-}" ] || "$python" -c 'import PySide6.QtSvg' 2>/dev/null ||
    skip "$python has no PySide6 to draw the icons with."

work=$(mktemp -d)
export WINEPREFIX=$work/wine WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe="
# A realistic user name: with a space and a non-ASCII letter.
export USER="Zoë Müller" LANG=C.UTF-8 LC_ALL=C.UTF-8
unset DISPLAY WAYLAND_DISPLAY XDG_RUNTIME_DIR
# shellcheck disable=SC2329  # by the trap
end() {
    wineserver -k 2>/dev/null || true
    [ "${KEEP:-}" = 1 ] || rm -rf "$work"
}
trap end EXIT
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND" >&2' ERR
set -E

readonly home="$work/wine/drive_c/users/$USER"
readonly local_data="$home/AppData/Local"
readonly data=$local_data/lora-studio installed="$local_data/Programs/LoRA Studio"
readonly engine=$data/engine/engines/one/venv/Scripts
readonly shortcut="$home/AppData/Roaming/Microsoft/Windows/Start Menu/Programs/LoRA Studio.lnk"
readonly windows_installed="C:\\users\\$USER\\AppData\\Local\\Programs\\LoRA Studio"
readonly key='HKCU\Software\Microsoft\Windows\CurrentVersion\Uninstall\LoRAStudio'

# registry KEY [VALUE]: prints the value, or the default value; fails if there is none.
registry() {
    local -a which=(/ve)
    [ $# = 1 ] || which=(/v "$2")
    wine reg query "$1" "${which[@]}" | tr -d '\r' | iconv -f CP850 -t UTF-8 |
        sed -nE 's/^ +.* REG_(SZ|DWORD) +//p' | grep .
}

# status COMMAND...: prints its exit status. last_status: the same, after everything else has ended.
status() {
    local ended=0
    wine "$@" >/dev/null 2>&1 || ended=$?
    echo "$ended"
}
last_status() {
    status "$@"
    wineserver -w
}

# The uninstaller runs from a copy of itself and returns no status, unless its folder is given as the last
# argument, without quotes, which needs a raw command line. In that case it can't delete itself.
readonly in_place='C:\uninstall.bat'

# wait_for FILE: waits until the file isn't empty.
wait_for() {
    local tries=0
    until [ -s "$1" ]; do
        sleep 0.1
        [ $((tries += 1)) -lt 600 ] || fail "Never came: $1"
    done
}

# start_and_wait FOLDER COMMAND...: runs a substitute in FOLDER until let_end FOLDER.
start_and_wait() {
    local folder=$1
    touch "$folder/stay"
    wine "${@:2}" >/dev/null 2>&1 &
    wait_for "$folder/started"
}
let_end() {
    rm "$1/stay"
    wineserver -w
}

expect() { [ "$2" = "$3" ] || fail "$1: $2, not $3"; }
expect_gone() {
    local path
    for path in "$@"; do [ ! -e "$path" ] || fail "Still there: $path"; done
}

# Two versions of the program; the first has a file that the second doesn't have.
make_bundle() {
    local bundle=$work/bundle-$1
    mkdir -p "$bundle/_internal/Grüße an alle"
    cp "$work/program.exe" "$bundle/LoRA Studio.exe"
    cp "$work/program.exe" "$bundle/lora-studio.exe"
    echo "$1" | tee "$bundle/_internal/version.txt" "$bundle/_internal/Grüße an alle/only in $1.txt" >/dev/null
    bash packaging/windows/compile_check.sh "$work" "$1" "$bundle"
}

make_data() {
    mkdir -p "$engine" "$data"/{Cache/files,Logs,"samples/Mein Projekt/runs/1"}
    cp "$work/program.exe" "$engine/python.exe"
    touch "$engine/torch.dll" "$data"/{Cache/files/a,Logs/window.log,engine-folder.txt,preferences.toml} \
        "$data/samples/Mein Projekt/runs/1/adapter.safetensors"
}

expect_installed() {
    diff -r "$work/bundle-$1" "$installed" >"$work/differences" || true
    expect "Files beside those of the bundle" "$(sort "$work/differences")" "Only in $installed: Uninstall.exe
Only in $installed: lora-studio-project.ico"
    [ -s "$shortcut" ] || fail "No entry in the Start menu."
    strings --encoding=l "$shortcut" | grep -q 'LoRA Studio.exe' || fail "The entry in the Start menu leads elsewhere."
    expect "Version" "$(registry "$key" DisplayVersion)" "$1"
    expect "Place" "$(registry "$key" InstallLocation)" "$windows_installed"
    expect "Uninstaller" "$(registry "$key" QuietUninstallString)" "\"$windows_installed\\Uninstall.exe\" /S"
    [ $(($(registry "$key" EstimatedSize))) -gt 200 ] || fail "The size is not told."
    expect "Project files" "$(registry 'HKCU\Software\Classes\.lorastudio')" LoRAStudio.Project
}

expect_uninstalled() {
    expect_gone "$installed" "$shortcut"
    for place in "$key" 'HKCU\Software\Classes\.lorastudio' 'HKCU\Software\Classes\LoRAStudio.Project' \
        'HKCU\Software\Microsoft\Windows\CurrentVersion\App Paths\lora-studio.exe'; do
        ! wine reg query "$place" >/dev/null 2>&1 || fail "Still in the registry: $place"
    done
}

say "Stand-ins, two versions of the installer, and a bare Windows"
if [ -z "${ICONS:-}" ]; then
    export ICONS=$work/icons
    mkdir "$ICONS"
    for name in lora-studio lora-studio-project; do
        "$python" packaging/icons.py "packaging/$name.svg" "$ICONS/$name.ico"
    done
fi
for name in program person; do
    makensis -V2 -WX -DOUT="$work/$name.exe" "packaging/windows/check/$name.nsi"
done
cp -r /usr/share/nsis "$work/nsis"
rm "$work"/nsis/Stubs/*amd64*
[ "${BITS:-64}" = 64 ] || export NSISDIR=$work/nsis
make_bundle 0.0.1
make_bundle 0.0.2
[ "${BITS:-64}" = 32 ] || NSISDIR=$work/nsis bash packaging/windows/compile_check.sh "$work/32"
wine wineboot --init >"$work/wine.log" 2>&1 || { cat "$work/wine.log" >&2; skip "wine does not start here."; }
[ -d "$local_data" ] || fail "wine's user is not $USER: $(ls "$work/wine/drive_c/users")"
wine reg add 'HKCU\Software\Wine\Drivers' /v Graphics /d null /f >/dev/null # no visible windows
wineserver -w
cat >"$work/wine/drive_c/uninstall.bat" <<'END'
@"%LOCALAPPDATA%\Programs\LoRA Studio\Uninstall.exe" %* _?=%LOCALAPPDATA%\Programs\LoRA Studio
@exit %errorlevel%
END

say "Installed silently"
expect "Installer" "$(last_status "$work/LoRA-Studio-0.0.1-setup.exe" /S)" 0
expect_installed 0.0.1

say "A project opened by its file"
# wine looks up file classes only system-wide.
for class in .lorastudio LoRAStudio.Project; do
    wine reg copy "HKCU\\Software\\Classes\\$class" "HKLM\\Software\\Classes\\$class" /s /f >/dev/null
done
touch "$home/Documents/Größe mit Blank.lorastudio"
start_and_wait "$installed" start "C:\\users\\$USER\\Documents\\Größe mit Blank.lorastudio"
expect "Command line" "$(iconv -f UTF-16LE -t UTF-8 "$installed/started")" \
    "\"$windows_installed\\LoRA Studio.exe\" \"C:\\users\\$USER\\Documents\\Größe mit Blank.lorastudio\""

say "Neither updated nor uninstalled while it runs"
expect "Update beside the window" "$(status "$work/LoRA-Studio-0.0.2-setup.exe" /S)" 2
expect "Uninstaller beside the window" "$(status cmd /c "$in_place" /S)" 2
let_end "$installed"
start_and_wait "$installed" "$installed/lora-studio.exe" run
expect "Update beside the command" "$(status "$work/LoRA-Studio-0.0.2-setup.exe" /S)" 2
expect "Uninstaller beside the command" "$(status cmd /c "$in_place" /S)" 2
let_end "$installed"
expect_installed 0.0.1

say "Updated: nothing of the older version stays, everything of the user does"
make_data
before=$(find "$data" | sort)
expect "Update" "$(last_status "$work/LoRA-Studio-0.0.2-setup.exe" /S)" 0
expect_installed 0.0.2
expect "Data" "$(find "$data" | sort)" "$before"

say "Uninstalled silently: engine, samples and preferences stay"
expect "Uninstaller" "$(last_status "$installed/Uninstall.exe" /S)" 0
expect_uninstalled
expect "Data" "$(find "$data" | sort)" "$before"

say "Uninstalled with switches"
expect "Installer" "$(last_status "$work/LoRA-Studio-0.0.2-setup.exe" /S)" 0
expect "Uninstaller" "$(last_status "$installed/Uninstall.exe" /S /REMOVE_SAMPLES)" 0
expect_uninstalled
expect "Data" "$(cd "$data" && find . | sort | tr '\n' ' ')" \
    ". ./engine ./engine-folder.txt ./engine/engines ./engine/engines/one ./engine/engines/one/venv ./engine/engines/one/venv/Scripts ./engine/engines/one/venv/Scripts/python.exe ./engine/engines/one/venv/Scripts/torch.dll "
expect "Installer" "$(last_status "$work/LoRA-Studio-0.0.2-setup.exe" /S)" 0
make_data
expect "Uninstaller" "$(last_status "$installed/Uninstall.exe" /S /REMOVE_ENGINE)" 0
expect_uninstalled
expect_gone "$data"/{engine,engine-folder.txt,Cache,Logs}
[ -e "$data/samples/Mein Projekt/runs/1/adapter.safetensors" ] || fail "The sample project is gone."
[ -e "$data/preferences.toml" ] || fail "The preferences are gone."

say "An engine in which a training goes on stays whole"
make_data
expect "Installer" "$(last_status "$work/LoRA-Studio-0.0.2-setup.exe" /S)" 0
start_and_wait "$engine" "$engine/python.exe"
wine cmd /c "$in_place" /S /REMOVE_ENGINE /REMOVE_SAMPLES >/dev/null
[ -e "$engine/torch.dll" ] || fail "A file of the engine is gone."
expect_gone "$data"/{samples,preferences.toml}
let_end "$engine"
expect "What is left" "$(ls "$installed")" Uninstall.exe # see in_place
rm -r "$installed"

say "By its pages, into a folder of another name; asked, yes and no are answered"
make_data
elsewhere='C:\Eigene Programme\LoRA Größe'
wine reg add "$key" /v InstallLocation /d "$elsewhere" /f >/dev/null # as an earlier version set it
there="$work/wine/drive_c/Eigene Programme/LoRA Größe"
mkdir -p "$there/_internal"
touch "$there/_internal/of somebody else" "$there/letter.txt" "$there/stay"
wine "$work/person.exe" nn >/dev/null 2>&1 &
wine "$work/LoRA-Studio-0.0.2-setup.exe" >/dev/null 2>&1
wait_for "$there/started" # the last page starts it
touch "$work/done"
let_end "$there"
[ -e "$there/_internal/of somebody else" ] || fail "A file of somebody else is gone."
expect "Place" "$(registry "$key" InstallLocation)" "$elsewhere"
rm "$work/done"
wine "$work/person.exe" yn >/dev/null 2>&1 &
wine "$elsewhere\Uninstall.exe" >/dev/null 2>&1
tries=0
while [ -e "$there/Uninstall.exe" ]; do
    sleep 0.1
    [ $((tries += 1)) -lt 600 ] || fail "Never uninstalled."
done
touch "$work/done"
wineserver -w
expect "Questions" "$(iconv -f UTF-16LE -t UTF-8 "$work/questions" | grep -c '?')" 2 # whatever they say
expect_gone "$data/engine"
[ -e "$data/samples/Mein Projekt/runs/1/adapter.safetensors" ] || fail "The sample project is gone."
expect "What is left" "$(ls "$there")" letter.txt
expect_uninstalled

say "Done"
