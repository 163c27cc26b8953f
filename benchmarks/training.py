"""Training, 320 px, batch 8: images a second and peak memory, Boxcar's trainer against the Object Detection API's.

Whole trainings in processes of their own, in turns, on the same records; each side with its own input pipeline. The loops in
which the graph is built and the caches fill are left out.
"""

from measuring import API, API_PYTHON, BOXCAR, Result, Row, answer, history, median, new_run, photographs, run, say, scratch

from boxcar.local.training import HUGE_PAGES

SIZE, BATCH = 320, 8
WARM_UP_LOOPS = 2  # of ten steps each
LEAST_RATIO = 1.25
TINY = {"steps": 40, "repetitions": 1}

# The API's are a flip and a crop of at least three quarters of the picture.
LIKE_THE_API = "horizontal_flip,crop"


def measure(*, steps: int = 80, repetitions: int = 2) -> Result:
    records, data = photographs()
    rates: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    devices: set[str] = set()

    def ours(label: str, augmentations: str | None, onednn: bool | None) -> None:
        with scratch() as folder:
            made = new_run(folder / "run", records)
            configuration = folder / "config.yaml"
            settings = f"checkpoint_interval_steps: {steps}\n"  # as the API, none meanwhile
            configuration.write_text(settings + (f"augmentations: [{augmentations}]\n" if augmentations else ""))
            command = [*BOXCAR, "train", "--run", made, "--evaluator", "none", "--init", "none", "--config", configuration]
            command += ["--image-size", SIZE, "--batch-size", BATCH, "--steps", steps]
            ended = run(command, onednn=onednn, environment=HUGE_PAGES)  # as `train` does, which starts it as a child
            keep(label, [line["images_per_second"] for line in history(made)], ended.megabytes)

    def theirs(label: str, onednn: bool | None) -> None:
        ended = run([API_PYTHON, API / "train.py", records, SIZE, 1, BATCH, steps], onednn=onednn)
        found = answer(ended)
        devices.add(found["device"])
        keep(label, found["images_per_second"], ended.megabytes)

    def keep(label: str, speeds: list[float], megabytes: float) -> None:
        steady = speeds[WARM_UP_LOOPS:]
        assert steady, f"{label}: {len(speeds)} loops are too few"
        rates.setdefault(label, []).extend(steady)
        memory[label] = max(memory.get(label, 0.0), megabytes)
        say(f"  {label}: {median(steady):.2f} images/s, {megabytes:,.0f} MB")

    for _ in range(repetitions):
        ours("ours", LIKE_THE_API, None)
        theirs("theirs", None)
        ours("ours, oneDNN", LIKE_THE_API, True)
        theirs("theirs, oneDNN", True)
    ours("ours, default augmentations", None, None)

    rate = {label: median(values) for label, values in rates.items()}
    both = [(" at their defaults", "ours", "theirs", True), (", oneDNN on for both", "ours, oneDNN", "theirs, oneDNN", False)]
    result = Result()
    for suffix, mine, other, asked in both:
        ratio = rate[mine] / rate[other]
        result.rows.append(
            Row(
                f"training, {SIZE} px, batch {BATCH}{suffix}",
                f"{rate[mine]:.1f} images/s",
                f"{rate[other]:.1f} images/s",
                f"{ratio:.2f} times",
                f"{LEAST_RATIO} times" if asked else "",
                ratio >= LEAST_RATIO if asked else None,
            )
        )
        result.rows.append(
            Row(
                f"peak memory of the same{suffix}",
                f"{memory[mine] / 1000:.2f} GB",
                f"{memory[other] / 1000:.2f} GB",
                f"{memory[mine] / memory[other]:.2f} times",
                "no more" if asked else "",
                memory[mine] <= memory[other] if asked else None,
            )
        )
    mine = "ours, default augmentations"
    result.rows.append(
        Row("training with Boxcar's default augmentations", f"{rate[mine]:.1f} images/s, {memory[mine] / 1000:.2f} GB", "")
    )
    result.notes = [
        f"Both sides train on the {'/'.join(sorted(devices))} and on {data}: {steps} steps from random weights, {repetitions} "
        f"times, alternating. The figure is the median over loops of ten steps, without the first {WARM_UP_LOOPS}. Boxcar "
        f"augments images with {LIKE_THE_API}, as the API does with flip and crop.",
        "Peak memory is the process's largest resident set.",
        "TensorFlow uses oneDNN by default only on CPUs with AVX-512. `boxcar` also enables it on other CPUs, unless "
        "TF_ENABLE_ONEDNN_OPTS is set.",
        "With oneDNN on both sides, nine tenths of a step are spent in the same oneDNN kernels. On the profiled CPU with "
        "AVX-512, convolutions reach 160 GFLOPS of the 190 that a matrix product reaches; the rest is bound by memory.",
    ]
    return result
