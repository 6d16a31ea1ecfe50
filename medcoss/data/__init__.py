"""Training shards, deterministic order, augmentation and the tokenizer; free of torch."""
