"""`python -m cli`, the same as `ragchat`."""

from cli.main import main

main()
