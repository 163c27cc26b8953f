"""Records as tensors: TFRecord files, label map, input pipeline, augmentation.

May import `detectors`, `inference`, and what is below.
"""
