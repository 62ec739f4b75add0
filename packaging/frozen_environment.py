"""PyInstaller runtime hook: what the program starts must not see the bundle's libraries and Qt.

The loader has read LD_LIBRARY_PATH by now, and Qt gets its own places from PySide6. Children (uv, the
engine's Python, xdg-open, ollama) would load the bundle's libraries in place of their own.
"""

import os
import sys

#: Where systems keep the certificates that they trust; the bundle's OpenSSL knows one of them only.
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, Alpine
)


def _restore(name: str) -> None:
    os.environ.pop(name, None)
    # NAME_ORIG stays: setup.environment goes by it where it makes a child's environment once more.
    if before := os.environ.get(f"{name}_ORIG"):
        os.environ[name] = before


for _name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LIBPATH"):
    _restore(_name)
for _name in list(os.environ):
    if _name.startswith("_PYI_") or _name in (
        "PYTHONHOME",
        "PYTHONPATH",
        "QT_PLUGIN_PATH",
        "QML2_IMPORT_PATH",
    ):
        del os.environ[_name]
if sys.platform != "win32" and not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & set(os.environ):
    for _file in _CERTIFICATES:
        if os.path.exists(_file):  # noqa: PTH110 - pathlib would be imported for this alone
            os.environ["SSL_CERT_FILE"] = _file
            break
