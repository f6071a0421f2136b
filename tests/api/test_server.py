"""What holds for every route: who may ask, the shape of errors, safe headers, and its description."""

import json
from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route
from web_rig import Rig

from deepmoat.api.server import OPEN
from deepmoat.identity.roles import MAY, Permission

pytestmark = pytest.mark.anyio

NEEDS: dict[tuple[str, str], Permission] = {
    ("GET", "/metrics"): "metrics",
    ("POST", "/v1/logs"): "ingest",
    ("POST", "/ingest/{logstore}"): "ingest",
    ("POST", "/api/query"): "query",
    ("GET", "/api/query"): "query",
    ("GET", "/api/incidents"): "incidents",
    ("GET", "/api/incidents/{id}"): "incidents",
    ("GET", "/api/actions"): "incidents",
    ("POST", "/api/actions"): "act",
    ("DELETE", "/api/actions/{id}"): "act",
    ("GET", "/api/keys"): "keys",
    ("POST", "/api/keys"): "keys",
    ("DELETE", "/api/keys/{prefix}"): "keys",
    ("POST", "/api/backup"): "backup",
}
NOTHING = {"/api/{rest:path}", "/v1/{rest:path}"}
FILLED = {"{logstore}": "access", "{id}": "x", "{prefix}": "x"}


def routes(rig: Rig) -> Iterator[tuple[str, str]]:
    seen = rig.app().routes
    flat = [r for route in seen for r in getattr(getattr(route, "original_router", None), "routes", [route])]
    for route in flat:
        assert isinstance(route, Route | APIRoute), route
        if route.path not in NOTHING:
            for method in sorted((route.methods or set()) - {"HEAD"}):
                yield method, route.path


