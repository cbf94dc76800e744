"""The flat lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.soak.growth import MEASURES, Sample


def plot(series: Mapping[str, Sequence[Sample]], path: Path) -> None:
    """A panel for each measure, a line for each process."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(len(MEASURES), 1, figsize=(10, 10), sharex=True, layout="constrained")
    programs = sorted({name.split()[0] for name in series})
    for at, (measure, panel) in enumerate(zip(MEASURES, panels, strict=True)):
        for name, samples in series.items():
            times, values = [s.at_s for s in samples], [s.values[at] for s in samples]
            panel.plot(times, values, color=f"C{programs.index(name.split()[0])}", linewidth=1)
        panel.set(title=measure, ylim=(0, None))
    for number, program in enumerate(programs):
        panels[0].plot([], [], color=f"C{number}", label=program)
    panels[0].legend(loc="lower right", ncols=len(programs))
    panels[-1].set_xlabel("seconds")
    figure.savefig(path)
    plt.close(figure)
