"""What is written to files: the container, its codecs, and the checks of what is read back."""
