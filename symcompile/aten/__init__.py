"""ATen graphs as plain data: encoded from torch.export, decoded without executing anything."""
