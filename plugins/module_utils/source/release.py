# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The git tag of a release, at its commit and in origin, and the tag's files in a folder of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import InputError, OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.common.process import Finished, run, tail

Json = Dict[str, Any]

CHANGES = 50


class Source:
    """One call of ``release_source``."""

    def __init__(self, params: Mapping[str, Any], check: bool) -> None:
        self.params = params
        self.check = check
        self.release: str = params["release"]
        self.checkout = os.path.abspath(params["checkout"])
        self.remote: str = params.get("remote") or "origin"
        self.timeout = float(params.get("timeout") or 300)
        if not re.match(r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", self.release) or ".." in self.release:
            raise InputError("release", f"{self.release!r} cannot be the name of a tag and of a folder")

    def run(self) -> Json:
        """Sees to tag and folder; gives the module's result.

        :raises OpsError: the tag stands elsewhere, or git failed.
        """
        result: Json = {
            "changed": False,
            "tag": self.release,
            "commit": "",
            "created": False,
            "pushed": False,
            "exported": False,
            "previous": "",
            "changes": [],
            "path": "",
        }
        if not os.path.isdir(self.checkout):
            if not self.params.get("repository"):
                raise InputError("checkout", f"there is no {self.checkout}, and no repository to clone is given")
            result["changed"] = True
            if self.check:
                # Nothing can be said of a repository that is not here.
                return {**result, "exported": bool(self.params.get("dest")), "path": self._folder() or ""}
            os.makedirs(os.path.dirname(self.checkout), exist_ok=True)
            self._git("clone", "--quiet", self.params["repository"], self.checkout, cwd=os.path.dirname(self.checkout))
        refs = self._remote_refs()
        wanted, there = self._wanted(refs)
        here = self._commit(f"refs/tags/{self.release}")
        if here and here != wanted:
            raise OpsError(
                "release", self.release, f"its tag stands at {here[:12]} in {self.checkout}, not at {wanted[:12]}",
                "Was it made by hand? Remove it there (git tag -d), or choose another release.",
            )  # fmt: skip
        result.update(commit=wanted, created=not here and not there, pushed=not there)
        if self.check:
            self._look(wanted, there)
        else:
            self._tag(wanted, bool(here), there)
        result["previous"], result["changes"] = self._changes(wanted)
        folder = self._folder()
        if folder:
            result["path"], result["exported"] = folder, not self._same(folder, wanted)
            if result["exported"]:
                # In check mode, too: what the tasks after this one say of the release is true of its own files only.
                self._export(folder, wanted)
        result["changed"] = result["changed"] or result["created"] or result["pushed"] or result["exported"]
        return result

    def _folder(self) -> Optional[str]:
        dest = self.params.get("dest")
        return os.path.join(os.path.abspath(dest), self.release) if dest else None

    # git

    def _run(self, *words: str, cwd: Optional[str] = None, env: Optional[Dict[str, str]] = None) -> Finished:
        # It must never wait for somebody to type a password.
        given = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **(env or {})}
        try:
            return run(["git", *words], self.timeout, env=given, cwd=cwd or self.checkout)
        except FileNotFoundError:
            raise OpsError("run", "git", "there is no such command on this host", "Install git.") from None
        except subprocess.TimeoutExpired:
            raise OpsError("run", f"git {words[0]}", f"it did not end within {self.timeout:.0f} s") from None

    def _git(self, *words: str, cwd: Optional[str] = None, env: Optional[Dict[str, str]] = None) -> str:
        ended = self._run(*words, cwd=cwd, env=env)
        if ended.rc:
            raise OpsError(f"git {words[0]} in", cwd or self.checkout, tail(ended.stderr or ended.stdout, 5))
        return ended.stdout

    def _commit(self, name: str) -> str:
        """The commit that a name means here; empty when it means none."""
        ended = self._run("rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")
        return ended.stdout.strip() if ended.rc == 0 else ""

    def _remote_refs(self) -> Dict[str, str]:
        listed = self._git("ls-remote", self.remote)
        return {name: commit for commit, name in (line.split("\t", 1) for line in listed.splitlines() if "\t" in line)}

    def _wanted(self, refs: Mapping[str, str]) -> Tuple[str, bool]:
        """The commit that the tag is to stand at, and whether it stands there in the remote already."""
        tag = refs.get(f"refs/tags/{self.release}^{{}}") or refs.get(f"refs/tags/{self.release}")
        revision = self.params.get("revision")
        wanted = ""
        if revision:
            named = refs.get(f"refs/heads/{revision}") or refs.get(f"refs/tags/{revision}^{{}}")
            if not named and not self._commit(revision) and not self.check:
                self._git("fetch", "--quiet", self.remote)
            wanted = named or self._commit(revision)
            if not wanted:
                raise InputError("revision", f"{self.remote} has no commit {revision}")
        if tag:
            if wanted and wanted != tag:
                raise OpsError(
                    "release", self.release, f"its tag stands at {tag[:12]} in {self.remote}, not at {wanted[:12]}",
                    "A released tag is never moved: choose another release.",
                )  # fmt: skip
            return tag, True
        branch = self.params.get("branch")
        wanted = wanted or refs.get(f"refs/heads/{branch}" if branch else "HEAD", "")
        if not wanted:
            raise OpsError(
                "release", self.release, f"{self.remote} has no {branch or 'main branch'}", "Name a revision."
            )
        return wanted, False

    def _look(self, wanted: str, there: bool) -> None:
        """Fetches the commit's objects and nothing else: no branch or tag of the clone moves."""
        if not self._commit(wanted):
            ref = f"refs/tags/{self.release}" if there else "refs/heads/*"
            self._git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=", self.remote, ref)

    def _tag(self, wanted: str, here: bool, there: bool) -> None:
        if there and not here:
            self._git(
                "fetch", "--quiet", "--no-tags", self.remote, f"refs/tags/{self.release}:refs/tags/{self.release}"
            )
        elif not self._commit(wanted):
            self._git("fetch", "--quiet", self.remote)
        if not there:
            if not here:
                who = {}
                if self._run("config", "user.email").rc:
                    # A machine that deploys has no name of its own; git insists on one.
                    who = {
                        f"GIT_COMMITTER_{key}": value
                        for key, value in (("NAME", "Release"), ("EMAIL", "release@localhost"))
                    }
                message = self.params.get("tag_message") or f"Release {self.release}"
                self._git("tag", "--annotate", "--message", message, self.release, wanted, env=who)
            try:
                self._git("push", "--quiet", self.remote, f"refs/tags/{self.release}")
            except OpsError:
                if not here:
                    # Otherwise the next run would find a tag that nobody else has.
                    self._run("tag", "--delete", self.release)
                raise

    def _changes(self, commit: str) -> Tuple[str, List[str]]:
        if not self._commit(commit):
            return "", []
        ended = self._run("describe", "--tags", "--abbrev=0", f"{commit}^")
        previous = ended.stdout.strip() if ended.rc == 0 else ""
        log = self._git(
            "log",
            "--oneline",
            "--no-decorate",
            f"--max-count={CHANGES}",
            f"{previous}..{commit}" if previous else commit,
        )
        return previous, log.splitlines()

    # The folder

    def _same(self, folder: str, commit: str) -> bool:
        """Whether every file of the commit stands in the folder as it is there. Files beside them do not matter."""
        if not os.path.isdir(folder):
            return False
        with tempfile.TemporaryDirectory() as scratch:
            env = {
                "GIT_INDEX_FILE": os.path.join(scratch, "index"),
                "GIT_WORK_TREE": folder,
                "GIT_DIR": self._git_dir(),
            }
            self._git("read-tree", commit, env=env)
            self._run("update-index", "-q", "--refresh", env=env, cwd=folder)
            return self._run("diff-files", "--quiet", env=env, cwd=folder).rc == 0

    def _git_dir(self) -> str:
        return self._git("rev-parse", "--absolute-git-dir").strip()

    def _export(self, folder: str, commit: str) -> None:
        """Writes the commit's files beside the folder, then puts them in its place."""
        parent = os.path.dirname(folder)
        os.makedirs(parent, exist_ok=True)
        scratch = tempfile.mkdtemp(prefix=f".{self.release}.", dir=parent)
        try:
            fresh = os.path.join(scratch, "new")
            os.mkdir(fresh, 0o755)
            env = {"GIT_INDEX_FILE": os.path.join(scratch, "index"), "GIT_WORK_TREE": fresh, "GIT_DIR": self._git_dir()}
            self._git("read-tree", commit, env=env)
            self._git("checkout-index", "--all", "--quiet", env=env, cwd=fresh)
            if os.path.lexists(folder):
                os.rename(folder, os.path.join(scratch, "old"))
            os.rename(fresh, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
