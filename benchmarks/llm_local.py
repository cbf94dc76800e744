"""The local engine beside plain `generate()` and llama.cpp's server: same weights, same prompts, in one run.

Each part starts the three one after another and measures each alone on the machine:
`turns`: time to the first token at turns 1 to 30 of one conversation, every answer 24 tokens and part of the history;
of five with Parley, the median; `prefill`: the same, of three, where Parley is told history and words while the user
speaks;
`decode`: tokens a second in all, 1, 4, 8 and 16 sessions, the likeliest token each, and 16 that draw theirs; plain
`generate()` serves one at a time, whatever they are;
`rush`: 8 sessions with 15 turns of history each speak at once; `join`: the pace of running streams while a prompt of
2,000 tokens joins. `report` makes the table and the plot of what has been measured.

    python -m benchmarks.llm_local [--part turns prefill decode rush join report]
"""

import argparse
import asyncio
import statistics
from collections.abc import Callable
from typing import Any

from benchmarks.llm_peers import SYSTEM, Answer, Peer, Turn, llama_cpp, parley, plain, resident_mb
from benchmarks.report import RESULTS, load, save, show

NAME = "llm_local"
TURNS, ANSWER_TOKENS = 30, 24
CONVERSATIONS, CONVERSATIONS_TOLD = 5, 3
BETWEEN_S = 0.2
"""Between an answer and the next question, for each of the three: somebody listens and speaks, for seconds."""
SPOKEN_LATE = 3
"""Words of a question that are not told ahead: those since the last interim transcript that was confirmed."""
SESSIONS = (1, 4, 8, 16)
DECODE_TOKENS = 96
TEMPERATURE = 0.7
DRAWN = f"{SESSIONS[-1]}, drawn"
RUSH_SESSIONS, RUSH_TURNS, RUSH_TOKENS = 8, 15, 32
JOIN_TOKENS = 2000
PLAIN, LLAMA, OURS = "generate()", "llama.cpp", "Parley"
_TOPICS = (
    *("the sea", "old trains", "bread", "the moon", "chess", "rain", "gardens", "Paris", "bicycles", "clouds"),
    *("tea", "mountains", "birds", "clocks", "bridges", "snow"),
)
_SAID = "That is a fine thing, and there is a lot to say about it. People have liked it for a very long time now."
_ASIDE = "I was thinking about it on my way home today and could not remember what you told me the last time."


def question(turn: int, session: int = 0) -> str:
    """What the user says; about 35 tokens, another for every turn and session."""
    return f"Now tell me something about {_TOPICS[(turn + session) % len(_TOPICS)]}, number {turn}. {_ASIDE}"


def history(turns: int, session: int) -> list[Turn]:
    """A conversation of some turns, about 75 tokens each, that nobody has generated."""
    messages: list[Turn] = [("system", SYSTEM)]
    for turn in range(turns):
        said = f"Well, {_TOPICS[(turn + session) % len(_TOPICS)]} is a fine thing, and there is a lot to say about it. "
        messages += [("user", question(turn, session)), ("assistant", said + "People have liked it for a long time.")]
    return messages


async def turns(peer: Peer, *, number: int = 0, prefills: bool = False, answers: bool = True) -> list[float]:
    """Seconds to the first token at each turn of a conversation.

    Args:
        number: the conversation's; each has instructions of its own, so that turn 1 finds nothing of another's.
        prefills: the history, and then the words but for the last ones, are made ready while the user speaks.
        answers: whether what is said is part of the history; else words of the same length are, which saves time.
    """
    messages: list[Turn] = [("system", f"Your name is {_TOPICS[number]}. {SYSTEM}")]
    firsts = []
    for turn in range(TURNS):
        asked = question(turn, number)
        await asyncio.sleep(BETWEEN_S)
        if prefills:
            await peer.prefill(messages)
            await peer.prefill([*messages, ("user", " ".join(asked.split()[:-SPOKEN_LATE]))])
        messages.append(("user", asked))
        answer = await peer.answer(messages, ANSWER_TOKENS if answers else 2)
        messages.append(("assistant", answer.text.strip() if answers else _SAID))
        firsts.append(answer.first_s)
    return firsts


async def conversations(peer: Peer, count: int, *, prefills: bool = False) -> list[float]:
    """The median of each turn in several conversations, one after another."""
    found = [await turns(peer, number=number, prefills=prefills) for number in range(count)]
    return [statistics.median(firsts) for firsts in zip(*found, strict=True)]


