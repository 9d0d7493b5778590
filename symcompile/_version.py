"""The version, here and nowhere else: packaging, manifests and artifacts read it."""

__version__ = "0.1.0"
