"""Makes a SavedModel from a checkpoint."""

from kfp import dsl

from boxcar.config.cluster_settings import ClusterSettings


@dsl.component(base_image=ClusterSettings().image("train"), install_kfp_package=False)
def freeze(
    architecture: str, checkpoint: str, run: str, model: dsl.Output[dsl.Model], records: str = "", config: str = ""
) -> None:
    """Makes a SavedModel from a checkpoint, in the run's folder export/saved_model.

    Args:
        architecture: The checkpoint's architecture.
        checkpoint: Prefix of the checkpoint's files, such as .../ckpt-500.
        run: Folder of the run.
        records: Records for the step convert. They are checked before this step starts its work. Empty: the run's own.
        config: YAML file with settings for the step convert. It is checked in the same way. Empty: the run's own.

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