async def decode(peer: Peer, sessions: int) -> float:
    """Tokens a second in all."""
    loop = asyncio.get_running_loop()
    asked = [[("system", SYSTEM), ("user", question(number, number))] for number in range(sessions)]
    await asyncio.gather(*(peer.answer(messages, 2) for messages in asked))
    begun = loop.time()
    answers = await asyncio.gather(*(peer.answer(messages, DECODE_TOKENS) for messages in asked))
    return sum(answer.tokens for answer in answers) / (loop.time() - begun)


async def decode_drawn(peer: Peer, sessions: int) -> float:
    """The same where tokens are drawn."""
    peer.temperature = TEMPERATURE
    return await decode(peer, sessions)


async def rush(peer: Peer, *, warm: bool) -> list[float]:
    """Seconds to the first token of each of the sessions; `warm`: the one before was answered here, too."""
    offset = 0 if warm else 100
    asked = [history(RUSH_TURNS, number + offset) for number in range(RUSH_SESSIONS)]
    if warm:
        for messages in asked:
            await peer.answer([*messages[:-2], ("user", question(RUSH_TURNS - 1, 0))], 2)
    last = [("user", question(RUSH_TURNS, 0))]
    answers = await asyncio.gather(*(peer.answer([*messages, *last], RUSH_TOKENS) for messages in asked))
    return [answer.first_s for answer in answers]


