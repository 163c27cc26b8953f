"""The initial weights of a training, decided before it starts."""

from boxcar.config.run_settings import Configuration
from boxcar.detectors.catalog import find_architecture
from boxcar.detectors.checkpoint_sources import InitialWeights, find_checkpoint
from boxcar.errors import BoxcarError, ExitCode


def settle_init(configuration: Configuration) -> tuple[Configuration, str | None]:
    """The configuration with `init` decided, and a sentence for the log or None.

    Weights that were requested by name must exist. Otherwise the zoo's weights are used if they are available.

    Raises:
        BoxcarError: 64 or 65 for a checkpoint that is missing or broken, 69 for one that cannot be downloaded.
    """
    if configuration.init is not None:
        find_initial(configuration)
        return configuration, None
    try:
        zoo = configuration.model_copy(update={"init": "zoo"})
        find_initial(zoo)
        return zoo, None
    except BoxcarError as error:
        if error.code not in (ExitCode.ENVIRONMENT, ExitCode.USAGE):
            raise
        sentence = f"Starting from random weights, which need more images and steps: {error.what}"
        return configuration.model_copy(update={"init": "none"}), sentence


def find_initial(configuration: Configuration) -> InitialWeights | None:
    """The checkpoint that a settled configuration names, brought to this machine; None for random weights."""
    if configuration.init in (None, "none"):
        return None
    if configuration.init != "zoo":
        return find_checkpoint(str(configuration.init))
    architecture = find_architecture(configuration.architecture)
    if architecture.zoo is None:
        raise BoxcarError(
            ExitCode.USAGE, f"The zoo publishes no weights for {architecture.name}.", "Use --init none or another architecture."
        )
    return find_checkpoint(architecture.zoo)
