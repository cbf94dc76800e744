"""`python -m cli` is `parley`."""

from cli.main import main

main()
