"""Logs of a run: metrics.jsonl, preview images, TensorBoard, wandb."""
