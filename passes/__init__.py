"""Compiler passes, one a file; imported as `symcompile.passes`."""
