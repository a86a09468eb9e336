"""``python -m fusionkit.cli``: for torchrun, which starts modules."""

from fusionkit.cli import main

if __name__ == "__main__":
    main()
