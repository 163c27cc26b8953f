"""The last step, which always runs. It reports how the run ended, and why."""

from kfp import dsl

from boxcar.config.cluster_settings import ClusterSettings


@dsl.component(base_image=ClusterSettings().image("ops"), install_kfp_package=False)
def notify(
    status: dsl.PipelineTaskFinalStatus,
    output: str,
    job: str,
    resume_from: str,
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Reports how the run ended and, if it failed, why. If a webhook is set, posts the report to it.

    Args:
        output: Folder for runs, which contains the run's folder. If job is empty: the run's folder itself.
        job: Name of the run's folder in output. Empty: output is the run's folder.
        resume_from: Folder of the older run that was resumed. Empty: no run was resumed.

    Returns:
        summary: The report in one sentence.
    """
    from pathlib import Path

    from boxcar.kfp.ending import tell_end
    from boxcar.kfp.installation import run_task
    from boxcar.kfp.parameters import run_uri

    def work() -> None:
        run = run_uri(output, job, resume_from)
        text = tell_end(status.state, status.pipeline_task_name or "its tasks", status.error_message or "", run)
        Path(summary.path).write_text(text + "\n", encoding="utf-8")

    run_task("notify", work)
