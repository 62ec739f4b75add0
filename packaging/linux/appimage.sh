#!/usr/bin/env bash
# Makes an AppDir out of the tree that build.sh has laid out and, with the runtime, an AppImage of it.
#   bash packaging/linux/appimage.sh ROOT OUT
# An AppImage is the AppImage project's runtime file with a squashfs of the AppDir behind it. The
# runtime is not ours to bring: pass it in as APPIMAGE_RUNTIME. Needs mksquashfs.
set -euo pipefail
readonly root=$1 out=$2
readonly app=$out/LoRA_Studio.AppDir

rm -rf "$app"
mkdir -p "$app"
cp -a "$root/usr" "$app/usr"
rm -r "$app/usr/share/lintian"
ln -s usr/share/applications/lora-studio.desktop "$app/lora-studio.desktop"
ln -s usr/share/icons/hicolor/256x256/apps/lora-studio.png "$app/lora-studio.png"
ln -s lora-studio.png "$app/.DirIcon"
cat >"$app/AppRun" <<'END'
#!/bin/sh
# The program finds everything beside itself; what it starts must not see the AppImage's own variables.
here=$(dirname "$(readlink -f "$0")")
unset APPDIR ARGV0
exec "$here/usr/lib/lora-studio/lora-studio" "$@"
END
chmod 755 "$app/AppRun"
if [ -z "${APPIMAGE_RUNTIME:-}" ]; then
    echo "AppDir only: APPIMAGE_RUNTIME names no runtime to make an AppImage with."
    exit
fi
mksquashfs "$app" "$out/app.squashfs" -root-owned -noappend -comp zstd -quiet -no-progress
cat "$APPIMAGE_RUNTIME" "$out/app.squashfs" >"$out/LoRA_Studio-$VERSION-x86_64.AppImage"
chmod 755 "$out/LoRA_Studio-$VERSION-x86_64.AppImage"
rm "$out/app.squashfs"
