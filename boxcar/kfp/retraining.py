"""What the component `retrain` does."""

from typing import Any

from boxcar.config.retraining_settings import RetrainingSettings
from boxcar.config.settings import validate
from boxcar.kfp.form import RetrainForm
from boxcar.kfp.installation import is_local
from boxcar.kfp.parameters import check_readable, check_writable, naming_parameter, read_configuration_of
from boxcar.registry import Model
from boxcar.retraining.cycle import Retrained
from boxcar.retraining.cycle import retrain as retrain_model
from boxcar.retraining.notifications import notifying_of_failure


def retrain(form: RetrainForm, images: dict[str, Any]) -> Retrained:
    """Checks the form, and retrains the model if there is something new.

    Raises:
        BoxcarError: 64 or 69 with the name of the parameter, else as `retraining.cycle.retrain`.
    """
    configuration = read_configuration_of(form, images)
    with naming_parameter("model"):
        model = Model(form.models, form.model)
    update: dict[str, Any] = {"start": "init"} if form.initial_checkpoint else {}
    if form.new_pictures:
        update["new_pictures"] = form.new_pictures
    if form.gpu_hours.strip():
        update["gpu_hours"] = form.gpu_hours
    retraining = validate(RetrainingSettings, configuration.retraining.model_dump() | update)
    configuration = configuration.model_copy(update={"retraining": retraining})
    with notifying_of_failure(model, configuration):
        check_readable("data", form.data)
        for parameter in ("models", "runs"):
            check_writable(parameter, getattr(form, parameter))
    # After the checks, because these take a moment to load.
    if is_local():
        from boxcar.retraining.in_process import LAUNCHER
    else:
        from boxcar.retraining.on_cluster import LAUNCHER
    return retrain_model(model, configuration, form.runs, LAUNCHER)
