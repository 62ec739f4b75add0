"""The publisher of the packages: replace these placeholders before the first public release.

Build scripts read them from here: `eval "$(python packaging/identity.py)"` sets shell variables of the
same names, and `python packaging/identity.py HOME_PAGE` prints one of them.
"""

from __future__ import annotations

import shlex
import sys

#: Reversed domain name: the AppStream identifier, and the bundle identifier on macOS.
IDENTIFIER = "org.lorastudio.LoRAStudio"
#: Name and address of the publisher.
DEVELOPER_ID = "org.lorastudio"
DEVELOPER = "The LoRA Studio developers"
#: A working address: Debian sends mail about the package to it.
EMAIL = "developers@lorastudio.invalid"
HOME_PAGE = "https://lorastudio.invalid/"

NAMES = ("IDENTIFIER", "DEVELOPER_ID", "DEVELOPER", "EMAIL", "HOME_PAGE")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(globals()[sys.argv[1]])
    else:
        print("\n".join(f"{name}={shlex.quote(globals()[name])}" for name in NAMES))
