"""Every decoder of what comes from outside, with good bytes to begin from: for fuzzing, in tests and in benchmarks.

A decoder may return or raise ``RejectedError``, and do nothing else whatever it is given.
"""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from policy_builders import NOW, CityHall, a_policy, key_of
from report_builders import KEY, Reporting, a_report
from sensor_builders import DECODERS, PARK_SITE, SENSORS, topic_of, uplink
from site_builders import GOOD_SITE
from veilleur_agent import control as c
from veilleur_agent.hold import Hold, restore_hold
from veilleur_agent.mouth.asking import Answer, issued_in
from veilleur_agent.mouth.errors import DoorRefusedError
from veilleur_agent.mouth.uplinks import read_uplink, sensors_by_address
from veilleur_agent.starts import CameraBudget, MouthStart, Reach
from veilleur_contracts import messages as m
from veilleur_contracts.audit import DiskFull, Entry, decode_entry, encode_entry
from veilleur_contracts.audit_copy import Copied, decode_copied, decode_part, encode_copied, encode_part
from veilleur_contracts.audit_follow import Head, follow
from veilleur_contracts.authority import Root, check_root, read_root
from veilleur_contracts.codec import (
    decode_ack,
    decode_batch,
    decode_carried,
    decode_published,
    decode_received,
    decode_record,
    decode_twin,
    encode,
)
from veilleur_contracts.enrolment import Issued, Token
from veilleur_contracts.envelope import read_envelope, signers_of
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.examples import EXAMPLES
from veilleur_contracts.notes import BY_LOG, Checkpoint, read_checkpoint, read_verifier, sign_checkpoint, verifier_of
from veilleur_contracts.policy_document import (
    Contact,
    Controller,
    Policy,
    Role,
    Scope,
    Stop,
    canonical,
    check_policy,
    decode_document,
)
from veilleur_contracts.report import read_report, sign_report
from veilleur_contracts.site import parse_site
from veilleur_contracts.standing import enrol, keep, recall
from veilleur_contracts.topics import Up, read_up_topic, up_topic
from veilleur_fleet.judge import judge

_RECORDS = tuple(encode(one) for kind, one in EXAMPLES.items() if kind in m.CLASS_OF or kind is m.Gap)
_STREAM = m.stream_of(m.MessageClass.STATISTICS, 1_790_000_000_000)
_HALL = CityHall()
_KEYS = _HALL.root().public_keys(*_HALL.keys)

_STOP = Stop(Role.DPO_VILLE, NOW, Scope(frozenset({Controller.VILLE})), "À la demande du DPO.")
_ENTRY = Entry(0, 1_790_000_000_000, "0" * 64, DiskFull(2))
_ISSUED = Issued("pem", "pem", "gare-01", "ville", "mqtts://broker.example:8883")
_VERIFIER = verifier_of("ville/gare-01", key_of(7), BY_LOG)

_SITE = f"""{GOOD_SITE}
[camera.ground]
image = [[0.1, 0.6], [0.9, 0.6], [0.9, 0.9], [0.1, 0.9]]
metres = [[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 9.0]]
""".encode()


@dataclass(frozen=True)
class Decoder:
    """One way in.

    Attributes:
        name: What it is called.
        decode: Reads bytes.
        seeds: Good ones.
    """

    name: str
    decode: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def batch_of_all() -> bytes:
    """A batch of one record of each kind, the Gap aside."""
    good = [one for one in _RECORDS if one[1] != 5]
    return encode(m.Batch(_STREAM, 1, tuple(msgspec.Raw(one) for one in good)))


def _whole_batch(data: bytes) -> None:
    for raw in decode_batch(data).records:
        try:
            decode_record(bytes(raw))
        except RejectedError:
            continue


def _judged(data: bytes) -> None:
    for channel in Up:
        try:
            judge(data, channel)
        except RejectedError:
            continue


def _topic(data: bytes) -> None:
    read_up_topic(data.decode("utf-8", "replace"))


def _part(data: bytes) -> None:
    follow(Head(), decode_part(data), held=lambda *_: (), known=lambda _: None)


def _verifier(data: bytes) -> None:
    read_verifier(data.decode("utf-8", "replace"))


def _policy(data: bytes) -> None:
    check_policy(decode_document(data, Policy))


def _signed(data: bytes) -> None:
    envelope = read_envelope(data)
    envelope.content()
    signers_of(envelope, _KEYS)


def _root(data: bytes) -> None:
    check_root(decode_document(data, Root))


def _of(kind: type[msgspec.Struct]) -> Callable[[bytes], object]:
    return lambda data: decode_document(data, kind)


def _hearing(decoder: "msgspec.msgpack.Decoder[object]") -> Callable[[bytes], object]:
    """What box and its children do with a packet, over a real socket pair."""
    ours, theirs = c.control_pair()
    end = c.ControlEnd(theirs)

    def hear(data: bytes) -> object:
        if not data:
            return None  # an empty packet is how the other end closes
        try:
            ours.send(data)
        except OSError as error:
            raise RejectedError(str(error)) from None
        return end.hear(decoder)

    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return hear


