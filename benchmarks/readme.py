"""The table of committed results in benchmarks/README.md, from the result files, so that no figure is typed by hand.

python benchmarks/readme.py            # rewrites the table
python benchmarks/readme.py --check    # fails where it is out of date
"""

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
BEGIN, END = "<!-- results: written by readme.py -->", "<!-- end of results -->"
GPU, DATA = "models.llama-3.1-8b", "full_size"
TRL, PROBE = "trl_sft_without_checkpointing", "training_and_judge"
# Where training gains over TRL: the variant that goes without it, and what it is. The factors multiply to the whole.
GAINS = {
    "padded": "of it, batches without padding",
    "torch dropout": "of it, sparse dropout",
    "full logits": "of it, logits only where a token is learned",
    "trainer": "of it, our loss against Trainer's own",
    "trl": "of it, Trainer against TRL",
}
# By result file: what a figure says, where it stands in the file, how it is written.
FIGURES: dict[str, tuple[tuple[str, str, str], ...]] = {
    **{
        f"training_throughput_{size}": (
            (f"tokens a second against TRL, {label}", "times_trl.median", "{:.2f} x"),
            *((f"{gain}, {label}", f"where_from.{name}.times", "{:.2f} x") for name, gain in GAINS.items()),
        )
        for size, label in (("demo", "1 M parameters"), ("20m", "20 M parameters"))
    },
    "answers_throughput": (
        ("answers against one prompt at a time", "times_one_by_one", "{:.2f} x"),
        ("answers against batches of 16 in file order", "times_fixed_batches_of_16", "{:.2f} x"),
    ),
    "answers_kills": (
        ("kills while answering", "kills", "{:d}"),
        ("answers the same to the byte after them", "byte_identical", "{}"),
    ),
    "judge_prefix": (
        ("prefix kept, replies of 8 tokens", "new_tokens_8.times", "{:.2f} x"),
        ("prefix kept, replies of 64 tokens", "new_tokens_64.times", "{:.2f} x"),
    ),
    "calibration_simulation": (
        ("least coverage of the corrected ASR, 100 to 400 labels", "lowest_coverage", "{:.3f}"),
    ),
    "training_kills": (
        ("kills while training", "kills", "{:d}"),
        ("adapters that differ after them", "different", "{}"),
    ),
    "training_startup": (("job's start to first step, CPU seconds", "lean imports.cpu_seconds.median", "{:.1f} s"),),
    "inference_simulation": (
        ("false alarms at five trainings or more, at most", "summary.ours_from_5_trainings.most_type_one", "{:.1%}"),
        ("their intervals hold the truth, at least", "summary.ours_from_5_trainings.least_coverage", "{:.1%}"),
        (
            "false alarms with one training that scatters by 3 points",
            "summary.one_training_that_scatters_by_3_points.type_one",
            "{:.0%}",
        ),
    ),
    "results_grid": (("statistics, figures and tables of 18 runs", "fastest_round.seconds", "{:.0f} s"),),
    "data_formats": (
        ("nine formats of 39,775 how-tos, certified", f"{DATA}.cpu_seconds_formats_and_certificate", "{:.0f} CPU s"),
        ("mismatches between the formats", f"{DATA}.mismatches", "{:d}"),
    ),
    "demo_calibration": (("the demo's learning rate, by its rule", "chosen", "{}"),),
    "plan_scale": (
        ("start of Snakemake and parsing the Snakefile", "parse.seconds", "{:.2f} s"),
        ("the same for an empty Snakefile", "parse_empty_snakefile.seconds", "{:.2f} s"),
        ("planning 2,019 jobs", "plans.2019.formsafe.seconds", "{:.0f} s"),
        ("planning 9,939 jobs", "plans.9939.formsafe.seconds", "{:.0f} s"),
        ("the same graph in a bare Snakefile", "plans.9939.bare_snakefile.seconds", "{:.0f} s"),
        ("memory for 9,939 jobs", "plans.9939.formsafe.peak_memory_mb", "{:d} MB"),
    ),
    "kills": (
        ("kills of a job or of Snakemake", "kills", "{:d}"),
        ("summary.csv the same after them", "summary_identical", "{}"),
    ),
    "mutants": (
        ("one-line faults in what decides results that the unit tests notice", "killed_share", "{:.1%}"),
        ("of how many, those that change no behaviour left out", "counted", "{:,d}"),
    ),
    "paper_scale_small": (("ran through; nothing about a GPU follows from it", "measured.device", "{}"),),
    "paper_scale_8b_h200_2026-11-27": (
        ("device; an earlier commit", "measured.device", "{}"),
        ("stage 1 at 8B, tokens a second", f"{GPU}.training.soft_prompt.tokens_per_second", "{:,.0f}"),
        ("SFT at 8B, tokens a second, micro-batch 16", f"{GPU}.training.sft.tokens_per_second", "{:,.0f}"),
        ("SFT at 8B, times the matrix floor", f"{GPU}.training.sft.times_the_matrix_floor", "{:.2f}"),
        ("ProMoT's stage 2 at 8B, tokens a second", f"{GPU}.training.promot.tokens_per_second", "{:,.0f}"),
        ("SFT against TRL without checkpointing", f"{GPU}.training.{TRL}.ours_is_faster_by", "{:.2f} x"),
        ("a job's start", "startup_seconds", "{:.1f} s"),
    ),
    "probe_8b_h200_2026-11-27": (
        ("**probed by hand**, an earlier commit: device", "measured.device", "{}"),
        ("micro-batch 16, tokens a second of a micro-step", f"{PROBE}.train_micro16.tokens_per_s", "{:,.0f}"),
        ("micro-batch 32: the whole optimiser step", f"{PROBE}.train_micro32.tokens_per_s", "{:,.0f}"),
        ("decoding step of 512 rows in Python, adapter on", "decoding.decode_lora_B512_P48.ms", "{:.0f} ms"),
        ("the same, adapter merged", "decoding.decode_merged_B512_P48.ms", "{:.0f} ms"),
        ("the same as a captured graph over 560 columns", "decoding.graph_B512_L560.graph_ms", "{:.0f} ms"),
        ("attention of one layer, 512 rows, 560 columns: cuDNN", f"{PROBE}.attention_ms.cudnn_gqa_mask", "{:.2f} ms"),
        ("its floor by bandwidth", f"{PROBE}.attention_floor_ms", "{:.2f} ms"),
        ("judgements a second, prefix copied to every row", f"{PROBE}.judge.formsafe.judgements_per_second", "{:.1f}"),
        ("without a shared prefix", f"{PROBE}.judge.without_prefix_reuse.judgements_per_second", "{:.1f}"),
    ),
    "paper_scale_gpu": (
        ("device", "measured.device", "{}"),
        ("SFT at 8B, tokens a second", f"{GPU}.sft.tokens_per_second", "{:,.0f}"),
        ("SFT at 8B, times the matrix floor", f"{GPU}.sft.times_the_matrix_floor", "{:.2f}"),
        ("SFT at 8B against TRL", "ratios.llama-3.1-8b.training_against_trl", "{:.2f} x"),
        ("answers at 8B, new tokens a second", f"{GPU}.answers.tokens_per_second", "{:,.0f}"),
        ("answers at 8B, times the floor", f"{GPU}.answers.times_the_floor", "{:.2f}"),
        ("judgements a second at 8B", f"{GPU}.judge.judgements_per_second", "{:.1f}"),
        ("judge at 8B, times the floor", f"{GPU}.judge.times_the_floor", "{:.2f}"),
        ("judge with its prefix against without", "ratios.llama-3.1-8b.judge_with_prefix_against_without", "{:.2f} x"),
        ("the whole paper with starts and weights, minutes", "whole_paper.together", "{:.0f}"),
    ),
}


