"""A stand-in of the Hugging Face hub on this machine: what huggingface_hub asks for, and nothing else."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """Repositories by name; each is a list of commits, and a commit a mapping of files.

    Attributes:
        url: to be ``HF_ENDPOINT``.
        repos: name -> commits, the newest last: hash -> path -> content.
        asked: method and path of every request.
        tokens: what the requests were authorised with.
        created: name of a repository -> what was asked for when it was made.
    """

    def __init__(self):
        self.repos, self.asked, self.tokens, self.created = {}, [], set(), {}
        self.url = ""

    def commit(self, repo, files):
        """Add a commit with these files on top of the others; its hash."""
        commits = self.repos.setdefault(repo, {})
        before = list(commits.values())[-1] if commits else {}
        name = hashlib.sha1(f"{repo}{len(commits)}".encode()).hexdigest()
        commits[name] = before | files
        return name

    def find(self, path):
        """Status, error code, commit and content for ``/owner/name/resolve/REVISION/FILE``."""
        owner, name, _, revision, *file = path.strip("/").split("/")
        commits = self.repos.get(f"{owner}/{name}")
        if commits is None:
            return 404, "RepoNotFound", "", b""
        commit = list(commits)[-1] if revision == "main" else revision
        if commit not in commits:
            return 404, "RevisionNotFound", "", b""
        content = commits[commit].get("/".join(file))
        return (404, "EntryNotFound", commit, b"") if content is None else (200, "", commit, content)


def handler_of(hub):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.resolve(with_content=False)

        def do_GET(self):
            self.resolve(with_content=True)

        def resolve(self, *, with_content):
            hub.asked.append((self.command, self.path))
            status, code, commit, content = (404, "", "", b"") if "/resolve/" not in self.path else hub.find(self.path)
            self.send_response(status)
            headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Error-Code": code}
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_content:
                self.wfile.write(content)

        def do_POST(self):
            hub.asked.append((self.command, self.path))
            hub.tokens.add(self.headers.get("Authorization"))
            body = self.rfile.read(int(self.headers["Content-Length"]))
            parts = self.path.strip("/").split("/")
            if self.path == "/api/repos/create":
                asked = json.loads(body)
                repo = f"{asked['organization']}/{asked['name']}"
                hub.repos.setdefault(repo, {})
                hub.created[repo] = asked
                answer = {"url": f"{hub.url}/{repo}"}
            elif self.path == "/api/validate-yaml":
                answer = {"errors": [], "warnings": []}
            elif parts[4:5] == ["preupload"]:
                files = [file["path"] for file in json.loads(body)["files"]]
                answer = {"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in files]}
            elif parts[4:5] == ["commit"]:
                lines = [json.loads(line) for line in body.splitlines()]
                files = {
                    x["value"]["path"]: base64.b64decode(x["value"]["content"]) for x in lines if x["key"] == "file"
                }
                repo = "/".join(parts[2:4])
                commit = hub.commit(repo, files)
                answer = {"commitUrl": f"{hub.url}/{repo}/commit/{commit}", "commitOid": commit}
            else:
                answer = {}
            content = json.dumps(answer).encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


@contextmanager
def serving():
    """A hub that answers on this machine inside the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
