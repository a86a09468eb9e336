"""Files in and out: images, metadata, pairs, windows, YAML, atomic writes."""
