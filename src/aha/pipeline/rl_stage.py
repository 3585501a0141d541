"""The RL stage: base or earlier stage's model -> model, with evaluations, stored rollouts and exact resume."""

from __future__ import annotations

import functools
from dataclasses import asdict, replace
from typing import Any

from aha.algorithms.table import algorithm
from aha.config import RLStage
from aha.errors import RunFailed, Stopped
from aha.evaluation.evaluate import Evaluation, evaluate
from aha.models.chat_template import remember_template
from aha.models.loading import Loaded, save
from aha.pipeline.context import Context, dialogue_of, policy_of
from aha.pipeline.evaluations import evaluate_when
from aha.pipeline.processes import evaluated_before, keep, placement, resume, start_of, stopping
from aha.pipeline.reward_stage import load_scorer
from aha.pipeline.store import write_rollouts
from aha.pipeline.workers import Drawn, sampler
from aha.protocols import Engine
from aha.training.critic import ValueLearner
from aha.training.learner import Optimiser, TorchLearner
from aha.training.rl import Loop, Step, train
from aha.training.step_metrics import grows
from aha.types import Sampling, StepMetrics


def run_rl(context: Context, stage: RLStage) -> dict[str, Any]:
    """Train, or go on from the last checkpoint; returns the stage's result."""
    setting = algorithm(stage.algorithm.name).setting.replaced(stage.algorithm.options)
    loaded = start_of(context, stage.positions)
    dialogue = dialogue_of(loaded, context.recipe.template)
    with sampler(context, stage, loaded, dialogue, setting.attempts) as drawn:
        scorers = {
            name: load_scorer(context.data[choice.model], context, stage.optimiser.micro_batch_tokens)
            for name, choice in stage.preferences.items()
        }
        loop = Loop(
            stage, context.task, context.recipe.seed, context.runtime.coarsest, dialogue, scorers, drawn.share,
            drawn.source,
        )  # fmt: skip
        return _train(context, loop, loaded, drawn)


def _train(context: Context, loop: Loop, loaded: Loaded, drawn: Drawn) -> dict[str, Any]:
    """All steps and both evaluations."""
    stage, engine = loop.stage, drawn.engine
    evaluated = functools.partial(
        evaluate_when, context, engine, loop.dialogue, stage.evaluation, _sampling(loop), share=loop.share
    )
    learner, critic = _learners(context, loop, loaded)
    done, seconds = _resume(context, learner, critic, drawn)
    context.observer.stage(context.folder.name, done, stage.steps)
    if not evaluated_before(context):
        engine.publish(learner.weights(), 0)
        evaluated(when="before")
    memory: list[float] = []
    for step in train(loop, learner, engine, done, critic):
        memory.append(step.metrics.values["memory/rss_gb"])
        if grows(memory):
            context.observer.note(f"memory grows: {memory[0]:.2f} GB after the first step, {memory[-1]:.2f} GB now")
            memory.clear()
        for note in drawn.notes():
            context.observer.note(note)
        seconds += step.metrics.values["time/step_s"]
        done = step.metrics.step
        _record(context, loop, engine, step)
        context.alive()
        asked = stopping(context)
        if done % stage.checkpoint_every == 0 or done == stage.steps or asked:
            keep(context, done, {**_state(learner, critic), "seconds": seconds, "sampler": drawn.state()})
        if asked:
            raise Stopped(f"step {done} is saved")
    if done != stage.steps:
        raise RunFailed(f"{done} of {stage.steps} planned steps were made")
    after = evaluated(when="after")
    remember_template(loaded.tokenizer, context.recipe.template)
    weights = learner.master_weights(loaded.model)
    if context.world.first:
        save(context.folder.model, loaded.model, weights, loaded.tokenizer)
    return {"steps": stage.steps, "train_s": seconds, **after.figures}


def _learners(context: Context, loop: Loop, loaded: Loaded) -> tuple[TorchLearner, ValueLearner | None]:
    """The policy's learner, and a critic where the algorithm has one."""
    stage, setting, placed = loop.stage, loop.setting, placement(context)
    chosen = stage.optimiser.model_dump(exclude={"micro_batch_tokens"})
    tokens = stage.optimiser.micro_batch_tokens
    learner = TorchLearner(
        policy_of(loaded, stage.lora, context.recipe.seed),
        Optimiser(**chosen, total_steps=stage.steps * stage.algorithm.updates_per_rollout),
        micro_batch_tokens=tokens,
        sampling=loop.sampling,
        reference=loaded.fresh_copy() if setting.kl_beta else None,
        **placed,
    )
    if not loop.row.critic:
        return learner, None
    optimiser = Optimiser(**{**chosen, "lr": setting.critic_lr}, total_steps=stage.steps)
    return learner, ValueLearner(loaded.fresh_copy(), optimiser, micro_batch_tokens=tokens, **placed)


def _resume(context: Context, learner: TorchLearner, critic: ValueLearner | None, drawn: Drawn) -> tuple[int, float]:
    """Load the newest sound checkpoint and forget what was written after it: steps done and seconds spent."""
    blank = functools.partial(_state, learner, critic, blank=True)
    done, state = resume(context, blank)
    if state:
        learner.load_state(state)
        if critic is not None:
            critic.load_state(state["critic"])
    drawn.begin(done, state.get("sampler", {}))
    return done, float(state.get("seconds", 0.0))


def _state(learner: TorchLearner, critic: ValueLearner | None, *, blank: bool = False) -> dict[str, Any]:
    """All that an exact resume needs; `blank`: what it is read into."""
    own, its = ((one.blank_state() if blank else one.state()) if one else None for one in (learner, critic))
    return {**(own or {}), "critic": its}


def _record(context: Context, loop: Loop, engine: Engine, step: Step) -> None:
    """Metrics and rollouts of a step, with an evaluation where one is due."""
    stage, metrics = loop.stage, step.metrics
    if stage.evaluation.every and metrics.step % stage.evaluation.every == 0 and metrics.step < stage.steps:
        figures = _run_evaluation(loop, engine).figures
        numbers = {f"eval/{name}": value for name, value in figures.items() if isinstance(value, float)}
        metrics = StepMetrics(metrics.step, {**metrics.values, **numbers})
    if step.refused:
        context.folder.write_json(f"refused/step-{metrics.step:06d}.json", [asdict(s) for s in step.refused])
    if stage.keep_rollouts and context.world.first:
        write_rollouts(context.folder.rollouts, metrics.step, step.groups)
    context.folder.append(metrics)
    context.observer.step(metrics)


def _run_evaluation(loop: Loop, engine: Engine) -> Evaluation:
    choice = loop.stage.evaluation
    return evaluate(
        engine, loop.dialogue, loop.task, problems=choice.every_problems, samples=choice.every_samples,
        sampling=_sampling(loop), seed=loop.seed, share=loop.share,
    )  # fmt: skip


def _sampling(loop: Loop) -> Sampling:
    """Of evaluations: as in training, but for the temperature."""
    return replace(loop.sampling, temperature=loop.stage.evaluation.temperature)
