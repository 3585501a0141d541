"""The RL stage: base or earlier stage's model -> model, with evaluations, stored rollouts and exact resume."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from aha.algorithms.setting import Setting
from aha.algorithms.table import algorithm
from aha.config import RLStage
from aha.engines.native.engine import NativeEngine
from aha.errors import RunFailed, Stopped
from aha.evaluation.evaluate import Evaluation, evaluate
from aha.models.chat_template import remember_template
from aha.models.loading import Loaded, load, save
from aha.pipeline.context import Context, dialogue_of, engine_of, policy_of
from aha.pipeline.evaluations import evaluate_when
from aha.pipeline.reward_stage import load_scorer
from aha.pipeline.store import write_rollouts
from aha.training import checkpoint
from aha.training.critic import ValueLearner
from aha.training.learner import Optimiser, TorchLearner
from aha.training.rl import Loop, Step, train
from aha.training.step_metrics import grows
from aha.types import Sampling, StepMetrics


def run_rl(context: Context, stage: RLStage) -> dict[str, Any]:
    """Train, or go on from the last checkpoint; returns the stage's result."""
    setting = algorithm(stage.algorithm.name).setting.replaced(stage.algorithm.options)
    loaded = load(context.start, context.runtime.device, stage.positions)
    dialogue = dialogue_of(loaded, context.recipe.template)
    engine = engine_of(loaded, context.runtime, stage.rollouts.slots)
    scorers = {
        name: load_scorer(context.data[choice.model], context, stage.optimiser.micro_batch_tokens)
        for name, choice in stage.preferences.items()
    }
    loop = Loop(stage, context.task, context.recipe.seed, context.runtime.dtype_name, dialogue, scorers)
    learner, critic = _learners(context, loop, loaded, setting)
    done, seconds = _resume(context, learner, critic)
    context.observer.stage(context.folder.name, done, stage.steps)
    if "before" not in context.folder.evaluation():
        engine.publish(learner.weights(), 0)
        evaluate_when(context, engine, dialogue, stage.evaluation, _sampling(loop), "before")
    memory: list[float] = []
    for step in train(loop, learner, engine, done, critic):
        memory.append(step.metrics.values["memory/rss_gb"])
        if grows(memory):
            context.observer.note(f"memory grows: {memory[0]:.2f} GB after the first step, {memory[-1]:.2f} GB now")
            memory.clear()
        seconds += step.metrics.values["time/step_s"]
        done = step.metrics.step
        _record(context, loop, engine, step)
        context.alive()
        if done % stage.checkpoint_every == 0 or done == stage.steps or context.stop.asked:
            state = {**learner.state(), "seconds": seconds, "critic": critic.state() if critic else None}
            checkpoint.save(context.folder.checkpoints, done, state)
        if context.stop.asked:
            raise Stopped(f"step {done} is saved")
    if done != stage.steps:
        raise RunFailed(f"{done} of {stage.steps} planned steps were made")
    after = evaluate_when(context, engine, dialogue, stage.evaluation, _sampling(loop), "after")
    remember_template(loaded.tokenizer, context.recipe.template)
    save(context.folder.model, loaded.model, learner.master_weights(loaded.model), loaded.tokenizer)
    return {"steps": stage.steps, "train_s": seconds, **after.figures}


def _learners(
    context: Context, loop: Loop, loaded: Loaded, setting: Setting
) -> tuple[TorchLearner, ValueLearner | None]:
    """The policy's learner, and a critic where the algorithm has one."""
    stage, dtype = loop.stage, context.runtime.dtype
    chosen = stage.optimiser.model_dump(exclude={"micro_batch_tokens"})
    tokens = stage.optimiser.micro_batch_tokens
    learner = TorchLearner(
        policy_of(loaded, stage.lora, context.recipe.seed),
        Optimiser(**chosen, total_steps=stage.steps * stage.algorithm.updates_per_rollout),
        dtype=dtype,
        micro_batch_tokens=tokens,
        sampling=loop.sampling,
        reference=loaded.fresh_copy() if setting.kl_beta else None,
    )
    if not loop.row.critic:
        return learner, None
    optimiser = Optimiser(**{**chosen, "lr": setting.critic_lr}, total_steps=stage.steps)
    return learner, ValueLearner(loaded.fresh_copy(), optimiser, dtype=dtype, micro_batch_tokens=tokens)


def _resume(context: Context, learner: TorchLearner, critic: ValueLearner | None) -> tuple[int, float]:
    """Load the newest sound checkpoint and forget what was written after it: steps done and seconds spent."""
    found = checkpoint.newest(context.folder.checkpoints)
    done, state = found or (0, {})
    context.folder.rewind(done)
    if found:
        learner.load_state(state)
        if critic is not None:
            critic.load_state(state["critic"])
        context.observer.note(f"going on after step {done}")
    return done, float(state.get("seconds", 0.0))


def _record(context: Context, loop: Loop, engine: NativeEngine, step: Step) -> None:
    """Metrics and rollouts of a step, with an evaluation where one is due."""
    stage, metrics = loop.stage, step.metrics
    if stage.evaluation.every and metrics.step % stage.evaluation.every == 0 and metrics.step < stage.steps:
        figures = _run_evaluation(loop, engine, stage.evaluation.every_problems, stage.evaluation.every_samples).figures
        numbers = {f"eval/{name}": value for name, value in figures.items() if isinstance(value, float)}
        metrics = StepMetrics(metrics.step, {**metrics.values, **numbers})
    if step.refused:
        context.folder.write_json(f"refused/step-{metrics.step:06d}.json", [asdict(s) for s in step.refused])
    if stage.keep_rollouts:
        write_rollouts(context.folder.rollouts, metrics.step, step.groups)
    context.folder.append(metrics)
    context.observer.step(metrics)


def _run_evaluation(loop: Loop, engine: NativeEngine, problems: int, samples: int) -> Evaluation:
    return evaluate(
        engine, loop.dialogue, loop.task, problems=problems, samples=samples, sampling=_sampling(loop), seed=loop.seed
    )


def _sampling(loop: Loop) -> Sampling:
    """Of evaluations: as in training, but for the temperature."""
    return replace(loop.sampling, temperature=loop.stage.evaluation.temperature)
