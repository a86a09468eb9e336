"""A run: its folder, its stages, and what is already done."""
