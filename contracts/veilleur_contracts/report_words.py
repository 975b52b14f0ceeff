"""The words of a privacy report in French and English, for the paper that a box and the fleet both make of it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from veilleur_contracts.french import spaced
from veilleur_contracts.report_checks import Lang

Pair = tuple[str, str]

_WORDS: Final[dict[str, Pair]] = {
    "title": ("Rapport de protection des données", "Privacy report"),
    "of_box": ("Boîtier {box}", "Box {box}"),
    "made": ("Établi le", "Made on"),
    "why": ("Motif", "Reason"),
    "boot": ("démarrage", "start"),
    "change": ("changement", "change"),
    "daily": ("rapport quotidien", "daily report"),
    "summary": ("En bref", "In short"),
    "all_hold": (
        "Toutes les vérifications jugées ({n}) sont satisfaites.",
        "All checks that were judged ({n}) hold.",
    ),
    "some_fail": (
        "{n} vérification(s) sur {of} montrent un écart entre ce qui est déclaré et ce qui est mesuré : {which}.",
        "{n} of {of} checks show a difference between what is declared and what is measured: {which}.",
    ),
    "untested": (
        "{n} vérification(s) n'ont pas pu être jugées : {which}.",
        "{n} check(s) could not be judged: {which}.",
    ),
    "identity": ("Boîtier", "Box"),
    "law": ("Politique et base légale", "Policy and legal basis"),
    "cameras": ("Caméras et finalités", "Cameras and purposes"),
    "models": ("Modèles", "Models"),
    "redaction": ("Masquage", "Redaction"),
    "retention": ("Conservation", "Retention"),
    "egress": ("Ce qui sort", "What leaves"),
    "confinement": ("Confinement mesuré", "Measured confinement"),
    "access": ("Accès", "Access"),
    "audit": ("Journal", "Audit"),
    "checks": ("Vérifications", "Checks"),
    "check": ("N°", "No"),
    "claim": ("Affirmation", "Claim"),
    "declared": ("Déclaré", "Declared"),
    "measured": ("Mesuré", "Measured"),
    "outcome": ("Résultat", "Outcome"),
    "proof": ("Épreuve", "Proof"),
    "pass": ("conforme", "holds"),
    "fail": ("ÉCART", "DIFFERS"),
    "not_judged": ("non jugé", "not judged"),
    "box": ("Nom", "Name"),
    "whose": ("Responsable de traitement", "Controller"),
    "controller": ("le responsable de traitement", "the controller"),
    "ville": ("la ville", "the city"),
    "agglo": ("l'agglomération", "the agglomeration"),
    "agent": ("Version du logiciel", "Software version"),
    "profile": ("Profil", "Profile"),
    "site": ("Site (SHA-256)", "Site (SHA-256)"),
    "started": ("En marche depuis", "Running since"),
    "key": ("Clé du journal et du rapport", "Key of audit and report"),
    "clock": ("Horloge tenue par une source de temps", "Clock held by a time source"),
    "yes": ("oui", "yes"),
    "no": ("non", "no"),
    "none": ("aucun", "none"),
    "no_policy": (
        "Aucune politique signée : le profil le plus strict, ou le profil d'essai, tient lieu de règle.",
        "No signed policy: the strictest profile, or the bench profile, is the rule.",
    ),
    "version": ("Version", "Version"),
    "valid": ("Valable", "Valid"),
    "purpose": ("Finalité", "Purpose"),
    "references": ("Textes", "Texts"),
    "decision": ("Décision du responsable", "Decision of the controller"),
    "signers": ("Signataires", "Signers"),
    "opinion": ("Avis de {role} ({day}, {opinion})", "Opinion of {role} ({day}, {opinion})"),
    "stop": ("Arrêt en vigueur", "Stop in force"),
    "why_strict": ("Tenu au plus strict, parce que", "Held to the strictest, because"),
    "root": ("Racine", "Root"),
    "camera": ("Caméra {id} (commune {insee})", "Camera {id} (commune {insee})"),
    "camera_facts": (
        "Source {source} ; compte {labels} ; surveille {watches} ; fenêtres de {window_s} s.",
        "Source {source}; counts {labels}; watches {watches}; windows of {window_s} s.",
    ),
    "camera_permitted": (
        (
            "Permis ({profile}) : classes {classes}, personnes à partir de {k} et sur {person_s} s au moins, masques :"
            " {masks}, images : {images}, événements : {events}, agrégats : {aggregates}."
        ),
        (
            "Permitted ({profile}): classes {classes}, persons from {k} on and over {person_s} s at least,"
            " masks: {masks}, images: {images}, events: {events}, aggregates: {aggregates}."
        ),
    ),
    "camera_said": (
        "L'œil s'y tient : {profile}{why}, {runs}.",
        "The eye holds it to: {profile}{why}, {runs}.",
    ),
    "camera_silent": ("L'œil n'en a encore rien dit.", "The eye has not spoken of it yet."),
    "runs": ("elle fonctionne", "it runs"),
    "stands": ("elle ne fonctionne pas", "it does not run"),
    "masks_undecided": ("non décidés", "not decided"),
    "masks_none": ("aucun n'est nécessaire (décidé)", "none is needed (decided)"),
    "images_days": ("{n} jour(s) au plus", "{n} day(s) at most"),
    "model_facts": (
        "Trouve : {labels} ; identifie une personne : {able} ; en service : {in_use} ; SHA-256 {sha256}.",
        "Finds: {labels}; identifies a person: {able}; in use: {in_use}; SHA-256 {sha256}.",
    ),
    "fill": ("Remplissage", "Fill"),
    "constant": ("une seule couleur, jamais un flou", "one colour, never a blur"),
    "targets": ("Ce qui est couvert", "What is covered"),
    "targets_facts": (
        (
            "{people} % de chaque personne, chaque visage, les {vehicle} % inférieurs de chaque véhicule ;"
            " {dilation} % de plus de chaque côté."
        ),
        "{people}% of each person, each face, the lower {vehicle}% of each vehicle; {dilation}% more on each side.",
    ),
    "self_check": ("Autocontrôle", "Self-check"),
    "self_check_facts": ("une image sur {n} au moins", "one picture in {n} at least"),
    "attack": ("Épreuve d'attaque", "Attack test"),
    "store": ("Images conservées trouvées", "Kept pictures found"),
    "no_store": ("aucun magasin d'images, 0 élément", "no store of pictures, 0 items"),
    "store_facts": ("{n} jour(s) de caméra, {size} octets chiffrés", "{n} day(s) of cameras, {size} sealed bytes"),
    "oldest": ("La plus ancienne", "The oldest"),
    "frozen": ("Gelées pour la justice", "Frozen for justice"),
    "broker": ("La bouche parle au courtier", "The mouth speaks to the broker"),
    "door": ("La bouche parle à la porte de la flotte", "The mouth speaks to the fleet's door"),
    "gateway": ("La bouche écoute la passerelle radio", "The mouth hears the radio gateway"),
    "camera_ports": ("Ports que l'œil peut joindre", "Ports that the eye may reach"),
    "sent": ("Émis depuis {since}", "Sent since {since}"),
    "sent_facts": (
        "{bytes} octets en {messages} messages ; {refused} refusés par le courtier",
        "{bytes} bytes in {messages} messages; {refused} refused by the broker",
    ),
    "link": ("Passé de l'œil à la bouche", "Passed from eye to mouth"),
    "link_facts": (
        "{bytes} octets en {records} messages fermés ; au plus {most} octets par jour ne peuvent passer",
        "{bytes} bytes in {records} closed messages; at most {most} bytes a day can pass",
    ),
    "rejects": ("Refusé", "Refused"),
    "rejects_facts": (
        "{cuts} coupure(s) du lien, {rejects} message(s) descendants, {dropped} octets de sortie",
        "{cuts} cut(s) of the link, {rejects} message(s) down, {dropped} bytes of output",
    ),
    "process": ("Processus {name}", "Process {name}"),
    "process_facts": (
        (
            "utilisateur {uid}, Landlock {landlock}, filtre de {filter} instructions ; {refused} interdits essayés et"
            " refusés sur {tried}"
        ),
        (
            "user {uid}, Landlock {landlock}, a filter of {filter} instructions; {refused} of {tried} forbidden things"
            " tried and refused"
        ),
    ),
    "breach": ("Interdit n° {n} resté possible", "Forbidden thing no {n} found possible"),
    "control": ("Nécessaire n° {n} devenu impossible", "Needed thing no {n} found impossible"),
    "eye": ("œil", "eye"),
    "mouth": ("bouche", "mouth"),
    "view": ("vue", "view"),
    "users": ("Utilisateur du boîtier", "User of box"),
    "open_files": ("Fichiers privés ouverts à d'autres", "Private files open to others"),
    "exports": ("Extractions d'images au journal", "Exports of pictures in the audit"),
    "served": ("Image servie sur le réseau local", "Picture served on the local network"),
    "swap": ("Swaps en clair", "Swaps in the clear"),
    "entries": ("Entrées", "Entries"),
    "head": ("Tête signée", "Signed head"),
    "register": (
        (
            "Ce document peut être joint au registre des activités de traitement (RGPD, art. 30) et annexé à l'analyse"
            " d'impact (art. 35). Il est produit par le boîtier lui-même et signé par lui ; les vérifications sont"
            " rejouées par qui le lit."
        ),
        (
            "This document may be attached to the record of processing activities (GDPR, art. 30) and annexed to the"
            " impact assessment (art. 35). The box itself makes and signs it; whoever reads it judges the checks again."
        ),
    ),
    "signature": ("SHA-256 du document signé", "SHA-256 of the signed document"),
    "person": ("piétons", "pedestrians"),
    "bicycle": ("vélos", "bicycles"),
    "car": ("voitures", "cars"),
    "motorcycle": ("deux-roues motorisés", "motorcycles"),
    "bus": ("autobus", "buses"),
    "truck": ("camions", "lorries"),
    "face": ("visages (pour les couvrir)", "faces (to cover them)"),
    "lines": ("passages", "crossings"),
    "one-way": ("sens interdits", "wrong way"),
    "zones": ("présences", "presence"),
    "limits": ("stationnements", "standing vehicles"),
    "objects": ("objets encombrants", "bulky objects"),
    "road": ("état de la route", "state of the road"),
    "speeds": ("vitesses", "speeds"),
    "dpo-ville": ("le ou la DPO de la ville", "the city's DPO"),
    "dpo-agglo": ("le ou la DPO de l'agglomération", "the agglomeration's DPO"),
    "operator": ("l'opérateur", "the operator"),
    "favourable": ("favorable", "favourable"),
    "with-reservations": ("avec réserves", "with reservations"),
    "unfavourable": ("défavorable", "unfavourable"),
    "road-state": ("état de la route", "state of the road"),
    "crowd-band": ("densité de foule", "density of a crowd"),
    "stopped-vehicle": ("véhicule arrêté", "stopped vehicle"),
    "bulky-object": ("objet encombrant", "bulky object"),
    "wrong-way": ("contresens", "driving the wrong way"),
    "bench": ("banc d'essai", "bench"),
    "strictest": ("le plus strict", "strictest"),
    "signed": ("politique signée", "signed policy"),
    "stopped": ("arrêté", "stopped"),
    "no-policy": ("aucune politique", "no policy"),
    "not-covered": ("caméra hors de la politique", "camera not covered"),
    "unfounded": ("signataires révoqués", "signers revoked"),
    "expired": ("politique expirée", "policy expired"),
    "root-expired": ("racine expirée", "root expired"),
    "no-contact": ("flotte silencieuse", "fleet silent"),
    "behind": ("politique plus récente retenue", "newer policy held back"),
    "audit-unwritable": ("journal impossible à écrire", "audit cannot be written"),
    "masks-undecided": ("masques non décidés", "masks not decided"),
    "edited": ("entrée modifiée", "entry edited"),
    "dropped": ("entrée disparue", "entry gone"),
    "reordered": ("ordre changé", "order changed"),
    "truncated": ("journal remis à un état antérieur", "log put back to an earlier state"),
    "forked": ("histoire récrite", "history written anew"),
    "unsigned": ("tête non signée", "head not signed"),
    "other-key": ("autre clé", "another key"),
    "refused-report": ("rapport refusé", "report refused"),
    "refused-audit": ("journal refusé", "audit refused"),
    "told-edited": (
        "Une entrée du journal n'est plus celle que le boîtier avait signée.",
        "An entry of the audit is no longer what the box had signed.",
    ),
    "told-dropped": (
        "Des entrées du journal ont disparu.",
        "Entries of the audit are gone.",
    ),
    "told-reordered": (
        "Des entrées du journal ont changé de place.",
        "Entries of the audit stand elsewhere than before.",
    ),
    "told-truncated": (
        "Le journal du boîtier est plus court que ce qu'il avait déjà montré : remis d'une sauvegarde, ou coupé.",
        "The audit of the box is shorter than what it had shown already: put back from a backup, or cut.",
    ),
    "told-forked": (
        "Le boîtier raconte une autre histoire que celle qu'il avait signée.",
        "The box tells another history than the one it had signed.",
    ),
    "told-unsigned": (
        "La tête du journal n'est pas signée par la clé connue de ce boîtier.",
        "The head of the audit is not signed by the known key of this box.",
    ),
    "told-other-key": (
        "Une autre clé que celle qui est connue a signé : nouvel enrôlement, ou usurpation.",
        "Another key than the known one has signed: a new enrolment, or somebody else.",
    ),
    "told-refused-report": (
        "Un rapport est arrivé qui ne peut pas être vérifié.",
        "A report came that cannot be verified.",
    ),
    "told-refused-audit": (
        "Une partie du journal est arrivée qui ne peut pas être vérifiée.",
        "A part of the audit came that cannot be verified.",
    ),
    "unit-P01": ("interdits restés possibles", "forbidden things found possible"),
    "unit-P02": ("interdits restés possibles", "forbidden things found possible"),
    "unit-P04": ("utilisateurs", "users"),
    "unit-P06": ("textes / signataires", "texts / signers"),
    "unit-P08": ("caméras de rue", "street cameras"),
    "unit-P12": ("modèles qui le sauraient", "models that could"),
    "unit-P16": ("jours de caméra conservés", "days of cameras kept"),
    "unit-P17": ("destinations", "destinations"),
    "unit-P19": ("coupures du lien", "cuts of the link"),
    "unit-P21": ("entrées", "entries"),
    "unit-P22": ("ouverts à d'autres", "open to others"),
    "unit-P23": ("services d'images", "servers of pictures"),
    "unit-P24": ("swaps en clair", "swaps in the clear"),
    "unit-P25": ("sources de temps", "time sources"),
    "unit-F03": ("entrées", "entries"),
}
WORDS: Final[Mapping[str, Pair]] = MappingProxyType(_WORDS)

TRIALS: Final[Mapping[int, Pair]] = MappingProxyType(
    {
        1: ("connexion TCP vers un port non permis", "TCP connection to a port that is not allowed"),
        2: ("connexion TCP à chemins multiples", "Multipath TCP socket"),
        3: ("TCP Fast Open : se connecter en émettant", "TCP Fast Open: connecting by sending"),
        4: ("TCP Fast Open : le demander", "TCP Fast Open: asking for it"),
        5: ("datagramme UDP", "UDP socket"),
        6: ("connexion UNIX", "UNIX socket"),
        7: ("paire de connexions UNIX", "pair of UNIX sockets"),
        8: ("connexion VSOCK", "VSOCK socket"),
        9: ("paquets IP bruts", "raw IP socket"),
        10: ("trames réseau", "packet socket"),
        11: ("connexion netlink", "netlink socket"),
        12: ("connexion d'une autre famille", "socket of another family"),
        13: ("occuper un port TCP non donné", "bind a TCP port that is not given"),
        14: ("écouter sans occuper de port", "listen without binding"),
        15: ("passer un fichier ouvert à un autre processus", "pass an open file to another process"),
        16: ("io_uring", "io_uring"),
        17: ("exécuter un programme", "run a program"),
        18: ("démarrer un processus", "start a process"),
        19: ("suivre le processus parent", "trace the parent"),
        20: ("lire la mémoire du parent", "read the parent's memory"),
        21: ("lire l'environnement du parent", "read the parent's environment"),
        22: ("prendre un fichier ouvert d'un autre processus", "take an open file of another process"),
        23: ("envoyer un signal au parent", "signal the parent"),
        24: ("changer d'identité", "change identity"),
        25: ("détenir un privilège", "hold a capability"),
        26: ("gagner des privilèges par un programme", "gain privileges by running a program"),
        27: ("mémoire partagée System V", "System V shared memory"),
        28: ("sémaphore System V", "System V semaphore"),
        29: ("file de messages System V", "System V message queue"),
        30: ("file de messages POSIX", "POSIX message queue"),
        31: ("trousseau du noyau", "kernel keyring"),
        32: ("attribut sur un fichier", "attribute on a file"),
        33: ("traiter des fautes de page", "user fault handling"),
        34: ("programme BPF", "BPF program"),
        35: ("compteur de performance", "performance counter"),
        36: ("autre espace de noms", "another namespace"),
        37: ("monter un système de fichiers", "mount"),
        38: ("ouvrir /etc/passwd", "open /etc/passwd"),
        39: ("ouvrir le magasin d'un autre processus", "open another process's store"),
        40: ("ouvrir le code d'une bibliothèque interdite", "open the code of a forbidden library"),
        41: ("écrire dans un dossier ouvert à tous", "write in a folder open to all"),
        42: ("relever la limite des fichiers core", "raise the limit on core files"),
        43: ("laisser lire sa mémoire", "be dumpable"),
        100: ("connexion TCP vers un port permis", "TCP connection to an allowed port"),
        101: ("écrire dans ses propres dossiers", "write in its own folders"),
        102: ("démarrer un fil d'exécution", "start a thread"),
    }
)


def word(key: str, lang: Lang, /, **values: object) -> str:
    """Return the words of ``key`` in ``lang``; a key nobody wrote words for stands for itself."""
    found = WORDS.get(key)
    return key if found is None else _said(found, lang).format(**values)


def trial(number: int, lang: Lang) -> str:
    """Return what was tried, in ``lang``."""
    found = TRIALS.get(number)
    return str(number) if found is None else _said(found, lang)


def _said(pair: Pair, lang: Lang) -> str:
    return pair[1] if lang == "en" else spaced(pair[0])
