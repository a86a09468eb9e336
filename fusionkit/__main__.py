"""``python -m fusionkit``: the command line."""

from fusionkit.cli import main

if __name__ == "__main__":
    main()
