"""The estimate of memory and time, and the changes that make a training fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lora_studio.core.memory import advice, calibration
from lora_studio.core.memory.calibration import (
    HIGHEST,
    LOWEST,
    CalibrationRecord,
    MachineCalibration,
)
from lora_studio.core.memory.estimate import (
    estimate,
    estimate_adapter_bytes,
    estimate_block_bytes,
    estimate_capped_attention_bytes,
    estimate_dora_bytes,
)
from lora_studio.core.memory.plan import CONSTANTS
from lora_studio.core.memory.rows import approximate_row_statistics
from lora_studio.core.memory.weights import combine_gpus, is_sharded
from lora_studio.core.protocol.events import LengthsMeasured
from lora_studio.core.protocol.model import DeviceProgram
from tests.helpers.models.plans import (
    GIB,
    HIDDEN,
    INNER,
    KEYS,
    LAYERS,
    PARAMETERS,
    QUANTISED,
    VOCABULARY,
    device,
    inspected,
    plan,
)


def with_model(training_plan: Any, **fields: Any) -> Any:
    return replace(training_plan, model=training_plan.model.model_copy(update=fields))


def with_lora(training_plan: Any, **fields: Any) -> Any:
    return replace(training_plan, lora=training_plan.lora.model_copy(update=fields))


class TestWeights:
    def test_weights_take_two_bytes_in_16_bit_and_four_in_32_bit(self) -> None:
        assert estimate(plan()).weights == 2 * PARAMETERS
        assert estimate(with_model(plan(), precision="fp32")).weights == 4 * PARAMETERS

    def test_auto_precision_follows_the_device(self) -> None:
        training_plan = with_model(plan(), precision="auto")
        narrow = replace(training_plan, device=device().model_copy(update={"precision": "fp32"}))
        assert (estimate(training_plan).weights, estimate(narrow).weights) == (
            2 * PARAMETERS,
            4 * PARAMETERS,
        )

    @pytest.mark.parametrize(("computing", "each"), [("bf16", 2), ("fp16", 4)])
    def test_4_bit_weights_have_scales_and_float16_widens_the_rest(
        self, computing: str, each: int
    ) -> None:
        training_plan = replace(plan(), device=device().model_copy(update={"precision": computing}))
        rest = each * (PARAMETERS - QUANTISED)
        twice = estimate(with_model(training_plan, precision="4bit")).weights
        once = estimate(with_model(training_plan, precision="4bit", double_quant=False)).weights
        assert twice == pytest.approx(rest + QUANTISED * (0.5 + 1 / 64 + 4 / 64 / 256), abs=2)
        assert once == pytest.approx(rest + QUANTISED * (0.5 + 4 / 64), abs=2)

    def test_prequantized_weights_take_their_stored_size(self) -> None:
        stored = replace(plan(), inspected=inspected(prequantized="4bit"))
        assert estimate(stored).weights == estimate(with_model(plan(), precision="4bit")).weights


class TestTrainedParameters:
    def test_gradients_take_4_bytes_and_optimizer_states_8_bytes(self) -> None:
        estimated = estimate(plan())
        trained = inspected().adapter.trainable
        assert estimated.gradients == 4 * trained
        assert estimated.optimizer == 8 * trained

    def test_optimizer_8bit_takes_a_quarter_of_the_state(self) -> None:
        small = estimate(plan(optimizer="adamw_8bit")).optimizer
        assert small == pytest.approx(estimate(plan()).optimizer / 4, rel=0.02)


class TestActivations:
    def test_activations_of_a_block_follow_the_formula(self) -> None:
        norms, attention = 2 * 2 * HIDDEN, 2 * 2 * (HIDDEN + KEYS) + 4 * 32
        # Attention's output is saved once, for attention and for the next layer.
        mlp, inputs = 2 * 3 * INNER, 2 * (HIDDEN + HIDDEN + INNER)
        ranks = 2 * 7 * 16
        assert estimate_block_bytes(plan()) == pytest.approx(norms + attention + mlp)
        assert estimate_adapter_bytes(plan()) == pytest.approx(inputs + ranks)

    def test_attention_adapters_keep_no_mlp_inputs(self) -> None:
        training_plan = plan()
        adapter = training_plan.inspected.adapter.model_copy(
            update={"targets": ("q_proj", "v_proj")}
        )
        only = replace(
            training_plan, inspected=training_plan.inspected.model_copy(update={"adapter": adapter})
        )
        dropped = 2 * (HIDDEN + INNER) + 2 * 5 * 16
        assert estimate_adapter_bytes(training_plan) - estimate_adapter_bytes(
            only
        ) == pytest.approx(dropped)

    def test_activations_double_with_the_micro_batch(self) -> None:
        rows = replace(plan().rows, heaviest={1 << n: (500,) * (1 << n) for n in range(7)})
        one, two = (
            estimate(replace(plan(micro_batch=size, gradient_accumulation=16), rows=rows))
            for size in (2, 4)
        )
        assert two.tokens == 2 * one.tokens
        assert two.activations == pytest.approx(2 * one.activations, rel=0.1)

    def test_checkpointing_keeps_layer_inputs_and_one_layer(self) -> None:
        full, small = estimate(plan()), estimate(plan(gradient_checkpointing="on"))
        inputs = small.tokens * 2 * HIDDEN * LAYERS
        assert inputs < small.activations < full.activations / 4

    def test_unsloth_checkpointing_keeps_one_layer_on_the_device(
        self,
    ) -> None:
        ours, theirs = (
            estimate(plan(gradient_checkpointing=kind)).activations for kind in ("on", "unsloth")
        )
        assert ours - theirs == pytest.approx(
            estimate(plan()).tokens * 2 * HIDDEN * LAYERS, rel=0.01
        )

    def test_dropout_keeps_an_input_copy_per_adapter(self) -> None:
        dropping = with_lora(plan(), dropout=0.1)
        assert estimate_adapter_bytes(dropping) > estimate_adapter_bytes(plan()) + 2 * 4 * HIDDEN

    def test_keys_are_repeated_without_flash_attention(self) -> None:
        turing = replace(plan(), device=device().model_copy(update={"precision": "fp16"}))
        more = estimate_block_bytes(with_model(turing, precision="fp16")) - estimate_block_bytes(
            plan()
        )
        assert more == pytest.approx(2 * 2 * (HIDDEN - KEYS))
        # 32-bit on any GPU: twice the 16-bit values, but for a 32-bit number per head.
        wide = estimate_block_bytes(with_model(plan(), precision="fp32"))
        assert wide == pytest.approx(2 * (estimate_block_bytes(plan()) + more) - 4 * 32)

    def test_rows_computed_one_by_one_are_joined_in_a_copy(self) -> None:
        turing = replace(plan(), device=device().model_copy(update={"precision": "fp16"}))
        turing = with_model(turing, precision="fp16")
        padded = replace(turing, training=turing.training.model_copy(update={"packing": False}))
        copied = estimate_adapter_bytes(turing) - estimate_adapter_bytes(plan())
        assert copied == pytest.approx(2 * HIDDEN)
        assert estimate_adapter_bytes(padded) == estimate_adapter_bytes(plan())

    def test_mask_of_padded_rows_repeats_keys(self) -> None:
        packed = estimate_block_bytes(plan(micro_batch=2))
        masked = estimate_block_bytes(plan(micro_batch=2, packing=False))
        assert masked - packed == pytest.approx(2 * 2 * (HIDDEN - KEYS))
        assert estimate_block_bytes(plan(micro_batch=1, packing=False)) == pytest.approx(packed)

    def test_dora_multiplies_an_identity_matrix(self) -> None:
        dora = with_lora(plan(gradient_checkpointing="on", micro_batch=1), use_dora=True)
        needed = INNER * (INNER * (4 + 2) + 3 * 2 * HIDDEN)  # of down_proj
        assert estimate_dora_bytes(dora) == needed
        assert estimate(dora).activations > needed
        assert estimate_dora_bytes(plan()) == 0

    def test_capped_attention_needs_a_block_of_scores(self) -> None:
        """Gemma 2's, whose backward pass is larger than that of the MLP for short rows."""
        shape = plan().shape.model_copy(update={"caps_scores": True})
        capped = replace(plan(micro_batch=1), inspected=inspected(shape=shape))
        widths = 4 * 4 * KEYS + 2 * HIDDEN
        block = 4 * 5 * 2**23  # 32 heads · 1,000² scores are more
        assert estimate_capped_attention_bytes(capped) == block + 1000 * widths
        classifier = replace(capped, rows=replace(capped.rows, task="classification"))
        plain = replace(classifier, inspected=inspected())
        more = estimate(classifier).activations - estimate(plain).activations
        mlp = 1000 * 2 * (3 * INNER + 2 * HIDDEN)
        assert more == pytest.approx(block + 1000 * widths - mlp, abs=1)
        short = replace(capped, limit=200)
        assert estimate_capped_attention_bytes(short) == 4 * 5 * 32 * 200**2 + 200 * widths
        padded = replace(short, training=capped.training.model_copy(update={"packing": False, "micro_batch": 3, "gradient_accumulation": 1}))  # fmt: skip
        assert estimate_capped_attention_bytes(padded) == 3 * estimate_capped_attention_bytes(short)
        assert estimate_capped_attention_bytes(plan()) == 0

    def test_cap_of_the_logits_keeps_copies(self) -> None:
        shape = plan().shape.model_copy(update={"caps_logits": True})
        for name in ("cuda:0", "cpu"):
            training_plan = plan(name=name, micro_batch=16, gradient_accumulation=1)
            with_cap = replace(training_plan, inspected=inspected(shape=shape))
            assert estimate(with_cap).logits == 4 * 2 * (1 << 25)

    def test_activations_start_at_the_first_adapted_block(self) -> None:
        upper = estimate(with_lora(plan(), blocks="11-21")).activations
        assert upper == pytest.approx(estimate(plan()).activations / 2, rel=0.01)
        lower = estimate(with_lora(plan(), blocks="0-10")).activations
        assert upper < lower < estimate(plan()).activations


