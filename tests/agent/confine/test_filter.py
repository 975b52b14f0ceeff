"""The seccomp filter, run here by an interpreter of its own for both architectures, on calls nobody has to make."""

import errno
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_agent.confine.bpf import (
    ALLOW,
    AND,
    AUDIT_OF,
    ERRNO,
    JUMP,
    JUMP_EQUAL,
    JUMP_GREATER,
    LENGTH_MAX,
    LOAD,
    RETURN,
    Check,
    Instruction,
    Rule,
    only,
    packed,
    program_of,
    refuse,
)
from veilleur_agent.confine.kernel import Architecture, number_of
from veilleur_agent.confine.seccomp import CLONE_NEW, REFUSED, rules_for
from veilleur_agent.confine.syscalls import HIGHEST_KNOWN, NUMBERS

OWN_PID = 4321
X86, ARM = Architecture.X86_64, Architecture.AARCH64
EYE = rules_for(OWN_PID, may_bind=False, may_listen=False, may_pass_messages=False)
MOUTH = rules_for(OWN_PID, may_bind=True, may_listen=False, may_pass_messages=False)
SERVER = rules_for(OWN_PID, may_bind=False, may_listen=True, may_pass_messages=True)
HEADERS = {X86: "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", ARM: "/usr/include/asm-generic/unistd.h"}
THREAD = 0x3D0F00
"""The flags with which glibc starts a thread."""


