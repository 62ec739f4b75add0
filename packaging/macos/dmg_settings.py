"""Settings of the disk image: `dmgbuild -s dmg_settings.py -D app=PATH "LoRA Studio" OUT.dmg`."""

# ruff: noqa: F821  (dmgbuild defines `defines`)

application = defines["app"]

format = "ULMO"  # noqa: A001 - a setting of dmgbuild; LZMA, for macOS 10.15 or later
filesystem = "APFS"
files = [application]
symlinks = {"Applications": "/Applications"}
icon_locations = {"LoRA Studio.app": (150, 170), "Applications": (410, 170)}
window_rect = ((200, 200), (560, 360))
default_view = "icon-view"
icon_size = 112
text_size = 13
background = "#f6f7f9"  # dmgbuild accepts lowercase letters only
