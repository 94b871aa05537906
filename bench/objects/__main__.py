"""One engine in one workload, once: prints its figures as JSON."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

from bench import iocount
from bench.objects.steps import Steps
from bench.worker import pin


def main() -> None:
    request = json.loads(sys.argv[1])
    pin(2)
    iocount.install()
    module = import_module(f"bench.objects.{request['workload']}")
    engine = module.ENGINES[request["engine"]](Path(request["folder"]))
    steps = Steps(request["round"])
    module.run(engine, steps, request["scale"])
    steps.figures.setdefault("stored_bytes", engine.stored_bytes())
    report = {"seconds": steps.seconds, "figures": steps.figures, "wrong": steps.wrong}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
