"""CAE-ADMM (Zhao & Liao 2019): plans, measures of claims, and data of figures and tables.

Every training is one record, and one model in ``models/`` beside the folder of records: codes that are pruned, codes
whose entropy is estimated, and codes that are left alone.

A rate is the length of a file. What the released code calls "bpp" stands beside it under its own name, nats. Curves are
compared by their mean vertical distance over the rates that both have (`metrics.bd_psnr`: by pchip, over the logarithm
of the rate), in the unit of the quality: SSIM and MS-SSIM as they are, from 0 to 1, and not in dB.
"""

from reproduce.papers.cae_admm.figures import *  # noqa: F403
from reproduce.papers.cae_admm.in_use import *  # noqa: F403
from reproduce.papers.cae_admm.measures import *  # noqa: F403
from reproduce.papers.cae_admm.plans import *  # noqa: F403
from reproduce.papers.cae_admm.released import *  # noqa: F403
