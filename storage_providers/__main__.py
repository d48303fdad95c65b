"""`python -m storage_providers`: the command line."""

from storage_providers.cli import main

if __name__ == "__main__":
    main()
