"""Training a model anew when its images have changed, and not otherwise."""
