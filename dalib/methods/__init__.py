"""Alignment methods, one a file, and the tables that name them."""

from collections.abc import Callable

from dalib.core.checks import Names
from dalib.core.types import Task as Task
from dalib.methods.adversarial.critics import adda as adda
from dalib.methods.adversarial.critics import wdgrl as wdgrl
from dalib.methods.adversarial.domain_classifier import bsp as bsp
from dalib.methods.adversarial.domain_classifier import cdan as cdan
from dalib.methods.adversarial.domain_classifier import confusion as confusion
from dalib.methods.adversarial.domain_classifier import dann as dann
from dalib.methods.adversarial.domain_classifier import spectral_penalty as spectral_penalty
from dalib.methods.adversarial.two_heads import mcd as mcd
from dalib.methods.adversarial.two_heads import mdd as mdd
from dalib.methods.base import EVERYTHING as EVERYTHING
from dalib.methods.base import SETTINGS as SETTINGS
from dalib.methods.base import SUPERVISED as SUPERVISED
from dalib.methods.base import Hooks as Hooks
from dalib.methods.base import Method as Method
from dalib.methods.base import Needs as Needs
from dalib.methods.base import Update as Update
from dalib.methods.base import evaluated as evaluated
from dalib.methods.base import source_only as source_only
from dalib.methods.base import term as term
from dalib.methods.base import weigh as weigh
from dalib.methods.combine import combine as combine
from dalib.methods.generalisation.mixstyle import mixstyle as mixstyle
from dalib.methods.generalisation.penalties import coral_dg as coral_dg
from dalib.methods.generalisation.penalties import groupdro as groupdro
from dalib.methods.generalisation.penalties import irm as irm
from dalib.methods.generalisation.penalties import vrex as vrex
from dalib.methods.label_sets.open_set import osbp as osbp
from dalib.methods.label_sets.open_set import ovanet as ovanet
from dalib.methods.label_sets.open_set import with_rejection as with_rejection
from dalib.methods.label_sets.partial import iwan as iwan
from dalib.methods.label_sets.partial import pada as pada
from dalib.methods.label_sets.semi_supervised import mme as mme
from dalib.methods.label_sets.several_sources import m3sda as m3sda
from dalib.methods.label_sets.several_sources import mfsan as mfsan
from dalib.methods.parts.augmentation import default_strong as default_strong
from dalib.methods.parts.augmentation import default_weak as default_weak
from dalib.methods.parts.nets import dann_schedule as dann_schedule
from dalib.methods.parts.nets import reverse_gradient as reverse_gradient
from dalib.methods.self_training.consistency import cc_loss as cc_loss
from dalib.methods.self_training.consistency import fixmatch as fixmatch
from dalib.methods.self_training.consistency import uda as uda
from dalib.methods.self_training.entropy import afn as afn
from dalib.methods.self_training.entropy import bnm as bnm
from dalib.methods.self_training.entropy import entmin as entmin
from dalib.methods.self_training.entropy import im as im
from dalib.methods.self_training.entropy import mcc as mcc
from dalib.methods.self_training.entropy import pseudo_label as pseudo_label
from dalib.methods.self_training.smoothness import vada as vada
from dalib.methods.self_training.smoothness import vat as vat
from dalib.methods.self_training.source_free import adabn as adabn
from dalib.methods.self_training.source_free import shot as shot
from dalib.methods.self_training.teacher import adamatch as adamatch
from dalib.methods.self_training.teacher import mean_teacher as mean_teacher
from dalib.methods.self_training.teacher import teacher_params as teacher_params
from dalib.methods.statistics.mmd import dan as dan
from dalib.methods.statistics.mmd import ddc as ddc
from dalib.methods.statistics.mmd import dsan as dsan
from dalib.methods.statistics.mmd import jan as jan
from dalib.methods.statistics.moments import cmd as cmd
from dalib.methods.statistics.moments import deep_coral as deep_coral
from dalib.methods.statistics.moments import homm as homm
from dalib.methods.statistics.moments import log_coral as log_coral
from dalib.methods.statistics.regression import dare_gram as dare_gram
from dalib.methods.statistics.regression import dd as dd
from dalib.methods.statistics.regression import rsd as rsd
from dalib.methods.statistics.transport import deepjdot as deepjdot
from dalib.methods.statistics.transport import swd as swd
from dalib.methods.test_time.entropy import bn_norm as bn_norm
from dalib.methods.test_time.entropy import sar as sar
from dalib.methods.test_time.entropy import tent as tent
from dalib.methods.test_time.interface import TestTime as TestTime
from dalib.methods.transformers import augmented as augmented
from dalib.methods.transformers import averaged as averaged
from dalib.methods.transformers import scheduled as scheduled
from dalib.methods.transformers import sharp as sharp
from dalib.methods.view import NET_GROUPS as NET_GROUPS
from dalib.methods.view import Forward as Forward
from dalib.methods.view import Look as Look
from dalib.methods.view import Pass as Pass
from dalib.methods.view import Spec as Spec
from dalib.methods.view import States as States
from dalib.methods.view import View as View

_METHODS: dict[str, Callable[..., Method]] = {
    # baselines
    "source_only": source_only,
    # statistics
    "ddc": ddc,
    "dan": dan,
    "jan": jan,
    "deep_coral": deep_coral,
    "log_coral": log_coral,
    "cmd": cmd,
    "homm": homm,
    "swd": swd,
    "deepjdot": deepjdot,
    "dsan": dsan,
    # adversarial
    "dann": dann,
    "adda": adda,
    "cdan": cdan,
    "mcd": mcd,
    "mdd": mdd,
    "wdgrl": wdgrl,
    "bsp": bsp,
    "confusion": confusion,
    # self-training and regularising
    "entmin": entmin,
    "im": im,
    "mcc": mcc,
    "bnm": bnm,
    "afn": afn,
    "pseudo_label": pseudo_label,
    "fixmatch": fixmatch,
    "uda": uda,
    "cc_loss": cc_loss,
    "adamatch": adamatch,
    "mean_teacher": mean_teacher,
    "vat": vat,
    "vada": vada,
    # source-free and statistics of the target
    "shot": shot,
    "adabn": adabn,
    # partial, open, universal
    "pada": pada,
    "iwan": iwan,
    "osbp": osbp,
    "ovanet": ovanet,
    # multi-source and semi-supervised
    "m3sda": m3sda,
    "mfsan": mfsan,
    "mme": mme,
    # domain generalisation
    "irm": irm,
    "vrex": vrex,
    "groupdro": groupdro,
    "mixstyle": mixstyle,
    "coral_dg": coral_dg,
    # regression
    "rsd": rsd,
    "dare_gram": dare_gram,
    "dd": dd,
}
METHODS = Names("method", _METHODS)
"""Every method by its name on the command line; each is called with its hyper-parameters by keyword."""

TEST_TIME: Names[Callable[..., TestTime]] = Names("test-time method", {"bn_norm": bn_norm, "tent": tent, "sar": sar})
"""Test-time methods by name; called with ``apply`` (:func:`dalib.train.make_apply`) and their hyper-parameters."""
