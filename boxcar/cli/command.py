"""Functions as commands: settings become options, errors become exit codes, and the help is grouped."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from boxcar.process import do_work

# The groups of `boxcar --help`, in their order.
START, STEPS, MODELS, FILES, KUBEFLOW = "Start here", "Single steps", "Models and runs", "Exported files", "Kubeflow"


def make_app(help: str | None = None, **more: Any) -> typer.Typer:
    """The commands of a module."""
    return typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # its panels double the time of --help
        help=help,
        cls=Group,
        **more,
    )


class Group(TyperGroup):
    """Commands whose help is grouped by the panel of each."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes a section for each panel."""
        shown = [command for command in self.commands.values() if not command.hidden]
        width = max(len(str(command.name)) for command in shown)
        rows = [
            (getattr(one, "rich_help_panel", None), (f"{one.name:{width}}", one.get_short_help_str(limit=200)))  # one sentence
            for one in shown
        ]
        _write_sections(formatter, rows, "Commands", [START, STEPS, MODELS, FILES, KUBEFLOW])


class Command(TyperCommand):
    """A command whose options for settings are made when they are needed, so that `boxcar --help` loads no configuration."""

    # Makes the options.
    settings: Callable[[], list[Any]] | None = None
    _made: Sequence[Any] = ()

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, including those for settings."""
        if self.settings is not None:
            self._made = self.settings()
            self.params += self._made
            self.settings = None
        return super().get_params(ctx)

    def invoke(self, ctx: Any) -> Any:
        """Calls the function. `ctx.obj` holds the settings that were given."""
        given = {one.name: ctx.params.pop(one.name) for one in self._made}
        ctx.obj = {name: value for name, value in given.items() if value not in (None, [], ())}
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes a section for each panel."""
        shown = [(one, record) for one in self.get_params(ctx) if (record := one.get_help_record(ctx)) is not None]
        rows = [(getattr(one, "rich_help_panel", None), record) for one, record in shown if one.param_type_name == "option"]
        arguments = [("Arguments", record) for one, record in shown if one.param_type_name == "argument"]
        _write_sections(formatter, [*arguments, *rows], "Options", ["Arguments"])


def _write_sections(
    formatter: Any, rows: Iterable[tuple[str | None, tuple[str, str]]], untitled: str, titles: Iterable[str]
) -> None:
    sections: dict[str, list[tuple[str, str]]] = {title: [] for title in titles}
    for title, row in rows:
        sections.setdefault(title or untitled, []).append(row)
    for title, found in sections.items():
        if found:
            with formatter.section(title):
                formatter.write_dl(found)


def command(
    app: typer.Typer,
    name: str | None = None,
    *,
    step: str | None = None,
    failure_in: str | None = None,
    settings: Callable[[], list[Any]] | None = None,
    panel: str | None = None,
    **more: Any,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a function a command of `app`. Its errors end the process as `process.do_work` describes.

    Args:
        app: of `make_app`.
        name: of the command; default: the function's.
        step: its name in `failure.json`; default: the command's.
        failure_in: the option with the run that a failure is recorded in, if any.
        settings: makes options, of `boxcar.cli.options`. The function's parameter `given` holds those that were given, by name.
        panel: its group in `boxcar --help`.
        more: as for `typer.Typer.command`.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        title = name or function.__name__.replace("_", "-")
        parameters = {n: p for n, p in inspect.signature(function).parameters.items() if n != "given"}

        @functools.wraps(function)
        def called(context: typer.Context, **options: Any) -> None:
            given = {} if settings is None else {"given": context.obj}
            do_work(step or title, lambda: function(**options, **given), None if failure_in is None else options[failure_in])

        kind = inspect.Parameter.KEYWORD_ONLY
        shown = [one.replace(kind=kind) for one in parameters.values()]
        called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter("context", kind, annotation=typer.Context), *shown]
        )
        called.__annotations__ = {one.name: one.annotation for one in shown} | {"context": typer.Context}
        cls = type("Command", (Command,), {"settings": settings if settings is None else staticmethod(settings)})
        app.command(title, cls=cls, rich_help_panel=panel, **more)(called)
        return function

    return decorate


def say(sentence: str) -> None:
    """Prints a sentence at once, also to a pipe."""
    print(sentence, flush=True)


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
