"""One run of operon's NSGA-II (squared error against tree length), and what it met on the way."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.regression.choice import steepest
from symcompile.regression.engines.operon_tree import Tree, TreeNode
from symcompile.regression.pareto import layers

# Operon computes in float32: below this share of the variance an error is rounding.
EXACT = 1e-12
# Generations an exact fit may still spend on a shorter spelling.
_EXACT_PATIENCE = 10
_MAX_DEPTH = 10
# How many times as many generations a deep run has.
_DEEPER = 4
_UNLIMITED = 10**9


@dataclass(frozen=True)
class SearchOptions:
    """Sizes of one run; every field is an engine option.

    Attributes:
        population: individuals, and offspring of a generation.
        generations: generations of one run.
        local_iterations: Levenberg-Marquardt iterations given to every new individual.
        tournament: individuals that compete to become a parent.
        mutation: share of offspring that is mutated.
        keep: different trees kept of each length.

    Runs take turns, see `turn`: those are the sizes of the first.
    """

    population: int = 1000
    generations: int = 20
    local_iterations: int = 5
    tournament: int = 5
    mutation: float = 0.25
    keep: int = 3

    def turn(self, number: int) -> SearchOptions:
        """Those of run `number`, so that runs differ in more than their seed at the same cost.

        Half of them are deep: a quarter of the individuals, bred for four times as many
        generations. What has many parts takes many steps; what has few is met in a broad
        population. Turns are broad, deep, deep, broad, so that two kinds of searches that take
        turns themselves get both.
        """
        if number % 4 in (0, 3):
            return self
        few = max(self.population // _DEEPER, min(self.population, self.tournament))
        return replace(self, population=few, generations=_DEEPER * self.generations)


class Kept(NamedTuple):
    """A tree that was met: its relative error, and the hash of its shape, constants left out."""

    length: int
    loss: float
    shape: int
    tree: Tree


@dataclass
class Trees:
    """The best trees of each length over all generations, the best first."""

    keep: int
    best: dict[int, list[Kept]] = field(default_factory=dict)

    def add(self, loss: float, length: int, copy: Callable[[], Tree]) -> None:
        """Take a tree of this loss and length in, copied only if it is good enough."""
        kept = self.best.setdefault(length, [])
        worst = kept[-1].loss if len(kept) >= self.keep else math.inf
        if not math.isfinite(loss) or loss >= worst:
            return
        tree = copy()
        shape = hash(tuple((node.name, node.column) for node in tree))
        kept[:] = [other for other in kept if other.shape != shape or other.loss <= loss]
        if all(other.shape != shape for other in kept):
            kept.append(Kept(length, loss, shape, tree))
            kept.sort(key=lambda other: other.loss)
            del kept[self.keep :]

    def by_length(self) -> list[Tree]:
        return [tree for _, kept in sorted(self.best.items()) for *_, tree in kept]

    def lowest(self) -> tuple[float, int]:
        """Lowest relative error so far, and the shortest length that reaches it or exactness."""
        losses = {length: kept[0].loss for length, kept in self.best.items() if kept}
        lowest = min(losses.values(), default=math.inf)
        limit = max(lowest, EXACT)
        return lowest, min((n for n, loss in losses.items() if loss <= limit), default=0)

    def corner(self) -> Tree | None:
        """The tree at the end of the steepest step down in log-loss: what a watcher is shown."""
        front: list[Kept] = []
        for _, kept in sorted(self.best.items()):
            if kept and (not front or kept[0].loss < front[-1].loss):
                front.append(kept[0])
        logs = [math.log(max(kept.loss, EXACT)) for kept in front]
        return front[steepest(logs, [kept.length for kept in front])].tree if front else None


def merged(runs: Iterable[Trees]) -> list[Tree]:
    """The trees of several runs: the best of each length, then the second best, and so on; of two
    that differ in constants only, the better one."""
    best: dict[tuple[int, int], Kept] = {}
    for kept in (kept for trees in runs for of_length in trees.best.values() for kept in of_length):
        rival = best.get((kept.length, kept.shape), kept)
        best[kept.length, kept.shape] = kept if kept.loss < rival.loss else rival
    return [kept.tree for kept in layers(best.values(), lambda kept: (kept.length, kept.loss))]


class OperonRun:
    """One run. The library holds bare pointers, so every part lives as long as this object."""

    def __init__(
        self,
        data: Array,
        types: tuple[str, ...],
        max_length: int,
        options: SearchOptions,
        seed: int,
        planted: Sequence[Tree] = (),
    ) -> None:
        """`data` is [n_samples, n_inputs + 1], the output last; `types` are operon node types, and
        `planted` trees of them that are in the first population."""
        import pyoperon

        self.op = pyoperon
        self.options, self.max_length, self.seed = options, max_length, seed
        self.planted = planted
        self.parts: list[Any] = []
        self.trees = Trees(options.keep)
        self.exact_length, self.exact_since = 0, 0
        self.error: BaseException | None = None
        self._problem(np.asfortranarray(data, dtype=np.float64), types)
        self._algorithm()

    def keep(self, part: Any) -> Any:
        self.parts.append(part)
        return part

    def _problem(self, data: Array, types: tuple[str, ...]) -> None:
        op = self.op
        self.dataset = self.keep(op.Dataset(self.keep(data)))
        *inputs, target = sorted(self.dataset.Variables, key=lambda variable: variable.Index)
        self.inputs = [variable.Hash for variable in inputs]
        self.columns = {hash_: column for column, hash_ in enumerate(self.inputs)}
        self.problem = self.keep(op.Problem(self.dataset))
        self.problem.TrainingRange = op.Range(0, self.dataset.Rows)
        self.problem.TestRange = op.Range(self.dataset.Rows - 1, self.dataset.Rows)
        self.problem.Target = target
        self.problem.InputHashes = self.inputs
        self.true_name = _true_names(op)
        by_meaning = {meaning: name for name, meaning in self.true_name.items()}
        names = {*(by_meaning.get(name, name) for name in types), "Constant", "Variable"}
        self.problem.ConfigurePrimitiveSet(sum(int(getattr(op.NodeType, name)) for name in names))
        self.primitives = self.keep(self.problem.PrimitiveSet)

    def _algorithm(self) -> None:
        op, options, keep = self.op, self.options, self.keep
        self.creator = keep(op.BalancedTreeCreator(self.primitives, self.inputs, 0.0))
        self.coefficients = keep(op.NormalCoefficientInitializer())
        self.coefficients.ParameterizeDistribution(0, 1)
        self.initializer = initializer = keep(op.UniformLengthTreeInitializer(self.creator))
        initializer.ParameterizeDistribution(1, min(10, self.max_length))
        initializer.MinDepth, initializer.MaxDepth = 1, 1000
        config = op.GeneticAlgorithmConfig(
            generations=options.generations,
            max_evaluations=_UNLIMITED,
            local_iterations=options.local_iterations,
            population_size=options.population,
            pool_size=options.population,
            p_crossover=1.0,
            p_mutation=options.mutation,
            p_local=1.0,
            p_lamarck=1.0,
            epsilon=0.0,
            seed=self.seed,
            max_time=10**6,
        )
        reinserter = keep(op.KeepBestReinserter(keep(op.CrowdedComparison())))
        self.algorithm = op.NSGA2Algorithm(
            keep(config),
            self.problem,
            initializer,
            self.coefficients,
            self._generator(),
            reinserter,
            keep(op.RankSorter()),
        )

    def _generator(self) -> Any:
        op, keep = self.op, self.keep
        table = keep(op.DispatchTable())
        iterations = self.options.local_iterations
        optimizer = keep(op.LMOptimizer(table, self.problem, iterations, 0))
        error = keep(op.Evaluator(self.problem, table, keep(op.NMSE()), True))
        length = keep(op.LengthEvaluator(self.problem))
        both = keep(op.MultiEvaluator(self.problem))
        both.Add(error)
        both.Add(length)
        self.evaluators = (error, length, both)
        for evaluator in self.evaluators:
            evaluator.Budget = _UNLIMITED
        selectors = [keep(op.TournamentSelector(keep(op.CrowdedComparison()))) for _ in "fm"]
        for selector in selectors:
            selector.TournamentSize = self.options.tournament
        crossover = keep(op.SubtreeCrossover(0.9, _MAX_DEPTH, self.max_length))
        fitting = keep(op.CoefficientOptimizer(optimizer))
        return keep(
            op.BasicOffspringGenerator(both, crossover, self._mutation(), *selectors, fitting)
        )

    def _mutation(self) -> Any:
        op = self.op
        primitives, limits = self.primitives, (_MAX_DEPTH, self.max_length)
        single, several = op.NormalOnePointMutation(), op.NormalMultiPointMutation()
        single.ParameterizeDistribution(0, 1)
        several.ParameterizeDistribution(0, 1)
        discrete = op.DiscretePointMutation()
        for constant in op.Math.Constants:
            discrete.Add(constant, 1.0)
        mutation = self.keep(op.MultiMutation())
        for part in (
            single,
            several,
            discrete,
            op.ChangeVariableMutation(self.inputs),
            op.ChangeFunctionMutation(primitives),
            op.ReplaceSubtreeMutation(self.creator, self.coefficients, *limits),
            op.InsertSubtreeMutation(self.creator, self.coefficients, *limits),
            op.RemoveSubtreeMutation(primitives),
        ):
            mutation.Add(self.keep(part), 1.0)
        return mutation

    def run(self, deadline: float, each: Callable[[float, Trees], None]) -> Trees:
        """Search until the generations or the time are used up, or the fit is exact.

        Args:
            deadline: `time.monotonic()` at which to stop.
            each: called after every generation with the share of work done. What it raises ends
                the search and is raised here.
        """

        def observe() -> None:
            # An exception that leaves a callback ends the process: it waits in self.error.
            try:
                self._collect()
                each(self.algorithm.Generation / max(self.options.generations, 1), self.trees)
                if time.monotonic() >= deadline or self._finished():
                    self.stop()
            except BaseException as error:
                self.halt(error)

        planted = self.plant()
        # With many individuals a generation alone takes longer than a budget.
        seconds = max(deadline - time.monotonic(), 0.0)
        timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self.stop)
        timer.daemon = True
        timer.start()
        try:
            generator = self.op.RandomGenerator(np.uint64(self.seed))
            self.algorithm.Run(generator, observe, 1, planted)
        finally:
            timer.cancel()
        if self.error is not None:
            raise self.error
        self._collect()
        return self.trees

    def plant(self) -> bool:
        """Put the trees that were given into the first population; whether there are any.

        Operon takes a population only of an algorithm that has run: so it runs for no evaluation.
        At most half of the population are planted, so that there is something to cross them with.
        """
        op, most = self.op, max(self.options.population // 2, 1)
        genotypes = [self.genotype(tree) for tree in self.planted]
        genotypes = [one for one in genotypes if self.is_in_bounds(one)][:most]
        if not genotypes:
            return False
        generator = op.RandomGenerator(np.uint64(self.seed))
        self.stop()
        self.algorithm.Run(generator, None, 1, False)
        for evaluator in self.evaluators:
            evaluator.Budget = _UNLIMITED
        if self.error is not None:  # halted meanwhile
            self.stop()
        individuals = []
        for place in range(len(self.algorithm.Individuals)):
            individual = op.Individual(2)
            if place < len(genotypes):
                individual.Genotype = genotypes[place]
            else:
                tree = self.initializer(generator)
                self.coefficients(generator, tree)
                individual.Genotype = tree
            individuals.append(individual)
        self.algorithm.RestoreIndividuals(op.IndividualCollection(individuals))
        return True

    def is_in_bounds(self, tree: Any) -> bool:
        return bool(tree.Length <= self.max_length and tree.Depth <= _MAX_DEPTH)

    def genotype(self, tree: Tree) -> Any:
        """A tree of this run from its nodes."""
        op, by_meaning = self.op, {meaning: name for name, meaning in self.true_name.items()}
        nodes = []
        for name, _, value, column in tree:
            kind = "Variable" if name == "variable" else by_meaning.get(name, name)
            node = op.Node(getattr(op.NodeType, kind))
            if name == "variable":
                node.HashValue = node.CalculatedHashValue = self.inputs[column]
            if name in ("variable", "Constant"):
                node.Value = value
            nodes.append(node)
        return op.Tree(nodes).UpdateNodes()

    def copy(self, tree: Any) -> Tree:
        """The nodes of a tree of this run."""
        return tuple(
            TreeNode("variable", node.Arity, node.Value, self.columns[node.HashValue])
            if node.IsVariable
            else TreeNode(
                self.true_name.get(node.Type.name, node.Type.name), node.Arity, node.Value
            )
            for node in tree.Nodes
        )

    def _collect(self) -> None:
        for individual in self.algorithm.BestFront:
            tree = individual.Genotype
            loss = float(individual.GetFitness(0))
            self.trees.add(loss, int(tree.Length), partial(self.copy, tree))

    def _finished(self) -> bool:
        lowest, length = self.trees.lowest()
        if lowest > EXACT:
            return False
        generation = self.algorithm.Generation
        if length != self.exact_length:
            self.exact_length, self.exact_since = length, generation
        return bool(generation - self.exact_since >= _EXACT_PATIENCE)

    def halt(self, error: BaseException) -> None:
        """Ends the run from another thread, and has it raise this error."""
        self.error = error
        self.stop()

    def stop(self) -> None:
        """Ends the run, in the midst of a generation: operon stops when an evaluator's budget is
        used up. For any thread."""
        for evaluator in self.evaluators:
            evaluator.Budget = 1


def _true_names(op: Any) -> dict[str, str]:
    """What the node types Fmin and Fmax compute: pyoperon 0.6 has them the wrong way round."""
    dataset = op.Dataset(np.asfortranarray([[1.0, 2.0], [1.0, 2.0]]))
    low, high = sorted(dataset.Variables, key=lambda variable: variable.Index)
    leaves = [op.Node(op.NodeType.Variable) for _ in range(2)]
    for leaf, variable in zip(leaves, (low, high), strict=True):
        leaf.HashValue = leaf.CalculatedHashValue = variable.Hash
        leaf.Value = 1.0
    tree = op.Tree([*leaves, op.Node(op.NodeType.Fmin)]).UpdateNodes()
    value = np.ravel(op.Evaluate(op.DispatchTable(), tree, dataset, op.Range(0, 2)))[0]
    return {"Fmin": "Fmin", "Fmax": "Fmax"} if value == 1.0 else {"Fmin": "Fmax", "Fmax": "Fmin"}
