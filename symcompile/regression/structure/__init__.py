"""Structure: in what fewer variables an output can be written, asked of its samples.

A `problem` is an output in the variables that it is known to depend on; `questions` says in what
others it may be written, a `surrogate` of its samples answers, and `findings` are the answers, one
after the other. May import `expressions`, and nothing else of the package.
"""

from symcompile.regression.structure.findings import Finding, Structure, structure

__all__ = ["Finding", "Structure", "structure"]
