"""The pages of a sandbox over HTTP: what they show, to whom, and that nothing of a stranger's data is markup."""

from __future__ import annotations

import json
import random
import re
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.sandbox import FaultScript, Sandbox
from backfill.sandbox.lookups import PART
from backfill.sandbox.pages.access import names_this_machine
from backfill.sandbox.pages.comparing import CHANGES, Change, compare
from backfill.sandbox.pages.counting import steps_of
from backfill.sandbox.pages.live import MOST_WATCHING
from backfill.sandbox.pages.showing import indented
from backfill.sandbox.tables import Tables
from tests.support.sandbox_calls import KEY, call, client_of, post

EVIL = "<img src=x onerror=alert(1)>\"'&</script><!--\u202e`${1}"
TOKEN = "a-token-that-nobody-guesses"
LARGEST = 100_000


class Page(HTMLParser):
    """The elements and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if data.strip():
            self.words.append(data.strip())

    def links(self, path: str) -> list[str]:
        """The addresses of links to this path."""
        return [
            str(attributes["href"])
            for tag, attributes in self.tags
            if tag == "a" and urlsplit(str(attributes.get("href"))).path == path
        ]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox in memory."""
    with Sandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client of it."""
    with client_of(sandbox.endpoint, auth=KEY) as one:
        yield one


def send(client: httpx.Client, calls: list[object], run: str = "first", **envelope: object) -> httpx.Response:
    """One batch of a run."""
    return client.post("/v1/batch", json={"batch": calls, **envelope}, headers={"Backfill-Run": run})


def look(client: httpx.Client, path: str) -> Page:
    """A page, which is there, small enough and under the policy."""
    answer = client.get(path)
    assert answer.status_code == 200, path
    assert len(answer.content) <= LARGEST, path
    policy = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    return Page(answer.text)


def totals(client: httpx.Client, path: str = "/counts") -> dict[str, int]:
    """The counts in the tiles of a page."""
    found = re.findall(r'data-count="(\w+)">([\d,]+)<', client.get(path).text)
    return {name: int(count.replace(",", "")) for name, count in found}


def listed(client: httpx.Client, query: str) -> list[int]:
    """The numbers of the calls that are listed, over all pages."""
    found: list[int] = []
    path = f"/?{query}"
    while path:
        page = look(client, path)
        found += [int(parse_qs(urlsplit(link).query)["number"][0]) for link in page.links("/call")]
        on = [
            str(attributes["href"]) for tag, attributes in page.tags if tag == "a" and attributes.get("rel") == "next"
        ]
        path = on[0] if on else ""
    return found


def test_ever_new_names_are_put_together(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many runs and facets the rest has one name, and every call is counted and listed still."""
    monkeypatch.setattr("backfill.sandbox.facets.MOST_RUNS", 2)
    monkeypatch.setattr("backfill.sandbox.facets.MOST_FACETS", 5)
    for run in range(4):
        send(client, [call(f"{run}-{n}", event=f"event {run} {n}") for n in range(4)], f"run {run}")
    assert totals(client) == {"received": 16, "accepted": 16, "duplicate": 0, "dropped": 0}
    assert len(listed(client, "")) == len(listed(client, "type=track")) == 16
    assert len(listed(client, "event=(others)")) > 0
    assert len(look(client, "/runs").links("/run")) == 3


def test_what_is_dropped_and_too_large_is_told_without_its_json(client: httpx.Client) -> None:
    """A call larger than a call may be takes no room in the store."""
    send(client, [call("large", properties={"x": "y" * 40_000}), call("small", userId="")])
    assert "It is not kept whole" in " ".join(look(client, "/call?number=1").words)
    assert '"messageId": "small"' in " ".join(look(client, "/call?number=2").words)


# -------------------------------------------------------------------------------------------------------- what it lists
KINDS = ("track", "track", "identify", "bogus")


