"""Every check of a privacy report: its number, what it claims in French and English, and the test that proves it.

A number is never reused. P: judged by the box and again by the fleet, from the same facts; F: by the fleet alone, which
holds what no box can vouch for. The tables of ``docs/privacy.md`` are made from here (``veilleur_contracts.describe``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from veilleur_contracts import report_rules as rules
from veilleur_contracts.audit import Process
from veilleur_contracts.french import spaced
from veilleur_contracts.report import CheckResult, Outcome, Report
from veilleur_contracts.report_rules import Finding, Judge

Lang = Literal["fr", "en"]


class Part(StrEnum):
    """Which part of the report a check belongs to."""

    IDENTITY = "identity"
    LAW = "law"
    CAMERAS = "cameras"
    MODELS = "models"
    REDACTION = "redaction"
    RETENTION = "retention"
    EGRESS = "egress"
    CONFINEMENT = "confinement"
    ACCESS = "access"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        number: What it is known by for ever.
        part: Where in the report it stands.
        fr: What it claims, in French.
        en: The same in English.
        proof: The file of tests that proves the claim, from the root of the repository.
        judge: Judges the facts; None: the fleet judges it by what it holds itself.
    """

    number: str
    part: Part
    fr: str
    en: str
    proof: str
    judge: Judge | None = None

    def claim(self, lang: Lang) -> str:
        """Return what it claims in ``lang``."""
        return spaced(self.fr) if lang == "fr" else self.en


@dataclass(frozen=True, slots=True)
class Judged:
    """A check, what it came to, and what the box itself says of it (None: nothing)."""

    check: Check
    finding: Finding
    claimed: Outcome | None = None

    @property
    def differs(self) -> bool:
        """Whether what is declared and what is measured differ, or the box says otherwise than its own facts."""
        return self.finding.outcome is Outcome.FAIL or self.claimed not in {None, self.finding.outcome}


