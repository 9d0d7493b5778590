"""ONNX files for comparisons: parsed with distrust, and proved to compute what they say."""
