"""Folders as people have them: links in circles, what is hidden, what may not be opened."""

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest

from lacy.corpus.reading import ReadReport, read
from lacy.errors import LacyError

READ = """
import json, sys
from lacy.corpus.reading import ReadReport, read
report = ReadReport()
documents = [document.id for document in read(sys.argv[1], report=report)]
print(json.dumps([documents, report.places, report.ignored]))
"""


def as_reader(path):
    """Ids and complaints of a process that may read only what its user may."""
    command = [sys.executable, "-c", READ, str(path)]
    if os.geteuid() == 0:  # root may read everything, unless it gives that up
        if not shutil.which("setpriv"):
            pytest.skip("root needs setpriv: apt-get install util-linux")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_links_hidden_files_and_unreadable_folders(tmp_path):
    texts = {
        "a.txt": "A.", "b/c.txt": "C.", ".h/x.txt": "X.", ".y.txt": "Y.", "b/.z/z.txt": "Z.",
        "shut/s.txt": "S.", "names only/n.txt": "N.",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nothing.txt")
    (tmp_path / "circle.txt").symlink_to(tmp_path / "circle.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "d.docx").write_text("D.")
    modes = {tmp_path / "shut": 0o000, tmp_path / "names only": 0o444}
    for folder, mode in modes.items():
        folder.chmod(mode)
    try:
        documents, places, left = as_reader(tmp_path)
    finally:
        for folder in modes:
            folder.chmod(0o755)
    assert documents == ["a.txt", "b/c.txt"]
    assert places == {
        "unreadable folder": [f"{tmp_path / 'shut'}: Permission denied"],
        "unreadable file": [f"{tmp_path / 'names only' / 'n.txt'}: Permission denied"],
    }
    assert {kind: sorted(map(os.path.basename, found)) for kind, found in left.items()} == {
        "dead link": ["circle.txt", "gone.txt"], "link to a folder": ["up"], "pipe": ["pipe.txt"],
        ".docx": ["d.docx"],
    }  # fmt: skip


def test_links_out_of_a_folder_are_followed_where_asked_and_all_is_read_once(tmp_path):
    home, other = tmp_path / "home", tmp_path / "other"
    for name in ("home/a.txt", "home/sub/b.txt", "other/c.txt", "other/deep/d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (home / "out.txt").symlink_to(other / "c.txt")
    (home / "in.txt").symlink_to(home / "sub" / "b.txt")
    (home / "sub" / "up").symlink_to(home)
    (home / "linked").symlink_to(other)
    (other / "back").symlink_to(home)
    (other / "self").symlink_to(other / "self")

    def ids(**options):
        report = ReadReport()
        found = [document.id for document in read(home, report=report, **options)]
        return found, dict(report.ignored.counts)

    assert ids() == (
        ["a.txt", "sub/b.txt"],
        {"link out of the folder": 1, "link to a file that is read": 1, "link to a folder": 2},
    )
    found, left = ids(follow_links=True)
    assert found == ["a.txt", "linked/c.txt", "linked/deep/d.txt", "sub/b.txt"]
    assert left == {"link to a file that is read": 2, "link to a folder that is read": 2,
                    "dead link": 1}  # fmt: skip
    (tmp_path / "by link").symlink_to(home)
    assert [d.id for d in read(tmp_path / "by link")] == ["a.txt", "sub/b.txt"]


def test_pipes_sockets_and_devices_are_named_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "a.txt").write_text("A.")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.txt"))
        report = ReadReport()
        assert [d.id for d in read(tmp_path, report=report)] == ["a.txt"]
        assert report.ignored.keys() == {"pipe", "socket"}
        for path, kind in (("pipe.jsonl", "pipe"), ("s.txt", "socket"), ("/dev/zero", "device")):
            with pytest.raises(LacyError, match=f"is a {kind}") as caught:
                read(tmp_path / path)
            assert caught.value.code == "E120"


def test_files_that_lacy_wrote_are_not_read_as_texts(tmp_path):
    (tmp_path / "a.txt").write_text("A.")
    for folder, name in (("kb", "documents.sqlite"), ("packed", "lacy_data.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
        (tmp_path / folder / "more.json").write_text('{"text": "no text"}')
    report = ReadReport()
    assert [d.id for d in read(tmp_path, report=report)] == ["a.txt"]
    assert list(report.ignored.counts.values()) == [2]


def test_file_names_with_bad_bytes_or_control_characters(tmp_path):
    folder = os.fsencode(tmp_path)
    names = (b"bad\xff.txt", b"esc\x1b[2J.txt", b"line\nfeed.txt", b"-dash.txt")
    for name in names:
        with open(os.path.join(folder, name), "w") as file:
            file.write("Text.")
    with open(os.path.join(folder, b"broken\x1b\xfe.jsonl"), "w") as file:
        file.write("{")
    report = ReadReport()
    found = {document.id for document in read(tmp_path, report=report)}
    assert found == {"bad\ufffd.txt", "esc\x1b[2J.txt", "line\nfeed.txt", "-dash.txt"}
    [place] = report.places["not JSON"]
    assert "\x1b" not in place and place.encode() and "broken \ufffd.jsonl:1" in place


def test_many_kinds_are_counted_in_bounded_memory(tmp_path):
    for number in range(60):
        (tmp_path / f"a.k{number}").touch()
    (tmp_path / "b.tar.gz").touch()
    (tmp_path / "README").touch()
    (tmp_path / "a.txt").write_text("A.")
    report = ReadReport()
    list(read(tmp_path, report=report))
    assert sum(report.ignored.counts.values()) == 62 and len(report.ignored) == 31
    (tmp_path / "a.txt").unlink()
    with pytest.raises(LacyError, match=r"no supported files \(only .* x ") as caught:
        read(tmp_path)
    assert caught.value.code == "E27"