CHECKS: Final = (
    Check(
        "P01",
        Part.CONFINEMENT,
        "L'œil a essayé tout ce qui lui est interdit (réseau, programmes, fichiers) et tout lui a été refusé.",
        "The eye tried everything it must not do (network, programs, files) and was refused all of it.",
        "tests/agent/confine/test_eye.py",
        rules.confined(Process.EYE),
    ),
    Check(
        "P02",
        Part.CONFINEMENT,
        "La bouche a essayé tout ce qui lui est interdit, dont ouvrir une bibliothèque d'images : tout a été refusé.",
        "The mouth tried everything it must not do, opening a picture library among it, and was refused all of it.",
        "tests/agent/confine/test_mouth.py",
        rules.confined(Process.MOUTH),
    ),
    Check(
        "P03",
        Part.CONFINEMENT,
        "Le noyau confine (Landlock et seccomp), et personne n'a permis de s'en passer.",
        "The kernel confines (Landlock and seccomp), and nobody allowed to do without.",
        "tests/agent/confine/test_report.py",
        rules.kernel_confines,
    ),
    Check(
        "P04",
        Part.CONFINEMENT,
        "Boîtier, œil et bouche sont trois utilisateurs différents de la machine.",
        "Box, eye and mouth are three different users of the machine.",
        "tests/agent/confine/test_box.py",
        rules.users_apart,
    ),
    Check(
        "P05",
        Part.LAW,
        "Une politique signée est en vigueur.",
        "A signed policy is in force.",
        "tests/agent/box/test_policy_in_force.py",
        rules.policy_holds,
    ),
    Check(
        "P06",
        Part.LAW,
        "La politique nomme sa finalité, ses textes et ses signataires.",
        "The policy names its purpose, its texts and its signers.",
        "tests/contracts/test_authority.py",
        rules.policy_founded,
    ),
    Check(
        "P07",
        Part.CAMERAS,
        "L'œil ne permet à aucune caméra plus que ce que disent les documents signés.",
        "The eye allows no camera more than the signed documents say.",
        "tests/agent/eye/test_mandate.py",
        rules.eye_obeys,
    ),
    Check(
        "P08",
        Part.CAMERAS,
        "Aucune caméra de rue ne fonctionne sans que les masques de son image aient été décidés.",
        "No street camera runs in whose picture nobody decided what to mask.",
        "tests/agent/eye/test_mask.py",
        rules.masks_decided,
    ),
    Check(
        "P09",
        Part.CAMERAS,
        "Aucune fenêtre de comptage n'est plus courte que permis.",
        "No counting window is shorter than allowed.",
        "tests/agent/eye/test_release.py",
        rules.windows_long,
    ),
    Check(
        "P10",
        Part.CAMERAS,
        "Les petits effectifs de personnes et de cyclistes sont retenus.",
        "Small numbers of persons and cyclists are withheld.",
        "tests/agent/eye/test_release.py",
        rules.small_counts,
    ),
    Check(
        "P11",
        Part.CAMERAS,
        "Au-delà des statistiques, rien n'est dit sans visa (A) ni autorisation (E).",
        "Beyond statistics nothing is told without a visa (A) or an authorisation (E).",
        "tests/contracts/test_policy_documents.py",
        rules.classes_founded,
    ),
    Check(
        "P12",
        Part.MODELS,
        "Aucun modèle présent ne sait identifier une personne.",
        "No model present can identify a person.",
        "tests/models/test_package.py",
        rules.nothing_identifies,
    ),
    Check(
        "P13",
        Part.MODELS,
        "Les modèles sur le disque sont, à l'octet près, ceux de leur fiche.",
        "The models on disk are, to the byte, those of their cards.",
        "tests/models/test_package.py",
        rules.models_genuine,
    ),
    Check(
        "P14",
        Part.REDACTION,
        "Ce qui est masqué est rempli d'une seule couleur ; un attaquant entraîné n'y lit pas mieux que le hasard.",
        "What is redacted is filled with one colour; a trained attacker reads it no better than chance.",
        "tests/agent/eye/test_attack.py",
        rules.fill_closed,
    ),
    Check(
        "P15",
        Part.RETENTION,
        "L'image la plus ancienne trouvée est dans sa durée de conservation.",
        "The oldest picture found is within its days.",
        "tests/agent/eye/test_retention.py",
        rules.oldest_in_time,
    ),
    Check(
        "P16",
        Part.RETENTION,
        "Aucune image n'est conservée là où la politique n'en permet pas.",
        "No picture is kept where the policy allows none.",
        "tests/agent/test_clip_store.py",
        rules.nothing_kept_unasked,
    ),
    Check(
        "P17",
        Part.EGRESS,
        "La bouche ne parle qu'au courtier et à la porte de sa flotte, et à la passerelle radio à côté du boîtier.",
        "The mouth speaks to the broker and the door of its fleet, and to the radio gateway beside the box, alone.",
        "tests/agent/confine/test_mouth.py",
        rules.one_way_out,
    ),
    Check(
        "P18",
        Part.EGRESS,
        "Ce qui a passé de l'œil à la bouche est resté sous la borne.",
        "What passed from eye to mouth stayed below its bound.",
        "tests/agent/link/test_link.py",
        rules.link_within_budget,
    ),
    Check(
        "P19",
        Part.EGRESS,
        "Ni l'œil ni la bouche n'ont dit autre chose que des messages fermés.",
        "Neither eye nor mouth said anything but closed messages.",
        "tests/agent/link/test_link.py",
        rules.nobody_cut,
    ),
    Check(
        "P20",
        Part.EGRESS,
        "Leurs sorties ne portent que des événements déclarés.",
        "Their outputs carry nothing but registered events.",
        "tests/agent/box/test_events.py",
        rules.output_registered,
    ),
    Check(
        "P21",
        Part.AUDIT,
        "Le journal est écrit, et sa tête signée.",
        "The audit is written, and its head signed.",
        "tests/agent/test_audit.py",
        rules.audit_written,
    ),
    Check(
        "P22",
        Part.ACCESS,
        "Clés, mots de passe et dossiers de l'œil et de la bouche sont fermés aux autres utilisateurs.",
        "Keys, passwords and the folders of eye and mouth are closed to other users.",
        "tests/agent/test_report.py",
        rules.files_private,
    ),
    Check(
        "P23",
        Part.ACCESS,
        "Aucune image n'est servie sur le réseau, même masquée.",
        "No picture is served on the network, not even a redacted one.",
        "tests/contracts/test_report_rules.py",
        rules.view_closed,
    ),
    Check(
        "P24",
        Part.ACCESS,
        "La mémoire ne peut pas être écrite en clair sur un disque (swap).",
        "Memory cannot be written to a disk in the clear (swap).",
        "tests/agent/test_swap.py",
        rules.memory_stays,
    ),
    Check(
        "P25",
        Part.IDENTITY,
        "Une source de temps tient l'horloge.",
        "A time source holds the clock.",
        "tests/agent/eye/test_timesheet.py",
        rules.clock_set,
    ),
    Check(
        "F01",
        Part.IDENTITY,
        "Le rapport est signé par la clé connue de ce boîtier.",
        "The report is signed with the key known for this box.",
        "tests/fleet/test_reports.py",
    ),
    Check(
        "F02",
        Part.IDENTITY,
        "Le rapport a moins de 26 heures.",
        "The report is less than 26 hours old.",
        "tests/fleet/test_dpo.py",
    ),
    Check(
        "F03",
        Part.AUDIT,
        "La copie du journal que tient la flotte est entière, et suit chaque tête signée.",
        "The fleet's copy of the audit is whole, and agrees with every signed head.",
        "tests/fleet/test_audit_copies.py",
    ),
    Check(
        "F04",
        Part.AUDIT,
        "Le journal annonce ce rapport.",
        "The audit tells of this report.",
        "tests/fleet/test_dpo.py",
    ),
    Check(
        "F05",
        Part.LAW,
        "Le boîtier tient la politique que la flotte a publiée pour lui.",
        "The box holds the policy that the fleet published for it.",
        "tests/fleet/test_dpo.py",
    ),
)
CHECK_OF: Final[Mapping[str, Check]] = MappingProxyType({one.number: one for one in CHECKS})


def judged(report: Report) -> tuple[Judged, ...]:
    """Return every check that can be judged by ``report`` alone, by number, beside what the box says of it."""
    claimed = {one.number: one.outcome for one in report.checks}
    return tuple(
        Judged(check, check.judge(report), claimed.get(check.number)) for check in CHECKS if check.judge is not None
    )


def results_of(judgements: Iterable[Judged]) -> tuple[CheckResult, ...]:
    """Return ``judgements`` as a report holds them."""
    return tuple(CheckResult(one.check.number, one.finding.outcome) for one in judgements)
