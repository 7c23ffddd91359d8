"""How fast a model runs on this machine, compared with the most that the machine could do.

Generating reads every weight of the language model once a step, so memory bandwidth is its ceiling; the codec and
training are bound by arithmetic, and are compared with the rate of a large matrix product. Ceilings are measured in the
same run, on the same device and with the same threads.

Every figure is a median, with the smallest and the largest value (``seconds``, ``seconds_min``, ``seconds_max``). What
is compared is measured in turns, and the ratio is taken within each turn, so that whatever else changes on the machine
meanwhile changes for both. Seconds of a busy machine are only good for ratios.
"""
