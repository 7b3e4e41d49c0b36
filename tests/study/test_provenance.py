import subprocess

from minseg.study.provenance import git_state


def test_commit_and_changes_of_the_code(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    source = tmp_path / "src" / "module.py"
    source.parent.mkdir()
    source.write_text("one")
    assert git_state(source) == (None, None)
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    assert git_state(source) == (git("rev-parse", "HEAD"), False)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))  # as in a hook of another repository
    assert git_state(source)[0]
    monkeypatch.delenv("GIT_DIR")
    source.write_text("two")
    assert git_state(source)[1] is True
    # A thesis with a virtual environment inside, ignored or not, holds no commit of this code.
    installed = tmp_path / ".venv" / "lib" / "module.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("one")
    assert git_state(installed) == (None, None)
    (tmp_path / ".gitignore").write_text(".venv\n")
    assert git_state(installed) == (None, None)