class TestRows:
    def test_micro_batch_has_the_longest_rows_of_the_heaviest_step(self) -> None:
        rows = plan().rows
        assert rows.count_micro_batch_tokens(4, 16, 2048) == 1000 + 950 + 900 + 850
        assert rows.count_micro_batch_tokens(4, 16, 900) == 900 + 900 + 900 + 850

    def test_tokens_are_interpolated_between_step_sizes(self) -> None:
        rows = replace(plan().rows, heaviest={8: (80,) * 8, 16: (160,) * 16})
        assert rows.count_micro_batch_tokens(2, 12, 2048) == 240

    def test_reward_training_counts_answers_and_their_cache(self) -> None:
        training_plan = plan(gradient_checkpointing="on", rollout_tokens=1000)
        training_plan = replace(training_plan, rows=replace(training_plan.rows, task="grpo"))
        longest = min(training_plan.rows.longest, training_plan.limit)
        micro_batch = training_plan.micro_batch
        assert training_plan.tokens == micro_batch * (longest + 1000)
        written = training_plan.training.count_answers_at_once(micro_batch) * (longest + 1000)
        assert training_plan.written_tokens == written
        assert estimate(training_plan).activations > 2 * 2 * KEYS * LAYERS * written
        assert estimate(training_plan).seconds is None

    def test_text_rows_fill_the_length_limit(self) -> None:
        assert replace(plan().rows, task="text").count_micro_batch_tokens(4, 16, 512) == 4 * 512

    def test_rows_without_packing_are_padded_to_the_longest(self) -> None:
        assert plan(packing=False, micro_batch=4).tokens == 4 * 1000
        assert plan(packing=False, micro_batch=4, limit=600).tokens == 4 * 600

    def test_grouping_by_length_collects_the_longest_rows(self) -> None:
        rows = replace(plan().rows, heaviest={1 << n: (100 + n,) * (1 << n) for n in range(9)})
        apart, grouped = (
            replace(
                plan(micro_batch=4, gradient_accumulation=2, group_by_length=together), rows=rows
            )
            for together in (False, True)
        )
        assert (apart.tokens, grouped.tokens) == (4 * 103, 4 * 108)

    def test_preference_pair_may_take_twice_the_limit(self) -> None:
        assert replace(plan().rows, task="preference").count_micro_batch_tokens(1, 1, 300) == 600

    def test_tokens_over_the_limit_are_not_counted(self) -> None:
        measured = LengthsMeasured(
            rows=2, tokens=300, trained_tokens=150, edges=(0, 100, 200), rows_over=(2, 1, 0),
            trained_over=(150, 50, 0), percentiles={100: 200},
        )  # fmt: skip
        assert approximate_row_statistics(measured, "sft", 200).tokens == 300
        assert approximate_row_statistics(measured, "sft", 100).tokens == 250
        assert approximate_row_statistics(measured, "text", 100).tokens == 300