def verdict_of(program: tuple[Instruction, ...], audit: int, number: int, arguments: tuple[int, ...]) -> int:
    """Run ``program`` as the kernel does and return what it returns: 0 for allow, else the error."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number, audit, 0, *(value % (1 << 64) for value in padded))
    place, accumulator = 0, 0
    while True:
        one = program[place]
        place += 1
        if one.code == LOAD:
            accumulator = struct.unpack_from("<I", data, one.constant)[0]
        elif one.code == AND:
            accumulator &= one.constant
        elif one.code == JUMP:
            place += one.constant
        elif one.code == JUMP_EQUAL:
            place += one.if_true if accumulator == one.constant else one.if_false
        elif one.code == JUMP_GREATER:
            place += one.if_true if accumulator > one.constant else one.if_false
        else:
            assert one.code == RETURN
            return 0 if one.constant == ALLOW else one.constant & ~ERRNO


def answer(rules: tuple[Rule, ...], architecture: Architecture, name: str, *arguments: int) -> int:
    number = number_of(name, architecture)
    assert number is not None
    return verdict_of(program_of(rules, architecture), AUDIT_OF[architecture], number, arguments)


CALLS = [
    pytest.param("socket", (2, 1, 0), 0, id="tcp"),
    pytest.param("socket", (10, 0o2004001, 6), 0, id="tcp6-non-blocking"),
    pytest.param("socket", (2, 1, 262), errno.EPERM, id="mptcp"),
    pytest.param("socket", (2, 1, 132), errno.EPERM, id="sctp"),
    pytest.param("socket", (2, 1, 256), errno.EPERM, id="smc"),
    pytest.param("socket", (2, 2, 0), errno.EPERM, id="udp"),
    pytest.param("socket", (2, 3, 1), errno.EPERM, id="raw"),
    pytest.param("socket", (2, 5, 0), errno.EPERM, id="seqpacket"),
    pytest.param("socket", (1, 1, 0), errno.EPERM, id="unix"),
    pytest.param("socket", (16, 3, 0), errno.EPERM, id="netlink"),
    pytest.param("socket", (17, 3, 0), errno.EPERM, id="packet"),
    pytest.param("socket", (40, 1, 0), errno.EPERM, id="vsock"),
    pytest.param("socket", (2 | 1 << 40, 1, 0), 0, id="high-word-is-dropped-as-the-kernel-does"),
    pytest.param("sendto", (3, 0, 10, 0x4000), 0, id="send-without-signal"),
    pytest.param("sendto", (3, 0, 10, 0x20004000), errno.EPERM, id="send-fast-open"),
    pytest.param("sendmsg", (3, 0, 0), errno.EPERM, id="pass-a-file"),
    pytest.param("setsockopt", (3, 6, 1), 0, id="tcp-no-delay"),
    pytest.param("setsockopt", (3, 6, 30), errno.EPERM, id="tcp-fast-open-connect"),
    pytest.param("setsockopt", (3, 6, 31), errno.EPERM, id="tcp-upper-protocol"),
    pytest.param("setsockopt", (3, 1, 30), 0, id="the-same-number-at-another-level"),
    pytest.param("clone", (THREAD,), 0, id="thread"),
    pytest.param("clone", (17,), errno.EPERM, id="child"),
    pytest.param("clone", (THREAD | 0x10000000,), errno.EPERM, id="thread-in-a-user-namespace"),
    pytest.param("clone3", (0, 88), errno.ENOSYS, id="clone3"),
    pytest.param("kill", (OWN_PID, 15), 0, id="signal-itself"),
    pytest.param("kill", (1, 9), errno.EPERM, id="signal-another"),
    pytest.param("kill", (0, 9), errno.EPERM, id="signal-the-group"),
    pytest.param("kill", (-1, 9), errno.EPERM, id="signal-everyone"),
    pytest.param("tgkill", (OWN_PID, OWN_PID, 6), 0, id="abort"),
    pytest.param("prlimit64", (0, 4), 0, id="its-own-limits"),
    pytest.param("prlimit64", (1, 4), errno.EPERM, id="limits-of-another"),
    pytest.param("prctl", (15,), 0, id="name-a-thread"),
    pytest.param("prctl", (4, 1), errno.EPERM, id="become-dumpable"),
    pytest.param("ioctl", (0, 0x5413), 0, id="ask-for-the-size-of-a-terminal"),
    pytest.param("ioctl", (0, 0x5412), errno.EPERM, id="type-into-a-terminal"),
    pytest.param("bind", (3,), errno.EPERM, id="bind"),
    pytest.param("connect", (3,), 0, id="connect"),
]


@pytest.mark.parametrize("architecture", [X86, ARM])
@pytest.mark.parametrize(("name", "arguments", "expected"), CALLS)
def test_a_call_gets_its_answer(architecture, name, arguments, expected) -> None:
    assert answer(EYE, architecture, name, *arguments) == expected


@pytest.mark.parametrize(
    ("architecture", "name"),
    [(one, name) for one in (X86, ARM) for name in REFUSED if number_of(name, one) is not None],
)
def test_what_is_refused_is_refused_whatever_it_asks(architecture, name) -> None:
    for arguments in ((), (1,) * 6, (-1,) * 6):
        assert answer(EYE, architecture, name, *arguments) == errno.EPERM


@pytest.mark.parametrize("architecture", [X86, ARM])
def test_who_binds_to_connect_listens_on_nothing_for_all_that(architecture) -> None:
    answers = [answer(MOUTH, architecture, name, 3) for name in ("bind", "listen", "accept", "accept4")]
    assert answers == [0, errno.EPERM, errno.EPERM, errno.EPERM]


@pytest.mark.parametrize("architecture", [X86, ARM])
def test_a_server_may_listen_and_send_messages_but_not_open_fast(architecture) -> None:
    assert [answer(SERVER, architecture, name, 3) for name in ("bind", "listen", "accept4", "sendmsg")] == [0, 0, 0, 0]
    assert answer(SERVER, architecture, "sendmsg", 3, 0, 0x20000000) == errno.EPERM


@pytest.mark.parametrize("architecture", [X86, ARM])
def test_no_number_means_anything_under_another_architecture(architecture) -> None:
    program = program_of(EYE, architecture)
    for audit in (0x40000003, 0x40000028, 0, *(AUDIT_OF[other] for other in Architecture if other is not architecture)):
        assert verdict_of(program, audit, 0, ()) == errno.EPERM


@pytest.mark.parametrize("number", [HIGHEST_KNOWN + 1, 0x40000000, 0x40000000 + 41, 0x40000000 + 520, 0xFFFFFFFF])
def test_what_came_later_and_the_x32_calls_do_not_exist(number) -> None:
    assert verdict_of(program_of(EYE, X86), AUDIT_OF[X86], number, ()) == errno.ENOSYS


@pytest.mark.parametrize("architecture", [X86, ARM])
def test_ordinary_calls_pass(architecture) -> None:
    """Every number that no rule names."""
    program = program_of(EYE, architecture)
    named = {number_of(name, architecture) for name in NUMBERS}
    free = [number for number in range(HIGHEST_KNOWN + 1) if number not in named]
    assert len(free) > 200
    assert {verdict_of(program, AUDIT_OF[architecture], number, ()) for number in free} == {0}


@given(
    st.lists(
        st.builds(
            Check,
            st.integers(0, 5),
            st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple),
            st.sampled_from([0xFFFFFFFF, 1, 2]),
        ),
        max_size=3,
    ).map(tuple),
    st.tuples(*(st.integers(0, 3) for _ in range(6))),
)
def test_a_rule_does_what_its_checks_say(checks, arguments) -> None:
    holds = all(arguments[check.argument] & check.mask in check.values for check in checks)
    assert answer((refuse("mount", *checks),), X86, "mount", *arguments) == (errno.EPERM if holds else 0)
    if checks:
        assert answer((only("mount", *checks),), X86, "mount", *arguments) == (0 if holds else errno.EPERM)
    both = (refuse("mount", *checks), refuse("mount", Check(0, (3,))))
    refused = holds or arguments[0] == 3
    assert answer(both, X86, "mount", *arguments) == (errno.EPERM if refused else 0)


@pytest.mark.parametrize("architecture", [X86, ARM])
def test_the_program_fits_and_ends_where_it_must(architecture) -> None:
    program = program_of(EYE, architecture)
    assert len(program) < LENGTH_MAX
    assert len(packed(program)) == 8 * len(program)
    for place, one in enumerate(program):
        longest = one.constant if one.code == JUMP else max(one.if_true, one.if_false)
        assert one.code == RETURN or place + 1 + longest < len(program)


def test_the_flags_of_new_namespaces_are_all_there() -> None:
    known = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80)
    assert sum(known) == CLONE_NEW


@pytest.mark.parametrize("architecture", [X86, ARM])
def test_the_numbers_are_those_of_the_kernel_headers(architecture) -> None:
    header = Path(HEADERS[architecture])
    if not header.exists():
        pytest.skip("the Linux headers (linux-libc-dev) are not installed")
    lines = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text(encoding="ascii"))
    known = {name: int(number) for name, number in lines}
    assert {name: number_of(name, architecture) for name in NUMBERS} == {name: known.get(name) for name in NUMBERS}
