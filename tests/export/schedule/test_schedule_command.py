"""`ncm-export schedule`: files in, table, CSV and picture out; each mistake by name."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from edge.__main__ import main as edge
from edge.config.faults import ConfigError
from edge.core.schedule import header, parse_csv
from edge.twin.model import sample
from export.__main__ import main
from export.schedule.inputs import SHIPPED, load_inputs
from export.schedule.lineage import digest, load_parent

TEXT = (SHIPPED / "ncm838.toml").read_text(encoding="utf-8")
CONFIG = Path(__file__).parents[3] / "firmware_config"
RESULT = """
[batch]
id = "B-0412"
core_kg = 7160.8
shell_kg = 7150.3
cake_kg = 2062.0
demand = 0.01
defect_flag = false
leak_hold = false
samples = ["L-77", "L-78"]

[icp]
ni_wt = 0.5290
co_wt = 0.0780
mn_wt = 0.0226
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.toml").write_text(TEXT, encoding="utf-8")
    (tmp_path / "result.toml").write_text(RESULT, encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str) -> int:
    return main(["schedule", str(folder / "in.toml"), *arguments])


def first(folder: Path) -> Path:
    assert run(folder, "--out", str(folder / "a.csv")) == 0
    return folder / "a.csv"


def test_the_table_is_printed_and_nothing_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder) == 0
    out = capsys.readouterr().out
    assert "  21  1029–1080" in out
    assert "NaOH mean 206.6" in out
    assert {path.name for path in folder.iterdir()} == {"in.toml", "result.toml"}


def test_appliance_and_twin_load_what_is_written(folder: Path) -> None:
    text = first(folder).read_text(encoding="utf-8")
    said = header(text)
    assert said["sha256"] == digest(text)
    assert said["parent"] == "none"
    recipe = sample(parse_csv(text))
    assert recipe.steps == 6480
    site = folder / "site"
    shutil.copytree(CONFIG, site, ignore=shutil.ignore_patterns("models"))
    shutil.copy(folder / "a.csv", site / "schedules" / "ncm838.csv")
    assert edge(["check", "--config", str(site)]) == 0


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_picture(folder: Path, ending: str) -> None:
    assert run(folder, "--picture", str(folder / f"a.{ending}")) == 0
    assert (folder / f"a.{ending}").stat().st_size > 10_000


