"""The example of the README: a network in, its law out."""

import torch

from symcompile import Target, symcompile
from symcompile.pinns import PROBLEMS, train_pinn

torch.manual_seed(0)
model = train_pinn(PROBLEMS["heat"], seed=290402)  # any trained torch.nn.Module will do
compiled = symcompile(model, Target("net", names=("x", "t")), torch.rand(5000, 2))
print(compiled.report)  # the equation beside its measured fidelity
print(compiled.fronts["net"][0])  # all equations that could be chosen
compiled.choose("net", complexity=13)  # another one; restore("net") brings the network back
compiled.trainable_constants(True)  # fine-tune the constants with any torch optimizer
compiled.save("heat.symc")  # data only: load("heat.symc") can't execute code
compiled.export("heat.onnx")  # compared with ONNX Runtime before the file is kept
