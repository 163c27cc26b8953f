"""Training a model anew when its pictures have changed, and not otherwise."""