@pytest.mark.parametrize("seed", range(4))
def test_lists_and_counts_agree_with_a_model(seed: int) -> None:
    """Whatever is sent, each filter lists what a model holds, the last first, and the counts are of the same calls."""
    chance = random.Random(seed)
    model: list[tuple[str, str, str, str, str]] = []  # run, outcome, type, event, user
    held: set[str] = set()
    with Sandbox() as sandbox, client_of(sandbox.endpoint, auth=KEY) as client:
        for place in range(5):
            run, calls = f"r{place % 2}", []
            for _ in range(chance.randrange(80)):
                kind, event, user, an_id = (
                    chance.choice(KINDS),
                    *map(chance.choice, ("AB", "uvw")),
                    chance.randrange(150),
                )
                outcome = "invalid_type" if kind == "bogus" else "duplicate" if f"id-{an_id}" in held else "accepted"
                held |= {f"id-{an_id}"} if kind != "bogus" else set()
                model.append((run, outcome, kind, event if kind == "track" else "", user))
                calls.append({"type": kind, "event": event, "userId": user, "messageId": f"id-{an_id}"})
            send(client, calls, run)
        for query, fits in (
            ("", lambda _one: True),
            ("type=track", lambda one: one[2] == "track"),
            ("event=A&outcome=accepted", lambda one: one[3] == "A" and one[1] == "accepted"),
            ("outcome=dropped", lambda one: one[1] == "invalid_type"),
            ("outcome=duplicate", lambda one: one[1] == "duplicate"),
            ("run=2", lambda one: one[0] == "r1"),
            ("user=u", lambda one: one[4] == "u"),
            ("user=v&type=identify", lambda one: one[4] == "v" and one[2] == "identify"),
        ):
            found = listed(client, query)
            assert len(found) == len(set(found)) == sum(map(fits, model)), query
            if "user" not in query:
                assert found == sorted(found, reverse=True)
        counts = Counter(one[1] for one in model)
        assert totals(client) == {
            "received": len(model),
            "accepted": counts["accepted"],
            "duplicate": counts["duplicate"],
            "dropped": counts["invalid_type"],
        }


def test_a_call_tells_what_became_of_it(client: httpx.Client) -> None:
    """Its page has the outcome and why, the formula with its values, and the JSON digit by digit."""
    text = '{"batch":[{"type":"track","event":"E","userId":"u","messageId":"m","timestamp":"2020-01-01T00:00:00Z",'
    text += (
        '"properties":{"total":1.10,"n":12345678901234567890123,"e":{},"l":[1,[]]}}],"sentAt":"2001-01-01T00:00:00Z"}'
    )
    client.post("/v1/batch", content=text)
    page = " ".join(look(client, "/call?number=1").words)
    assert "accepted" in page
    assert "1.10" in page
    assert "12345678901234567890123" in page
    assert "2001-01-01T00:00:00Z" in page
    assert client.get("/calls").json()["calls"][0]["timestamp"] in page
    raw = client.get("/call.json?number=1")
    assert raw.text in text
    assert raw.headers["content-type"] == "application/json"
    post(client, [{"type": "track", "userId": "u", "messageId": "x"}, call("m")])
    dropped, duplicate = (" ".join(look(client, f"/call?number={n}").words) for n in (2, 3))
    assert "event_not_defined" in dropped
    assert "a track call without event" in dropped
    assert '"messageId": "x"' in dropped
    assert "duplicate" in duplicate
    for path in (
        "/call?number=99",
        "/call?number=x",
        "/call",
        "/run?number=7",
        "/user?of=99",
        "/compare?before=1&after=8",
    ):
        assert client.get(path).status_code == 404, path


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    )
)
def test_indented_json_is_the_same_json(value: object) -> None:
    """Only blanks outside of texts differ."""
    assert json.loads(indented(json.dumps(value))) == value


