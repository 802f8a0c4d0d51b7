"""What a run logs: metrics.jsonl, pictures, TensorBoard, wandb."""
