"""``python -m veilleur_models`` is ``veilleur-models``."""

from veilleur_models.cli import main

main()
