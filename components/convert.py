"""Converts a SavedModel to files for phones and browsers, and compares each file with the SavedModel."""

from kfp import dsl

from boxcar.config.cluster_settings import ClusterSettings


@dsl.component(base_image=ClusterSettings().image("convert"), install_kfp_package=False)
def convert(run: str, records: str, config: str, files: dsl.Output[dsl.Model], scores: dsl.Output[dsl.Metrics]) -> None:
    """Converts the run's SavedModel to TFLite and TensorFlow.js, and compares every file with the SavedModel.

    Args:
        run: Folder of the run.
        records: Records for calibration and checks. Empty: the run's own.
        config: YAML file with conversion settings. Empty: the run's own.

    Returns:
        files: The exported files, described by manifest.json.
        scores: AP50, size, and time per image of each file.
    """
    from boxcar.kfp.artifacts import show_files
    from boxcar.kfp.installation import run_task
    from boxcar.kfp.running import convert as convert_model

    def work() -> None:
        convert_model(run, records, config)
        show_files(run, files, scores)

    run_task("convert", work, run)
