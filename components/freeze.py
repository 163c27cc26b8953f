"""A checkpoint becomes a SavedModel."""

from kfp import dsl

from boxcar.kfp.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def freeze(
    architecture: str, checkpoint: str, run: str, model: dsl.Output[dsl.Model], records: str = "", config: str = ""
) -> None:
    """Makes a SavedModel of a checkpoint, in export/saved_model of the run.

    Args:
        architecture: Which detector the checkpoint is of.
        checkpoint: The checkpoint without its endings, .../ckpt-500.
        run: Folder of the run.
        records: Where a person named the checkpoint, the records that convert will be given: looked at before anything is done.
        config: YAML file with settings that convert will be given, looked at likewise.

    Returns:
        model: The SavedModel, and where it comes from.
    """
    from boxcar.kfp.artifacts import show_frozen
    from boxcar.kfp.installation import run_task
    from boxcar.kfp.running import freeze as freeze_checkpoint

    def work() -> None:
        freeze_checkpoint(architecture, checkpoint, run, records, config)
        show_frozen(run, model)

    run_task("freeze", work, run)