def test_json_nested_deeply_is_shown_up_to_its_bound(client: httpx.Client) -> None:
    """Indented it would have a thousand times as many bytes: no more is made than is shown."""
    nested = "[" * 800 + ",".join("1" * 15_000) + "]" * 800
    text = f'{{"batch":[{{"type":"track","event":"deep","userId":"u","properties":{{"deep":{nested}}}}}]}}'
    assert len(indented(text, 12_000)) < 14_000
    assert client.post("/v1/batch", content=text).status_code == 200
    assert client.get("/call.json?number=1").json()["properties"]["deep"]
    assert "the JSON alone, all of it" in look(client, "/call?number=1").words


@given(st.recursive(st.integers() | st.text(), st.lists), st.integers(0, 200))
def test_json_that_is_cut_is_its_beginning(value: object, most: int) -> None:
    """Whole where it is short enough, else more than was asked for."""
    whole = indented(json.dumps(value))
    found = indented(json.dumps(value), most)
    assert found == whole or len(found) >= most
    assert whole.startswith(found.rstrip())


def test_a_timeline_is_in_the_order_of_time(client: httpx.Client) -> None:
    """A user's calls come by their stored timestamps, whatever order they arrived in, over several pages."""
    moments = [f"20{10 + n % 13}-{1 + n % 12:02}-01T00:00:{n % 60:02}Z" for n in range(130)]
    send(client, [call(f"m{n}", timestamp=at, userId="one" if n % 2 else "two") for n, at in enumerate(moments)])
    path, found = "/user?of=2", []
    while path:
        page = look(client, path)
        found += [str(attributes["datetime"]) for tag, attributes in page.tags if tag == "time"]
        on = [
            str(attributes["href"]) for tag, attributes in page.tags if tag == "a" and attributes.get("rel") == "next"
        ]
        path = on[0] if on else ""
    assert found == sorted((f"{at[:-1]}.000Z" for at in moments[1::2]), reverse=True)


def test_a_run_has_its_batches_with_their_attempts(tmp_path: Path) -> None:
    """A body sent three times is one batch with three answers: refused, stored without an answer, a duplicate."""
    faults = FaultScript.parse(["status=503,first=1", "lost,after=1,first=1", "reset=before,after=3,first=1"])
    with Sandbox(tmp_path / "store", faults=faults) as sandbox, client_of(sandbox.endpoint, auth=KEY) as client:
        for _ in range(2):
            try:
                send(client, [call("a"), call("b")])
            except httpx.TransportError:
                continue
        send(client, [call("a"), call("b")])
        with pytest.raises(httpx.TransportError):
            send(client, [call("z")])
        send(client, [call("c")])
        page = " ".join(look(client, "/run?number=1").words)
        assert page.count("attempt") >= 3
        assert "2 calls: 2 accepted, 2 duplicate" in page
        assert "3 attempts: 503 by script" in page
        assert "stored, then cut" in page
        assert "cut before it was read" in page
        assert "0% full" in page


