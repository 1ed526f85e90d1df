"""COIN (Dupont et al. 2021) and L0onie (Ramirez & Gallego-Posada 2022): plans, measures, data of figures."""

from reproduce.papers.loonie.figures import *  # noqa: F403
from reproduce.papers.loonie.measures import *  # noqa: F403
from reproduce.papers.loonie.plans import *  # noqa: F403
