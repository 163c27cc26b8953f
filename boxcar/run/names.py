"""Names that several steps go by which do not know one another."""

RUN_FILE = "run.json"  # in a run's folder, written at its end for scripts
SIGNATURE = "model.sig"  # in a signed folder, over all other files there
IMAGE = "BOXCAR_IMAGE"  # the variable in which an image finds its own reference, and exported files what they were made in
