"""The weights of the estimators of tempo and key, from ``fit.py``."""

import numpy as np

TEMPO_WEIGHTS = np.zeros(38)
KEY_WEIGHTS = np.zeros(49)
