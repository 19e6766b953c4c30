"""The next move for an action, given its attempts: every row of the delivery table, and the invariants."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from airflow_whatsapp_flows.flow.delivery.decision import (
    Attempt,
    Move,
    Rekey,
    SendNext,
    Settled,
    derive_key,
    next_move,
    retry_wait,
)
from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS, RetryRule, fate_of
from airflow_whatsapp_flows.flow.delivery.table import Delivery, Fate
from airflow_whatsapp_flows.flow.reply.result import RESULT_NAMES, ActionResult, Outcome, SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import (
    ErrorKind,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)
from airflow_whatsapp_flows.flow.template.cage import Expression

ONCE, KEYED, IDEMPOTENT = Delivery.AT_MOST_ONCE, Delivery.KEYED, Delivery.IDEMPOTENT
POST, GET = HttpRequest("POST", "https://crm.example/"), HttpRequest("GET", "https://crm.example/")
KEY, NOW = "k", 1_800_000_000.0
SLOW = Expression("status_code in [200, 400] and response.code == 'rate_limited'", RESULT_NAMES)

ANY_REPLY = Expression("status_code >= 200", RESULT_NAMES)


def rule_of(delivery: Delivery, *, error_exit: bool = False, attempts: int = 2, **keys: object) -> RetryRule:
    statuses = keys.pop("statuses", None)
    rule = RetryRule.of(delivery, attempts=attempts, statuses=statuses)  # type: ignore[arg-type]
    return dataclasses.replace(rule, has_error_exit=error_exit, **keys)  # type: ignore[arg-type]


def result_of(reply: Reply, request: HttpRequest = POST, number: int = 1) -> ActionResult:
    ok = Expression("response.ok is not defined or response.ok", RESULT_NAMES)
    return classify(reply, SentRequest(request, number, KEY), ok)


def make_attempts(
    *replies: Reply | None, rule: RetryRule, request: HttpRequest = POST, begun_at: float = NOW, current: bool = True
) -> list[Attempt]:
    """Attempts as a sender records them; ``None`` is one that was interrupted."""
    attempts = []
    for number, reply in enumerate(replies, 1):
        result = None if reply is None else result_of(reply, request, number)
        fate = None if result is None else fate_of(result, rule)
        attempts.append(Attempt(number, request.digest(), begun_at, fate, result, current))
    return attempts


def decide(rule: RetryRule, attempts: Sequence[Attempt], request: HttpRequest = POST, now: float = NOW) -> Move:
    return next_move(rule, attempts, request, KEY, now, jitter=lambda low, high: high)


def settled_result(move: Move) -> ActionResult:
    assert isinstance(move, Settled), move
    return move.result


def failure(kind: ErrorKind, sent: Sent) -> TransportFailure:
    return TransportFailure(kind, "went wrong", sent)


def json_reply(status: int, content: bytes = b"{}", **headers: str) -> HttpResponse:
    fields = {"Content-Type": "application/json", **headers}
    return HttpResponse(status, headers=tuple(fields.items()), content=content)


REFUSED = failure(ErrorKind.CONNECT, Sent.NO)
LOST = failure(ErrorKind.TIMEOUT, Sent.UNKNOWN)
CUT = TransportFailure(ErrorKind.INTERRUPTED, "cut", Sent.UNKNOWN, HttpResponse(200))
OK = json_reply(201)
UNUSABLE = json_reply(200, b"<html>")
RATE_LIMITED = json_reply(400, b'{"code": "rate_limited"}')

N, A, S, P, U = Fate.NOT_SENT, Fate.ANSWERED, Fate.SUCCEEDED, Fate.APPLIED, Fate.UNKNOWN
# An event, and for at_most_once without and with an error exit, keyed, idempotent: its fate, and if it is repeated.
TABLE: list[tuple[str, Reply, dict[str, object], str, str]] = [
    ("DNS or connect", REFUSED, {}, "NNNN", "1111"),
    ("connect timeout", failure(ErrorKind.TIMEOUT, Sent.NO), {}, "NNNN", "1111"),
    ("TLS", failure(ErrorKind.TLS, Sent.NO), {}, "NNNN", "0000"),
    ("policy", failure(ErrorKind.POLICY, Sent.NO), {}, "NNNN", "0000"),
    ("complete 2xx", OK, {}, "SSSS", "0000"),
    ("2xx, success_when false", json_reply(200, b'{"ok": false}'), {}, "AAAA", "0000"),
    ("2xx that does not parse", UNUSABLE, {}, "PPPP", "0000"),
    ("2xx too large", TransportFailure(ErrorKind.TOO_LARGE, "", Sent.YES, HttpResponse(200)), {}, "PPPP", "0000"),
    ("3xx", json_reply(302), {}, "AAAA", "0000"),
    ("4xx", json_reply(404), {}, "AAAA", "0000"),
    ("4xx with content that does not parse", json_reply(404, b"<html>"), {}, "AAAA", "0000"),
    ("425", json_reply(425), {}, "AAAA", "0011"),
    ("429", json_reply(429), {}, "AAAA", "1111"),
    ("429, not listed", json_reply(429), {"statuses": [503]}, "AAAA", "0000"),
    ("503, listed", json_reply(503), {"statuses": [503]}, "AAUU", "1111"),
    ("408", json_reply(408), {}, "UAUU", "0011"),
    ("500", json_reply(500), {}, "UAUU", "0011"),
    ("501, not listed", json_reply(501), {}, "UAUU", "0000"),
    ("no answer", LOST, {}, "UUUU", "0011"),
    ("cut answer", CUT, {}, "UUUU", "0011"),
    ("nonsense", failure(ErrorKind.PROTOCOL, Sent.UNKNOWN), {}, "UUUU", "0011"),
    ("slow_down_when of a 400", RATE_LIMITED, {"slow_down_when": SLOW}, "AAAA", "1111"),
    ("slow_down_when of a 200", json_reply(200, b'{"code": "rate_limited"}'), {"slow_down_when": SLOW}, "AAAA", "1111"),
    ("slow_down_when is false", json_reply(400, b'{"code": "bad"}'), {"slow_down_when": SLOW}, "AAAA", "0000"),
    ("slow_down_when cannot tell", json_reply(400, b"[]"), {"slow_down_when": SLOW}, "AAAA", "0000"),
    ("slow_down_when of a 500", json_reply(500), {"slow_down_when": ANY_REPLY}, "AAAA", "1111"),
    (
        "slow_down_when is not asked of a 2xx that does not parse",
        UNUSABLE,
        {"slow_down_when": ANY_REPLY},
        "PPPP",
        "0000",
    ),
    ("slow_down_when is not asked of a cut answer", CUT, {"slow_down_when": ANY_REPLY}, "UUUU", "0011"),
]
MODES = [(ONCE, False), (ONCE, True), (KEYED, False), (IDEMPOTENT, False)]
LETTERS = {"N": N, "A": A, "S": S, "P": P, "U": U}


@pytest.mark.parametrize("request_", [POST, GET], ids=["POST", "GET"])
@pytest.mark.parametrize("event", TABLE, ids=lambda event: event[0])
def test_every_row_of_the_table(event: tuple[str, Reply, dict[str, object], str, str], request_: HttpRequest) -> None:
    _, reply, keys, fates, again = event
    for (delivery, error_exit), fate, repeats in zip(MODES, fates, again, strict=True):
        rule = rule_of(delivery, error_exit=error_exit, **keys)
        attempts = make_attempts(reply, rule=rule, request=request_)

        assert attempts[0].fate is LETTERS[fate]
        move = decide(rule, attempts, request_)
        if repeats == "1":
            assert move == SendNext(2, 1.0)
        else:
            assert settled_result(move).outcome is (Outcome.SUCCESS if fate == "S" else Outcome.ERROR)


@pytest.mark.parametrize("event", TABLE, ids=lambda event: event[0])
def test_when_exhausted_the_last_reply_is_the_result(
    event: tuple[str, Reply, dict[str, object], str, str],
) -> None:
    _, reply, keys, fates, _ = event
    for (delivery, error_exit), fate in zip(MODES, fates, strict=True):
        rule = rule_of(delivery, error_exit=error_exit, attempts=1, **keys)
        result = settled_result(decide(rule, make_attempts(reply, rule=rule)))

        assert fate_of(result, rule) is LETTERS[fate]
        assert result.outcome is (Outcome.SUCCESS if fate == "S" else Outcome.ERROR)


def test_the_first_attempt_is_immediate() -> None:
    assert decide(rule_of(ONCE), []) == SendNext(1, 0.0)


@pytest.mark.parametrize("delivery", Delivery)
@pytest.mark.parametrize("reply", [OK, UNUSABLE], ids=["succeeded", "applied"])
@pytest.mark.parametrize("current", [True, False], ids=["this round", "an earlier round"])
def test_never_resends_a_carried_out_request(delivery: Delivery, reply: HttpResponse, current: bool) -> None:
    rule = rule_of(delivery, attempts=9)
    attempts = make_attempts(reply, rule=rule, current=current)

    assert settled_result(decide(rule, attempts)) is attempts[0].result
    assert (
        settled_result(decide(rule, attempts, HttpRequest("POST", "https://crm.example/mended"))) is attempts[0].result
    )


@pytest.mark.parametrize(
    ("fate", "outcome", "kind"), [(S, Outcome.SUCCESS, None), (P, Outcome.ERROR, ErrorKind.UNPARSABLE)]
)
def test_the_fate_is_enough_for_carried_out_requests(fate: Fate, outcome: Outcome, kind: ErrorKind | None) -> None:
    rule = rule_of(ONCE)
    result = settled_result(decide(rule, [Attempt(1, POST.digest(), NOW, fate, None)]))

    assert (result.outcome, result.error and result.error.kind) == (outcome, kind)
    assert (result.method, result.attempts, result.idempotency_key, result.status_code) == ("POST", 1, KEY, None)
    assert fate_of(result, rule) is fate


@pytest.mark.parametrize(("delivery", "sent_again"), [(ONCE, False), (KEYED, True), (IDEMPOTENT, True)])
@pytest.mark.parametrize("current", [True, False], ids=["this round", "an earlier round"])
def test_an_intent_without_an_outcome_is_unknown(delivery: Delivery, sent_again: bool, current: bool) -> None:
    rule = rule_of(delivery)
    move = decide(rule, make_attempts(None, rule=rule, current=current))

    if sent_again:
        assert move == SendNext(2, 1.0 if current else 0.0)
        return
    error = settled_result(move).error
    assert error is not None
    assert (error.kind, error.sent) == (ErrorKind.INTERRUPTED, Sent.UNKNOWN)
    assert "the request may have reached the server" in error.message


@pytest.mark.parametrize("delivery", [KEYED, IDEMPOTENT])
def test_exhausted_interrupted_attempts_are_unknown(delivery: Delivery) -> None:
    rule = rule_of(delivery)
    result = settled_result(decide(rule, make_attempts(None, None, rule=rule)))

    assert fate_of(result, rule) is U
    assert result.attempts == 2


def test_one_unknown_attempt_keeps_the_visit_unknown_until_a_complete_2xx() -> None:
    rule = rule_of(IDEMPOTENT, attempts=4, statuses=[500, 429])

    assert _receipt(rule_of(ONCE), json_reply(500)) is Sent.YES  # of one attempt it is known that it arrived
    assert _receipt(rule, LOST, json_reply(404)) is Sent.UNKNOWN
    assert _receipt(rule, None, REFUSED, failure(ErrorKind.POLICY, Sent.NO)) is Sent.UNKNOWN
    assert _receipt(rule, json_reply(500), json_reply(404)) is Sent.UNKNOWN
    assert _receipt(rule, json_reply(429), json_reply(404)) is Sent.YES
    assert _receipt(rule, LOST, json_reply(200, b'{"ok": false}')) is Sent.YES
    assert settled_result(decide(rule, make_attempts(LOST, OK, rule=rule))).error is None


def test_a_complete_2xx_settles_only_earlier_attempts() -> None:
    rule = rule_of(IDEMPOTENT, attempts=1)
    refused_later = [
        *make_attempts(LOST, json_reply(200, b'{"ok": false}'), rule=rule, current=False),
        replace(make_attempts(json_reply(404), rule=rule)[0], number=3),
    ]
    assert _error(settled_result(decide(rule, refused_later))).sent is Sent.YES
    lost_later = [refused_later[1], replace(refused_later[0], number=2), refused_later[2]]
    assert _error(settled_result(decide(rule, lost_later))).sent is Sent.UNKNOWN


def test_a_2xx_with_slow_down_is_no_success_and_settles_nothing() -> None:
    rule = rule_of(IDEMPOTENT, slow_down_when=SLOW)
    slow = json_reply(200, b'{"code": "rate_limited"}')

    assert _receipt(rule, LOST, slow) is Sent.UNKNOWN
    assert _receipt(rule, slow, slow) is Sent.YES


def test_waits_for_a_rate_reset_only_after_a_refusal() -> None:
    rule = rule_of(KEYED, slow_down_when=SLOW)
    reset = {"RateLimit-Reset": "9"}
    slow = json_reply(400, b'{"code": "rate_limited"}', **reset)

    assert decide(rule, make_attempts(json_reply(503, **reset), rule=rule)) == SendNext(2, 9.0)
    assert decide(rule, make_attempts(slow, rule=rule)) == SendNext(2, 9.0)
    assert decide(rule, make_attempts(json_reply(500, **reset), rule=rule)) == SendNext(2, 1.0)


def test_recognizes_a_slow_down_2xx_by_its_fate_without_its_content() -> None:
    rule = rule_of(ONCE, slow_down_when=SLOW)
    (slow,) = make_attempts(json_reply(200, b'{"code": "rate_limited"}'), rule=rule)
    assert slow.result is not None
    slow = replace(slow, result=replace(slow.result, response=None))

    assert decide(rule, [slow]) == SendNext(2, 1.0)
    assert settled_result(decide(rule, [slow, replace(slow, number=2)])).outcome is Outcome.ERROR


def test_the_outcome_of_an_attempt_may_be_known_without_its_reply() -> None:
    rule = rule_of(ONCE)

    def decide_with_fate(fate: Fate, current: bool = True) -> Move:
        return decide(rule, [Attempt(1, POST.digest(), NOW, fate, None, current)])

    assert (
        decide_with_fate(N)
        == decide_with_fate(N, current=False)
        == decide_with_fate(A, current=False)
        == SendNext(2, 0.0)
    )
    assert (_error(settled_result(decide_with_fate(A))).kind, _error(settled_result(decide_with_fate(A))).sent) == (
        ErrorKind.STATUS,
        Sent.YES,
    )
    assert (
        fate_of(settled_result(decide_with_fate(U)), rule)
        is fate_of(settled_result(decide_with_fate(U, current=False)), rule)
        is U
    )


def test_a_withdrawn_attempt_does_not_count_as_a_try() -> None:
    rule = rule_of(ONCE, attempts=1)
    given_up = Attempt(1, POST.digest(), NOW, N, None)

    assert decide(rule, [given_up]) == SendNext(2, 0.0)
    assert decide(rule, [given_up, replace(given_up, number=2)]) == SendNext(3, 0.0)


def test_safe_methods_are_never_unknown() -> None:
    rule = rule_of(IDEMPOTENT)
    assert (
        _error(settled_result(decide(rule, make_attempts(LOST, json_reply(404), rule=rule, request=GET), GET))).sent
        is Sent.YES
    )


def _receipt(rule: RetryRule, *replies: Reply | None) -> Sent:
    return _error(settled_result(decide(rule, make_attempts(*replies, rule=rule)))).sent


def _error(result: ActionResult):  # type: ignore[no-untyped-def]
    assert result.error is not None
    return result.error


@pytest.mark.parametrize(("delivery", "unknown"), [(KEYED, LOST), (KEYED, None), (KEYED, json_reply(503))], ids=str)
def test_does_not_send_an_expired_key(delivery: Delivery, unknown: Reply | None) -> None:
    rule = rule_of(delivery, attempts=9, key_lifetime=100.0)
    attempts = make_attempts(unknown, rule=rule)

    assert decide(rule, attempts, now=NOW + 98.9) == SendNext(2, 1.0)
    for now in (NOW + 99, NOW + 100, NOW + 10**6, NOW - 301):  # one second is waited before it is sent
        result = settled_result(decide(rule, attempts, now=now))
        assert fate_of(result, rule) is U
        assert "key_lifetime" in _error(result).message
    assert decide(rule, attempts, now=NOW - 299) == SendNext(2, 1.0)


def test_the_age_of_a_key_is_counted_from_its_first_attempt() -> None:
    rule = rule_of(KEYED, attempts=9, key_lifetime=100.0)
    attempts = [*make_attempts(LOST, rule=rule, current=False), *make_attempts(LOST, rule=rule, begun_at=NOW + 90)]
    assert isinstance(decide(rule, attempts, now=NOW + 101), Settled)


def test_key_age_matters_only_if_an_attempt_is_unknown() -> None:
    rule = rule_of(KEYED, attempts=9, key_lifetime=100.0)
    assert isinstance(decide(rule, make_attempts(json_reply(429), rule=rule), now=NOW + 10**6), SendNext)
    rule = rule_of(IDEMPOTENT, attempts=9, key_lifetime=100.0)
    assert isinstance(decide(rule, make_attempts(LOST, rule=rule), now=NOW + 10**6), SendNext)


@pytest.mark.parametrize("delivery", Delivery)
@pytest.mark.parametrize("reply", [REFUSED, failure(ErrorKind.POLICY, Sent.NO), json_reply(404), json_reply(429)])
def test_a_new_round_sends_requests_known_not_to_be_applied(delivery: Delivery, reply: Reply) -> None:
    rule = rule_of(delivery)
    assert decide(rule, make_attempts(reply, reply, reply, rule=rule, current=False)) == SendNext(4, 0.0)


@pytest.mark.parametrize(
    "reply", [HttpResponse(504), HttpResponse(500), HttpResponse(408), json_reply(200, b'{"ok": false}')]
)
def test_a_new_round_does_not_send_possibly_applied_requests(reply: HttpResponse) -> None:
    rule = rule_of(ONCE, error_exit=True)
    attempts = make_attempts(reply, rule=rule, current=False)
    assert attempts[0].fate is Fate.ANSWERED

    result = settled_result(decide(rule, attempts))

    assert (result.status_code, result.error and result.error.sent) == (reply.status_code, Sent.YES)
    other = settled_result(decide(rule, attempts, POST.with_header("X-Mended", "1")))
    assert other.error is not None
    assert (other.error.kind, other.error.sent) == (ErrorKind.PROTOCOL, Sent.YES)
    erased = [replace(attempts[0], result=None, status_code=reply.status_code)]
    assert isinstance(decide(rule, erased), Settled)


def test_a_new_round_resends_a_listed_server_error() -> None:
    rule = rule_of(ONCE, error_exit=True, statuses=[503])
    assert decide(rule, make_attempts(HttpResponse(503), rule=rule, current=False)) == SendNext(2, 0.0)


def test_a_new_round_has_all_its_attempts() -> None:
    rule = rule_of(ONCE)
    earlier = make_attempts(json_reply(429), json_reply(429), rule=rule, current=False)
    later = [
        replace(attempt, number=attempt.number + 2)
        for attempt in make_attempts(json_reply(429), json_reply(429), rule=rule)
    ]
    assert decide(rule, [*earlier, later[0]]) == SendNext(4, 1.0)
    assert settled_result(decide(rule, [*earlier, *later])).status_code == 429


MENDED = HttpRequest("POST", "https://crm.example/", content=b"mended")


@pytest.mark.parametrize("delivery", Delivery)
def test_changed_bytes_get_a_new_key_if_nothing_was_applied(delivery: Delivery) -> None:
    rule = rule_of(delivery)
    attempts = make_attempts(json_reply(404), rule=rule, current=False)

    assert decide(rule, attempts, MENDED) == Rekey(derive_key(KEY, MENDED.digest()))
    assert derive_key(KEY, MENDED.digest()) not in (KEY, derive_key(KEY, POST.digest()))


@pytest.mark.parametrize("delivery", Delivery)
@pytest.mark.parametrize(
    ("reply", "current", "sent"),
    [
        pytest.param(LOST, False, Sent.UNKNOWN, id="unknown before"),
        pytest.param(None, False, Sent.UNKNOWN, id="cut off before"),
        pytest.param(LOST, True, Sent.UNKNOWN, id="unknown now"),
        pytest.param(json_reply(429), True, Sent.NO, id="refused now"),
    ],
)
def test_other_bytes_are_not_sent(delivery: Delivery, reply: Reply | None, current: bool, sent: Sent) -> None:
    rule = rule_of(delivery)
    result = settled_result(decide(rule, make_attempts(reply, rule=rule, current=current), MENDED))

    assert (_error(result).kind, _error(result).sent) == (ErrorKind.PROTOCOL, sent)
    assert "differs from the one already sent" in _error(result).message


def test_read_only_actions_may_be_changed_at_any_time() -> None:
    rule = rule_of(IDEMPOTENT)
    attempts = make_attempts(LOST, rule=rule, request=GET, current=False)
    assert isinstance(decide(rule, attempts, HttpRequest("GET", "https://crm.example/mended")), Rekey)


def test_does_not_send_bytes_changed_a_second_time() -> None:
    rule = rule_of(IDEMPOTENT)
    first = make_attempts(json_reply(404), rule=rule, current=False)
    mended = make_attempts(LOST, rule=rule, request=MENDED, current=False)

    assert isinstance(decide(rule, [*first, *mended], HttpRequest("POST", "https://crm.example/3")), Settled)
    assert isinstance(decide(rule, [*first, *mended], POST), Settled)


@pytest.mark.parametrize(
    ("reply", "wait"),
    [
        pytest.param(json_reply(429, **{"Retry-After": "7"}), 7.0, id="seconds"),
        pytest.param(json_reply(429, **{"Retry-After": "0"}), 0.0, id="at once"),
        pytest.param(json_reply(429, **{"Retry-After": "99999999"}), 60.0, id="clamped"),
        pytest.param(json_reply(429, **{"Retry-After": "Fri, 15 Jan 2027 08:00:30 GMT"}), 30.0, id="date"),
        pytest.param(json_reply(429, **{"Retry-After": "soon"}), 2.0, id="nonsense"),
        pytest.param(json_reply(429), 2.0, id="jitter"),
        pytest.param(json_reply(429, **{"RateLimit-Reset": "9"}), 9.0, id="rate limit"),
        pytest.param(json_reply(429, **{"RateLimit-Reset": "9", "Retry-After": "7"}), 7.0, id="Retry-After goes first"),
        pytest.param(json_reply(429, **{"RateLimit-Reset": "900"}), 60.0, id="rate limit, clamped"),
        pytest.param(REFUSED, 2.0, id="no reply"),
    ],
)
def test_waits_as_the_server_asks_or_with_jitter(reply: Reply, wait: float) -> None:
    rule = rule_of(ONCE, attempts=9)
    earlier = make_attempts(json_reply(404), rule=rule, current=False)  # no part of this round's waits
    now = [replace(attempt, number=attempt.number + 1) for attempt in make_attempts(reply, reply, rule=rule)]

    assert decide(rule, [*earlier, *now]) == SendNext(4, wait)


REPLIES: list[Reply | None] = [None, *(event[1] for event in TABLE)]
RULES = st.builds(
    rule_of,
    st.sampled_from(Delivery),
    error_exit=st.booleans(),
    attempts=st.integers(1, 4),
    key_lifetime=st.sampled_from([0.0, 50.0, 82_800.0]),
    statuses=st.sampled_from([None, [], [429, 503]]),
    slow_down_when=st.sampled_from([None, SLOW]),
)


@given(
    RULES,
    st.sampled_from([POST, GET, HttpRequest("PUT", "https://crm.example/")]),
    st.lists(st.tuples(st.sampled_from(REPLIES), st.booleans(), st.floats(-400, 400), st.booleans()), max_size=12),
)
def test_every_history_keeps_the_promise_of_its_mode(
    rule: RetryRule, request: HttpRequest, events: list[tuple[Reply | None, bool, float, bool]]
) -> None:
    """A sender follows the moves through any replies, crashes, clock changes, new rounds, and changed requests."""
    sent: dict[str, list[Attempt]] = {KEY: []}
    key, bytes_, now = KEY, request, NOW
    for reply, new_round, passed, mended in events:
        now += passed
        if new_round:
            sent = {one: [replace(a, current=False) for a in made] for one, made in sent.items()}
        if mended:
            bytes_ = replace(bytes_, content=bytes_.content + b"+")
        given_, key = [a for made in sent.values() for a in made], KEY
        target = derive_key(KEY, bytes_.digest())
        move = decide(rule, [a for a in given_ if a not in sent.get(target, [])], bytes_, now)
        if isinstance(move, Rekey):
            key = move.key
            assert not any(a.current or a.fate in (S, P) for one in sent if one != key for a in sent[one])
            move = decide(rule, sent.setdefault(key, []), bytes_, now)
        if not isinstance(move, SendNext):
            continue
        now += move.wait
        made = sent[key]
        unknown = [a for made in sent.values() for a in made if a.fate in (None, U)]
        assert not any(a.fate in (S, P) for made in sent.values() for a in made)
        assert not (unknown and rule.delivery is ONCE and request.method not in SAFE_METHODS)
        if rule.delivery is KEYED and any(a.fate in (None, U) for a in made):
            assert now - made[0].begun_at < rule.key_lifetime
        assert {a.digest for a in made} <= {bytes_.digest()}
        assert sum(a.current for a in made) < rule.attempts
        assert move.number == len(made) + 1
        (attempt,) = make_attempts(reply, rule=rule, request=bytes_, begun_at=now)
        made.append(replace(attempt, number=move.number))


def test_waits_stay_within_their_limit() -> None:
    rule = RetryRule.of(IDEMPOTENT, wait=1, max_wait=3)
    asked = result_of(json_reply(429, **{"Retry-After": "99999999"}))

    assert retry_wait(rule, 1, asked, NOW) == 3
    assert all(0 <= retry_wait(rule, 50, result_of(json_reply(503)), NOW) <= 3 for _ in range(200))