def table(results: Path = FOLDER / "results") -> str:
    """The table in Markdown; a result that is not there stands as not run yet."""
    lines = ["| result | figure | value |", "|---|---|---|"]
    for name, figures in FIGURES.items():
        file = results / f"{name}.json"
        if not file.exists():
            lines.append(f"| `{name}.json` | **not run yet** | |")
            continue
        record = json.loads(file.read_text(encoding="utf-8"))
        for label, place, form in figures:
            value = _find(record, place)
            value = len(value) if isinstance(value, list) else value
            lines.append(f"| `{name}.json` | {label} | {'-' if value is None else form.format(value)} |")
    return "\n".join(lines)


def _find(record: Any, place: str) -> Any:
    """Follow keys divided by dots; a key may hold dots itself."""
    if not place or record is None:
        return record
    for key in sorted(record, key=len, reverse=True):
        if place == key or place.startswith(f"{key}."):
            return _find(record[key], place[len(key) + 1 :])
    return None


def written(text: str) -> str:
    """`text` with its table replaced."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Rewrite or check."""
    readme = FOLDER / "README.md"
    text = readme.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        raise SystemExit(None if written(text) == text else "benchmarks/README.md is out of date: run readme.py")
    readme.write_text(written(text), encoding="utf-8")


if __name__ == "__main__":
    main()