@given(
    before=st.dictionaries(st.integers(0, 40), st.integers(0, 2), max_size=30),
    after=st.dictionaries(st.integers(0, 40), st.integers(0, 2), max_size=30),
    parts=st.integers(1, 4),
    step=st.sampled_from([2, 3, 12_000]),
    shown=st.sampled_from([1, 4, 50]),
    only=st.sampled_from([None, *CHANGES]),
)
def test_two_runs_compared_part_by_part(
    before: dict[int, int], after: dict[int, int], parts: int, step: int, shown: int, only: Change | None
) -> None:
    """All parts together tell each difference that is asked for once, as sets of ids do; each counts up to its end."""
    tables = Tables(":memory:")
    for run, calls in ((1, before), (2, after)):
        rows = [(an_id % parts, run, f"{an_id:03}", 100 * run + an_id, digest) for an_id, digest in calls.items()]
        tables.change("INSERT INTO by_id VALUES (?, ?, ?, ?, ?)", rows)
    tables.set_marks(looked_at=parts * PART - 1)
    differing = (
        [("added", one) for one in after.keys() - before.keys()]
        + [("gone", one) for one in before.keys() - after.keys()]
        + [("changed", one) for one in before.keys() & after.keys() if before[one] != after[one]]
    )
    found: list[tuple[str, int]] = []
    start = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backfill.sandbox.pages.comparing.STEP", step)
        patch.setattr("backfill.sandbox.pages.comparing.LEAST", 2)
        patch.setattr("backfill.sandbox.pages.comparing.SHOWN", shown)
        while True:
            part = compare(tables, 1, 2, start=start, only=only)
            found += [(one.change, int(one.message_id)) for one in part.differences]
            counted = range(int(start or -1) + 1, 1_000 if part.end is None else int(part.end) + 1)
            assert part.counts == {name: sum((name, one) in differing for one in counted) for name in CHANGES}
            assert part.same == sum(one in before and before[one] == after.get(one) for one in counted)
            if part.next is None:
                break
            assert part.next > start
            start = part.next
    tables.close()
    assert sorted(found) == sorted(one for one in differing if only in (None, one[0]))


def test_rehearsals_of_the_same_ids_are_compared(client: httpx.Client) -> None:
    """A second rehearsal's calls are duplicates, and yet it is told which of them have changed."""
    send(client, [call(f"m{n}", properties={"n": n}) for n in range(9)], "first")
    send(client, [call(f"m{n}", properties={"n": n if n % 4 else -1}) for n in range(2, 11)], "second")
    page = look(client, "/compare?before=1&after=2")
    shown = {name: page.words[page.words.index(name) - 1] for name in ("same", "added", "gone", "changed")}
    assert shown == {"same": "5", "added": "2", "gone": "2", "changed": "2"}
    assert len(page.links("/call")) == 2 + 2 + 2 * 2
    (gone,) = [link for link in page.links("/compare") if "only=gone" in link]
    assert len(look(client, gone).links("/call")) == 2


def test_a_rehearsal_is_compared_with_the_one_before(client: httpx.Client) -> None:
    """The page of runs has the last two of one job chosen, whatever was sent between them; else the last two."""
    chosen: list[list[str]] = []
    for place, run in enumerate(("a of 10:00", "b of 10:01", "b of 10:02", "a of 10:03", "c of 10:04")):
        send(client, [call(f"m{place}")], run)
        inputs = [attributes for tag, attributes in look(client, "/runs").tags if tag == "input"]
        chosen.append([f"{one['name']} {one['value']}" for one in inputs if "checked" in one])
    assert [sorted(one) for one in chosen] == [
        ["after 1"],
        ["after 2", "before 1"],
        ["after 3", "before 2"],
        ["after 4", "before 1"],
        ["after 5", "before 4"],
    ]


def test_more_differences_than_a_page_shows_are_counted(client: httpx.Client) -> None:
    """A page says how many there are of each kind, and shows the first of them; the next one goes on with the kind."""
    send(client, [call(f"m{n:03}", properties={"n": n}) for n in range(180)], "first")
    send(client, [call(f"m{n:03}", properties={"n": -1}) for n in range(60, 180)], "second")
    page = look(client, "/compare?before=1&after=2&only=changed")
    shown = {name: page.words[page.words.index(name) - 1] for name in ("same", "added", "gone", "changed")}
    assert shown == {"same": "0", "added": "0", "gone": "60", "changed": "120"}
    assert "the first 50 of 120 that have changed" in " ".join(page.words)
    pages = [page]
    while further := [link for link in pages[-1].links("/compare") if "start=" in link and "only=changed" in link]:
        pages.append(look(client, further[-1]))
    assert [len(one.links("/call")) for one in pages] == [100, 100, 40]