class TestLogits:
    def test_logits_are_limited_to_one_chunk(self) -> None:
        few = estimate(plan(micro_batch=1, gradient_accumulation=1, name="cpu")).logits
        assert few == pytest.approx(2 * 0.5 * 1000 * VOCABULARY, rel=0.01)
        for name, gib, chunk in (
            ("cpu", 80, 1 << 25),
            ("cuda:0", 24, 1 << 25),
            ("cuda:0", 80, 1 << 27),
        ):
            many = plan(micro_batch=16, gradient_accumulation=1, name=name)
            large = many.device.model_copy(update={"total_bytes": gib * GIB})
            # A GPU has the 32-bit softmax of a part as well.
            softmax = 0 if name == "cpu" else 4 * (1 << 24)
            assert estimate(replace(many, device=large)).logits == 2 * chunk + softmax

    def test_chunks_of_spread_layers_are_those_of_one_gpu(self) -> None:
        many = plan(micro_batch=16, gradient_accumulation=1)
        both = many.device.model_copy(update={"total_bytes": 48 * GIB})
        spread = replace(many, device=both, gpus=2, spread=True)
        assert estimate(spread).logits == estimate(many).logits

    def test_distillation_needs_two_softmaxes(self) -> None:
        many = plan(micro_batch=16, gradient_accumulation=1, teacher="org/teacher")
        assert estimate(many).logits - estimate(plan(micro_batch=16)).logits == 4 * (1 << 24)

    def test_trained_output_layer_needs_logits_of_all_tokens(self) -> None:
        whole = estimate(with_lora(plan(micro_batch=8), modules_to_save=("lm_head",)))
        assert whole.logits >= 0.5 * whole.tokens * VOCABULARY * (2 + 2)  # with their gradient


