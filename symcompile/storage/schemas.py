"""Versions of what symcompile writes; raised when an older reader would misread the newer file."""

ARTIFACT = 1  # .symc files, see symcompile.storage.container
MANIFEST = 1  # manifests, see symcompile.exporters.manifest_json
