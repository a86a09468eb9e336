"""Pure tensor maths: no state, no files, no configuration."""
