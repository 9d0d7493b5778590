"""The passes of the compiler, one a file; imported as `symcompile.passes`.

`compiling_passes` has them in their order; `prune` before a compile and `simplify` after it are the
user's to call. May import every room up to `storage`, and what lies flat up to `pipeline`, which
says what flows.
"""

from symcompile.options import Options
from symcompile.passes.capture import CapturePass
from symcompile.passes.choose import ChoosePass
from symcompile.passes.distill import DistillPass
from symcompile.passes.instrument import InstrumentPass
from symcompile.passes.partition import PartitionPass
from symcompile.passes.prune import Pruning
from symcompile.passes.reduce import ReducePass
from symcompile.passes.refine import RefinePass
from symcompile.passes.rewrite import RewritePass
from symcompile.passes.select import Selection
from symcompile.passes.verify import VerifyPass
from symcompile.pipeline import Instrumented, Pipeline, Request, Verified

__all__ = ["Pruning", "Selection", "compiling_passes", "recording_passes"]


def recording_passes(options: Options, *, sharing: bool = False) -> Pipeline[Request, Instrumented]:
    """From a model to a recording of its targets; `sharing` as for CapturePass."""
    return (
        Pipeline.of(CapturePass(sharing))
        .then(PartitionPass())
        .then(InstrumentPass(options.n_samples, options.holdout, options.seed, options.objective))
    )


def compiling_passes(options: Options) -> Pipeline[Request, Verified]:
    """From a model to a hybrid and what became of each region."""
    return (
        recording_passes(options)
        .then(ReducePass(options.seed))
        .then(DistillPass(options))
        .then(RefinePass(options.progress))
        .then(ChoosePass(options.tolerance, options.beat_linear))
        .then(RewritePass())
        .then(VerifyPass(options.seed))
    )
