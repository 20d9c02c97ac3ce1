"""Figures of a training reach TensorBoard and MLflow, read back with their own libraries."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import tiny_models
from tests.journey.small_shop import CONFIG, write
from tests.techniques.test_preference_tuning import JUDGED
from tests.training.test_loop import Heard, trained

from sartor import checkup, journey, progress
from sartor.errors import MissingExtraError, ProjectError
from sartor.project import Tracking, parse
from sartor.techniques.registry import build
from sartor.tracking import tracker
from sartor.tracking.mlflow import MLflow
from sartor.tracking.tensorboard import TensorBoard

SETTINGS = {"technique": "lora", "rank": 2, "inner": {"alpha": 4.0}}
FIGURES = {"loss", "validation_loss", "learning_rate", "gradient_norm", "tokens_per_second"}


def tracked(folder: Path, **wanted: str) -> Any:
    """Train a tiny model with a search of two rates, tracked."""
    opened = tracker.opened(Tracking(**wanted).model_dump(), folder, "corner shop")
    with tracker.recorded_by(opened), tracker.candidate("lora", SETTINGS) as scores:
        found = trained(folder / "made", learning_rates=(1e-6, 1e-2), search_fraction=0.5)
        scores["token_f1"] = 0.75
    return found


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_tensorboard_has_every_figure_of_every_step(tmp_path: Path) -> None:
    found = tracked(tmp_path, tensorboard="runs")
    kept = events(tmp_path / "runs" / "lora")
    assert set(kept.Tags()["scalars"]) == {*FIGURES, "test/token_f1"}
    assert [one.step for one in kept.Scalars("loss")] == list(range(1, 9))
    looks = [(one.step, one.value) for one in kept.Scalars("validation_loss")]
    assert looks == [(step, pytest.approx(held, rel=1e-5)) for step, _, held in found.curve]
    assert max(one.value for one in kept.Scalars("learning_rate")) == pytest.approx(1e-2)
    assert all(one.value > 0 for one in kept.Scalars("gradient_norm"))
    assert kept.Scalars("test/token_f1")[0].value == 0.75
    text = kept.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"rank": 2' in text
    tried = events(tmp_path / "runs" / "lora" / "try 1e-06")
    assert len(tried.Scalars("loss")) == 4


def client(folder: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


@pytest.fixture
def quiet() -> Iterator[None]:
    """MLflow's database warns of SQLAlchemy's future wherever it is opened."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.usefixtures("quiet")
def test_mlflow_has_figures_settings_and_scores_in_one_run_of_each_candidate(
    tmp_path: Path,
) -> None:
    found = tracked(tmp_path, mlflow="kept")
    kept = client(tmp_path / "kept")
    [run] = kept.search_runs([kept.get_experiment_by_name("corner shop").experiment_id])
    assert run.info.run_name == "lora"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"technique": "lora", "rank": "2", "inner.alpha": "4.0"}
    assert set(run.data.metrics) >= {*FIGURES, "test/token_f1", "try-1e-06/loss"}
    assert run.data.metrics["test/token_f1"] == 0.75
    losses = kept.get_metric_history(run.info.run_id, "loss")
    assert [one.step for one in losses] == list(range(1, 9))
    held = kept.get_metric_history(run.info.run_id, "validation_loss")
    assert [(one.step, one.value) for one in held] == [(s, v) for s, _, v in found.curve]


def stopped() -> None:
    with tracker.candidate("lora", SETTINGS):
        tracker.record("train", 1, {"loss": 3.0})
        raise KeyboardInterrupt


@pytest.mark.usefixtures("quiet")
def test_a_candidate_that_was_stopped_goes_on_in_its_mlflow_run(tmp_path: Path) -> None:
    [first] = tracker.opened({"mlflow": "kept"}, tmp_path, "corner shop")
    with tracker.recorded_by([first]), pytest.raises(KeyboardInterrupt):
        stopped()
    kept = client(tmp_path / "kept")
    experiments = [kept.get_experiment_by_name("corner shop").experiment_id]
    assert [run.info.status for run in kept.search_runs(experiments)] == ["FAILED"]
    tracked(tmp_path, mlflow="kept")
    [run] = kept.search_runs(experiments)
    assert run.info.status == "FINISHED"


