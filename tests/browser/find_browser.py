"""Makes sure that the browser tests have a chromium, as far as this machine allows. Run by `make test`.

A chromium on the path, else Debian's package where it may be installed, else Playwright's own. Where none can be
had it says so and succeeds: the tests then skip in plain words, or fail where TELLTALE_REQUIRE_BROWSER is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium_on_path() -> str | None:
    """TELLTALE_CHROMIUM, or the first known name on the path."""
    return os.environ.get("TELLTALE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def _run(*command: str) -> bool:
    print("$", " ".join(command), flush=True)
    try:
        return subprocess.run(command, timeout=900).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def main() -> int:
    if chromium_on_path():
        return 0
    if shutil.which("apt-get") and os.geteuid() == 0:
        _run("apt-get", "-qq", "update")
        _run("apt-get", "-qq", "install", "-y", "--no-install-recommends", "chromium")
        if chromium_on_path():
            return 0
    if not _run(sys.executable, "-m", "playwright", "install", "chromium"):
        print("No chromium could be installed: the browser tests will be skipped. "
              "Install one, or name it in TELLTALE_CHROMIUM.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
