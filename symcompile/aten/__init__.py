"""ATen graphs as plain data: encoded from torch.export, decoded without executing anything.

What stands here knows graphs and the blocks that they call, and nothing of the files that hold
them. May import the rooms from `expressions` to `pruning`.
"""
