import io
import json
import lzma
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from minseg import MinsegError
from minseg.study.config import RunConfig
from minseg.study.execution import evaluate, open_segmenter
from minseg.study.pack import MANIFEST, pack_runs, read_manifest, unpack_runs
from minseg.study.runs import COUNT_COLUMNS, RunStore, scene_prediction
from minseg.study.study import shipped_pack, synthetic_dataset
from tests.conftest import names
from tests.study.made_runs import excavations, write_run

CONFIG = RunConfig(task="model1", epochs=3)
FOUND = {3: {"validation": excavations({"v": 5}), "test": excavations({"t": 7})}}
JOURNAL = "tuning/ab.journal"
LARGE_FILES = ("weights.safetensors", "predictions/t.tif", "scene_maps/0a/t.tif")
SHARE = 0.001
"""Of the pixels that may be counted otherwise by another kind of processor."""


@pytest.fixture
def store(tmp_path) -> RunStore:
    """Three runs: two seeds of a configuration, and another one; a search is being gone on with."""
    made = RunStore(tmp_path / "made")
    for key, config in {
        "a0": CONFIG,
        "a1": CONFIG.replace(seed=1),
        "bb": CONFIG.replace(bands="R+N"),
    }.items():
        run = write_run(made.path / key, config, FOUND, dataset="squares", dataset_hash="one")
        for name in (*LARGE_FILES, "note"):
            (run.path / name).parent.mkdir(parents=True, exist_ok=True)
            (run.path / name).write_bytes(f"{name} of {key}".encode())
    (made.path / "tuning").mkdir()
    (made.path / JOURNAL).write_text('{"op_code":0}\n{"op_co')
    return made


def contents(store: RunStore) -> dict[str, bytes]:
    """The files of a store, hidden ones too."""
    files = (path for path in store.path.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(store.path).as_posix(): path.read_bytes() for path in files}


def test_a_pack_brings_runs_and_searches_into_another_store(store, tmp_path):
    pack, other = tmp_path / "all.runs", RunStore(tmp_path / "other")
    manifest = pack_runs(store, pack, ["a0"])
    assert unpack_runs(pack, other) == (3, 0)
    expected = {name: data for name, data in contents(store).items() if "note" not in name}
    for left_out in ("a1/weights.safetensors", *(f"bb/{name}" for name in LARGE_FILES)):
        del expected[left_out]
    assert contents(other) == expected | {JOURNAL: b'{"op_code":0}\n'}
    assert manifest.runs["bb"] == {"dataset": "squares", "dataset_hash": "one"}
    for run in store:
        assert other.find(run.key).scores()["iou"] == run.scores()["iou"]
    # Again it has nothing to do, and the copy gives the same bytes, whenever it is packed.
    assert unpack_runs(pack, other) == (0, 3)
    again = tmp_path / "again.runs"
    pack_runs(other, again, ["a0"])
    assert again.read_bytes() == pack.read_bytes()
    # A fuller one brings what is missing.
    pack_runs(store, again, ["a0", "bb"])
    assert unpack_runs(again, other) == (1, 2)
    assert (other.path / "bb" / "predictions" / "t.tif").is_file()
    chosen = pack_runs(store, again, names=["bb"])
    assert set(chosen.runs) == {name.partition("/")[0] for name in chosen.files} == {"bb"}


def test_what_cannot_be_packed_is_refused(store, tmp_path):
    for weights, wanted, message in (
        ([".."], None, r"has no run \.\."),
        ([], ["a9"], "has no run a9"),
        ([], [], "holds no run"),
    ):
        with pytest.raises(MinsegError, match=message):
            pack_runs(store, tmp_path / "x.runs", weights, wanted)
    (store.path / "a1" / "weights.safetensors").unlink()
    with pytest.raises(MinsegError, match=r"a1: keeps no weights, .*MINSEG_SHIPPED=off"):
        pack_runs(store, tmp_path / "x.runs", ["a1"])
    (store.path / "bb" / "counts.csv").write_text("cut off")
    with pytest.raises(MinsegError, match=r"bb: counts\.csv is cut off"):
        pack_runs(store, tmp_path / "x.runs")
    assert names(tmp_path) == ["made"]


def test_a_byte_changed_or_cut_off_anywhere_is_refused(store, tmp_path):
    whole, bad = tmp_path / "whole.runs", tmp_path / "bad.runs"
    pack_runs(store, whole, ["a0"])
    content, other = whole.read_bytes(), RunStore(tmp_path / "other")
    for place in [*range(0, len(content), 61), len(content) - 1]:
        changed = bytes([content[place] ^ 1])
        for damaged in (content[:place] + changed + content[place + 1 :], content[:place]):
            bad.write_bytes(damaged)
            with pytest.raises(MinsegError, match=r"bad\.runs: .*(damaged or cut off|of format)"):
                unpack_runs(bad, other)
            assert not other.path.exists() or contents(other) == {}
    with pytest.raises(MinsegError, match="no such pack"):
        unpack_runs(tmp_path / "none.runs", other)


