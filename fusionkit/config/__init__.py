"""The configuration of a run: recipe files, overrides and the JSON schema."""
