"""Training under Lightning, its checkpoints and exact resume; `fit` in plain PyTorch."""
