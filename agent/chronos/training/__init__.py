"""A training run, and its loop: Hugging Face's trainer with exact resume, callbacks, EMA, several processes."""
