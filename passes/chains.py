"""The passes in their order: what is run from a model to a recording, to equations, to a hybrid."""

from symcompile.options import Options
from symcompile.passes.capture import CapturePass
from symcompile.passes.choose import ChoosePass
from symcompile.passes.distill import DistillPass
from symcompile.passes.instrument import InstrumentPass
from symcompile.passes.partition import PartitionPass
from symcompile.passes.reduce import ReducePass
from symcompile.passes.refine import RefinePass
from symcompile.passes.rewrite import RewritePass
from symcompile.passes.verify import VerifyPass
from symcompile.pipeline import Instrumented, Partitioned, Pipeline, Refined, Request, Verified


def capturing_passes(*, sharing: bool = False) -> Pipeline[Request, Partitioned]:
    """From a model to the places of its targets; `sharing` as for CapturePass."""
    return Pipeline.of(CapturePass(sharing)).then(PartitionPass())


def recording_passes(options: Options, *, sharing: bool = False) -> Pipeline[Request, Instrumented]:
    """From a model to a recording of its targets."""
    instrument = InstrumentPass(options.n_samples, options.holdout, options.seed, options.objective)
    return capturing_passes(sharing=sharing).then(instrument)


def fitting_passes(options: Options) -> Pipeline[Request, Refined]:
    """From a model to the fronts of its targets."""
    return (
        recording_passes(options)
        .then(ReducePass(options.seed))
        .then(DistillPass(options))
        .then(RefinePass(options.progress))
    )


def replacing_passes(options: Options) -> Pipeline[Refined, Verified]:
    """From fronts to a hybrid and what became of each region."""
    return (
        Pipeline.of(ChoosePass(options.tolerance, options.beat_linear))
        .then(RewritePass())
        .then(VerifyPass(options.seed))
    )


def compiling_passes(options: Options) -> Pipeline[Request, Verified]:
    """All of them."""
    return fitting_passes(options).followed_by(replacing_passes(options))
