"""`python -m clearance.cli` is `clearance`."""

from clearance.cli.main import main

main()