@given(st.dictionaries(st.dates().map(str), st.integers(1, 9), min_size=1, max_size=20))
def test_charts_have_no_gaps_and_lose_nothing(days: dict[str, int]) -> None:
    """Days, months or years follow one another, and all calls are in them."""
    steps = steps_of(days)
    assert sum(steps.values()) == sum(days.values())
    assert len(steps) <= 300
    assert list(steps) == sorted(steps)


# ------------------------------------------------------------------------------------------------------ strangers' data
def test_nothing_of_a_strangers_data_is_markup(client: httpx.Client) -> None:
    """Names and values that look like markup are texts on each page and in the stream, also inside attributes."""
    evil = [
        {"type": "track", "event": EVIL, "userId": EVIL, "messageId": f"{EVIL}{n}"[:100], "properties": {EVIL: EVIL}}
        for n in range(2)
    ]
    evil += [{"type": EVIL, "messageId": "t"}, {"type": "page", "name": EVIL, "userId": EVIL}, EVIL]
    send(client, evil, "<b>run</b>\"'", sentAt=EVIL)
    send(client, evil[:1], "second")
    query = httpx.QueryParams({"event": EVIL, "user": EVIL, "outcome": EVIL, "type": EVIL, "at": EVIL, "before": "7"})
    paths = [
        "/",
        f"/?{query}",
        "/counts",
        "/dropped",
        "/runs",
        "/run?number=1",
        "/user?of=1",
        "/user?of=1&before=9&at=" + EVIL,
    ]
    paths += [f"/call?number={n}" for n in range(1, 7)]
    paths += ["/compare?before=1&after=2", httpx.URL("/compare", params={"before": 1, "after": 2, "start": EVIL})]
    for path in map(str, paths):
        page = look(client, path)
        assert not {tag for tag, _ in page.tags} & {"img", "style", "iframe"}, path
        assert [one for tag, one in page.tags if tag == "script"] == [{"src": "/page.js", "defer": None}], path
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")], path
        assert not [one for _, one in page.tags if "style" in one], path
        assert not any("\u202e" in word for word in page.words), path
    with client.stream("GET", "/live?after=0") as stream:
        data = next(line for line in stream.iter_lines() if line.startswith("data: "))
    rows = Page(json.loads(data.removeprefix("data: "))["html"])
    assert {tag for tag, _ in rows.tags} <= {"li", "a", "span", "time"}
    assert any("<img src=x" in word for word in rows.words)


def test_pages_of_long_names_stay_small(client: httpx.Client) -> None:
    """Names of thousands of characters, each of which is escaped, make no page of over 100 KB."""
    for n in range(120):
        long = [{"type": "track", "event": f"{n}-{m}" + '"' * 3_000, "userId": "'" * 9_000 + f"{n}"} for m in range(2)]
        send(client, long, f"{n}" + "&" * 900)
    for path in ("/", "/?type=track", "/counts", "/runs", "/call?number=3", "/user?of=3", "/dropped"):
        look(client, path)


def test_types_by_ever_new_names_are_put_together(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """As events are: what is counted by them stays bounded, the six types stay apart, and all is counted."""
    monkeypatch.setattr("backfill.sandbox.facets.MOST_FACETS", 20)
    for n in range(5):
        post(client, [{"type": f"{n}-{m}" + "x" * 5_000, "userId": "u"} for m in range(20)])
    post(client, [call(f"m{n}") | {"event": f"{n}"} for n in range(20)])
    page = look(client, "/?outcome=invalid_type")
    assert len(set(page.links("/call"))) == 50
    assert sum("(others)" in word for word in page.words) >= 50
    assert totals(client) == {"received": 120, "accepted": 20, "duplicate": 0, "dropped": 100}
    assert listed(client, "type=track&outcome=accepted") == list(range(120, 100, -1))


@pytest.mark.parametrize("path", ["/calls", "/drops"])
def test_numbers_beyond_all_bounds_are_refused(client: httpx.Client, path: str) -> None:
    """Numbers that Python does not even read, too: by a 400 that says what is asked for."""
    for number in ("-1", "x", "1e5", "1" * 30, "9" * 5_000, "\u0661"):
        for name in ("after", "limit"):
            answer = client.get(path, params={name: number})
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), (name, number[:20])


