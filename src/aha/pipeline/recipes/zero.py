"""R1-Zero: pure reinforcement learning from a base model, rule rewards only (DeepSeek-R1, section 2)."""

from __future__ import annotations

from aha.config import AlgorithmChoice, EvaluationChoice, OptimiserChoice, Recipe, RLStage, Rollouts


def zero() -> Recipe:
    """The paper's setting for any model: 32 questions x 16 samples, lr 3e-6, beta 0.001, reference every 400 steps."""
    return Recipe(
        name="zero",
        about="R1-Zero with the paper's hyper-parameters, for your own model and task",
        stages={"zero": RLStage(steps=1000, optimiser=OptimiserChoice(lr=3e-6))},
    )


def demo() -> Recipe:
    """R1-Zero of the embedded base model on countdown, in minutes on 2 cores.

    A 2 M model takes a learning rate that a 671 B one does not, and 320 tokens hold its longest search.
    """
    return Recipe(
        name="demo",
        about="R1-Zero from the embedded base model on a laptop CPU, in minutes",
        model="tiny",
        task="countdown",
        dtype="fastest",
        stages={
            "zero": RLStage(
                steps=40,
                rollouts=Rollouts(max_tokens=320),
                # As in the paper, a rollout is split into minibatches of one update each: two, for its 512 samples.
                algorithm=AlgorithmChoice(updates_per_rollout=2),
                optimiser=OptimiserChoice(lr=2e-4, schedule="cosine", final_share=0.05),
                evaluation=EvaluationChoice(problems=250, samples=16, every=10),
                checkpoint_every=5,
            )
        },
    )
