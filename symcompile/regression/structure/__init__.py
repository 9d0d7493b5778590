"""Structure: in what fewer variables an output can be written, asked of its samples.

A `problem` is an output in the variables that it is known to depend on; `questions` says in what
others it may be written, a `surrogate` of its samples answers, and `findings` are the answers, one
after the other. What they say of the output is a `claim`: inputs are moved so that it should stay
(`moves`), whoever can be asked is asked, and what is borne out is a `statement` in words.
May import `errors` and `expressions`, and nothing else of the package.
"""

from symcompile.regression.structure.findings import Finding, Structure, structure
from symcompile.regression.structure.statement import Statement

__all__ = ["Finding", "Statement", "Structure", "structure"]