class TestOverhead:
    def test_gpu_overhead_includes_unreported_memory(self) -> None:
        estimated = estimate(plan())
        assert estimated.total - estimated.reported == estimated.uncounted > 0

    def test_each_gpu_with_layers_has_a_context(self) -> None:
        alone, spread = estimate(plan()), estimate(replace(plan(), gpus=3, spread=True))
        assert spread.overhead - alone.overhead == 2 * CONSTANTS.context
        assert estimate(replace(plan(), gpus=3)).overhead == alone.overhead

    def test_cpu_overhead_includes_the_process(self) -> None:
        estimated = estimate(plan(name="cpu"))
        assert estimated.overhead >= CONSTANTS.process
        assert estimated.total == estimated.reported


class TestLargestMicroBatch:
    def test_largest_micro_batch_fits_and_the_next_does_not(self) -> None:
        training_plan = plan(free=6, micro_batch=16, gradient_accumulation=2)
        size = advice.find_largest_micro_batch(training_plan)
        assert size is not None
        assert size < 16
        sizes = advice.list_micro_batches(training_plan)
        larger = sizes[sizes.index(size) - 1]
        assert estimate(advice.with_micro_batch(training_plan, size)).fits
        assert not estimate(advice.with_micro_batch(training_plan, larger)).fits
        assert advice.with_micro_batch(training_plan, size).training.effective_batch == 32

    def test_largest_micro_batch_is_unknown_if_weights_do_not_fit(self) -> None:
        assert advice.find_largest_micro_batch(plan(free=1)) is None


