"""ONNX files for comparisons: parsed with distrust, and proved to compute what they say.

Expressions, the rows of `storage` and the points of `diff.equations` may be used; nothing of a file
is run, and no file beside it is opened but those that hold its weights.
"""