async def join(peer: Peer, streams: int) -> dict[str, float]:
    """Pieces of text a second of running streams, before and while a long prompt joins, and the latter's wait."""
    running = [Answer() for _ in range(streams)]
    asked = [[("system", SYSTEM), ("user", question(number, number))] for number in range(streams)]
    tasks = [
        asyncio.create_task(peer.answer(messages, 700, answer)) for messages, answer in zip(asked, running, strict=True)
    ]
    while min(len(answer.text) for answer in running) < 200:
        if any(task.done() for task in tasks):
            raise RuntimeError("a running stream ended before the long prompt could join it")
        await asyncio.sleep(0.01)
    before = [(len(answer.text), answer.times[-1] - answer.times[0]) for answer in running]
    counts = [len(answer.text) for answer in running]
    newcomer = await peer.answer([*history(JOIN_TOKENS // 75, 50), ("user", question(1, 9))], 1)
    during = [len(answer.text) - count for answer, count in zip(running, counts, strict=True)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    pace = statistics.fmean(length / seconds for length, seconds in before)
    joined = statistics.fmean(during) / newcomer.first_s
    return {"chars_s_before": pace, "chars_s_during": joined, "kept": joined / pace, "first_s": newcomer.first_s}


async def part_turns() -> dict[str, Any]:
    """Long conversations with each."""
    found: dict[str, Any] = {}
    async with plain() as peer:
        found[PLAIN] = await turns(peer, answers=False)
    async with llama_cpp(1) as peer:
        found[LLAMA] = await turns(peer)
    async with parley() as peer:
        found[OURS] = await conversations(peer, CONVERSATIONS)
        found["resident_mb"] = resident_mb(peer)
    return found


async def part_prefill() -> dict[str, Any]:
    """The same conversations, told ahead."""
    async with parley() as peer:
        return {f"{OURS}, Prefill": await conversations(peer, CONVERSATIONS_TOLD, prefills=True)}


async def part_decode() -> dict[str, Any]:
    """Aggregate decode."""
    found: dict[str, Any] = {PLAIN: {}, LLAMA: {}, OURS: {}}
    async with plain() as peer:
        found[PLAIN]["1"] = await decode(peer, 1)
        found[PLAIN][DRAWN] = await decode_drawn(peer, 1)
    for sessions in SESSIONS:
        async with llama_cpp(sessions) as peer:
            found[LLAMA][str(sessions)] = await decode(peer, sessions)
            if sessions == SESSIONS[-1]:
                found[LLAMA][DRAWN] = await decode_drawn(peer, sessions)
    async with parley() as peer:
        for sessions in SESSIONS:
            found[OURS][str(sessions)] = await decode(peer, sessions)
        found[OURS][DRAWN] = await decode_drawn(peer, SESSIONS[-1])
    return found


async def part_rush() -> dict[str, Any]:
    """Everybody at once."""
    found: dict[str, Any] = {}
    async with plain() as peer:
        found[PLAIN] = await rush(peer, warm=False)
    async with llama_cpp(RUSH_SESSIONS) as peer:
        found[f"{LLAMA}, warm"] = await rush(peer, warm=True)
    async with parley() as peer:
        found[f"{OURS}, cold"] = await rush(peer, warm=False)
    async with parley() as peer:
        found[f"{OURS}, warm"] = await rush(peer, warm=True)
    return found


async def part_join() -> dict[str, Any]:
    """A long prompt joins."""
    found: dict[str, Any] = {}
    for streams in (1, 4):
        async with llama_cpp(streams + 1) as peer:
            found[f"{LLAMA}, {streams}"] = await join(peer, streams)
        async with parley() as peer:
            found[f"{OURS}, {streams}"] = await join(peer, streams)
    return found


PARTS: dict[str, Callable[[], Any]] = {
    "turns": part_turns,
    "prefill": part_prefill,
    "decode": part_decode,
    "rush": part_rush,
    "join": part_join,
}


def report(result: dict[str, Any]) -> None:
    """The tables, each with the target beside what was found, and the plot."""
    if "turns" in result:
        _report_turns({**result["turns"], **result.get("prefill", {})})
    if "decode" in result:
        _report_decode(result["decode"])
    if "rush" in result:
        medians = {name: statistics.median(firsts) for name, firsts in result["rush"].items()}
        rows = [[name, f"{median:.3f}", f"{median / medians[PLAIN]:.3f}"] for name, median in medians.items()]
        show(
            f"{RUSH_SESSIONS} sessions with {RUSH_TURNS} turns at once: first token", ["", "median s", "x plain"], rows
        )
        print("target: at most 0.25 x plain")
    if "join" in result:
        rows = [[name, *(f"{value:.2f}" for value in found.values())] for name, found in result["join"].items()]
        columns = ["system, streams", "chars/s before", "while it joins", "kept", "its first token s"]
        show(f"A prompt of {JOIN_TOKENS} tokens joins", columns, rows)
        print("target: at least 0.5 kept")


def _report_turns(found: dict[str, Any]) -> None:
    names = [name for name, value in found.items() if isinstance(value, list)]
    shown = [turn for turn in (1, 5, 15, 30) if turn <= TURNS]
    # Single turns are noisy: the median of the last three stands for turn 30.
    late = {name: statistics.median(found[name][-3:]) for name in names}
    rows = [[name, *(f"{found[name][turn - 1]:.3f}" for turn in shown), f"{late[name]:.3f}"] for name in names]
    show("Seconds to the first token", ["", *(f"turn {turn}" for turn in shown), "last 3"], rows)
    for name in [name for name in names if name.startswith(OURS)]:
        print(f"{name}: turn 30 / turn 1: {late[name] / found[name][0]:.2f} (target: at most 1.3)")
    print(f"plain / Parley at turn 30: {late[PLAIN] / late[OURS]:.1f} (target: at least 15)")
    print(f"Parley / llama.cpp at turn 30: {late[OURS] / late[LLAMA]:.2f} (target: at most 1)")
    print(f"resident: {found['resident_mb']} MB")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name in names:
        axes.plot(range(1, len(found[name]) + 1), found[name], marker=".", label=name)
    axes.set(xlabel="turn", ylabel="seconds to the first token", yscale="log")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / f"{NAME}.svg")


def _report_decode(found: dict[str, Any]) -> None:
    rows = []
    for sessions in [*map(str, SESSIONS), DRAWN]:
        one = found[PLAIN][DRAWN if sessions == DRAWN else "1"]
        ours, llama = found[OURS][sessions], found[LLAMA][sessions]
        rows.append([sessions, one, llama, ours, round(ours / one, 1), round(ours / llama, 2)])
    show("Tokens a second in all", ["sessions", PLAIN, LLAMA, OURS, "x plain", "x llama.cpp"], rows)
    print("target: x plain 1.3 with one session, 7 with 8, 12 with 16; x llama.cpp 1 with 8, 1.2 with 16")


async def main() -> None:
    """Measure the parts asked for, add them to what has been measured, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=(*PARTS, "report"), default=[*PARTS, "report"])
    args = parser.parse_args()
    result: dict[str, Any] = {part: value for part, value in load(NAME).items() if part in PARTS}
    for part in args.part:
        if part in PARTS:
            result[part] = await PARTS[part]()
            save(NAME, result)
    report({part: value for part, value in result.items() if part in args.part or "report" in args.part})


if __name__ == "__main__":
    asyncio.run(main())