class TestCheapestChange:
    @pytest.mark.parametrize(
        ("free", "changed"),
        [
            (6.0, ["micro_batch", "gradient_accumulation"]),
            (3.5, ["gradient_checkpointing", "micro_batch", "gradient_accumulation"]),
            (2.5, ["gradient_checkpointing", "optimizer", "precision"]),
            (1.5, ["max_length"]),
        ],
        ids=["micro-batch", "checkpointing", "precision", "max-length"],
    )
    def test_cheapest_change_costs_more_with_less_memory(
        self, free: float, changed: list[str]
    ) -> None:
        training_plan = plan(free=free, micro_batch=16, gradient_accumulation=1)
        change = advice.find_cheapest_change(training_plan)
        assert change is not None
        assert estimate(change.plan).fits
        assert set(changed) <= {field for _, field, _ in change.changes}

    def test_optimizers_of_bitsandbytes_are_not_advised_first(self) -> None:
        """They wait for the GPU once for each parameter."""
        change = advice.find_cheapest_change(
            plan(free=3.5, micro_batch=16, gradient_accumulation=1)
        )
        assert change is not None
        assert "optimizer" not in {field for _, field, _ in change.changes}

    def test_shorter_limit_says_how_many_rows_it_cuts(self) -> None:
        change = advice.find_cheapest_change(plan(free=1.5, micro_batch=16))
        assert change is not None
        assert "of the rows" in str(change.title)

    def test_model_too_large_at_any_precision_has_no_change(self) -> None:
        training_plan = plan(free=0.5)
        problem = advice.check_fit(training_plan, estimate(training_plan))
        assert advice.find_cheapest_change(training_plan) is None
        assert problem is not None
        assert problem.fix is None
        assert "smaller model" in str(problem.remedy)

    def test_fix_makes_training_fit_with_the_same_batch_size(self) -> None:
        training_plan = plan(free=6, micro_batch=16, gradient_accumulation=2)
        problem = advice.check_fit(training_plan, estimate(training_plan))
        assert problem is not None
        assert problem.fix is not None
        values = {field: value for _, field, value in problem.fix.changes}
        recipe = training_plan.training.model_copy(update=values)
        assert estimate(replace(training_plan, training=recipe)).fits
        assert recipe.effective_batch == training_plan.training.effective_batch

    def test_fitting_training_has_no_problem(self) -> None:
        assert advice.check_fit(plan(), estimate(plan())) is None

    def test_pissa_initialization_keeps_the_weight_precision(self) -> None:
        training_plan = with_lora(plan(free=2.5, micro_batch=16), init="pissa")
        change = advice.find_cheapest_change(training_plan)
        assert change is None or "precision" not in {field for _, field, _ in change.changes}


