#!/usr/bin/env bash
# Makes an AppDir out of the tree that build.sh has laid out and, with the runtime, an AppImage of it.
#   bash packaging/linux/appimage.sh ROOT OUT
# An AppImage is the AppImage project's runtime file with a squashfs of the AppDir behind it. The
# runtime is not ours to bring: pass it in as APPIMAGE_RUNTIME. Needs mksquashfs. ZSTD_LEVEL says how hard to
# compress, 1 to 22 (default 19).
set -euo pipefail
readonly root=$1 out=$2
readonly app=$out/LoRA_Studio.AppDir image=$out/LoRA_Studio-$VERSION-x86_64.AppImage

# By these bytes a runtime, and then the AppImage, is known as one of type 2.
if [ -n "${APPIMAGE_RUNTIME:-}" ] && [ "$(dd if="$APPIMAGE_RUNTIME" bs=1 skip=8 count=3 status=none | od -An -tx1)" != " 41 49 02" ]; then
    echo "$APPIMAGE_RUNTIME is no runtime for AppImages of type 2." >&2
    exit 1
fi

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
# Blocks of 1 MB, the largest that there are, make it 8 % smaller than those of 128 KB.
mksquashfs "$app" "$out/app.squashfs" -root-owned -noappend -quiet -no-progress \
    -comp zstd -b 1M -Xcompression-level "${ZSTD_LEVEL:-19}"
cat "$APPIMAGE_RUNTIME" "$out/app.squashfs" >"$image"
chmod 755 "$image"
rm "$out/app.squashfs"
