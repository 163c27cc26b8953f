"""Networks with random weights. Each is built once and used again, because building one takes three seconds."""

from typing import TYPE_CHECKING

from boxcar.inference.specification import Specification

if TYPE_CHECKING:
    import numpy as np

    from boxcar.detectors.network import Network


class FreshNetworks:
    """The networks that were built, with the weights that they were built with."""

    def __init__(self) -> None:
        self._built: dict[str, tuple[Network, list[np.ndarray]]] = {}

    def __call__(self, specification: Specification) -> "Network":
        """The specification's network with its first weights.

        The next call with the same specification returns the same network. A test that needs two at once builds one itself.
        """
        from boxcar.detectors.catalog import build_network

        key = specification.model_dump_json()
        if key not in self._built:
            network = build_network(specification)
            self._built[key] = network, [variable.numpy() for variable in network.model.variables]
        network, values = self._built[key]
        for variable, value in zip(network.model.variables, values, strict=True):
            variable.assign(value)
        return network