@pytest.mark.usefixtures("quiet")
def test_training_goes_on_where_mlflow_takes_no_more(tmp_path: Path) -> None:
    [one] = tracker.opened({"mlflow": "kept"}, tmp_path, "corner shop")
    (tmp_path / "kept" / "mlflow.db").unlink()
    heard = Heard()
    shown, recorded = progress.shown_by(heard), tracker.recorded_by([one])
    with shown, recorded, tracker.candidate("lora", SETTINGS):
        trained(tmp_path / "made")
    [said] = heard.said
    assert said.startswith("mlflow: sqlite:///")
    assert said.endswith("the run goes on without it")


def test_a_server_that_is_not_there_is_told_before_anything_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ProjectError, match="no experiment can be kept there"):
        tracker.opened({"mlflow": "http://127.0.0.1:9"}, tmp_path, "shop")


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_without_its_library_the_extra_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("torch.utils.tensorboard", "mlflow.tracking"):
        monkeypatch.setitem(sys.modules, module, None)
    shop = write(tmp_path / "shop")
    with (shop / "sartor.toml").open("a") as file:
        file.write(f'[tracking]\n{name} = "kept"\n')
    for verb in (journey.run, checkup.check):
        with pytest.raises(MissingExtraError, match=rf'pip install "sartor\[{name}\]"'):
            verb(journey.Project.open(shop))
    assert not list(shop.glob(".sartor/*/*"))


