"""The passes of the compiler, one a file; imported as `symcompile.passes`.

`chains` has them in their order; `prune` before a compile and `simplify` after it are the user's to
call, and `select` runs them for one region after the other. May import every room up to `storage`,
and what lies flat up to `pipeline`, which says what flows.
"""

from symcompile.passes.chains import compiling_passes, recording_passes
from symcompile.passes.prune import Pruning
from symcompile.passes.select import Selection

__all__ = ["Pruning", "Selection", "compiling_passes", "recording_passes"]
