"""The page of a comparison: how two graphs are laid out as one picture, and how facts are shown."""