def test_where_tensorboard_cannot_write_is_told_before_anything_is_spent(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ProjectError, match=r"tensorboard is 'taken', .* File exists. Give a fol"):
        tracker.opened({"tensorboard": "taken"}, tmp_path, "shop")
    tracker.opened({"tensorboard": "free"}, tmp_path, "shop")
    assert list((tmp_path / "free").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder where not even root writes")
def test_a_folder_that_takes_no_files_is_told_before_anything_is_spent(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"tensorboard is '/proc', and no .*: /proc.*Give a fol"):
        tracker.opened({"tensorboard": "/proc"}, tmp_path, "shop")


def test_training_goes_on_where_tensorboard_takes_no_more(tmp_path: Path) -> None:
    opened = tracker.opened({"tensorboard": "runs"}, tmp_path, "shop")
    (tmp_path / "runs" / "lora").write_text("")  # where its figures would go
    heard = Heard()
    with progress.shown_by(heard), tracker.recorded_by(opened), tracker.candidate("lora", SETTINGS):
        trained(tmp_path / "made")
    [said] = heard.said
    assert said == (
        f"tensorboard: {tmp_path / 'runs'} takes no more figures (File exists); the run goes on "
        "without it"
    )


FULL = """
import resource, sys
from pathlib import Path
from sartor import progress
from sartor.tracking import tracker

class Said(progress.Silent):
    def say(self, message):
        print(message)

opened = tracker.opened({"tensorboard": "runs"}, Path(sys.argv[1]), "shop")
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))  # as a disk that has no more room
with progress.shown_by(Said()), tracker.recorded_by(opened):
    for name in ("lora", "full"):
        with tracker.candidate(name, {"rank": 2}) as scores:
            for phase in ("try 0.1", "try 0.2"):
                tracker.record(phase, 1, {"loss": 0.5})
            for step in range(1, 200):
                tracker.record("train", step, {"loss": 1.0, "learning_rate": 0.1})
            scores["token_f1"] = 0.5
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
def test_a_full_disk_is_told_once_and_what_was_written_before_is_kept(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "default::ResourceWarning", "-c", FULL, str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"tensorboard: {tmp_path / 'runs'} takes no more figures (File too large); the run goes on "
        "without it\n"
    )
    assert done.stderr == ""
    for phase in ("try 0.1", "try 0.2"):
        assert [one.value for one in events(tmp_path / "runs/lora" / phase).Scalars("loss")] == [
            0.5
        ]
    steps = [one.step for one in events(tmp_path / "runs" / "lora").Scalars("loss")]
    assert len(steps) > 10
    assert steps == list(range(1, len(steps) + 1))


def test_what_a_killed_sitting_wrote_is_hidden_by_what_is_written_again(tmp_path: Path) -> None:
    for first, loss in ((1, 3.0), (4, 2.0)):
        [one] = tracker.opened({"tensorboard": "runs"}, tmp_path, "shop")
        one.begin("lora", SETTINGS)
        for step in range(first, 7):
            one.record("train", step, {"loss": loss})
        one.finish({})
    kept = [(one.step, one.value) for one in events(tmp_path / "runs" / "lora").Scalars("loss")]
    assert kept == [(1, 3.0), (2, 3.0), (3, 3.0), (4, 2.0), (5, 2.0), (6, 2.0)]


def test_a_tracker_has_what_the_architecture_says() -> None:
    kinds: tuple[type[tracker.Tracker], ...] = (TensorBoard, MLflow)
    assert [f"{kind.__module__}:{kind.__name__}" for kind in kinds] == [*tracker.TRACKERS.values()]
    page = Path(__file__).parents[2] / "docs" / "architecture.md"
    [named] = re.findall(r"^\| tracker \|.* a class that has (.*?) \|", page.read_text(), re.M)
    methods = {name for name in vars(tracker.Tracker) if not name.startswith("_")}
    assert methods == set(re.findall(r"`(\w+)`", named))


def test_tracking_is_off_unless_asked_for_and_does_not_ask_for_a_new_run() -> None:
    file = parse({"data": {"examples": ["a.jsonl"]}}, "sartor.toml")
    assert file.tracking == Tracking(tensorboard=None, mlflow=None)
    assert tracker.opened(file.tracking.model_dump(), Path(), "shop") == ()
    with pytest.raises(ProjectError, match=r"\[tracking\] unknown key 'mflow'; did you mean 'mlf"):
        parse({"data": {"examples": ["a.jsonl"]}, "tracking": {"mflow": "kept"}}, "sartor.toml")


@pytest.mark.slow
def test_a_run_tracks_what_it_trains_and_every_score(tmp_path: Path) -> None:
    shop = write(tmp_path / "shop")
    candidates = CONFIG.replace('"zero-shot", "rag", "lora"', '"zero-shot", "lora"')
    (shop / "sartor.toml").write_text(candidates + '[tracking]\ntensorboard = "runs"\n')
    run = [sys.executable, "-m", "sartor", "run", str(shop)]
    done = subprocess.run(run, timeout=200, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert " tokens/s · " in done.stderr
    assert " GB" in done.stderr
    assert {*FIGURES, "test/token_f1"} <= set(events(shop / "runs" / "lora").Tags()["scalars"])
    assert "test/token_f1" in events(shop / "runs" / "zero-shot").Tags()["scalars"]


class Kept:
    """A tracker that remembers which figures of which phase came at which steps."""

    def __init__(self) -> None:
        self.steps: dict[tuple[str, str], list[int]] = {}

    @staticmethod
    def library() -> None: ...

    def begin(self, candidate: str, settings: Any) -> None: ...

    def record(self, phase: str, step: int, figures: Any) -> None:
        for name in figures:
            self.steps.setdefault((phase, name), []).append(step)

    def finish(self, scores: Any) -> None: ...


def test_of_several_trainings_the_last_alone_has_the_plain_names(tmp_path: Path) -> None:
    quick = {"learning_rates": (1e-3, 2e-3), "epochs": 2.0, "batch_size": 4, "looks": 2, "rank": 2}
    technique = build("stack+dpo+lora", {}, {"lora": quick, "dpo": {"learning_rates": (1e-3,)}})
    kept = Kept()
    with tracker.recorded_by([kept]):
        technique.fit(tiny_models.save(tmp_path / "base"), JUDGED, tmp_path / "made")
    phases = {phase for phase, _ in kept.steps}
    answers = {"answers", "answers try 0.001", "answers try 0.002"}
    assert phases == {"train", "first"} | answers | {f"first {one}" for one in answers}
    losses = {phase: steps for (phase, name), steps in kept.steps.items() if name == "loss"}
    assert all(steps == list(range(1, len(steps) + 1)) for steps in losses.values())
