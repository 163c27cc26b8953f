"""A checkpoint becomes a SavedModel."""

from kfp import dsl

from boxcar.kfp.container_images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def freeze(
    architecture: str, checkpoint: str, run: str, model: dsl.Output[dsl.Model], records: str = "", config: str = ""
) -> None:
    """Makes a SavedModel of a checkpoint in export/saved_model of the run.

    Args:
        architecture: Detector that the checkpoint is of.
        checkpoint: Prefix of the checkpoint's files, .../ckpt-500.
        run: Folder of the run.
        records: Records that convert will use, checked before anything is done. Empty: the run's own.
        config: YAML file with settings that convert will use, checked likewise. Empty: the run's own.

    Returns:
        model: The SavedModel and its provenance.
    """
    from boxcar.kfp.artifacts import show_frozen
    from boxcar.kfp.installation import run_task
    from boxcar.kfp.running import freeze as freeze_checkpoint

    def work() -> None:
        freeze_checkpoint(architecture, checkpoint, run, records, config)
        show_frozen(run, model)

    run_task("freeze", work, run)
