"""``python -m spikingjelly_ckd``."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from test_recipe import load_row

from spikingjelly_ckd.__main__ import COMMANDS, main
from spikingjelly_ckd.recipes.command_line import parse
from spikingjelly_ckd.recipes.records.ran_on import environment

pytestmark = pytest.mark.tools


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "spikingjelly_ckd", *arguments], capture_output=True, text=True)


def test_env_is_that_of_a_record():
    done = command("env")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["versions"] == environment()["versions"]
    assert found["command"] == "__main__.py env"


def test_the_command_of_a_record_can_be_pasted_into_a_shell(monkeypatch):
    words = ["/somewhere/row.py", "--data-path", "my images", "--arms", "CKDSNN (paper)", "a'b", "$HOME"]
    monkeypatch.setattr(sys, "argv", words)
    assert shlex.split(environment()["command"]) == ["row.py", *words[1:]]


def test_env_in_this_process(capsys):
    assert main(["env"]) == 0
    assert json.loads(capsys.readouterr().out)["versions"] == environment()["versions"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(capsys, name):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m spikingjelly_ckd {name}")


def test_stopped_while_packages_are_imported_is_a_line(capsys, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "table", (interrupted, ""))
    assert main(["table", "runs"]) == 130
    assert capsys.readouterr().err == "Stopped before anything began\n"


def test_a_missing_package_is_a_line_and_no_traceback(capsys, monkeypatch):
    def needs_a_package(argv):
        raise ImportError("this needs nothere, which is not installed: pip install 'nothere'")

    monkeypatch.setitem(COMMANDS, "env", (needs_a_package, ""))
    assert main(["env"]) == 1
    assert capsys.readouterr().err == "env: error: this needs nothere, which is not installed: pip install 'nothere'\n"


@pytest.mark.parametrize(("line", "status"), [([], 0), (["--help"], 0), (["tabel"], 2)])
def test_what_there_is_is_listed(capsys, line, status):
    assert main(line) == status
    said = capsys.readouterr()
    text, other = (said.out, said.err) if status == 0 else (said.err, said.out)
    assert not other
    assert all(f"  {name} " in text for name in COMMANDS)
    assert ("there is no command 'tabel'; did you mean 'table'?" in text) == (status == 2)


def test_a_command_gets_its_arguments_and_its_status_is_the_programs(capsys):
    assert main(["table", "nowhere.json"]) == 1
    assert "nowhere.json: there is no such file or folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["table", "--help"])
    assert "usage: python -m spikingjelly_ckd table" in capsys.readouterr().out


def test_a_comparison_names_its_own_flag():
    with pytest.raises(SystemExit, match="compare: error: --methods 'nosuch': no method is called 'nosuch'"):
        main(["compare", "--data", "digits", "--methods", "nosuch"])


def test_the_set_of_data_that_was_meant_is_named():
    with pytest.raises(SystemExit, match="--data must be .*digits or module:function, got 'digts'; did you mean"):
        main(["compare", "--data", "digts", "--methods", "kd"])


@pytest.mark.parametrize(
    ("flags", "meant"),
    [
        (["--data", "cifra10"], "'cifra10'; did you mean spikingjelly_ckd.recipes.data:cifar10 "),
        (["--student", "mynets:biuld"], "mynets has no function 'biuld'; did you mean 'build'?"),
        (["--student", "mynet:build"], "there is no module 'mynet'; .*; did you mean 'mynets'?"),
        (["--student", "spiking_resnet2"], "did you mean spikingjelly_ckd.recipes.models:spiking_resnet20"),
        (["--logger", "tensorbord"], "; did you mean 'tensorboard'?"),
        (["--method", "kd:temprature=2"], "; did you mean 'temperature'?"),
    ],
)
def test_a_row_names_what_was_meant(tmp_path, monkeypatch, capsys, flags, meant):
    (tmp_path / "mynets.py").write_text("def build(num_classes):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(SystemExit):
        parse(load_row("cifar10_r20"), ["--data-path", "x", *flags])
    assert re.search(meant.replace("?", r"\?"), capsys.readouterr().err)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (["compare", "--ouput-dir", "x"], "for --ouput-dir, did you mean '--output-dir'"),
        (["table", "x", "--best-on-tst"], "for --best-on-tst, did you mean '--best-on-test'?"),
        (["report", "runs", "--ouput=x"], "for --ouput=x, did you mean '--output'?"),
        (["report", "runs", "--output", "page.md"], "--output: a page ends in .html or .htm, got page.md"),
        (["rerun", "r.json", "--dat-path", "x"], "for --dat-path, did you mean '--data-path'"),
        (["evaluate", "s.safetensors", "x", "--biuld", "x"], "for --biuld, did you mean '--build'?"),
        (["evaluate", "s.safetensors", "x", "--qqqq"], "unrecognized arguments: --qqqq\n"),
    ],
)
def test_the_flag_that_was_meant_is_named(capsys, line, hint):
    with pytest.raises(SystemExit):
        main(line)
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-j", "-1"], "-j/--workers: it must be a whole number of at least 0, got '-1'"),
        (["--seed", "-1"], "--seed: it must be a whole number of at least 0, got '-1'"),
        (["--teacher-mean", "-1,2,3"], "expected one argument; one that begins with - is written behind ="),
        (["--method", "kd:weight=-1"], "'kd:weight=-1': the weight of 'kd' must be at least 0 and finite, got -1"),
        (["--method", "spikingjelly_ckd:KDLoss:weight=-1"], "the weight of 'KDLoss' must be at least 0 and finite"),
        (["--method", "kd:task_weight=-1"], "task_weight must be at least 0"),
    ],
)
def test_a_number_that_cannot_be_is_refused_before_anything_runs(capsys, flags, words):
    with pytest.raises(SystemExit) as ended:
        parse(load_row("cifar10_r20"), ["--data-path", "x", *flags])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_loss_of_ones_own_may_weigh_itself():
    line = ["--data-path", "x", "--method", "spikingjelly_ckd:KDLoss:weight=auto"]
    recipe, _ = parse(load_row("cifar10_r20"), line)
    assert recipe.read_method().losses["KDLoss"][1] == "auto"


def test_a_folder_without_a_record_says_what_to_pass(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    assert "pass the folder of a run, or its record.json" in capsys.readouterr().err


def test_an_argument_without_a_flag_is_named_as_the_usage_names_it(capsys):
    assert main(["evaluate", "absent.safetensors", "x"]) == 1
    assert capsys.readouterr().err.startswith("evaluate: error: student must be a .safetensors file")


def test_a_reader_that_leaves_ends_the_printing_without_a_traceback():
    line = f"{sys.executable} -m spikingjelly_ckd env | true"
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    assert done.stderr == ""


def test_env_needs_the_core_alone():
    extra = ["lightning", "timm", "torchvision", "scipy", "safetensors"]
    hidden = f"import sys; sys.modules.update(dict.fromkeys({extra}))"
    line = f"{hidden}; from spikingjelly_ckd.__main__ import main; sys.exit(main(['env']))"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [["--help"], ["env"], ["compare", "--list"]], ids=" ".join)
def test_a_reader_that_has_gone_ends_a_command_without_a_word(line):
    program = [sys.executable, "-m", "spikingjelly_ckd", *line]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()  # before the command has written anything
        said = running.stderr.read().decode()
    assert running.returncode == 0
    assert "Broken" not in said, "other packages may warn, such as SpikingJelly 0.0.0.0.14"
