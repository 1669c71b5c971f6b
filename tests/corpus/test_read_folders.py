"""Folders as people have them: links in circles, what is hidden, what may not be opened."""

import json
import os
import shutil
import subprocess
import sys

import pytest

READ = """
import json, sys
from lacy.corpus.read import ReadReport, read
report = ReadReport()
documents = [document.id for document in read(sys.argv[1], report=report)]
print(json.dumps([documents, report.places, report.left]))
"""


def as_reader(path):
    """Ids and complaints of a process that may read only what its user may."""
    command = [sys.executable, "-c", READ, str(path)]
    if os.geteuid() == 0:  # root may read everything, unless it gives that up
        if not shutil.which("setpriv"):
            pytest.skip("root needs setpriv to give up its rights")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_links_hidden_files_and_shut_folders(tmp_path):
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
