"""Writes the report on a run."""

from kfp import dsl

from boxcar.config.cluster_settings import ClusterSettings


@dsl.component(base_image=ClusterSettings().image("convert"), install_kfp_package=False)
def report(run: str, page: dsl.Output[dsl.HTML], summary: dsl.Output[dsl.Markdown]) -> None:
    """Writes the report, and run.json for scripts.

    Args:
        run: Folder of the run.

    Returns:
        page: The report.
        summary: The main figures in a few lines.
    """
    from boxcar.kfp.artifacts import show_report
    from boxcar.kfp.installation import run_task
    from boxcar.kfp.running import report as report_run

    def work() -> None:
        report_run(run)
        show_report(run, page, summary)

    run_task("report", work, run)
