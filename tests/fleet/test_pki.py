"""The authority and its register: what is issued to whom, once, and what is taken back."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner, Result

from fleet_builders import HandClock
from pki_builders import PASSPHRASE, World, agglo_box, consumers, fleet, ville_box
from veilleur_contracts.clock import datetime_of
from veilleur_contracts.enrolment import RENEW_AFTER, Refusal, Token, write_fingerprint
from veilleur_contracts.rights import Role, holder_of
from veilleur_fleet.cli import cli
from veilleur_fleet.errors import EnrolmentRefusedError, PkiRejectedError
from veilleur_fleet.keys import KeyRejectedError
from veilleur_fleet.pki.authority import CRL_LIFE, LIFE, load_authority, make_authority
from veilleur_fleet.pki.files import BrokerFiles, is_due, names_of
from veilleur_fleet.pki.guard import AT_ONCE, EVICT_AFTER_S, Guard
from veilleur_fleet.pki.mosquitto import examples
from veilleur_fleet.pki.register import RENEWALS_A_DAY_MAX

DAY = timedelta(days=1)


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def world(tmp_path, clock):
    made = World(tmp_path, clock)
    yield made
    made.close()


@pytest.fixture
def pki(world):
    return world.pki


def csr(key=None, *, name: str = "somebody-else") -> str:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    key = key or ec.generate_private_key(ec.SECP256R1())
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .sign(key, algorithm)
        .public_bytes(Encoding.PEM)
        .decode()
    )


def read(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def reason(action) -> Refusal:
    with pytest.raises(EnrolmentRefusedError) as caught:
        action()
    return caught.value.reason


def test_a_token_is_exchanged_once_for_a_certificate_of_its_box_and_no_other_name(pki, clock) -> None:
    token = pki.invite(ville_box, DAY).write()
    holder, made = pki.enrol(token, csr(name="pont-02"))
    assert holder == ville_box
    subject = {one.oid._name: one.value for one in read(made.pem).subject}
    assert subject == {"commonName": "gare-01", "organizationName": "ville", "organizationalUnitName": "box"}
    assert read(made.pem).not_valid_after_utc == datetime_of(clock.now_ms()) + LIFE
    assert reason(lambda: pki.enrol(token, csr())) is Refusal.TOKEN_USED


def test_a_box_that_missed_the_answer_gets_the_same_certificate_again(pki) -> None:
    token, request = pki.invite(ville_box, DAY).write(), csr()
    assert pki.enrol(token, request) == pki.enrol(token, request)


def test_a_token_is_over_when_its_time_is_or_when_another_is_given(pki, clock) -> None:
    first = pki.invite(ville_box, DAY).write()
    second = pki.invite(ville_box, DAY).write()
    assert reason(lambda: pki.enrol(first, csr())) is Refusal.TOKEN_EXPIRED
    clock.move(DAY.total_seconds())
    assert reason(lambda: pki.enrol(second, csr())) is Refusal.TOKEN_EXPIRED


@pytest.mark.parametrize("text", ["", "vt1", "x" * 83, "vt1." + "a" * 26 + "." + "a" * 52])
def test_what_is_no_token_of_ours_is_unknown(pki, text) -> None:
    assert reason(lambda: pki.enrol(text, csr())) is Refusal.TOKEN_UNKNOWN


def test_no_token_stands_in_the_database(pki, world) -> None:
    token = pki.invite(ville_box, DAY)
    held = b"".join(path.read_bytes() for path in world.data.glob("fleet.db*"))
    assert token.digest.encode() in held
    assert token.secret not in held
    assert token.write().encode() not in held
    assert token.write().split(".")[1] not in repr(token)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param("", id="nothing"),
        pytest.param("é", id="no-ascii"),
        pytest.param("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", id="rubbish"),
        pytest.param(csr(ec.generate_private_key(ec.SECP384R1())), id="another-curve"),
        pytest.param(csr(ed25519.Ed25519PrivateKey.generate()), id="another-kind"),
        pytest.param(csr() + "x" * 5000, id="too-long"),
    ],
)
def test_a_request_that_is_none_of_ours_costs_no_token(pki, request_) -> None:
    token = pki.invite(ville_box, DAY).write()
    assert reason(lambda: pki.enrol(token, request_)) is Refusal.CSR
    pki.enrol(token, csr())


def test_a_box_belongs_to_one_controller_for_ever(pki, world) -> None:
    pki.invite(ville_box, DAY)
    with pytest.raises(PkiRejectedError, match="belongs to ville"):
        pki.invite(holder_of(Role.BOX, "gare-01", "agglo"), DAY)
    world.database.writer.execute(
        "INSERT INTO boxes (box_no, box, controller, first_heard_ms, heard_ms) VALUES (1, 'pont-02', 'ville', 5, 5)"
    )
    with pytest.raises(PkiRejectedError, match="belongs to ville"):
        pki.invite(agglo_box, DAY)
    with pytest.raises(PkiRejectedError, match="only boxes enrol"):
        pki.invite(fleet, DAY)


def test_renewal_gives_the_next_certificate_and_the_old_one_still_counts(pki, clock) -> None:
    _, first = pki.enrol(pki.invite(ville_box, DAY).write(), csr())
    clock.move(20 * 86_400)
    request = csr()
    holder, second = pki.renew(first.serial, request)
    assert (holder, second.expires_ms > first.expires_ms) == (ville_box, True)
    assert pki.renew(first.serial, request) == (ville_box, second)
    assert pki.register.holder_of(first.serial, clock.now_ms()) == ville_box


def test_nobody_renews_an_ended_a_revoked_or_an_unknown_certificate(pki, clock) -> None:
    _, made = pki.enrol(pki.invite(ville_box, DAY).write(), csr())
    _, other = pki.enrol(pki.invite(agglo_box, DAY).write(), csr())
    assert pki.register.revoke("pont-02", clock.now_ms()) == 1
    assert reason(lambda: pki.renew(other.serial, csr())) is Refusal.REVOKED
    assert reason(lambda: pki.renew("abc", csr())) is Refusal.UNKNOWN_CERTIFICATE
    clock.move(LIFE.total_seconds())
    assert reason(lambda: pki.renew(made.serial, csr())) is Refusal.UNKNOWN_CERTIFICATE


def test_a_box_gets_so_many_certificates_a_day_and_no_more(pki, clock) -> None:
    _, made = pki.enrol(pki.invite(ville_box, DAY).write(), csr())
    for _ in range(RENEWALS_A_DAY_MAX - 1):
        pki.renew(made.serial, csr())
    assert reason(lambda: pki.renew(made.serial, csr())) is Refusal.TOO_MANY
    clock.move(86_400)
    pki.renew(made.serial, csr())


def test_revoking_takes_back_certificates_and_tokens_and_a_lost_box_is_enrolled_again(pki, world, clock) -> None:
    _, lost = pki.enrol(pki.invite(ville_box, DAY).write(), csr())
    waiting = pki.invite(ville_box, DAY).write()
    assert pki.register.revoke("gare-01", clock.now_ms()) == 1
    assert reason(lambda: pki.enrol(waiting, csr())) is Refusal.TOKEN_EXPIRED
    assert pki.register.holders(clock.now_ms()) == []
    listed = x509.load_pem_x509_crl(pki.crl())
    assert [f"{one.serial_number:x}" for one in listed] == [lost.serial]
    assert listed.is_signature_valid(world.authority.certificate.public_key())
    _, found = pki.enrol(pki.invite(ville_box, DAY).write(), csr())
    assert pki.register.holder_of(found.serial, clock.now_ms()) == ville_box
    assert pki.register.holders(clock.now_ms()) == [ville_box]
    with pytest.raises(PkiRejectedError, match="nobody is called"):
        pki.register.revoke("nobody", clock.now_ms())


def test_the_list_of_revoked_certificates_forgets_those_that_ended_and_outlives_them(pki, clock) -> None:
    pki.enrol(pki.invite(ville_box, DAY).write(), csr())
    pki.register.revoke("gare-01", clock.now_ms())
    clock.move(LIFE.total_seconds() + 2 * 86_400)
    assert list(x509.load_pem_x509_crl(pki.crl())) == []
    assert CRL_LIFE > LIFE
    clock.move(500 * 86_400)
    assert pki.register.forget_ended(clock.now_ms()) == 2


def test_who_holds_what_is_listed(pki, clock) -> None:
    pki.invite(ville_box, DAY)
    pki.enrol(pki.invite(agglo_box, DAY).write(), csr())
    pki.register.revoke("pont-02", clock.now_ms())
    pki.issue(consumers[Role.TRAFFIC])
    listed = {one.holder.name: one for one in pki.register.listed(clock.now_ms())}
    assert listed["gare-01"].invited_until_ms == clock.now_ms() + 86_400_000
    assert listed["pont-02"].is_revoked
    assert listed["consumer-traffic.someone"].expires_ms is not None


def test_the_broker_s_folder_is_written_when_something_changed_and_not_otherwise(world, pki, clock) -> None:
    world.lay_out()
    assert not world.files.refresh()
    pki.enrol(pki.invite(ville_box, DAY).write(), csr())
    assert world.files.refresh()
    acl = (world.broker_folder / "acl").read_text()
    assert "user gare-01\n" in acl
    pki.register.revoke("gare-01", clock.now_ms())
    assert world.files.refresh()
    assert not world.files.refresh()
    assert "gare-01" not in (world.broker_folder / "acl").read_text()
    before = read((world.broker_folder / "broker.pem").read_text())
    clock.move(LIFE.total_seconds() * RENEW_AFTER + 3600)
    assert is_due(before, datetime_of(clock.now_ms()))
    assert world.files.refresh()
    after = read((world.broker_folder / "broker.pem").read_text())
    assert (names_of(after), after.public_key()) == (names_of(before), before.public_key())
    assert after.not_valid_after_utc > before.not_valid_after_utc
    assert (world.broker_folder / "broker-key.pem").stat().st_mode & 0o077 == 0


def test_the_authority_is_made_once_kept_encrypted_and_opened_with_its_passphrase_alone(tmp_path, clock) -> None:
    made = make_authority(tmp_path / "pki", PASSPHRASE, clock, "tests")
    assert (tmp_path / "pki" / "ca-key.pem").stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in (tmp_path / "pki" / "ca-key.pem").read_bytes()
    assert load_authority(tmp_path / "pki", PASSPHRASE).sha256 == made.sha256
    assert "key" not in repr(made).lower()
    with pytest.raises(PkiRejectedError, match="never replaced"):
        make_authority(tmp_path / "pki", PASSPHRASE, clock, "tests")
    with pytest.raises(PkiRejectedError, match="this passphrase"):
        load_authority(tmp_path / "pki", "another passphrase")
    with pytest.raises(PkiRejectedError, match="at least"):
        make_authority(tmp_path / "other", "short", clock, "tests")
    with pytest.raises(PkiRejectedError, match="make one with"):
        load_authority(tmp_path / "other", PASSPHRASE)
    (tmp_path / "pki" / "ca-key.pem").chmod(0o644)
    with pytest.raises(KeyRejectedError, match="read by others"):
        load_authority(tmp_path / "pki", PASSPHRASE)


@pytest.mark.parametrize("name", ["mosquitto.conf", "acl.example", "run.sh"])
def test_the_broker_s_files_in_the_repository_are_those_that_are_made(name) -> None:
    path = Path(__file__).parents[2] / "firmware-config" / "broker" / name
    assert path.read_text(encoding="utf-8") == examples()[name], "run make docs"
    assert os.access(path, os.X_OK) == (name == "run.sh")


def test_the_commands_say_what_they_do_and_refuse_in_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    passphrase = tmp_path / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(PASSPHRASE)
    runner = CliRunner(env={"VEILLEUR_FLEET_CA_PASSPHRASE_FILE": str(passphrase), "VEILLEUR_FLEET_DATA": "data"})

    def command(*arguments: str) -> Result:
        return runner.invoke(cli, arguments)

    early = command("pki", "token", "gare-01", "--controller", "ville")
    assert (early.exit_code, early.stderr) == (
        1,
        "veilleur-fleet: there is no authority in data/pki: make one with veilleur-fleet pki init\n",
    )
    fingerprint = command("pki", "init").stdout.split()[-1]
    token = Token.read(command("pki", "token", "gare-01", "--controller", "ville").stdout)
    assert write_fingerprint(token.ca_sha256) == fingerprint
    assert command("pki", "issue", "portal", "--role", "consumer-statistics", "--out", "portal.pem").exit_code == 0
    assert (tmp_path / "portal.pem").stat().st_mode & 0o777 == 0o600
    assert command("broker", "config", "--out", "broker", "--name", "localhost").exit_code == 0
    assert command("pki", "revoke", "consumer-statistics.portal").exit_code == 0
    assert command("pki", "crl", "--out", "crl.pem").stdout == "crl.pem: 1 revoked\n"
    listed = command("pki", "list").stdout
    assert "consumer-statistics.portal\tconsumer-statistics\tevery\trevoked" in listed
    assert command("pki", "list", "--json").stdout.count("\n") == 2
    assert command("pki", "issue", "gare-09", "--role", "box", "--out", "x.pem").exit_code == 1
    assert command("pki", "token", "Gare", "--controller", "ville").stderr.startswith("veilleur-fleet: names are")


def test_a_damaged_file_of_the_broker_is_named_with_the_remedy(pki, clock, tmp_path) -> None:
    files = BrokerFiles(tmp_path / "broker", pki, clock)
    files.lay_out("", ["localhost"])
    (tmp_path / "broker" / "broker.pem").write_bytes(b"half a certifi")
    with pytest.raises(PkiRejectedError, match=r"broker.pem is no certificate.*broker config"):
        files.refresh()
    (tmp_path / "broker" / "broker-key.pem").write_bytes(b"half a key")
    with pytest.raises(PkiRejectedError, match=r"broker-key.pem is no key.*lay"):
        files.lay_out("", ["localhost"])


@pytest.mark.parametrize(("slow_s", "looks"), [(0, 1), (10, 3)])
async def test_lists_are_looked_after_while_many_are_seen_out_of_a_slow_broker(pki, clock, slow_s, looks) -> None:
    seen_out = []

    def see_out(holder) -> None:
        seen_out.append(holder)
        clock.move(slow_s)

    guard = Guard(pki, None, see_out, clock)
    boxes = [holder_of(Role.BOX, f"box-{number}", "ville") for number in range(3 * AT_ONCE)]
    for box in boxes:
        pki.issue(box)
    await guard.look()
    for box in boxes:
        pki.register.revoke(box.name, clock.now_ms())
    await guard.look()
    clock.move(EVICT_AFTER_S[0])
    many = 0
    while len(set(seen_out)) < len(boxes):
        await guard.look()
        many += 1
    assert many == looks
