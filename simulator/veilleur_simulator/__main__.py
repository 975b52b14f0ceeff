"""``python -m veilleur_simulator`` is ``veilleur-simulator``."""

from veilleur_simulator.cli import main

main()
