# Two commands: `make demo` and `make test`. Each sets up what it needs; `make help` tells the rest.
export VEILLEUR_MODEL_CACHE ?= $(CURDIR)/.cache/models
# Compiling every module and test anew takes each process seconds.
unexport PYTHONDONTWRITEBYTECODE
bin := .venv/bin

.PHONY: help setup models demo test proof check docs lock bench-footage
.DEFAULT_GOAL := help

help: ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## Make .venv from the lock
	@scripts/setup

models: setup ## Fetch, convert and quantise the networks into .cache/models
	@$(bin)/veilleur-models build

demo: setup ## Count real footage on a live page; SECONDS=60 HEADLESS=1 for one JSON summary, SOURCE=clip.mp4 for yours
	@exec $(bin)/veilleur-simulator demo $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(filter 1 yes true,$(HEADLESS)),--headless) $(if $(SOURCE),--source "$(SOURCE)")

test: setup models ## Everything: gates, what computes with two workers, then the journeys, which mostly wait, with three
	@scripts/check gates
	@$(bin)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not journey"
	@$(bin)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m journey

proof: setup ## What a DPO may ask to see: egress, confinement and the fill, tried; one table, controls included (root)
	@$(bin)/python -m pytest tests/proof

check: ## The gates alone, under a minute
	@scripts/check

bench-footage: setup models ## Count recorded clips (CLIPS='a.toml b.toml'; default: those in tests/footage) and print the error
	@$(bin)/python benchmarks/footage.py $(CLIPS)

docs: setup ## Write the generated documents
	@$(bin)/python -m veilleur_contracts.describe >docs/wire.md
	@$(bin)/python -m veilleur_fleet.feeds.asyncapi >docs/asyncapi.json
	@$(bin)/python -m veilleur_fleet.pki.mosquitto firmware-config/broker
	@$(bin)/python -m veilleur_contracts.report_describe docs/privacy.md

lock: setup ## Pin the dependencies again
	@scripts/lock
