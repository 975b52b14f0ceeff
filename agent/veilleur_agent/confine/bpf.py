"""Turn rules on system calls into the classic BPF program that seccomp runs before each of them.

    load architecture ─other─▶ EPERM
    load number ─above what is known─▶ ENOSYS       (the x32 numbers too: they start at 2³⁰)
    for each rule:  number == rule? ─▶ its arguments ─▶ EPERM, ENOSYS or on
    allow

Only the low 32 bits of an argument are compared: every argument looked at here is an ``int`` or ``unsigned int`` to the
kernel, which drops the rest. Source: ``Documentation/userspace-api/seccomp_filter.rst``, ``linux/bpf_common.h``.
"""

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from veilleur_agent.confine.kernel import Architecture, number_of
from veilleur_agent.confine.syscalls import HIGHEST_KNOWN

LOAD: Final = 0x20
"""``BPF_LD | BPF_W | BPF_ABS``."""
AND: Final = 0x54
JUMP: Final = 0x05
JUMP_EQUAL: Final = 0x15
JUMP_GREATER: Final = 0x25
RETURN: Final = 0x06

ALLOW: Final = 0x7FFF0000
ERRNO: Final = 0x00050000

NUMBER_AT: Final = 0
ARCHITECTURE_AT: Final = 4
ARGUMENTS_AT: Final = 16
"""Places in ``struct seccomp_data``; an argument is 8 bytes, its low word first on both architectures."""

WORD: Final = 0xFFFFFFFF
AUDIT_OF: Final = {Architecture.X86_64: 0xC000003E, Architecture.AARCH64: 0xC00000B7}
LENGTH_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Check:
    """Holds when argument ``argument`` (0..5), under ``mask``, is one of ``values``."""

    argument: int
    values: tuple[int, ...]
    mask: int = WORD


@dataclass(frozen=True, slots=True)
class Rule:
    """Answer system call ``name`` with ``error`` when all ``checks`` hold; with ``unless``, when one does not."""

    name: str
    checks: tuple[Check, ...] = ()
    unless: bool = False
    error: int = errno.EPERM


def refuse(name: str, *checks: Check) -> Rule:
    """Refuse ``name`` where every check holds; without checks, always."""
    return Rule(name, checks)


def only(name: str, *checks: Check) -> Rule:
    """Refuse ``name`` except where every check holds."""
    return Rule(name, checks, unless=True)


def absent(name: str) -> Rule:
    """Answer as a kernel that never had ``name``, so that libraries fall back on an older call."""
    return Rule(name, error=errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One ``struct sock_filter``: a code, how many to skip when the test holds or does not, a constant."""

    code: int
    constant: int
    if_true: int = 0
    if_false: int = 0


def program_of(rules: Sequence[Rule], architecture: Architecture) -> tuple[Instruction, ...]:
    """Return the filter for ``rules``; where one lets a call pass, later ones on the same call are looked at."""
    program = [
        Instruction(LOAD, ARCHITECTURE_AT),
        Instruction(JUMP_EQUAL, AUDIT_OF[architecture], if_true=1),
        Instruction(RETURN, ERRNO | errno.EPERM),
        Instruction(LOAD, NUMBER_AT),
        Instruction(JUMP_GREATER, HIGHEST_KNOWN, if_false=1),
        Instruction(RETURN, ERRNO | errno.ENOSYS),
    ]
    for rule in rules:
        number = number_of(rule.name, architecture)
        if number is not None:
            block = _block_of(rule)
            program += [Instruction(JUMP_EQUAL, number, if_false=len(block)), *block]
    program.append(Instruction(RETURN, ALLOW))
    if len(program) > LENGTH_MAX:
        raise ValueError("more rules than the kernel takes")
    return tuple(program)


def packed(program: Sequence[Instruction]) -> bytes:
    """Return ``program`` as the kernel reads it."""
    return b"".join(struct.pack("=HBBI", one.code, one.if_true, one.if_false, one.constant) for one in program)


def _block_of(rule: Rule) -> list[Instruction]:
    verdict = Instruction(RETURN, ERRNO | rule.error)
    if not rule.checks:
        return [verdict]
    reload = Instruction(LOAD, NUMBER_AT)
    tail = [Instruction(JUMP, 1), verdict, reload] if rule.unless else [verdict, reload]
    block = tail
    for check in reversed(rule.checks):
        # Where the check fails: the verdict, at 1 in the tail, of `only`; the reload, at 1 too, of `refuse`.
        to_failure = len(block) - len(tail) + 1
        block = [*_check_of(check, to_failure), *block]
    return block


def _check_of(check: Check, to_failure: int) -> list[Instruction]:
    code = [Instruction(LOAD, ARGUMENTS_AT + 8 * check.argument)]
    if check.mask != WORD:
        code.append(Instruction(AND, check.mask))
    last = len(check.values)
    code += [Instruction(JUMP_EQUAL, value, if_true=last - place) for place, value in enumerate(check.values)]
    code.append(Instruction(JUMP, to_failure))
    return code
