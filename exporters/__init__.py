"""Output formats, one a file; imported as `symcompile.exporters`."""
