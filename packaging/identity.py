"""Who stands behind the packages: the one place to decide it in before the first public release.

The scripts that build packages take it from here: `eval "$(python packaging/identity.py)"` sets shell
variables of the same names, `python packaging/identity.py HOME_PAGE` prints one of them. What is here
now belongs to nobody (names under .invalid lead nowhere).
"""

from __future__ import annotations

import shlex
import sys

#: Reversed domain name: the AppStream identifier, on macOS that of the bundle.
IDENTIFIER = "org.lorastudio.LoRAStudio"
#: Name and address of the publisher.
DEVELOPER_ID = "org.lorastudio"
DEVELOPER = "The LoRA Studio developers"
#: An address that answers: Debian sends there what concerns the package.
EMAIL = "developers@lorastudio.invalid"
HOME_PAGE = "https://lorastudio.invalid/"

NAMES = ("IDENTIFIER", "DEVELOPER_ID", "DEVELOPER", "EMAIL", "HOME_PAGE")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(globals()[sys.argv[1]])
    else:
        print("\n".join(f"{name}={shlex.quote(globals()[name])}" for name in NAMES))
