"""The detectors: architectures, anchors, preprocessing, decoding, and what gives detections from any exported file.

This file imports nothing, so that what needs NumPy alone (boxes, detections) can be had without TensorFlow.
"""
