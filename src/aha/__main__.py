"""`python -m aha` is `aha`."""

from aha.cli import main

if __name__ == "__main__":
    main()
