"""`boxcar demo-page`: what it hands out, what it refuses, and how it ends."""

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from exported import ExportedRun
from page_visit import serving

from boxcar.demo_page.site import PAGE, collect
from boxcar.errors import BoxcarError, ExitCode

ROOT = Path(__file__).parents[2]


def ask(address: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """The path goes out as it stands here; a client that tidies it would hide what is tried."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def test_the_page_the_library_and_the_model_are_there(address: str, exported_run: ExportedRun) -> None:
    status, headers, page = ask(address, "/")
    assert (status, page) == (200, (PAGE / "index.html").read_bytes())
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    listed = json.loads(ask(address, "/models.json")[2])["models"]
    assert [one["name"] for one in listed] == ["float32"]
    files = sorted(path.name for path in (exported_run.export / "tfjs" / "float32").iterdir())
    assert listed[0]["bytes"] == sum((exported_run.export / "tfjs" / "float32" / name).stat().st_size for name in files)
    assert "model.json" in files
    assert "detector.json" in files
    for name in files:
        status, headers, content = ask(address, f"/{listed[0]['folder']}{name}?again")
        assert status == 200
        assert content == (exported_run.export / "tfjs" / "float32" / name).read_bytes()
        assert headers["Content-Length"] == str(len(content))
    for name, kind in (
        ("app.js", "text/javascript; charset=utf-8"),
        ("vendor/tf-core.min.js", "text/javascript; charset=utf-8"),
        ("vendor/tfjs-backend-wasm-simd.wasm", "application/wasm"),
        ("style.css", "text/css; charset=utf-8"),
    ):
        status, headers, content = ask(address, f"/{name}")
        assert (status, headers["Content-Type"]) == (200, kind)
        assert content
        status, only, nothing = ask(address, f"/{name}", "HEAD")
        assert (status, nothing, only["Content-Length"]) == (200, b"", str(len(content)))


@pytest.mark.parametrize(
    "path",
    [
        "/models/float32/",
        "/models",
        "/models/float32",
        "/vendor/",
        "/../server.py",
        "/..%2fserver.py",
        "/%2e%2e/server.py",
        "/models/float32/../../../../run.json",
        "/models/float32/..%2F..%2Fmanifest.json",
        "//etc/passwd",
        "/etc/passwd",
        "/models/float32/step.json",
        "/app.js/",
        "/[",
        "/%00",
        "/APP.JS",
    ],
)
def test_nothing_else_is(address: str, path: str) -> None:
    status, _, said = ask(address, path)
    assert (status, said) == (404, b"404 nothing is at this address\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_is_read_only(address: str, method: str) -> None:
    assert ask(address, "/app.js", method)[0] == 501


@pytest.mark.parametrize("host", ["example.org", "example.org:80", "127.0.0.1.example.org", "[::1", ""])
def test_under_another_name_it_is_not_to_be_had(address: str, host: str) -> None:
    assert ask(address, "/models.json", Host=host)[0] == 403
    assert ask(address, "/models.json", Host="localhost:9000")[0] == 200


def test_it_listens_to_this_machine_only(address: str) -> None:
    port = urlsplit(address).port
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", port))


def test_a_file_that_is_gone(exported_run: ExportedRun, tmp_path: Path) -> None:
    run = Path(shutil.copytree(exported_run.folder, tmp_path / "run"))
    with serving("boxcar", "demo-page", "--run", str(run), "--port", "0") as address:
        (run / "export" / "tfjs" / "float32" / "model.json").unlink()
        assert ask(address, "/models/float32/model.json")[0] == 404


@pytest.mark.slow
def test_the_wheel_holds_the_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"boxcar/demo_page/page/{file.name}" for file in PAGE.iterdir()} <= set(names)
    assert not any("node_modules" in name for name in names)


def demo_page(*arguments: str) -> tuple[int, str]:
    """Exit code and last words of a command that ends by itself."""
    command = [sys.executable, "-m", "boxcar", "demo-page", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


def test_a_run_without_a_model_for_browsers_is_64(exported_run: ExportedRun, tmp_path: Path) -> None:
    code, words = demo_page("--run", str(tmp_path))
    assert code == 64
    assert "holds no finished convert step" in words
    run = Path(shutil.copytree(exported_run.folder, tmp_path / "run"))
    shutil.rmtree(run / "export" / "tfjs")
    step = json.loads((run / "export" / "step.json").read_text())
    step["files"] = {name: entry for name, entry in step["files"].items() if not name.startswith("tfjs/")}
    (run / "export" / "step.json").write_text(json.dumps(step))
    code, words = demo_page("--run", str(run))
    assert code == 64
    assert "TensorFlow.js" in words and "tfjs_float32" in words and "--formats" in words


def test_a_model_that_was_changed_is_65(exported_run: ExportedRun, tmp_path: Path) -> None:
    run = Path(shutil.copytree(exported_run.folder, tmp_path / "run"))
    (run / "export" / "tfjs" / "float32" / "detector.json").write_text("{}")
    with pytest.raises(BoxcarError, match=str(run)) as refused:
        collect(run)
    assert refused.value.code == ExitCode.DATA


def test_a_port_that_is_taken_is_69(exported_run: ExportedRun, address: str) -> None:
    port = str(urlsplit(address).port)
    code, words = demo_page("--run", str(exported_run.folder), "--port", port)
    assert code == 69
    assert port in words and "Address already in use" in words and "--port" in words


@pytest.mark.parametrize(("sent", "code", "words"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 75, "SIGTERM")])
def test_it_ends_as_every_command_does(exported_run: ExportedRun, sent: signal.Signals, code: int, words: str) -> None:
    command = [sys.executable, "-m", "boxcar", "demo-page", "--run", str(exported_run.folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline().endswith("/ until Ctrl-C.\n")
        server.send_signal(sent)
        _, said = server.communicate(timeout=30)
    assert server.returncode == code
    (line,) = said.splitlines()
    assert words in line
    assert not (exported_run.folder / "failure.json").exists()