class TestMachine:
    def test_correction_moves_halfway_to_the_measurement(self) -> None:
        learned = CalibrationRecord().with_run(ratio=1.44, source="m", parameters=10, speed=5.0)
        assert learned.factor == pytest.approx(1.2)
        assert learned.runs == 1

    @pytest.mark.parametrize(("ratio", "bound"), [(100.0, HIGHEST), (0.001, LOWEST)])
    def test_correction_stays_within_its_bounds(self, ratio: float, bound: float) -> None:
        learned = CalibrationRecord()
        for _ in range(5):
            learned = learned.with_run(ratio=ratio, source="m", parameters=10, speed=5.0)
        assert learned.factor == bound

    def test_correction_learns_less_from_a_mostly_known_estimate(self) -> None:
        learned = CalibrationRecord().with_run(
            ratio=1.44, source="m", parameters=10, speed=5.0, share=0.1
        )
        assert learned.factor == pytest.approx(1.44**0.05)

    def test_correction_converges_to_the_measured_peak(
        self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path))
        training_plan = plan()
        estimated = estimate(training_plan)
        peak = estimated.reported + estimated.guessed // 2
        calibration.learn(training_plan, estimated, peak, 50.0)
        again = estimate(calibration.apply_correction(training_plan, calibration.load()))
        assert estimated.reported < again.reported < peak
        for _ in range(8):
            now = calibration.apply_correction(training_plan, calibration.load())
            calibration.learn(now, estimate(now), peak, 50.0)
        settled = calibration.apply_correction(training_plan, calibration.load())
        assert estimate(settled).reported == pytest.approx(peak, rel=0.02)
        assert settled.tokens_per_s == pytest.approx(50.0)

    def test_calibration_is_saved_per_device_and_precision(
        self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path))
        learned = CalibrationRecord(
            factor=1.5, runs=1, work_per_s=1e12, tokens_per_s={"org/decoder": 50.0}
        )
        calibration.save(MachineCalibration().with_record("RTX", "bf16", learned))
        known = calibration.load()
        training_plan = calibration.apply_correction(plan(), known)
        assert (training_plan.correction, training_plan.tokens_per_s) == (1.5, 50.0)
        other = calibration.apply_correction(with_model(plan(), precision="fp32"), known)
        assert (other.correction, other.tokens_per_s) == (1.0, None)

    def test_damaged_calibration_file_is_ignored(
        self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path))
        calibration.get_path().write_text('{"learned": {"RTX · bf16": {"factor": 90}}}', "utf-8")
        assert calibration.load() == MachineCalibration()

    def test_correction_scales_activations_but_not_weights(self) -> None:
        plain, more = estimate(plan()), estimate(replace(plan(), correction=1.5))
        assert more.activations == pytest.approx(1.5 * plain.activations, rel=1e-6)
        assert (more.weights, more.optimizer) == (plain.weights, plain.optimizer)

    def test_duration_follows_from_speed_of_earlier_runs(self) -> None:
        training_plan = replace(plan(epochs=2.0), tokens_per_s=50.0)
        assert estimate(training_plan).seconds == pytest.approx(2 * 100_000 / 50)
        limited = replace(plan(max_steps=10), tokens_per_s=50.0)
        assert estimate(limited).seconds == pytest.approx(10 * 16 * 500 / 50)
        again = replace(plan(epochs=2.0, gradient_checkpointing="on"), tokens_per_s=50.0)
        assert estimate(again).seconds == pytest.approx(4 / 3 * 2 * 100_000 / 50)
        assert estimate(plan()).seconds is None

    def test_twice_the_parameters_halve_the_expected_speed(self) -> None:
        learned = CalibrationRecord().with_run(
            ratio=1.0, source="small", parameters=100, speed=80.0
        )
        assert learned.estimate_speed("small", 100) == 80.0
        assert learned.estimate_speed("other", 200) == pytest.approx(40.0)
        assert learned.estimate_speed("much larger", 100_000) is None


