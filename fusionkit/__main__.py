"""``python -m fusionkit``, and ``torchrun -m fusionkit`` to train in several processes."""

from fusionkit.cli import main

if __name__ == "__main__":
    main()
