"""Components by kind and name: signatures, plugins, weights and model cards."""
