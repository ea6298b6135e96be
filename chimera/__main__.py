"""`python -m chimera`: the same as the `chimera` command."""

from chimera.cli import main

if __name__ == "__main__":
    main()