class TestSeveralDevices:
    TWO = "cuda:0,cuda:1"

    def test_replicas_hold_all_weights(self) -> None:
        one, two = estimate(plan()), estimate(with_model(plan(), device=self.TWO))
        assert two.parts == one.parts

    def test_sharded_processes_hold_a_part_of_the_blocks(self) -> None:
        training_plan = with_model(plan(), device=self.TWO, sharding="shard")
        at_work = 2 / LAYERS
        expected = 2 * (PARAMETERS - QUANTISED) + 2 * QUANTISED * (1 / 2 + at_work)
        estimated = estimate(training_plan)
        assert estimated.weights == pytest.approx(expected, abs=2)
        whole = estimate(with_model(training_plan, sharding="replicate"))
        assert estimated.total - estimated.weights == whole.total - whole.weights

    def test_weights_too_large_for_one_device_are_sharded(self) -> None:
        training_plan = with_model(plan(), device=self.TWO)
        small = replace(training_plan, device=device().model_copy(update={"free_bytes": 2 * GIB}))
        assert not is_sharded(training_plan)
        assert is_sharded(small)
        assert not is_sharded(with_model(small, precision="4bit")), (
            "quantized weights are never sharded"
        )
        assert not is_sharded(with_model(small, device="cuda:0"))
        assert is_sharded(replace(with_model(small, device="cuda:0"), ranks=4)), "like on a cluster"

    def test_cpu_processes_share_one_memory(self) -> None:
        one = estimate(plan(name="cpu"))
        two = estimate(with_model(plan(name="cpu"), device="cpu:2"))
        assert two.parts == {name: 2 * size for name, size in one.parts.items()}
        assert two.reported == 2 * one.reported
        divided = estimate(with_model(plan(name="cpu"), device="cpu:2", sharding="shard"))
        # The whole file stays mapped in addition to the shards: 2656 MiB whole, 3066 sharded (llama-250M).
        parts = 2 * 2 * QUANTISED * (1 / 2 + 2 / LAYERS)
        assert divided.weights == pytest.approx(two.weights + parts, abs=4)

    def test_micro_batch_is_reduced_so_that_every_device_has_rows(self) -> None:
        training_plan = plan(micro_batch=4, gradient_accumulation=1)
        assert with_model(training_plan, device=self.TWO).micro_batch == 2
        assert (
            estimate(with_model(training_plan, device=self.TWO)).tokens
            < estimate(training_plan).tokens
        )

    def test_single_device_speed_gives_no_time_for_several(self) -> None:
        training_plan = replace(plan(), tokens_per_s=100.0)
        assert estimate(training_plan).seconds
        assert estimate(with_model(training_plan, device=self.TWO)).seconds is None

    def test_advice_shards_weights_before_it_quantizes_them(self) -> None:
        training_plan = with_model(plan(free=2.5), device=self.TWO, sharding="replicate")
        suggestion = advice.find_cheapest_change(training_plan)
        assert suggestion is not None
        assert ("model", "sharding", "shard") in suggestion.changes
        assert not [change for change in suggestion.changes if change[1] == "precision"]
        assert estimate(suggestion.plan).fits


def test_programs_of_several_gpus_are_merged() -> None:
    programs = [(("python", 3), ("ollama", 2)), (("ollama", 4), ("Xorg", 1))]
    gpus = [
        device(name=f"cuda:{number}").model_copy(
            update={"programs": tuple(DeviceProgram(name=name, bytes=size) for name, size in found)}
        )
        for number, found in enumerate(programs)
    ]
    merged = combine_gpus(gpus).programs
    assert [(each.name, each.bytes) for each in merged] == [("ollama", 6), ("python", 3), ("Xorg", 1)]  # fmt: skip


def test_available_memory_decides_whether_training_fits() -> None:
    total = estimate(plan()).total
    assert estimate(plan(free=total / GIB + 0.01)).fits
    assert not estimate(plan(free=total / GIB - 0.01)).fits


def test_teacher_counts_as_a_phase_of_its_own() -> None:
    alone = replace(plan(), tokens_per_s=100.0)
    training = alone.training.model_copy(update={"teacher": "org/large", "distillation_top_k": 32})
    large = inspected(parameters=10 * PARAMETERS)
    taught = replace(alone, training=training, teacher=large)
    before, after = estimate(alone), estimate(taught)
    changed = [part for part in before.parts if after.parts[part] != before.parts[part]]
    assert changed == ["activations", "logits"], "of a second softmax"
    assert after.teacher > 20 * PARAMETERS
    assert after.total == after.teacher > before.total
    trained = taught.rows.trained * taught.rows.tokens
    assert after.teacher_cache == pytest.approx(trained * (32 * 8 + 4), abs=1)
    quantized = training.model_copy(update={"teacher_precision": "4bit"})
    assert estimate(replace(taught, training=quantized)).teacher < after.teacher
    pairs = replace(taught, rows=replace(taught.rows, task="preference"))
    assert (estimate(pairs).teacher, estimate(pairs).teacher_cache) == (0, 0)