def write_pack(path: Path, files: dict, manifest: dict | None = None, members=None) -> Path:
    """Write what `pack_runs` would not."""
    listed = {n: {"size": len(c), "sha256": sha256(c).hexdigest()} for n, c in files.items()}
    about = {"format": 1, "runs": {}, "files": listed} | (manifest or {})
    with lzma.open(path, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        for name, content in {MANIFEST: json.dumps(about).encode(), **(members or files)}.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


CONFIG_FILE, LARGE = "aa/config.json", {"size": 2**60, "sha256": ""}


@pytest.mark.parametrize(
    ("files", "more", "message"),
    [
        (
            {},
            {"manifest": {"format": 2}},
            "is a pack of format 2, and this minseg reads 1; install",
        ),
        *(
            ({name: b"x"}, {}, "which is no file of a run; refused")
            for name in (
                *("../config.json", "/tmp/config.json", "aa/../../bb/config.json", "aa/x.py"),
                *("aa/predictions/../../x.tif", "aa/predictions/.x.tif", "tuning/x.journal", ""),
            )
        ),
        ({CONFIG_FILE: b"x"}, {"members": {CONFIG_FILE: "/etc/passwd"}}, "config.json is missing"),
        ({CONFIG_FILE: b"x"}, {"members": {CONFIG_FILE: b"y"}}, "has another content"),
        ({CONFIG_FILE: b"x"}, {"members": {CONFIG_FILE: b"xy"}}, "has another size"),
        ({CONFIG_FILE: b"x"}, {"members": {"aa/counts.csv": b"x"}}, "config.json is missing"),
        ({}, {"members": {CONFIG_FILE: b"x"}}, "something follows its last file"),
        ({}, {"manifest": {"files": {CONFIG_FILE: LARGE}}}, "MiB are free; free some space"),
        ({}, {"manifest": {"files": {CONFIG_FILE: 3}}}, "is no pack of runs"),
    ],
)
def test_a_pack_that_holds_other_things_is_refused(tmp_path, files, more, message):
    pack, store = write_pack(tmp_path / "x.runs", files, **more), RunStore(tmp_path / "store")
    with pytest.raises(MinsegError, match=message):
        unpack_runs(pack, store)
    assert not store.path.exists() or contents(store) == {}
    assert names(tmp_path) in (["x.runs"], ["store", "x.runs"])


def test_a_store_keeps_what_it_has_under_a_key(store, tmp_path):
    pack, other = tmp_path / "x.runs", RunStore(tmp_path / "other")
    pack_runs(store, pack)
    write_run(other.path / "a1", CONFIG.replace(seed=1), FOUND, dataset="mine")
    before = contents(other)
    with pytest.raises(MinsegError, match=r"1 run.* other content in .*other, such as a1; name"):
        unpack_runs(pack, other)
    assert contents(other) == before
    assert unpack_runs(pack, other, keep_other=True) == (2, 1)
    assert {name: contents(other)[name] for name in before} == before


def test_a_full_disk_leaves_no_half_of_a_pack_or_store(store, tmp_path, file_limit):
    (store.path / "a0" / "weights.safetensors").write_bytes(os.urandom(60_000))
    pack, other = tmp_path / "x.runs", RunStore(tmp_path / "other")
    with file_limit(20_000), pytest.raises(MinsegError, match=r"x\.runs: cannot be written"):
        pack_runs(store, pack, ["a0"])
    assert not pack.exists()
    pack_runs(store, pack, ["a0"])
    with (
        file_limit(20_000),
        pytest.raises(MinsegError, match=r"other: runs cannot be unpacked.*free some"),
    ):
        unpack_runs(pack, other)
    assert contents(other) == {}
    (other.path / ".unpacking" / "a0").mkdir(parents=True)  # as a kill leaves it
    assert unpack_runs(pack, other) == (3, 0)
    assert names(other.path) == [".unpacking.lock", "a0", "a1", "bb", "tuning"]


def test_shipped_runs_come_into_a_store_when_one_is_asked_for(store, dataset, tmp_path):
    pack = tmp_path / "x.runs"
    pack_runs(store, pack)
    shipping = RunStore(tmp_path / "other", pack)
    assert shipping.find("cc") is None
    assert not shipping.path.exists()
    assert RunStore(tmp_path / "other", tmp_path / "none.runs").find("a0") is None
    with ThreadPoolExecutor(3) as programs:  # a lock knows no difference
        assert {run.key for run in programs.map(shipping.find, ["a0"] * 3)} == {"a0"}
    assert len(list(shipping)) == 3
    with shipping.claim("bb") as work:
        assert work is None
    run = shipping.find("bb")
    with pytest.raises(MinsegError, match=r"bb: keeps no weights, .*delete the folder"):
        open_segmenter(run)
    with pytest.raises(MinsegError, match="bb: keeps no predictions"):
        scene_prediction(run, dataset, "t")


def test_a_run_unpacked_while_it_was_made_here_is_kept(store, tmp_path):
    pack, other = tmp_path / "x.runs", RunStore(tmp_path / "other")
    pack_runs(store, pack)
    with other.claim("a0") as work:
        write_run(work, CONFIG, FOUND, dataset="mine")
        unpack_runs(pack, other)
    assert other.find("a0").provenance["dataset"] == "squares"
    assert names(other.path / "a0") == names(other.path / "bb")


@pytest.mark.skipif(shipped_pack() is None, reason="no runs are shipped with this version")
def test_shipped_runs_are_whole_and_weights_give_their_counts_on_the_dataset_drawn_here(tmp_path):
    packed = read_manifest(shipped_pack())
    store, dataset = RunStore(tmp_path, shipped_pack()), synthetic_dataset()
    keys = [name.partition("/")[0] for name in packed.files if name.endswith(".safetensors")]
    assert keys
    for key in keys:
        run = store.find(key)
        assert run.provenance["dataset_hash"] == dataset.digest
        stored = run.counts_of("test")[COUNT_COLUMNS].to_numpy()
        counted = evaluate(run, dataset)[COUNT_COLUMNS].to_numpy()
        assert abs(counted - stored).sum() <= SHARE * stored.sum(), key
    for run in store:  # finding one has unpacked them all
        run.require_whole()
