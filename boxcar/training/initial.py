"""The initial weights of a training, decided before it starts."""

from boxcar.config.run_settings import Configuration
from boxcar.detectors.catalog import find_architecture
from boxcar.detectors.checkpoint_sources import InitialWeights, at_hand, find_checkpoint, find_packaged
from boxcar.detectors.weights.packaged import packaged_source
from boxcar.errors import BoxcarError, ExitCode

ZOO_SECONDS = 3.0  # that a person waits for the zoo's server if they did not ask for it


def settle_init(configuration: Configuration, *, here: bool = True) -> tuple[Configuration, str | None]:
    """The configuration with `init` decided, and a sentence for the log or None.

    Weights that were requested by name must exist. Otherwise training starts from the zoo's weights if they are available,
    else from packaged weights, else from random ones.

    Args:
        configuration: of the run.
        here: whether training runs in this installation. In pods, it runs in the container image train, which contains the
            packaged weights.

    Raises:
        BoxcarError: 64 or 65 for a checkpoint that is missing or broken, 69 for weights that cannot be downloaded or are not
            installed.
    """
    if configuration.init is not None:
        _check(configuration, here)
        return configuration, None
    zoo, packaged, none = (configuration.model_copy(update={"init": word}) for word in ("zoo", "packaged", "none"))
    address = find_architecture(configuration.architecture).zoo
    silent = address is not None and not at_hand(address, ZOO_SECONDS)
    problem = None if silent else _problem(zoo, here)
    if not silent and problem is None:
        return zoo, None
    reason = f"{address} does not respond." if problem is None else problem.what
    problem = _problem(packaged, here)
    if problem is None:
        return packaged, f"Starting from the packaged weights {packaged_source(packaged.architecture)}. {reason}"
    # Weights that are not installed can be; those that no package has cannot.
    reason += f" {problem.what} {problem.do}" if problem.code is ExitCode.ENVIRONMENT else f" {problem.what}"
    return none, f"Starting from random weights, which need more images and steps. {reason}"


def find_initial(configuration: Configuration) -> InitialWeights | None:
    """The weights that a settled configuration names, brought to this machine; None for random weights."""
    match configuration.init:
        case None | "none":
            return None
        case "packaged":
            return find_packaged(configuration.architecture)
        case "zoo":
            architecture = find_architecture(configuration.architecture)
            if architecture.zoo is None:
                what = f"The zoo publishes no weights for {architecture.name}."
                raise BoxcarError(ExitCode.USAGE, what, "Use --init none or another architecture.")
            return find_checkpoint(architecture.zoo)
        case source:
            return _fitting(configuration.architecture, find_checkpoint(source))


def _fitting(architecture: str, weights: InitialWeights) -> InitialWeights:
    """The weights, unless they are known to be of a network that has nothing in common with the architecture's.

    Raises:
        BoxcarError: 64.
    """
    known = weights.specification
    if known is not None and find_architecture(known.architecture).build != find_architecture(architecture).build:
        what = f"{weights.source} is a checkpoint of {known.architecture}, whose weights do not fit {architecture}."
        raise BoxcarError(ExitCode.USAGE, what, f"Give --architecture {known.architecture}, or other weights.")
    return weights


def _check(configuration: Configuration, here: bool) -> None:
    """Raises the error of weights that training will not find."""
    if configuration.init == "packaged" and not here:
        packaged_source(configuration.architecture)
    else:
        find_initial(configuration)


def _problem(configuration: Configuration, here: bool) -> BoxcarError | None:
    """Why the weights that a configuration names are not available; None if they are.

    Raises:
        BoxcarError: 65 if they are broken.
    """
    try:
        _check(configuration, here)
    except BoxcarError as error:
        if error.code not in (ExitCode.ENVIRONMENT, ExitCode.USAGE):
            raise
        return error
    return None
