"""Sparse CAE (Gille et al. 2022): plans, measures of claims, and data of figures and tables.

Every training is one record, and one model in ``models/`` beside the folder of records. A second descent begins from
the model of a first one, so the study `cae` comes before the others.
"""

from reproduce.papers.sparse_cae.figures import *  # noqa: F403
from reproduce.papers.sparse_cae.in_use import *  # noqa: F403
from reproduce.papers.sparse_cae.measures import *  # noqa: F403
from reproduce.papers.sparse_cae.plans import *  # noqa: F403
