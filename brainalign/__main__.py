"""``python -m brainalign``."""

from brainalign.cli import main

main()
