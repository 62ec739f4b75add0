"""PyInstaller runtime hook that hides the bundle's libraries and Qt from child processes.

The loader has already read LD_LIBRARY_PATH, and Qt gets its paths from PySide6. Child processes (uv, the
engine's Python, xdg-open, ollama) would load the bundle's libraries instead of their own.
"""

import os
import sys

#: Files with the trusted certificates of each system; the bundle's OpenSSL knows only one of them.
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, Alpine
)


def _restore(name: str) -> None:
    os.environ.pop(name, None)
    # NAME_ORIG is kept, because setup.environment needs it to create a child's environment.
    if original := os.environ.get(f"{name}_ORIG"):
        os.environ[name] = original


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
