"""What the component of a retraining has the library do."""

from typing import Any

from boxcar.config.retraining import RetrainingSettings
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.installation import is_local
from boxcar.kfp.parameters import (
    Parameters,
    check_readable,
    check_uri,
    check_writable,
    naming_parameter,
    read_configuration_of,
)
from boxcar.registry import Model
from boxcar.retraining.retrain import Retrained
from boxcar.retraining.retrain import retrain as retrain_model
from boxcar.retraining.telling import telling


def retrain(
    parameters: Parameters, models: str, name: str, new_pictures: int, gpu_hours: str, images: dict[str, Any]
) -> Retrained:
    """Checks what was filled in, and trains a model anew where there is something new.

    Args:
        parameters: the form; its `output` is the folder of runs.
        models: URI of the registry.
        name: of the model.
        new_pictures, gpu_hours: of `RetrainingSettings`; 0 and an empty text leave what `config` says.
        images: `image_repository`, `image_tag` and `image_digests` of the pipeline.

    Raises:
        BoxcarError: 64 or 69 with the name of the parameter, else as `retraining.retrain`.
    """
    check_uri("models", models, local=is_local())
    with naming_parameter("model"):
        model = Model(models, name)
    configuration = read_configuration_of(parameters, images)
    update: dict[str, Any] = {"start": "init"} if parameters.initial_checkpoint else {}
    if new_pictures:
        update["new_pictures"] = new_pictures
    if gpu_hours.strip():
        update["gpu_hours"] = gpu_hours
    settings = configuration.retraining.model_dump() | update
    try:
        retraining = RetrainingSettings.model_validate(settings)
    except ValueError as error:
        what = f"new_pictures cannot be {new_pictures}, or gpu_hours {gpu_hours!r}."
        raise BoxcarError(ExitCode.USAGE, what, "Write a number, 0 or more.") from error
    configuration = configuration.model_copy(update={"retraining": retraining})
    with telling(model, configuration):
        check_readable("data", parameters.data)
        for parameter, uri in (("models", models), ("runs", parameters.output)):
            check_writable(parameter, uri)
    # Behind the checks, because these take a moment to load.
    if is_local():
        from boxcar.retraining.here import LAUNCHER
    else:
        from boxcar.retraining.on_cluster import LAUNCHER
    return retrain_model(model, configuration, parameters.output, LAUNCHER)
