"""`python -m sartor`: the command line."""

from sartor.cli import main

main()
