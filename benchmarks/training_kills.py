"""Kill a training at random moments and continue it, again and again: the adapter must be the same to the byte.

    python benchmarks/training_kills.py --kills 20

Trains a tiny model on the CPU in fp32 with one thread. Each job is a fork of one process that has the imports done.
SIGKILL, SIGTERM and SIGUSR1 take turns; a job is killed and started again until it finishes, then the next one begins.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from committed import save

from formsafe.core.errors import FormsafeError
from formsafe.training.checkpoints import SCRATCH, latest
from formsafe.training.stages import Inputs, train_adapter
from tests.tiny import write_tiny_model
from tests.training_cases import adapter_settings, job

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)
COMPARED = ("adapter_config.json", "adapter_model.safetensors", "loss.csv", "validation.csv")


def start(inputs: Inputs) -> int:
    """Train in a fork; its exit status says how it went."""
    child = os.fork()
    if child:
        return child
    with open(inputs.folder.parent / "log.txt", "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            train_adapter(inputs, adapter_settings(epochs=8.0, dropout=0.05), 1e-2)
        except FormsafeError as error:
            print(error, flush=True)
            os._exit(1)
        except BaseException as error:
            print(f"unexpected: {error!r}", flush=True)
            os._exit(2)
        os._exit(0)


def finish(child: int) -> tuple[str, float]:
    """Wait for a fork; how it ended, and the seconds it took."""
    begun = time.monotonic()
    status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    ended = {0: "finished", 1: "stopped", 2: "failed", -signal.SIGKILL: "killed"}.get(code, f"died of {-code}")
    return ended, time.monotonic() - begun


def kill_until(kills: int, model: Path, root: Path, seed: int) -> dict[str, object]:
    """Train jobs and kill them `kills` times in all; compare every finished one with an undisturbed one."""
    draw = random.Random(seed)
    settings = {"rows": 40, "checkpoint_minutes": 0.001}
    undisturbed = Inputs(**job(root / "undisturbed", model, **settings))
    ended, seconds = finish(start(undisturbed))
    assert ended == "finished", (root / "undisturbed" / "log.txt").read_text()
    done, resumed, compared, different = 0, 0, 0, []
    endings: dict[str, int] = {}
    while done < kills or compared == 0:
        inputs = Inputs(**job(root / f"job-{compared}", model, **settings))
        ended = ""
        while ended != "finished":
            resumed += latest(inputs.folder / SCRATCH) is not None
            child = start(inputs)
            if done < kills:
                number = SIGNALS[done % len(SIGNALS)]
                time.sleep(draw.uniform(0.05, 0.8 * seconds))
                os.kill(child, number)
                done += 1
            ended, _ = finish(child)
            endings[ended] = endings.get(ended, 0) + 1
            if ended not in ("finished", "stopped", "killed", f"died of {signal.SIGTERM}", f"died of {signal.SIGUSR1}"):
                raise SystemExit(f"a job {ended}: {(inputs.folder.parent / 'log.txt').read_text()[-2000:]}")
        same = all((inputs.folder / name).read_bytes() == (undisturbed.folder / name).read_bytes() for name in COMPARED)
        different += [] if same else [inputs.folder.parent.name]
        assert not (inputs.folder / SCRATCH).exists()
        compared += 1
    return {
        "kills": done,
        "starts_from_a_checkpoint": resumed,
        "endings": endings,
        "jobs_finished_and_compared": compared,
        "different": different,
        "undisturbed_seconds": round(seconds, 2),
        "compared_files": list(COMPARED),
    }


def main() -> None:
    """Run, print and write the result; exit code 1 when an adapter differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="print the result instead of committing it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = root / "model"
        if not os.fork():  # written in a fork, so that this process starts no threads
            write_tiny_model(model)
            os._exit(0)
        os.wait()
        result = kill_until(arguments.kills, model, root, arguments.seed)
    if arguments.check:
        print(json.dumps(result))
    else:
        save("training_kills", result)
    raise SystemExit(1 if result["different"] else 0)


if __name__ == "__main__":
    main()
