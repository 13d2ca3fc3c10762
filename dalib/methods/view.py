"""The data that a method sees: the view of a loss, the sizes for its own parameters, and a look at whole training sets.

All are data and pure functions. Hyper-parameters may be traced arrays, so that a run can be ``vmap``ped over them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from dalib.core.types import Array, Batch, Outputs, Params, PyTree, Task

Layer = Literal["logits", "features"]
"""Layers of :class:`~dalib.core.types.Outputs` that a term may align."""

NET_GROUPS = ("encoder", "bottleneck", "head")
"""Parameter groups of the classifier; a method's own groups may not take these names."""


class States(NamedTuple):
    """Values that a step carries: ``model`` (batch statistics by domain) and ``method`` (the method's own state)."""

    model: PyTree
    method: PyTree


class Pass(NamedTuple):
    """One pass of both domains through the net, with the batch it came from."""

    source: Outputs
    target: Outputs
    batch: Batch


class Forward(NamedTuple):
    """The net as pure functions under one BatchNorm convention.

    Attributes:
        pair: ``(params, model_state, batch, key) -> (Pass, model_state)``, both domains in training mode.
        one: ``(params, model_state, inputs, domain, key, train) -> (Outputs, model_state)``; ``domain``, "source" or
            "target", chooses the batch statistics. ``train=False`` leaves the model state unchanged.
        head: ``(head_params, features, key) -> logits`` of a head of its form; no key at evaluation.
    """

    pair: Callable[[Params, PyTree, Batch, Array], tuple[Pass, PyTree]]
    one: Callable[..., tuple[Outputs, PyTree]]
    head: Callable[[PyTree, Array, Array | None], Array]


class View(NamedTuple):
    """All that a loss may see. New facts become new fields and break no method.

    Attributes:
        batch: inputs, source labels, and which rows of each domain it holds.
        params: the net's parameter groups and the method's own, under the method's own names.
        states: batch statistics and the method's own state. A loss returns changed ones in its view.
        net: the net's passes; :meth:`pair`, :meth:`again` and :meth:`head` call them.
        task: the task, with its loss per example.
        key: randomness of this loss at this step.
        step: ``[]`` int32, steps taken before this one.
        progress: ``[]`` float32 in [0, 1], ``step / total steps``.
        source, target: outputs of the common pass; None before it.
        labels: ``[n]`` of the rows in ``source``; None before the common pass.
    """

    batch: Batch
    params: Params
    states: States
    net: Forward
    task: Task
    key: Array
    step: Array
    progress: Array
    source: Any = None
    target: Any = None
    labels: Any = None

    @property
    def own(self) -> Params:
        """The method's own parameter groups."""
        return {g: p for g, p in self.params.items() if g not in NET_GROUPS}

    @property
    def state(self) -> PyTree:
        """The method's own state."""
        return self.states.method

    def keep(self, state: PyTree) -> View:
        """This view with another state of the method."""
        return self._replace(states=self.states._replace(method=state))

    def pair(self, batch: Batch | None = None) -> View:
        """Make the common training pass over both domains with this view's key, and show its outputs. ``batch``, such
        as one of augmented inputs, goes through the net in place of the view's."""
        view = self if batch is None else self._replace(batch=batch)
        outputs, model = self.net.pair(self.params, self.states.model, view.batch, self.key)
        return view.show(outputs.source, outputs.target).with_model(model)

    def show(self, source: Outputs, target: Outputs) -> View:
        """This view with the outputs that joined penalties see."""
        return self._replace(source=source, target=target, labels=self.batch.source.labels)

    def with_model(self, model: PyTree) -> View:
        """This view with other batch statistics."""
        return self._replace(states=self.states._replace(model=model))

    def again(
        self,
        inputs: Array,
        domain: str = "target",
        *,
        key: Array | None,
        params: Params | None = None,
        train: bool = True,
        **more: Any,
    ) -> tuple[Outputs, View]:
        """Make a further pass; return its outputs, and this view with the batch statistics after it.

        Args:
            inputs: ``[n, ...]``.
            domain: "source" or "target", the batch statistics that are meant.
            key: of the dropout; None for none.
            params: other parameters than this view's, such as a teacher's.
            train: training mode; False leaves the batch statistics unchanged.
            **more: of :attr:`Forward.one`, such as ``by_batch``.
        """
        # Batch statistics travel in the view, so that no pass can lose another's.
        params = self.params if params is None else params
        outputs, model = self.net.one(params, self.states.model, inputs, domain, key, train, **more)
        return outputs, self.with_model(model)

    def head(self, features: Array, key: Array | None, params: PyTree | None = None) -> Array:
        """Logits of features by the net's head, or by another head of its form."""
        return self.net.head(self.params["head"] if params is None else params, features, key)

    def task_loss(self, logits: Array, labels: Array | None = None) -> Array:
        """The supervised loss per example, ``[n]``, of other logits than the common pass's (a second head's)."""
        return self.task.loss(Outputs(logits, logits), self.labels if labels is None else labels)


class Spec(NamedTuple):
    """Facts from which a method makes its own parameters and state.

    Attributes:
        num_classes: C, the columns of the logits.
        outputs: an :class:`Outputs` of ``jax.ShapeDtypeStruct`` for one source batch.
        params: the net's initial parameters (for copies: teachers, frozen source encoders).
        init_head: ``key -> params`` of one more head of the classifier's form.
        batch_stats: the initial batch statistics that belong to ``params``; empty without BatchNorm.
        target_size: examples of the target's training split, for memory banks; 0 if not known.
    """

    num_classes: int
    outputs: Outputs
    params: Params
    init_head: Callable[[Array], PyTree]
    batch_stats: PyTree = {}
    target_size: int = 0

    @property
    def width(self) -> int:
        """d, the number of features."""
        return self.outputs.features.shape[-1]


class Look(NamedTuple):
    """A look at whole training sets in evaluation mode, outside the compiled step.

    Attributes:
        outputs: ``domain -> Outputs``, ``[N, ...]`` in stored order; "target" or "source".
        inputs: ``domain -> [N, ...]``.
        labels: ``() -> [N]`` of the source. There is no way to the target's.
    """

    outputs: Callable[[str], Outputs]
    inputs: Callable[[str], Any]
    labels: Callable[[], Any]
