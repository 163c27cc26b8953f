"""What every use of a trained detector shares: `detector.json`, preprocessing, decoding, runners of exported files, drawing.

May import `sync`, `run`, `storage`, and `errors`. TensorFlow is loaded only by the runner or the graph that needs it.
"""