def url(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(name, value)
    return path


def test_every_route_is_known_with_the_permission_it_needs(rig: Rig) -> None:
    found = set(routes(rig))
    assert {path for _, path in found} >= OPEN
    assert {(m, p) for m, p in found if p not in OPEN} == set(NEEDS)


async def test_no_route_but_the_open_ones_answers_a_stranger(rig: Rig) -> None:
    asked = 0
    async with rig.client() as client:
        for method, path in routes(rig):
            asked += 1
            headers = {"Content-Type": "application/x-protobuf"}
            answer = await client.request(method, url(path), headers=headers)
            assert (answer.status_code == 401) == (path not in OPEN), (method, path, answer.text)
    assert asked == len(NEEDS) + len(OPEN)


async def test_each_role_gets_through_exactly_where_the_table_says(rig: Rig) -> None:
    asked = 0
    for role, permissions in MAY.items():
        async with rig.client(role) as client:
            for (method, path), permission in NEEDS.items():
                asked += 1
                headers = {"Content-Type": "application/x-protobuf"}
                answer = await client.request(method, url(path), headers=headers)
                assert (answer.status_code != 403) == (permission in permissions), (role, method, path)
                assert answer.status_code != 401
    assert asked == len(MAY) * len(NEEDS)


async def test_a_session_cookie_reads_and_changes_nothing(rig: Rig) -> None:
    now = rig.clock.now
    secret, _ = rig.identity.sign_in(rig.identity.link("admin", now), "192.0.2.1", now)
    async with rig.client() as client:
        client.cookies.set("moat_session", secret)
        asked = 0
        for method, path in NEEDS:
            asked += 1
            headers = {"Content-Type": "application/x-protobuf", "Origin": "http://moat"}
            answer = await client.request(method, url(path), headers=headers)
            assert (answer.status_code == 401) == (method != "GET"), (method, path)
        assert asked == len(NEEDS)
        rig.identity.sign_out(secret)
        assert (await client.get("/api/keys")).status_code == 401


async def test_every_answer_has_safe_headers_and_every_error_our_shape(rig: Rig) -> None:
    async with rig.client("admin") as client:
        answers = [
            await client.get("/healthz"),
            await client.get("/api/nope"),
            await client.put("/api/query"),
            await client.get("/api/incidents", params={"limit": "many"}),
            await client.get("/v1/traces"),
            await client.get("/api/keys"),
        ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        if answer.status_code >= 400:
            error = answer.json()["error"]
            assert set(error) == {"code", "message", "hint", "where"}
            assert error["code"]
            assert error["message"]
    assert [a.status_code for a in answers] == [200, 404, 404, 400, 404, 200]


async def test_a_bug_of_ours_tells_nothing_of_itself(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.incidents.get = lambda _: 1 / 0  # type: ignore[assignment,method-assign,misc,return-value]
    async with rig.client("admin") as client:
        answer = await client.get("/api/incidents/x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "our_fault")
    assert "ZeroDivision" not in answer.text


async def test_the_description_knows_every_route_its_errors_and_how_to_present_a_key(rig: Rig) -> None:
    async with rig.client() as client:
        answer = await client.get("/api/openapi.json")
    described = answer.json()
    found = {(m.upper(), path) for path, methods in described["paths"].items() for m in methods}
    assert found >= set(NEEDS)
    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    text = json.dumps(described)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in described["components"]["schemas"], name
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
    assert (
        "accepted"
        in described["paths"]["/ingest/{logstore}"]["post"]["responses"]["200"]["content"][
            "application/json"
        ]["example"]
    )


def test_no_page_loads_anything_from_elsewhere(rig: Rig) -> None:
    app = rig.app()
    assert app.docs_url is None
    assert app.redoc_url is None


async def test_the_key_of_an_answer_is_there_once_and_never_again(rig: Rig) -> None:
    async with rig.client("admin") as client:
        made = await client.post("/api/keys", json={"name": "nginx on web-1", "role": "ingest"})
        secret = made.json()["key"]
        listed = await client.get("/api/keys")
        async with rig.client() as sender:
            sender.headers["Authorization"] = f"Bearer {secret}"
            assert (await sender.post("/ingest/app", content=b'{"body": "x"}\n')).status_code == 200
            gone = await client.delete(f"/api/keys/{made.json()['prefix']}")
            assert (await sender.post("/ingest/app", content=b'{"body": "x"}\n')).status_code == 401
        again = await client.delete(f"/api/keys/{made.json()['prefix']}")
        wrong = await client.post("/api/keys", json={"name": "x", "role": "root"})
    assert made.status_code == 201
    assert secret.rsplit("_", 1)[1] not in listed.text
    assert "nginx on web-1" in {key["name"] for key in listed.json()["keys"]}
    assert [a.status_code for a in (gone, again, wrong)] == [200, 404, 400]
    assert [line for stream, line in rig.committer.taken if b"key_create" in line]
    assert not [line for _, line in rig.committer.taken if secret.encode() in line]


async def test_an_action_is_ordered_listed_and_ended_by_hand(rig: Rig) -> None:
    async with rig.client("admin") as client:
        made = await client.post(
            "/api/actions", json={"addresses": ["192.0.2.1"], "minutes": 5, "reason": "scan"}
        )
        allowed = await client.post("/api/actions", json={"addresses": ["192.0.2.99"]})
        listed = (await client.get("/api/actions")).json()["actions"]
        gone = await client.delete(f"/api/actions/{made.json()['id']}")
        again = await client.delete(f"/api/actions/{made.json()['id']}")
        after = (await client.get("/api/actions")).json()["actions"]
        ended = (await client.get("/api/actions", params={"ended": "true"})).json()["actions"]
    assert [a.status_code for a in (made, allowed, gone, again)] == [201, 400, 200, 404]
    assert (listed[0]["reason"], listed[0]["cause"], listed[0]["ended_by"]) == ("scan", "test admin", "")
    assert after == []
    assert ended[0]["ended_by"] == "test admin"
    actions = [json.loads(line)["event_action"] for _, line in rig.committer.taken]
    assert actions == ["block", "unblock"]


async def test_an_order_may_name_fields_and_a_kind(rig: Rig) -> None:
    good = {
        "targets": [{"client_country": "nl", "url_path": "/login"}, {"client_address": "203.0.113.0/24"}],
        "kind": "challenge",
        "minutes": 5,
    }
    bad: list[tuple[dict[str, object], str]] = [
        ({"targets": [{"client_contry": "NL"}]}, "did you mean 'client_country'"),
        ({"targets": [{}]}, "an empty target"),
        ({"targets": [{"client_address": "192.0.2.0/24"}]}, "192.0.2.99"),
        ({"targets": [{"url_path": "/"}], "kind": "destroy"}, "kind"),
        ({"targets": [{"url_path": "/"}], "minutes": 0}, "an end"),
        ({}, "wants an address"),
    ]
    async with rig.client("admin") as client:
        made = await client.post("/api/actions", json=good)
        refused = [(await client.post("/api/actions", json=body), said) for body, said in bad]
    assert made.status_code == 201 and made.json()["kind"] == "challenge"
    assert made.json()["targets"][0] == [["client_country", "NL"], ["url_path", "/login"]]
    for answer, said in refused:
        assert answer.status_code == 400 and said in answer.text
    acted = [json.loads(line)["event_action"] for _, line in rig.committer.taken]
    assert acted == ["challenge"]


async def test_health_says_why_it_is_not_ready(rig: Rig) -> None:
    async with rig.client() as client:
        assert (await client.get("/readyz")).json() == {"ready": True, "reasons": []}
        rig.reasons.append("the log store is starting")
        answer = await client.get("/readyz")
        alive = await client.get("/healthz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["the log store is starting"])
    assert alive.status_code == 200


HERE = ({}, {"Host": "localhost:8600"}, {"Host": "127.0.0.1:8600"}, {"Host": "[::1]:8600"})
ELSEWHERE = ({"Host": "evil.example"}, {"X-Forwarded-For": "203.0.113.1"}, {"Forwarded": "for=203.0.113.1"})


async def test_metrics_are_free_for_this_machine_only(rig: Rig) -> None:
    async with rig.client(address="127.0.0.1") as client:
        client.base_url = "http://127.0.0.1:8600"  # type: ignore[assignment]
        here = [(await client.get("/metrics", headers=h)).status_code for h in HERE]
        away = [
            (await client.get("/metrics", headers={"Host": "localhost"} | h)).status_code for h in ELSEWHERE
        ]
    async with rig.client(address="203.0.113.9") as client:
        remote = (await client.get("/metrics", headers={"Host": "localhost"})).status_code
    async with rig.client("analyst") as client:
        known = (await client.get("/metrics")).status_code
    assert (here, away, remote, known) == ([200] * 4, [401] * 3, 401, 200)
