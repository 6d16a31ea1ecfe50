"""Training: one loop, continual pre-training with rehearsal, fine-tuning."""
