"""Every option of every command says what it is for and names a value that is sensible."""

import re

import pytest
import typer
from typer.core import TyperArgument, TyperOption
from typer.testing import CliRunner

from tpccma.cli import app

COMMANDS = typer.main.get_command(app).commands


def has_value(parameter: TyperArgument | TyperOption) -> bool:
    """Say whether help shows a value: its default, an example, or, of a switch, that it is one."""
    if getattr(parameter, "is_flag", False):
        return True
    default = None if callable(parameter.default) else parameter.default
    return default not in (None, "", ()) or re.search(r"such as \S|\d", parameter.help) is not None


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_and_has_a_value_to_begin_with(name: str):
    own = [parameter for parameter in COMMANDS[name].params if parameter.name != "help"]
    assert [parameter.name for parameter in own if len((parameter.help or "").split()) < 3] == []
    assert [parameter.name for parameter in own if not has_value(parameter)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_what_stands_there(name: str):
    shown = " ".join(CliRunner().invoke(app, [name, "--help"], terminal_width=200).output.split())
    for parameter in COMMANDS[name].params:
        assert " ".join(parameter.help.split()) in shown
        if isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool):
            assert f"[default: {parameter.default}" in shown
