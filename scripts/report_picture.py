"""Take a picture of a report through headless Chromium, for example the one in the README.

python scripts/report_picture.py runs/digits69/report.html report.png
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Render the top of a report to PNG and say where it lies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1280, help="window width in CSS pixels")
    parser.add_argument("--height", type=int, default=1500, help="window height in CSS pixels")
    parser.add_argument("--scale", type=float, default=1.5, help="pixels of the picture per CSS pixel")
    parser.add_argument("--dark", action="store_true", help="the dark colours")
    options = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("no Chromium here; scripts/install_chromium.sh installs it on Debian as root", file=sys.stderr)
        return 1
    if not options.report.is_file():
        print(f"no report at {options.report}", file=sys.stderr)
        return 1
    options.picture.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
            f"--window-size={options.width},{options.height}",
            f"--force-device-scale-factor={options.scale}",
            "--virtual-time-budget=5000",
            f"--screenshot={options.picture.resolve()}",
            *(["--blink-settings=preferredColorScheme=0"] if options.dark else []),
            options.report.resolve().as_uri(),
        ]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if run.returncode or not options.picture.is_file():
        print(run.stderr[-2000:], file=sys.stderr)
        return 1
    print(options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
