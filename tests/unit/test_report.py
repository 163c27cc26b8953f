"""The report: the page and run.json of a finished run, also with hostile names."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from finished_run import rewrite, write_run
from report_page import Page, read_page

from boxcar.errors import BoxcarError
from boxcar.report import print_summary, write_report
from boxcar.report.page import duration_text, verdict
from boxcar.run.step import Step, read_commit
from boxcar.storage import replace_json

HOSTILE = ("<script>alert(1)</script>", "a\"b'c & d", "</svg></style>{{ 7 * 7 }}")


def read_page_of(run: Path) -> str:
    """The text of the page, which is written first."""
    write_report(str(run))
    return re.sub(r"\s+", " ", read_page(run).text)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("runs") / "demo")
    write_report(str(run))
    return run


@pytest.fixture
def fresh_run(run: Path, tmp_path: Path) -> Path:
    """The run before its report."""
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copy / "report")
    (copy / "run.json").unlink()
    return copy


def test_the_page_has_the_main_results(run: Path) -> None:
    page = read_page(run)
    words = re.sub(r"\s+", " ", page.text)
    for expected in (
        "Detector for circle, square, and triangle",
        "It detects nearly every object in images it has never seen.",
        "0.964",
        "0.803",
        "2 min 31 s",
        "900 steps",
        "the checkpoint of step 825 was chosen",
        "tflite/detector_int8.tflite",
        "3.5 MB",
        "4.2 ms",
        "63.5 MB",
        "5e" * 32,
        "ssd_mobilenet_v2_fpnlite_320x320",
        "data: data/shapes",
        "All images are 192 × 192 pixels.",
        "takes up 30% of the image’s side, about 38 pixels at the network’s input. The smallest takes up 23 pixels there.",
        "run boxcar demo-page --run demo in the folder that contains this run.",
    ):
        assert expected in words, expected


def test_anchors_that_are_not_the_architecture_s_are_on_the_page(fresh_run: Path) -> None:
    assert "anchors" not in read_page_of(fresh_run)
    rewrite(
        fresh_run,
        "freeze",
        "export/saved_model",
        "detector.json",
        lambda specification: specification.update(anchors={"anchor_scale": 2.5}),
    )
    assert "The detector’s anchors start at 20 pixels, the architecture’s own at 32." in read_page_of(fresh_run)


def test_a_run_without_a_file_for_browsers_names_no_demo_page(fresh_run: Path) -> None:
    def without(manifest: dict[str, list[dict[str, str]]]) -> None:
        manifest["files"] = [file for file in manifest["files"] if not file["format"].startswith("tfjs")]

    rewrite(fresh_run, "convert", "export", "manifest.json", without)
    write_report(str(fresh_run))
    assert "demo-page" not in read_page(fresh_run).text


def test_changes_to_a_file_are_on_the_page(fresh_run: Path) -> None:
    def change(manifest: dict[str, list[dict[str, object]]]) -> None:
        files = {file["format"]: file for file in manifest["files"]}
        files["tflite_int8"] |= {"float_layers": ["a", "b"], "note": "it was <tried>."}
        files["tflite_float32"]["peak_memory_bytes"] = None
        manifest["files"].append(files["tflite_int8"] | {"format": "tflite_int8_nms", "use_regular_nms": True})

    rewrite(fresh_run, "convert", "export", "manifest.json", change)
    write_report(str(fresh_run))
    words = re.sub(r"\s+", " ", read_page(fresh_run).text)
    assert "run on 12 test and 8 validation images and compared" in words
    assert "too much, so 2 of its layers are kept in float32" in words
    assert "tflite/detector_int8.tflite: it was <tried>." in words
    assert "NMS mode: regular, class by class." in words


def test_the_page_loads_nothing(run: Path) -> None:
    html = (run / "report" / "index.html").read_text(encoding="utf-8")
    page = Page(html)
    assert len(html) < 3_000_000
    assert not page.all("script") and not page.all("link") and not page.all("img") and not page.all("iframe")
    assert all(image["href"].startswith("data:image/jpeg;base64,") for image in page.all("image"))
    assert "http://" not in html and "https://" not in html and "url(" not in html and "@import" not in html


def test_images_charts_and_tables_have_labels(run: Path) -> None:
    page = read_page(run)
    assert len(page.all("image")) == 12 + 8
    named = [svg["aria-label"] for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(named) == 12 + 8 + 3
    assert all(named)
    assert all("aria-label" in svg or svg.get("aria-hidden") == "true" for svg in page.all("svg"))
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    classes = [rect.get("class") for rect in page.all("rect")]
    truths = json.loads((run / "records" / "dataset.json").read_text())["splits"]["test"]["boxes"]
    # One object was missed, detections below a score of 0.3 are not drawn, and one box is in the legend.
    assert classes.count("found") == truths - 1 + 1
    assert classes.count("true") > truths
    words = re.sub(r"\s+", " ", page.text)
    assert "1 of 2 found" in words
    assert "3 of 4 found, 1 false" in words


def test_a_missed_box_has_a_caption(run: Path) -> None:
    html = (run / "report" / "index.html").read_text(encoding="utf-8")
    figure = next(part for part in html.split("<figure") if "1 of 2 found" in part)
    assert figure.count('class="true-text"') == 1
    assert figure.count('class="found-text"') == 1


def test_run_json(run: Path) -> None:
    content = json.loads((run / "run.json").read_text())
    test = json.loads((run / "eval" / "test.json").read_text())
    assert content["scores"] == {name: test[name] for name in ("AP", "AP50", "AP75", "per_class")}
    assert list(content["seconds"]) == ["records", "train", "evaluate", "freeze", "convert", "report"]
    assert content["seconds"]["train"] == pytest.approx(151.2, abs=1)
    assert content["dataset_version"] == "5e" * 32
    assert content["checkpoint_step"] == 825
    assert content["image_size"] == 128
    assert content["files"][0]["format"] == "saved_model"
    assert content["versions"]["python"].startswith("3.")


def test_a_repeat_only_restores_a_lost_run_json(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (run / "report" / "index.html", run / "run.json")}
    first = (run / "run.json").read_bytes()
    write_report(str(run))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (run / "run.json").unlink()
    write_report(str(run))
    assert (run / "run.json").read_bytes() == first


def test_new_results_make_a_new_page(fresh_run: Path) -> None:
    run = fresh_run
    write_report(str(run))
    rewrite(run, "evaluate", "eval", "test.json", lambda test: test.update(AP50=0.512))
    write_report(str(run))
    assert "0.512" in read_page(run).text
    assert json.loads((run / "run.json").read_text())["scores"]["AP50"] == 0.512


def test_a_decision_of_the_gate_is_on_the_page(fresh_run: Path) -> None:
    write_report(str(fresh_run))
    assert "champion" not in read_page(fresh_run).text
    one = {
        "version": "12",
        "run": "runs/12",
        "architecture": "ssd",
        "bytes": 3_498_112,
        "milliseconds": 4.24,
        "AP50": 0.9581,
        "AP": 0.7,
        "per_class": {"circle": 0.97, "square": None},
    }
    decision = {
        "decision": "undecided",
        "reason": "AP50 differs by <b>+0.0041</b>.",
        "model": "shapes",
        "challenger": one,
        "champion": {**one, "version": "9", "AP50": 0.954},
        "test": {"split": "3f9a2c81b07d", "pictures": 120, "objects": 331},
        "classes": ["circle", "square"],
        "settings": {"format": "tflite_int8"},
    }
    replace_json(fresh_run / "decision.json", decision)
    write_report(str(fresh_run))
    text = " ".join(read_page(fresh_run).text.split())
    for words in (
        "Against the champion",
        "The champion stays: the test images do not show which one is better. AP50 differs by <b>+0.0041</b>.",
        "file tflite_int8, on the 120 images of its held-out test split 3f9a2c81b07d",
        "12, this run0.958 0.970 no objects 4.2 ms3.5 MB",
        "9, the champion0.954",
    ):
        assert words in text
    replace_json(fresh_run / "decision.json", {**decision, "decision": "promoted", "champion": None})
    write_report(str(fresh_run))
    text = read_page(fresh_run).text
    assert "The first champion" in text and "champion now" in text and ", the champion" not in text
    replace_json(fresh_run / "decision.json", {"decision": "promoted"})
    with pytest.raises(BoxcarError, match=r"decision.json cannot be used") as caught:
        write_report(str(fresh_run))
    assert caught.value.code == 65


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    name = "\"><img src=x onerror='alert(1)'>-{}.jpg"
    run = write_run(tmp_path / "<b>run", HOSTILE, name)
    rewrite(
        run,
        "records",
        "records",
        "dataset.json",
        lambda dataset: dataset.update(
            faults=[{"file": f"{name} & <i>", "kind": "broken_labels", "reason": "<u>not</u> well-formed", "done": "left out"}],
            warnings=["the class <script>alert(1)</script> has one box"],
            clipped_boxes=2,
        ),
    )
    rewrite(
        run,
        "convert",
        "export",
        "manifest.json",
        lambda manifest: manifest["files"].append(
            {
                "path": "<em>x</em>",
                "format": "<em>y</em>",
                "bytes": 1,
                "sha256": "00",
                "AP50": None,
                "agrees": None,
                "reason": "<b>why</b>",
            }
        ),
    )
    (run / "config.yaml").write_text("data: </pre><script>alert(1)</script>\n")
    write_report(str(run))
    page = read_page(run)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "b", "i", "u", "em"}
    assert not any(attribute.startswith("on") for _, attributes in page.elements for attribute in attributes)
    for hostile in (*HOSTILE, name.format(1), "<u>not</u>", "<em>x</em>", "cannot be judged: <b>why</b>.", "</pre><script>"):
        assert hostile in page.text
    assert "2 boxes extended beyond the image" in page.text


@pytest.mark.parametrize(
    ("folder", "step"),
    [("records", "records"), ("train", "train"), ("eval", "evaluate"), ("export/saved_model", "freeze"), ("export", "convert")],
)
def test_a_missing_step_is_named(fresh_run: Path, folder: str, step: str) -> None:
    run = fresh_run
    (run / folder / "step.json").unlink()
    with pytest.raises(BoxcarError, match=f"Run `boxcar {step}`") as refused:
        write_report(str(run))
    assert refused.value.code == 64
    assert not (run / "report").exists()
    assert not (run / "run.json").exists()


def test_changed_and_unusable_results_are_refused(fresh_run: Path) -> None:
    run = fresh_run
    with (run / "eval" / "test.json").open("a") as file:
        file.write(" ")
    with pytest.raises(BoxcarError, match="are not those") as refused:
        write_report(str(run))
    assert refused.value.code == 65
    rewrite(run, "evaluate", "eval", "test.json", lambda test: test.update(AP=7))
    with pytest.raises(BoxcarError, match=r"test\.json cannot be used: AP: ") as refused:
        write_report(str(run))
    assert refused.value.code == 65
    rewrite(
        run, "evaluate", "eval", "test.json", lambda test: test.update(AP=0.5, examples=[{"sha256": "no", "detections": []}])
    )
    with pytest.raises(BoxcarError, match="shows the image no,") as refused:
        write_report(str(run))
    assert refused.value.code == 65
    assert read_commit(run / "report", "report") is None


def test_scores_of_other_records_are_refused(fresh_run: Path) -> None:
    records = read_commit(fresh_run / "records", "records")
    assert records
    Step("train", fresh_run / "train", {"records": records.digest}, {}).commit()
    write_report(str(fresh_run))
    Step("evaluate", fresh_run / "eval", {"records": "0" * 64}, {}).commit()
    with pytest.raises(BoxcarError, match=r"eval was not made from the records results .* Run `boxcar evaluate`") as refused:
        write_report(str(fresh_run))
    assert refused.value.code == 65


def test_a_run_without_scores_has_a_page(fresh_run: Path) -> None:
    run = fresh_run
    rewrite(
        run,
        "evaluate",
        "eval",
        "test.json",
        lambda test: test.update(
            AP=None,
            AP50=None,
            AP75=None,
            AP_medium=None,
            AP_large=None,
            AR_1=None,
            AR_100=None,
            examples=[],
            per_class={"raccoon": {"AP": None, "AP50": None, "boxes": 0}},
        ),
    )
    (run / "eval" / "scores.jsonl").write_text("")
    (run / "train" / "history.jsonl").write_text("")
    rewrite(run, "evaluate", "eval", "test.json", lambda test: test)
    rewrite(run, "train", "train", "step.json", lambda step: step)
    (run / "config.yaml").unlink()
    write_report(str(run))
    page = read_page(run)
    assert "the accuracy is unknown" in page.text
    assert "No test image shows this class" in page.text


def test_no_tensorflow_is_loaded(run: Path) -> None:
    code = (
        "import sys; from boxcar.report import write_report; write_report(sys.argv[1]); "
        "assert not {'tensorflow', 'tf_keras', 'matplotlib', 'boxcar.records', 'boxcar.export'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(run)], check=True)


def test_durations_and_verdicts() -> None:
    assert [duration_text(s) for s in (0.04, 9.94, 9.96, 59.4, 59.6, 151.2, 3599.7, 4830)] == [
        "0.0 s", "9.9 s", "10 s", "59 s", "1 min 0 s", "2 min 31 s", "1 h 0 min", "1 h 20 min",
    ]  # fmt: skip
    assert len({verdict(score) for score in (None, 0.0, 0.2, 0.4, 0.7, 0.9, 0.99)}) == 7


def test_every_figure_names_its_images(fresh_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The scores of the checkpoint and of the files are of other images, and so is the score that chose the checkpoint."""
    write_report(str(fresh_run))
    print_summary(str(fresh_run))
    said, page = capsys.readouterr().out, " ".join(read_page(fresh_run).text.split())
    lines = said.splitlines()
    assert "Scores on the test images (12)" in lines
    assert "The checkpoint of step 825 was chosen by its AP of 0.801 on 8 validation images." in lines
    assert any(line.startswith("Exported files") and "12 test and 8 validation images" in line for line in lines)
    assert (
        "the checkpoint of step 825 was chosen by its AP of 0.801 on 8 validation images" in page
        and "run on 12 test and 8 validation" in page
    )
    # A run.json of an earlier version does not say it.
    record = json.loads((fresh_run / "run.json").read_text())
    for name in ("scored_on", "chosen", "compared_on"):
        del record[name]
    replace_json(fresh_run / "run.json", record)
    print_summary(str(fresh_run))
    assert "The checkpoint of step 825 was chosen." in capsys.readouterr().out


def test_a_checkpoint_that_no_score_chose_is_said_to_be_the_last_one(
    fresh_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(line: dict[str, Any]) -> dict[str, Any]:
        per_class = {name: {"AP": None, "AP50": None, "boxes": 0} for name in line["per_class"]}
        return {name: value if name == "step" else None for name, value in line.items()} | {"per_class": per_class}

    scores = fresh_run / "eval" / "scores.jsonl"
    lines = [without(json.loads(line)) for line in scores.read_text().splitlines()]
    scores.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rewrite(fresh_run, "evaluate", "eval", "test.json", lambda test: test.update(step=900))
    write_report(str(fresh_run))
    print_summary(str(fresh_run))
    text = " ".join(read_page(fresh_run).text.split())
    for words in (capsys.readouterr().out, text):
        assert "step 900 was chosen, the last one, because no validation image contains an object" in words
    assert "Label objects in the validation images" in text
    assert json.loads((fresh_run / "run.json").read_text())["chosen"] == {"AP": None, "on": {"validation": 8}}
