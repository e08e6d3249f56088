"""`make bench-anomaly`: the detector and three baselines on NAB, ASD and generated services, in tables.

python -m bench.anomaly [nab] [asd] [services] [injected] [cost] [--final] [--seeds A-B]
                        [--quick] [--only NAME]

Without a part, all of them. ``--final`` judges on the kept seeds 500-519, ``--seeds A-B`` on others than
100-119, ``--quick`` on few services and strengths; ``--only`` runs the detectors whose name contains NAME.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench.anomaly import asd, baselines, nab, ours, services, tables
from sandbox.cloud.traffic import Scenario

OURS = "Toban"
ANSWERED = "Toban, answered"
PARTS = ("nab", "asd", "services", "injected", "cost")


def detectors(only: str) -> dict[str, Callable[..., Any]]:
    """Those that score rows, ours first where it is there."""
    known = ({OURS: ours.rows} if ours.scores_rows() else {}) | baselines.ALL
    return {name: each for name, each in known.items() if only.lower() in name.lower()}


def fixed(name: str) -> dict[str, float]:
    return baselines.SEED_RULE if name == "the seed's rule" else {}


def bench_nab(asked: argparse.Namespace) -> None:
    files, costs = nab.load(), nab.profiles()
    told: dict[str, Any] = {}
    for name, scorer in detectors(asked.only).items():
        began = time.process_time()
        told[name] = nab.judge(files, costs, scorer, fixed(name)) | {"seconds": time.process_time() - began}
    profiles = [cost.name for cost in costs]
    tables.show(
        f"NAB, {len(files)} files: threshold by NAB's own optimiser, and carried over in {nab.FOLDS} folds",
        [
            "detector",
            "standard",
            "low FP",
            "low FN",
            "held out: standard",
            "low FP",
            "low FN",
            "10 other deals",
        ],
        [
            [
                name,
                *(each[profile]["optimised"] for profile in profiles),
                *(each[profile]["held_out"] for profile in profiles),
                "{held_out_mean:.1f} ({held_out_min:.1f} to {held_out_max:.1f})".format(**each["standard"]),
            ]
            for name, each in told.items()
        ],
    )
    settings = [
        (name, rule, [each[profile]["fixed"][rule] for profile in profiles])
        for name, each in told.items()
        for rule in each["standard"]["fixed"]
    ]
    tables.show(
        "NAB at the thresholds as written",
        ["detector", "rule", "standard", "low FP", "low FN"],
        [[name, rule, *scores] for name, rule, scores in settings],
    )
    groups = sorted({file.group for file in files})
    tables.show(
        "NAB: points lost per group (standard)",
        ["detector", *groups],
        [
            [name, *(each["standard"]["lost_by_group"][group] for group in groups)]
            for name, each in told.items()
        ],
    )
    tables.keep("nab", told)


def bench_asd(asked: argparse.Namespace) -> None:
    servers = asd.load()
    told: dict[str, Any] = {}
    for name, scorer in detectors(asked.only).items():
        told[name] = asd.judge(servers, scorer, fixed(name))
    tables.show(
        f"ASD, {len(servers)} servers: events found at so many false alarms a server-week",
        ["detector", "average precision", *(f"@{b:g}" for b in asd.BUDGETS), "median delay @1 (min)"],
        [
            [
                name,
                each["average_precision"],
                *(each[f"recall@{budget:g}"]["recall"] for budget in asd.BUDGETS),
                each["recall@1"]["delay"],
            ]
            for name, each in told.items()
        ],
    )
    for name, each in told.items():
        for rule, rate in each.items():
            if rule.startswith("false alarms at"):
                print(f"\n{name}: {rate:.1f} {rule}, per server-week")
    tables.keep("asd", told)


def seeds(asked: argparse.Namespace) -> list[int]:
    chosen = services.KEPT if asked.final else services.DEVELOPMENT[:20]
    if asked.seeds:
        first, _, last = asked.seeds.partition("-")
        chosen = range(int(first), int(last or first) + 1)
    return services.allowed(chosen[: 5 if asked.quick else None], final=asked.final)


def bench_services(asked: argparse.Namespace) -> None:
    chosen, told = seeds(asked), {}
    if ours.judges_services() and asked.only.lower() in OURS.lower():
        title = f"Services {chosen[0]}-{chosen[-1]}: {OURS}'s whole path"
        told |= services.run({OURS: ours.path(), ANSWERED: ours.path(answered=True)}, chosen, Scenario)
        for name in list(told):
            said = "somebody answers" if name == ANSWERED else "nobody answers"
            tables.show(f"{title}, {said}", ["scenario", *SERVICE_COLUMNS], service_rows(told[name]))
        for scenario in (Scenario.BASE, Scenario.COLD_3D, Scenario.CONTAMINATED):
            kinds = told[OURS][scenario.value]["kinds"]
            tables.show(f"The same by kind: {scenario}", ["kind", *KIND_COLUMNS], kind_rows(kinds))
    for name, scorer in detectors(asked.only).items():
        if name == OURS:
            continue
        told[name] = {
            scenario.value: services.at_budgets(
                scorer, [services.service(seed, scenario) for seed in chosen], fixed(name)
            )
            for scenario in (Scenario.BASE, Scenario.COLD_3D)
        }
    rows = [
        [name, scenario, *(each[f"recall@{b:g}"] for b in services.BUDGETS), as_written(each)]
        for name, scenarios in told.items()
        if name in baselines.ALL
        for scenario, each in scenarios.items()
    ]
    tables.show(
        "Baselines: recall at their best common threshold for so many false alarms a service-week",
        ["detector", "scenario", *(f"@{b:g}" for b in services.BUDGETS), "as written"],
        rows,
    )
    tables.keep("services-final" if asked.final else "services", told)


SERVICE_COLUMNS = (
    "false/week",
    "worst service",
    "recall",
    "driver",
    "cause",
    "median delay (min)",
    "alarms/week",
)
KIND_COLUMNS = ("incidents", "recall", "driver", "cause", "median delay (min)")


def service_rows(told: dict[str, dict[str, Any]]) -> list[list[object]]:
    keys = ("false_per_week", "worst_service_false_per_week", "recall", "driver_right", "driver_is_cause")
    last = ("median_delay_minutes", "alarms_per_week")
    return [[scenario, *(each[key] for key in keys + last)] for scenario, each in told.items()]


def kind_rows(kinds: dict[str, dict[str, Any]]) -> list[list[object]]:
    keys = ("of", "recall", "driver_right", "driver_is_cause", "median_delay_minutes")
    return [[kind, *(each[key] for key in keys)] for kind, each in kinds.items()]


def as_written(each: dict[str, Any]) -> str:
    return "; ".join(
        f"{name[3:]}: {found['recall']:.2f} at {found['false_per_week']:.1f} a week"
        for name, found in each.items()
        if name.startswith("at ")
    )


def bench_injected(asked: argparse.Namespace) -> None:
    chosen, told = seeds(asked), {}
    strengths = 5 if asked.quick else services.STRENGTHS
    judges: dict[str, services.Judge] = {}
    if ours.judges_services():
        judges[OURS] = ours.path()
    for name, scorer in baselines.ALL.items():
        judges[name] = services.with_threshold(scorer, [services.service(s, Scenario.QUIET) for s in chosen])
    for name, judge in judges.items():
        if asked.only.lower() not in name.lower():
            continue
        told[name] = services.sweep(judge, chosen, strengths)
        tables.show(
            f"Injected, {strengths} strengths each: {name}"
            + ("" if name == OURS else " at 1 false alarm a week in the quiet services"),
            ["kind", *KIND_COLUMNS[1:], "weak / middle / strong"],
            [
                [*row[:1], *row[2:], " / ".join(map(tables.word, told[name][str(row[0])]["by_strength"]))]
                for row in kind_rows(told[name])
            ],
        )
        recall = float(np.mean([each["recall"] for each in told[name].values()]))
        print(f"\n{name}: recall over all kinds {recall:.2f}")
    tables.keep("injected-final" if asked.final else "injected", told)


def bench_cost(asked: argparse.Namespace) -> None:
    """CPU time of one whole series, the second of two runs; a sample is a row of all its metrics."""
    file = next(file for file in nab.load() if file.name == "nyc_taxi.csv")
    server = asd.load()[0]
    made = services.service(100, Scenario.BASE)
    table = services.table_of(made)
    told: dict[str, Any] = {}
    for name, scorer in detectors(asked.only).items():
        told[name] = [
            microseconds(scorer, (file.times, file.values[:, None], file.probation)),
            microseconds(scorer, (server.times, server.values, server.learn)),
            microseconds(scorer, (made.times, table, made.live)),
        ]
    if ours.judges_services() and asked.only.lower() in OURS.lower():
        told[f"{OURS}, judging a service"] = ["-", "-", microseconds(ours.judge_alone, (made,), len(made))]
        told[f"{OURS}, and its episodes"] = ["-", "-", microseconds(whole_path, (made,), len(made))]
    columns = ["detector", "NAB (1 metric)", "ASD (19 metrics)", "service (5 metrics)"]
    tables.show("Microseconds of CPU per sample", columns, [[name, *each] for name, each in told.items()])
    tables.keep("cost", told)


def whole_path(made: Any) -> None:
    """Judging and episodes with nothing kept from before."""
    ours.forget()
    ours.path()(made)


def microseconds(run: Callable[..., Any], arguments: Sequence[Any], rows: int | None = None) -> float:
    run(*arguments)
    began = time.process_time()
    run(*arguments)
    return 1e6 * (time.process_time() - began) / (rows or len(arguments[0]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.anomaly", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="nab asd services injected cost")
    parser.add_argument("--final", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", default="", metavar="A-B")
    asked = parser.parse_args()
    for part in asked.parts or PARTS:
        if (part == "nab" and not nab.DATA.is_dir()) or (part == "asd" and not asd.DATA.is_dir()):
            print(f"\n{part}: its data is not here, left out")
            continue
        began = time.perf_counter()
        PARTS_RUN[part](asked)
        print(f"\n({part}: {time.perf_counter() - began:.0f} s)")


PARTS_RUN: dict[str, Callable[[argparse.Namespace], None]] = {
    "nab": bench_nab,
    "asd": bench_asd,
    "services": bench_services,
    "injected": bench_injected,
    "cost": bench_cost,
}

if __name__ == "__main__":
    main()