def _uplink(data: bytes) -> None:
    read_uplink(topic_of(), data, sensors_by_address(SENSORS, DECODERS), NOW)


def _door(data: bytes) -> None:
    for status in (200, 400):
        try:
            issued_in(Answer(status, data, None))
        except DoorRefusedError:
            continue


def _token(data: bytes) -> None:
    Token.read(data.decode("utf-8", "replace"))


def _checkpoint() -> bytes:
    hold = Hold(1_790_000_000_000)
    hold.say(EXAMPLES[m.Context])
    hold.say(EXAMPLES[m.CameraHealth])
    return hold.checkpoint()


_CONTROL = (
    c.Beat(),
    c.Numbered({_STREAM: 4}, 2),
    c.Tallied("gare", 9, 50, ((1, 2), (3, 4))),
    c.Addresses("broker", ("127.0.0.1",)),
    c.Stop(1000),
    c.LinkReopened(),
    MouthStart(
        "0.1.0", "gare-01", "ville", "/state", "bench", "host", ("127.0.0.1",), 1883, None, None, "auto",
        (CameraBudget("gare", 10.0, 100),), 1000, 1000, Reach((1883,), (), (), (), allow_unconfined=False),
    ),
)  # fmt: skip
_CONTROL_SEEDS = tuple(msgspec.msgpack.encode(one) for one in _CONTROL)


def decoders() -> Iterator[Decoder]:
    """Return every one of them."""
    yield Decoder("wire record", decode_record, _RECORDS)
    yield Decoder("wire batch", _whole_batch, (encode(EXAMPLES[m.Batch]), batch_of_all()))
    yield Decoder("fleet's judge", _judged, (encode(EXAMPLES[m.Batch]), batch_of_all()))
    yield Decoder("wire ack", decode_ack, (encode(EXAMPLES[m.Ack]),))
    yield Decoder("wire twin", decode_twin, (encode(EXAMPLES[m.Twin]),))
    yield Decoder("wire published", decode_published, (encode(EXAMPLES[m.Published]),))
    yield Decoder("link carried", decode_carried, (encode(EXAMPLES[m.Carried]),))
    link = (encode(EXAMPLES[m.Received]), encode(EXAMPLES[m.DocumentReady]))
    yield Decoder("link received", decode_received, link)
    yield Decoder("control to mouth", _hearing(c.to_mouth()), _CONTROL_SEEDS)
    yield Decoder("control to eye", _hearing(c.to_eye()), _CONTROL_SEEDS)
    yield Decoder("control from child", _hearing(c.from_child()), _CONTROL_SEEDS)
    yield Decoder("hold checkpoint", lambda data: restore_hold(data, 1), (_checkpoint(),))
    yield Decoder("topic", _topic, (up_topic("ville", "gare-01", Up.EVENTS).encode(),))
    signed = (_HALL.fully_signed(a_policy()), _HALL.signed_root())
    yield Decoder("envelope", read_envelope, signed)
    yield Decoder("signatures", _signed, signed)
    yield Decoder("signed root", lambda data: read_root(data, None), signed)
    yield Decoder("policy", _policy, (canonical(a_policy()),))
    yield Decoder("root", _root, (canonical(_HALL.root()),))
    yield Decoder("stop", _of(Stop), (canonical(_STOP),))
    yield Decoder("contact", _of(Contact), (canonical(Contact(NOW, 1)),))
    yield Decoder("site", lambda data: parse_site(data, "site"), (_SITE,))
    yield Decoder("site with sensors", lambda data: parse_site(data, "site"), (PARK_SITE.encode(),))
    yield Decoder("gateway's uplink", _uplink, (uplink(),))
    yield Decoder("door's answer", _door, (b'{"reason":"revoked"}', msgspec.json.encode(_ISSUED)))
    yield Decoder("enrolment token", _token, (Token(b"s" * 16, b"f" * 32).write().encode(),))
    root = _HALL.signed_root()
    standing = keep(enrol(root, Controller.VILLE))
    yield Decoder("kept standing", lambda data: recall(data, root), (standing,))
    yield Decoder("audit entry", decode_entry, (encode_entry(_ENTRY),))
    yield Decoder("verifier key", _verifier, (str(_VERIFIER).encode(),))
    note = sign_checkpoint(Checkpoint("ville/gare-01", 3, b"r" * 32), key_of(7))
    box = Reporting()
    yield Decoder("audit part", _part, (encode_part(box.audit_part()),))
    yield Decoder("audit copied", decode_copied, (encode_copied(Copied("a" * 16, 9)),))
    report = sign_report(a_report(), KEY)
    yield Decoder("privacy report", lambda data: read_report(data, box.verifier), (report,))
    yield Decoder("audit checkpoint", lambda data: read_checkpoint(data, _VERIFIER), (note,))