# --------------------------------------------------------------------------------------------------------- who may read
@pytest.mark.parametrize(
    "path", ["/health", "/stats", "/calls", "/drops", "/ids", "/", "/page.js", "/call.json?number=1"]
)
def test_nothing_that_is_read_is_of_use_in_pages_of_others(client: httpx.Client, path: str) -> None:
    """Neither as a script nor otherwise: a browser takes each answer for what it says it is, and keeps it apart."""
    post(client, [call("m")])
    answer = client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/calls", "/stats", "/ids", "/drops", "/live", "/counts", "/page.js"])
def test_a_strangers_name_that_leads_here_is_refused(client: httpx.Client, path: str) -> None:
    """DNS rebinding: only a Host header that names this machine is answered, but sending is not asked for it."""
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1"):
        assert client.get(path, headers={"Host": host}).status_code in {400, 421}, host
    assert client.post("/v1/batch", json={"batch": []}, headers={"Host": "evil.example"}).status_code == 200


def test_which_names_are_this_machine() -> None:
    """Localhost and the addresses of loopback, with and without a port."""
    assert all(map(names_this_machine, ("localhost", "LOCALHOST:1", "127.0.0.1", "127.1.2.3:80", "[::1]:8888")))
    assert not any(map(names_this_machine, ("", "127.0.0.1.x", "localhost.x", "10.0.0.1", "[::2]", "::1", "user@evil")))


def test_the_token() -> None:
    """Without it nothing is read; with it once in the address, a cookie does, and the address has it no more."""
    with Sandbox(host="0.0.0.0", token=TOKEN) as sandbox:
        endpoint = sandbox.endpoint.replace("0.0.0.0", "127.0.0.1")
        with client_of(endpoint) as client:
            post(client, [call("m")])
            for path in ("/", "/stats", "/calls", "/live", "/page.css", "/?token=", "/?token=wrong"):
                assert client.get(path, headers={"Cookie": "backfill-sandbox=wrong"}).status_code == 401, path
            assert client.get("/stats", headers={"Authorization": f"Bearer {TOKEN}"}).json()["received"] == 1
            led = client.get(f"/counts?run=1&token={TOKEN}&x=%26")
            assert (led.status_code, led.headers["location"]) == (303, "/counts?run=1&x=%26")
            assert "HttpOnly" in led.headers["set-cookie"]
            assert "samesite=strict" in led.headers["set-cookie"].lower()
            assert client.get("/").status_code == client.get("/page.css").status_code == 200
            of_others = f'state={{"a": 1}}; b@d=[; backfill-sandbox={TOKEN}; other="'  # cookies know no ports
            assert client.get("/stats", headers={"Cookie": of_others}).status_code == 200
            elsewhere = httpx.URL(endpoint).copy_with(raw_path=f"//evil.example/?token={TOKEN}".encode())
            assert client.get(elsewhere).headers["location"] == "/evil.example/"


