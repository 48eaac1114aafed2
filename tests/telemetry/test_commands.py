"""The command line: which command runs, what collector.yaml may say, and what is said of a mistake."""

import importlib
import re
from pathlib import Path

import pytest

from telemetry import __main__ as command_line
from telemetry.config import CollectorConfig
from telemetry.configuration import read
from telemetry.errors import ConfigurationError


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in command_line.COMMANDS)


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_every_command_has_a_module_with_arguments_and_help(name, capsys):
    module = importlib.import_module(f"telemetry.commands.{name}")
    assert callable(module.run)
    with pytest.raises(SystemExit) as ended:
        command_line.main([name, "--help"])
    assert ended.value.code == 0
    assert f"python -m telemetry {name}" in capsys.readouterr().out


def test_no_file_gives_the_defaults_and_an_empty_one_too(tmp_path):
    empty = tmp_path / "collector.yaml"
    empty.write_text("# nothing\n")
    assert read(None, {}) == read(empty, {}) == CollectorConfig(data_dir=read(None, {}).data_dir)


def test_a_flag_overrides_the_file(tmp_path):
    file = tmp_path / "collector.yaml"
    file.write_text("host: 127.0.0.2\ngrpc_port: 5000\n")
    config = read(file, {"grpc_port": 6000})
    assert (config.host, config.grpc_port) == ("127.0.0.2", 6000)


MISTAKES = {
    "unknown": ("grpc: 1\n", "grpc: Extra inputs are not permitted, got 1 (known: host, grpc_port"),
    "out of range": ("http_port: 70000\n", "http_port: Input should be less than or equal to 65535, got 70000"),
    "nested": ("detection: {latency_score: high}\n", "detection.latency_score: Input should be a valid number"),
    "a list": ("- a\n", "must be settings by name, got a list"),
    "no yaml": ("a: [\n", "the file must be YAML"),
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_in_the_file_is_named_with_its_rule_and_what_was_got(tmp_path, capsys, text, said):
    file = tmp_path / "collector.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError):
        read(file, {})
    assert command_line.main([str(file)]) == command_line.FAILED
    printed = capsys.readouterr().err
    assert printed.startswith(f"{file}: ")
    assert said in printed


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    assert command_line.main([str(tmp_path / "none.yaml")]) == command_line.FAILED
    assert "none.yaml: the file must be readable, got No such file" in capsys.readouterr().err


def test_the_example_of_the_docs_is_a_configuration(tmp_path):
    text = Path("docs/telemetry.md").read_text()
    (example,) = re.findall(r"```yaml\n(# collector.yaml\n.*?)```", text, re.DOTALL)
    file = tmp_path / "collector.yaml"
    file.write_text(example)
    config = read(file, {})
    assert config.receivers.max_sender_series == 5000
    assert config.data_dir == Path("/var/lib/trimtab/telemetry")