def test_the_picture_s_format_must_be_known(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--picture", str(folder / "a.doc")) == 2
    assert "permitted endings:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ni = 0.838", "ni = -0.1", r"in.toml:8: \[target\]: ni = -0.1 is not permitted"),
        ("mn = 0.038", "mn = 0.138", r"in.toml:8: \[target\]: ni [+] co [+] mn = 1.1; permit"),
        ("ni_mol_l = 1.84\n", "", r"in.toml:16: \[core\]: missing key 'ni_mol_l'.*add it"),
        ("ni_mol_l = 1.84", "ni_mol_1 = 1.84", "did you mean 'ni_mol_l'"),
        ("core_min_kg_h = 90.0", "core_min_kg_h = 2000.0", "= 2000 is not below core"),
        ("heel_m3 = 3.0", "heel_m3 = 30.0", "heel_m3 = 30 is not below max_volume_m3 = 9.8"),
        ("c_alk = 0.134", "c_alk = nan", "c_alk = nan is not a finite"),
        ("metal_kmol = 22.274", "metal_kmol = 60.0", "core: the schedule needs 250"),
        ("c_alk = 0.134", "c_alk = 0.0", "set c_alk = 0.134"),
        ("ni_mol_l = 1.51176", "ni_mol_l = 1.30", "blend one of the two tanks anew"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    assert old in TEXT
    (folder / "in.toml").write_text(TEXT.replace(old, new), encoding="utf-8")
    assert run(folder, "--out", str(folder / "a.csv")) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (folder / "a.csv").exists()


def test_reblending_says_kilograms_of_sulfate(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = TEXT.replace("ni_mol_l = 1.51176", "ni_mol_l = 1.30")
    (folder / "in.toml").write_text(wrong, encoding="utf-8")
    assert run(folder) == 2
    assert "shell tank, per 1000 kg of solution: add 36.1" in capsys.readouterr().err


def test_files_that_are_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", str(folder / "no.toml")]) == 2
    assert "no.toml: cannot be read" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        load_inputs(folder)


def test_the_next_batch_learns_from_icp_yield_and_demand(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = first(folder)
    arguments = ("--parent", str(parent), "--result", str(folder / "result.toml"))
    assert run(folder, *arguments) == 0
    assert "mean flows, parent -> this schedule" in capsys.readouterr().out
    out = folder / "b.csv"
    assert run(folder, *arguments, "--out", str(out)) == 2  # nobody has signed
    assert "add --sign-off NAME" in capsys.readouterr().err
    assert run(folder, *arguments, "--out", str(out), "--sign-off", "J. Kim") == 0
    said = header(out.read_text(encoding="utf-8"))
    assert said["parent"] == header(parent.read_text(encoding="utf-8"))["sha256"]
    assert (said["batch"], said["lab_samples"], said["signed_off"]) == (
        "B-0412", "L-77 L-78", "J. Kim",
    )  # fmt: skip
    assert float(said["c_alk"]) == pytest.approx(0.134 + 0.3 * 0.01 * 2.004, abs=1e-6)
    refined = load_parent(out)
    # Cobalt came out short in the cake, so more of it is fed.
    assert refined.lineage.eta[1] < 1.0
    assert refined.lineage.feed_target[1] > 0.124
    assert (
        max(abs(a - b) for a, b in zip(refined.lineage.feed_target, (0.838, 0.124, 0.038))) < 0.005
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cake_kg = 2062.0", "cake_kg = 1900.0", "cake_kg = 1900: 91.* permitted 100 ± 2%"),
        ("defect_flag = false", "defect_flag = true", "a defective batch teaches its defect"),
        ("leak_hold = false", "leak_hold = true", "may be a leak's"),
        ("co_wt = 0.0780\n", "", "missing key 'co_wt'"),
    ],
)
def test_a_batch_that_may_not_teach(
    folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    parent = first(folder)
    (folder / "result.toml").write_text(RESULT.replace(old, new), encoding="utf-8")
    assert run(folder, "--parent", str(parent), "--result", str(folder / "result.toml")) == 2
    assert re.search(message, capsys.readouterr().err)


def test_large_lessons_are_cut_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parent = first(folder)
    hard = RESULT.replace("demand = 0.01", "demand = 0.09")
    hard = hard.replace("ni_wt = 0.5290", "ni_wt = 0.5065").replace(
        "co_wt = 0.0780", "co_wt = 0.1000"
    )
    (folder / "result.toml").write_text(hard, encoding="utf-8")
    assert run(folder, "--parent", str(parent), "--result", str(folder / "result.toml")) == 0
    out = capsys.readouterr().out
    assert "NaOH: +2.7% wanted, cut back to 2%" in out
    assert "cut back to 0.5 point" in out


def test_a_parent_edited_by_hand_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = first(folder)
    text = parent.read_text(encoding="utf-8")
    parent.write_text(text.replace(",276.2,", ",277.2,"), encoding="utf-8")
    arguments = ("--parent", str(parent), "--result", str(folder / "result.toml"))
    assert run(folder, *arguments) == 2
    assert "edited since it was made" in capsys.readouterr().err
    shutil.copy(CONFIG / "schedules" / "ncm838.csv", parent)
    assert run(folder, *arguments) == 2
    assert "no lineage in its header" in capsys.readouterr().err
    assert run(folder, "--parent", str(parent)) == 2
    assert "belong together" in capsys.readouterr().err
