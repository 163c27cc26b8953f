"""What a step of a pipeline does on a cluster: trains a run whose records are there. Arguments: the configuration, the run."""

from pathlib import Path

import typer

from boxcar.process import do_work, run_command

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(config: Path, run: str) -> None:
    def work() -> None:
        from boxcar.cluster.launch import train_on_cluster
        from boxcar.config.run_settings import make_configuration

        train_on_cluster(make_configuration(config, {}), run)

    do_work("train", work, run)


if __name__ == "__main__":
    run_command(app)
