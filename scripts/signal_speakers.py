"""Whom does a simulated listener attend to? Clusters of voices named by a recurrent network, by strength of attention.

Trials of two talkers, whose kinds of voices the signals tell apart, and a copy in which signals and trials no longer
belong together. With ``--write`` the table goes into ``docs/signals.md``.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from signal_subjects import as_table, put, stamp

from brainalign.analysis.decoding import SpeakerDecoder, decode_speakers
from brainalign.learning import NeuralClassifier
from brainalign.loaders.simulated.listening import simulate_listening

COLUMNS = ("attention", "cluster named (chance)", "talker found", "p", "single windows", "speakers apart", "shuffled")
TRAINING = {"n_epochs": 8, "batch_size": 32, "learning_rate": 0.03}
DECODER = SpeakerDecoder(
    3, window=50, network=NeuralClassifier("recurrent", {"n_units": 6, "pool": 10}, training=TRAINING)
)


def row(attention: float, n_trials: int, n_permutations: int) -> dict[str, Any]:
    """One strength of attention."""
    heard = simulate_listening(n_trials, attention=attention)
    found = decode_speakers(DECODER, heard.signals, heard.voices, n_permutations=n_permutations)
    apart = decode_speakers(DECODER, heard.signals, heard.voices, groups=heard.speakers[:, 0])
    order = np.random.default_rng(0).permutation(n_trials)
    shuffled = decode_speakers(DECODER, [heard.signals[one] for one in order], heard.voices)
    return {
        "attention": f"{attention:g}",
        "cluster named (chance)": f"{found.clusters.value:.2f} ({found.clusters.chance:.2f})",
        "talker found": f"{found.trials.value:.2f} [{found.trials.low:.2f}, {found.trials.high:.2f}]",
        "p": f"{found.p_value:.2f}",
        "single windows": found.windows.value,
        "speakers apart": apart.trials.value,
        "shuffled": shuffled.trials.value,
    }


def main() -> None:
    """Read the command line, make the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--permutations", type=int, default=19)
    parser.add_argument("--write", action="store_true", help="put the table into docs/signals.md")
    options = parser.parse_args()
    started = time.process_time()
    rows = [row(attention, options.trials, options.permutations) for attention in (0.0, 0.15, 0.3, 0.6)]
    text = f"""{stamp()}, {time.process_time() - started:.0f} s of processor time:
{options.trials} trials of two talkers among twelve, of three kinds of voices; attention is the size of the response in
SD of the noise. In folds by trial: whether the cluster of the attended voice is named (chance: the most
frequent one), whether the attended of two talkers is found (chance 0.5), with p by {options.permutations} draws of who
is attended to, and the same from windows of half a trial; in folds by attended speaker; and with signals shuffled.

{as_table(rows, COLUMNS)}"""
    print(text)
    if options.write:
        put(text, "speakers")


if __name__ == "__main__":
    main()
