"""Files and objects of each kind, read into a Snapshot."""
