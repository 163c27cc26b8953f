"""The pipelines: their definitions, the compiled files that a person uploads, and what starts them."""