def test_only_get(client: httpx.Client) -> None:
    """Pages are read, and nothing else."""
    for path in ("/", "/counts", "/compare", "/live", "/call"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert client.request(method, path).status_code == 405, (method, path)


# ----------------------------------------------------------------------------------------------------------- the stream
def test_the_stream_tells_what_comes_and_ends_with_the_server() -> None:
    """New rows that fit, with the counts of all; and a page that is open does not keep the server from its end."""
    with Sandbox() as sandbox, client_of(sandbox.endpoint, auth=KEY) as client:
        post(client, [call("before")])
        with client.stream("GET", "/live?after=1&type=identify") as stream:
            lines = (line for line in stream.iter_lines() if line.startswith("data: "))
            first = json.loads(next(lines).removeprefix("data: "))
            assert (first["rows"], first["counts"]["received"]) == (0, 1)
            with client_of(sandbox.endpoint, auth=KEY) as other:
                post(other, [call("other"), {"type": "identify", "userId": "u9", "messageId": "i"}])
            told = json.loads(next(lines).removeprefix("data: "))
            assert (told["rows"], told["counts"]["accepted"]) == (1, 3)
            assert "u9" in told["html"]
            sandbox.__exit__(None, None, None)
            assert list(lines) == []
        sandbox.__enter__()


def test_no_more_watch_than_may() -> None:
    """However many ask at once; whoever leaves gives the place back."""

    def watching() -> socket.socket:
        asking = socket.create_connection((str(place.hostname), int(place.port or 0)))
        asking.sendall(b"GET /live?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return asking

    with Sandbox() as sandbox, ExitStack() as stack:
        place = urlsplit(sandbox.endpoint)
        many = [stack.enter_context(watching()) for _ in range(3 * MOST_WATCHING)]
        assert Counter(one.recv(12) for one in many) == {
            b"HTTP/1.1 200": MOST_WATCHING,
            b"HTTP/1.1 503": 2 * MOST_WATCHING,
        }
        stack.close()
        answer = b""
        while answer != b"HTTP/1.1 200":  # as soon as the server has noticed
            with watching() as one:
                answer = one.recv(12)


# --------------------------------------------------------------------------------------------------------- older stores
OLD = """
CREATE TABLE ids (number INTEGER PRIMARY KEY, message_id TEXT NOT NULL, received_ms INTEGER NOT NULL) STRICT;
CREATE TABLE calls (
    number INTEGER PRIMARY KEY, message_id TEXT NOT NULL, type TEXT NOT NULL, received_ms INTEGER NOT NULL,
    timestamp TEXT NOT NULL, original_timestamp TEXT, sent_at TEXT, json TEXT NOT NULL) STRICT;
CREATE TABLE drops (
    number INTEGER PRIMARY KEY, reason TEXT NOT NULL, message_id TEXT, type TEXT, received_ms INTEGER NOT NULL) STRICT;
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO ids VALUES (1, 'a', 5), (2, 'b', 5);
INSERT INTO calls VALUES (1, 'a', 'track', 5, '2020-01-01T00:00:00.000Z', NULL, NULL,
    '{"type":"track","event":"Old","userId":"u","messageId":"a"}'),
    (2, 'b', 'identify', 5, '2020-01-02T00:00:00.000Z', NULL, NULL, '{"type":"identify","anonymousId":"x","n":1.10}');
INSERT INTO drops VALUES (1, 'duplicate', 'a', 'track', 6), (2, 'missing_type', NULL, NULL, 7);
INSERT INTO counts VALUES ('accepted', 2), ('duplicate', 1), ('dropped/missing_type', 1), ('received', 4);
PRAGMA user_version = 1;
"""


def test_a_store_of_the_version_before_is_continued(tmp_path: Path) -> None:
    """Its ids, calls and drops are there, are counted and listed, and new ones come after them."""
    (tmp_path / "store").mkdir()
    with sqlite3.connect(tmp_path / "store" / "sandbox.sqlite3") as old:
        old.executescript(OLD)
    old.close()
    for turn in range(2):
        with Sandbox(tmp_path / "store") as sandbox, client_of(sandbox.endpoint, auth=KEY) as client:
            assert len(listed(client, "")) == 4 + turn
            assert listed(client, "event=Old") == [1]
            assert len(listed(client, "user=u1")) == turn
            assert listed(client, "user=u") == [1]
            assert "1.10" in client.get("/calls").text
            send(client, [call(f"new{turn}")])
            assert max(listed(client, "")) == 5 + turn
            assert len(client.get("/drops").json()["drops"]) == 2
