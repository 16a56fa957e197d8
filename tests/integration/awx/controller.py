"""The endpoints of AWX's API that awx.awx uses, with its rules: who may ask, what is required, what has to be there,
what is unique, which filters exist; and of those that start a job. It runs nothing."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "canary-awx-token"

# Of each kind: what is required, what it points at, its defaults, and by what it is unique.
KINDS: dict[str, dict[str, Any]] = {
    "organizations": {
        "required": ["name"],
        "to": {"default_environment": "execution_environments"},
        "unique": ["name"],
    },
    "execution_environments": {
        "required": ["name", "image"],
        "to": {"organization": "organizations", "credential": "credentials"},
        "defaults": {"pull": ""},
        "unique": ["name"],
    },
    "credential_types": {
        "required": ["name", "kind"],
        "defaults": {"inputs": {}, "injectors": {}, "managed": False},
        "unique": ["name", "kind"],
    },
    "credentials": {
        "required": ["name", "credential_type"],
        "to": {"credential_type": "credential_types", "organization": "organizations"},
        "defaults": {"inputs": {}},
        "unique": ["organization", "name", "credential_type"],
    },
    "projects": {
        "required": ["name", "organization"],
        "to": {"organization": "organizations", "default_environment": "execution_environments"},
        "defaults": {
            "scm_type": "",
            "scm_url": "",
            "scm_branch": "",
            "scm_revision": "",
            "scm_update_on_launch": False,
            "scm_update_cache_timeout": 0,
        },
        "unique": ["organization", "name"],
    },
    "inventories": {
        "required": ["name", "organization"],
        "to": {"organization": "organizations"},
        "defaults": {"kind": "", "variables": ""},
        "unique": ["organization", "name"],
    },
    "inventory_sources": {
        "required": ["name", "inventory", "source"],
        "to": {
            "inventory": "inventories",
            "source_project": "projects",
            "execution_environment": "execution_environments",
        },
        "defaults": {"source_path": "", "overwrite": False, "overwrite_vars": False, "update_on_launch": False},
        "unique": ["inventory", "name"],
    },
    "notification_templates": {
        "required": ["name", "organization", "notification_type", "notification_configuration"],
        "to": {"organization": "organizations"},
        "defaults": {"messages": None},
        "unique": ["organization", "name"],
    },
    "job_templates": {
        "required": ["name", "project", "playbook"],
        "to": {
            "inventory": "inventories",
            "project": "projects",
            "execution_environment": "execution_environments",
            "organization": "organizations",
        },
        "defaults": {
            "job_type": "run",
            "diff_mode": False,
            "allow_simultaneous": False,
            "survey_enabled": False,
            "extra_vars": "",
        },
        "unique": ["organization", "name"],
    },
    "workflow_job_templates": {
        "required": ["name"],
        "to": {"inventory": "inventories", "organization": "organizations"},
        "defaults": {"allow_simultaneous": False, "survey_enabled": False, "extra_vars": ""},
        "unique": ["organization", "name"],
    },
    "workflow_job_template_nodes": {
        "required": ["workflow_job_template"],
        "to": {"workflow_job_template": "workflow_job_templates", "unified_job_template": "unified_job_templates"},
        "defaults": {"identifier": "", "all_parents_must_converge": False, "extra_data": {}},
        "unique": ["workflow_job_template", "identifier"],
    },
    "workflow_approval_templates": {"required": ["name"], "defaults": {"timeout": 0, "description": ""}, "unique": []},
    "schedules": {
        "required": ["name", "unified_job_template", "rrule"],
        "to": {"unified_job_template": "unified_job_templates"},
        "defaults": {"extra_data": {}, "enabled": True},
        "unique": ["unified_job_template", "name"],
    },
}
TYPES = {"inventories": "inventory"}  # elsewhere the plural less its s
UNIFIED = ("job_templates", "workflow_job_templates", "projects", "inventory_sources", "workflow_approval_templates")
ASSOCIATIONS = {
    "credentials": "credentials",
    "success_nodes": "workflow_job_template_nodes",
    "failure_nodes": "workflow_job_template_nodes",
    "always_nodes": "workflow_job_template_nodes",
    "labels": "labels",
    **{
        f"notification_templates_{when}": "notification_templates"
        for when in ("started", "success", "error", "approvals")
    },
}
CREDENTIAL_TYPES = {
    "Amazon Web Services": "cloud",
    "OpenShift or Kubernetes API Bearer Token": "kubernetes",
    "Machine": "ssh",
}
# What each kind of notice must be configured with.
NOTICES = {"email": {"host", "port", "username", "password", "use_tls", "use_ssl", "sender", "recipients", "timeout"}}
QUESTION = {"question_name", "question_description", "required", "type", "variable", "default"}


class Refused(Exception):
    def __init__(self, code: int, said: Any) -> None:
        super().__init__(said)
        self.code, self.said = code, said


class Controller:
    """The state, and a server on loopback in front of it. ``writes`` counts what changed something."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in KINDS}
        self.links: dict[tuple[str, int, str], list[int]] = {}
        self.surveys: dict[tuple[str, int], dict[str, Any]] = {}
        self.jobs: list[dict[str, Any]] = []  # what was started, with what it was given
        self.number = 0
        self.writes = 0
        self.lock = threading.Lock()
        for name, kind in CREDENTIAL_TYPES.items():
            self.create("credential_types", {"name": name, "kind": kind, "managed": True})

    def __enter__(self) -> Controller:
        controller = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with controller.lock:
                    try:
                        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                            raise Refused(401, {"detail": "Authentication credentials were not provided."})
                        code, said = controller.ask(self.command, self.path, json.loads(body) if body else {})
                    except Refused as refused:
                        code, said = refused.code, refused.said
                text = b"" if said is None else json.dumps(said).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("X-API-Product-Name", "AWX")
                self.send_header("X-API-Product-Version", "24.6.1")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def ask(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        url = urlsplit(path)
        if url.path == "/api/v2/config/":
            return 200, {"version": "24.6.1"}
        if url.path == "/api/v2/jobs/":
            return 200, {"count": len(self.jobs), "next": None, "previous": None, "results": self.jobs}
        found = re.fullmatch(r"/api/v2/(\w+)/(?:(\d+)/(?:(\w+)/)?)?", url.path)
        if not found or (found[1] not in KINDS and found[1] not in ("unified_job_templates", "labels")):
            raise Refused(404, {"detail": "Not found."})
        kind, number, under = found[1], int(found[2] or 0), found[3]
        if not number:
            return (
                self.listed(kind, dict(parse_qsl(url.query)))
                if method == "GET"
                else (201, self.create(kind, body, True))
            )
        if number not in self.rows.get(kind, {}):
            raise Refused(404, {"detail": "Not found."})
        if under:
            return self.below(method, kind, number, under, body)
        if method == "PATCH":
            self.check(kind, {**self.rows[kind][number], **body}, number)
            self.rows[kind][number].update(self.kept(kind, body))
            self.writes += 1
        return 200, self.shown(kind, number)

    def listed(self, kind: str, filters: dict[str, str]) -> tuple[int, Any]:
        kinds = UNIFIED if kind == "unified_job_templates" else (kind,)
        results = []
        for one in kinds:
            for number in self.rows.get(one, {}):
                row = self.shown(one, number)
                unknown = [key for key in filters if key not in row and key not in ("page_size", "page")]
                if unknown:
                    raise Refused(400, {"detail": f"{kind} has no field named '{unknown[0]}'"})
                if all(str(row[key]) == value for key, value in filters.items() if key in row):
                    results.append(row)
        return 200, {"count": len(results), "next": None, "previous": None, "results": results}

    def create(self, kind: str, body: dict[str, Any], asked: bool = False) -> dict[str, Any]:
        self.check(kind, body)
        self.number += 1
        empty = dict.fromkeys(KINDS[kind].get("to", {}))
        row = {"description": "", **empty, **KINDS[kind].get("defaults", {}), **self.kept(kind, body)}
        if kind == "job_templates":  # the organisation is the project's
            row["organization"] = self.rows["projects"][row["project"]]["organization"]
        self.rows[kind][self.number] = row
        self.writes += asked
        return self.shown(kind, self.number)

    def kept(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the API takes of a body; it ignores the rest."""
        known = {
            "name",
            "description",
            *KINDS[kind]["required"],
            *KINDS[kind].get("to", {}),
            *KINDS[kind].get("defaults", {}),
        }
        return {key: value for key, value in body.items() if key in known}

    def check(self, kind: str, body: dict[str, Any], own: int = 0) -> None:
        rules = KINDS[kind]
        missing = [key for key in rules["required"] if body.get(key) in (None, "")]
        if missing:
            raise Refused(400, {key: ["This field is required."] for key in missing})
        for key, other in rules.get("to", {}).items():
            kinds = UNIFIED if other == "unified_job_templates" else (other,)
            if body.get(key) is not None and not any(body[key] in self.rows[one] for one in kinds):
                raise Refused(400, {key: [f'Invalid pk "{body[key]}" - object does not exist.']})
        for number, row in self.rows[kind].items():
            if number != own and rules["unique"] and all(row.get(key) == body.get(key) for key in rules["unique"]):
                raise Refused(400, {"__all__": [f"{kind} with this {' and '.join(rules['unique'])} already exists."]})
        if kind == "notification_templates":
            lacking = NOTICES[body["notification_type"]] - set(body["notification_configuration"])
            if lacking:
                raise Refused(400, {"notification_configuration": [f"Missing required fields: {sorted(lacking)}"]})
        if kind == "schedules" and not re.fullmatch(r"DTSTART:\d{8}T\d{6}Z RRULE:.*\bINTERVAL=\d+\b.*", body["rrule"]):
            raise Refused(400, {"rrule": ["DTSTART and INTERVAL are required in rrule."]})
        if kind == "schedules":
            asked = {one["variable"] for one in self.survey_of(body["unified_job_template"])}
            if not set(body.get("extra_data") or {}) <= asked:
                raise Refused(400, {"extra_data": ["Variables are not allowed on launch."]})

    def survey_of(self, number: int) -> list[dict[str, Any]]:
        return next((one.get("spec", []) for (_kind, key), one in self.surveys.items() if key == number), [])

    def below(self, method: str, kind: str, number: int, under: str, body: dict[str, Any]) -> tuple[int, Any]:
        if under == "survey_spec":
            if method == "GET":
                return 200, self.surveys.get((kind, number), {})
            for one in body.get("spec", ()):
                if not set(one) >= QUESTION:
                    raise Refused(400, {"error": f"'{sorted(QUESTION - set(one))}' missing from survey question"})
            self.surveys[kind, number] = body
            self.writes += 1
            return 200, {}
        if under == "create_approval_template":
            made = self.create("workflow_approval_templates", body, True)
            self.rows[kind][number]["unified_job_template"] = made["id"]
            return 201, made
        if under == "launch":
            return 201, self.launch(number, body.get("extra_vars") or {})
        if under not in ASSOCIATIONS:
            raise Refused(404, {"detail": "Not found."})
        links = self.links.setdefault((kind, number, under), [])
        if method == "GET":
            rows = [self.shown(ASSOCIATIONS[under], one) for one in links]
            return 200, {"count": len(rows), "next": None, "previous": None, "results": rows}
        if body["id"] not in self.rows[ASSOCIATIONS[under]]:
            raise Refused(400, {"msg": "object cannot be found"})
        if body.get("disassociate"):
            links.remove(body["id"])
        else:
            links.append(body["id"])
        self.writes += 1
        return 204, None

    def launch(self, number: int, given: dict[str, Any]) -> dict[str, Any]:
        """A question that has to be answered is asked of programs even where a person would be shown a default; what
        nobody asks is ignored."""
        survey = self.survey_of(number)
        missing = [one["variable"] for one in survey if one["required"] and one["variable"] not in given]
        if missing:
            raise Refused(400, {"variables_needed_to_start": [f"'{one}' value missing" for one in missing]})
        known = {one["variable"]: given.get(one["variable"], one["default"]) for one in survey}
        job = {"id": 1000 + len(self.jobs), "status": "successful", "created": "2026-01-01T00:00:00Z", "artifacts": {}}
        template = self.rows["job_templates"][number]["name"]
        self.jobs.append({**job, "url": f"/api/v2/jobs/{job['id']}/", "template": template, "given": known})
        return self.jobs[-1]

    def shown(self, kind: str, number: int) -> dict[str, Any]:
        row, url = self.rows[kind][number], f"/api/v2/{kind}/{number}/"
        related = {"survey_spec": f"{url}survey_spec/", "launch": f"{url}launch/"}
        organization = self.rows["organizations"].get(row.get("organization") or 0)
        if row.get("unified_job_template"):
            owner = next(one for one in UNIFIED if row["unified_job_template"] in self.rows[one])
            related["unified_job_template"] = f"/api/v2/{owner}/{row['unified_job_template']}/"
        return {
            "id": number,
            "type": TYPES.get(kind, kind[:-1]),
            "url": url,
            "related": related,
            "summary_fields": {"organization": {"name": organization["name"]}} if organization else {},
            **{f"ask_{one}_on_launch": False for one in ("limit", "labels", "inventory", "variables")},
            "organization": None,
            **row,
        }

    def names(self, kind: str) -> set[str]:
        return {row["name"] for row in self.rows[kind].values()}

    def one(self, kind: str, **wanted: Any) -> dict[str, Any]:
        (found,) = [
            self.shown(kind, number)
            for number, row in self.rows[kind].items()
            if all(row[key] == value for key, value in wanted.items())
        ]
        return found
