"""Alignment methods, one a file, and the tables that name them."""

from collections.abc import Callable

from dalib.methods.adabn import adabn as adabn
from dalib.methods.adamatch import adamatch as adamatch
from dalib.methods.adda import adda as adda
from dalib.methods.afn import afn as afn
from dalib.methods.augmentation import default_strong as default_strong
from dalib.methods.augmentation import default_weak as default_weak
from dalib.methods.base import EVERYTHING as EVERYTHING
from dalib.methods.base import NET_GROUPS as NET_GROUPS
from dalib.methods.base import SUPERVISED as SUPERVISED
from dalib.methods.base import Context as Context
from dalib.methods.base import Forward as Forward
from dalib.methods.base import Method as Method
from dalib.methods.base import Pass as Pass
from dalib.methods.base import Result as Result
from dalib.methods.base import Spec as Spec
from dalib.methods.base import States as States
from dalib.methods.base import Update as Update
from dalib.methods.base import evaluation_params as evaluation_params
from dalib.methods.base import from_term as from_term
from dalib.methods.bn_norm import bn_norm as bn_norm
from dalib.methods.bnm import bnm as bnm
from dalib.methods.bsp import bsp as bsp
from dalib.methods.bsp import spectral_penalty as spectral_penalty
from dalib.methods.cc_loss import cc_loss as cc_loss
from dalib.methods.cdan import cdan as cdan
from dalib.methods.cmd import cmd as cmd
from dalib.methods.combine import combine as combine
from dalib.methods.confusion import confusion as confusion
from dalib.methods.coral_dg import coral_dg as coral_dg
from dalib.methods.dan import dan as dan
from dalib.methods.dann import dann as dann
from dalib.methods.dare_gram import dare_gram as dare_gram
from dalib.methods.dd import dd as dd
from dalib.methods.ddc import ddc as ddc
from dalib.methods.deep_coral import deep_coral as deep_coral
from dalib.methods.deepjdot import deepjdot as deepjdot
from dalib.methods.dsan import dsan as dsan
from dalib.methods.entmin import entmin as entmin
from dalib.methods.fixmatch import fixmatch as fixmatch
from dalib.methods.groupdro import groupdro as groupdro
from dalib.methods.homm import homm as homm
from dalib.methods.im import im as im
from dalib.methods.irm import irm as irm
from dalib.methods.iwan import iwan as iwan
from dalib.methods.jan import jan as jan
from dalib.methods.log_coral import log_coral as log_coral
from dalib.methods.m3sda import m3sda as m3sda
from dalib.methods.mcc import mcc as mcc
from dalib.methods.mcd import mcd as mcd
from dalib.methods.mdd import mdd as mdd
from dalib.methods.mean_teacher import mean_teacher as mean_teacher
from dalib.methods.mean_teacher import teacher_params as teacher_params
from dalib.methods.mfsan import mfsan as mfsan
from dalib.methods.mixstyle import mixstyle as mixstyle
from dalib.methods.mme import mme as mme
from dalib.methods.osbp import osbp as osbp
from dalib.methods.ovanet import ovanet as ovanet
from dalib.methods.pada import pada as pada
from dalib.methods.pseudo_label import pseudo_label as pseudo_label
from dalib.methods.rejection import with_rejection as with_rejection
from dalib.methods.reversal import dann_schedule as dann_schedule
from dalib.methods.reversal import reverse_gradient as reverse_gradient
from dalib.methods.rsd import rsd as rsd
from dalib.methods.sar import sar as sar
from dalib.methods.shot import shot as shot
from dalib.methods.source_only import source_only as source_only
from dalib.methods.swd import swd as swd
from dalib.methods.tent import tent as tent
from dalib.methods.test_time import TestTime as TestTime
from dalib.methods.uda import uda as uda
from dalib.methods.vada import vada as vada
from dalib.methods.vat import vat as vat
from dalib.methods.vrex import vrex as vrex
from dalib.methods.wdgrl import wdgrl as wdgrl

METHODS: dict[str, Callable[..., Method]] = {
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
"""Every method by its name on the command line; each is called with its hyper-parameters by keyword."""

SETTINGS: dict[str, tuple[str, ...]] = {
    "closed set": (
        *("source_only", "ddc", "dan", "jan", "deep_coral", "log_coral", "cmd", "homm", "swd", "deepjdot", "dsan"),
        *("dann", "cdan", "mcd", "mdd", "wdgrl", "bsp", "confusion"),
        *("entmin", "im", "mcc", "bnm", "afn", "pseudo_label", "fixmatch", "uda", "cc_loss", "adamatch"),
        *("mean_teacher", "vat", "vada", "adabn"),
    ),
    "closed set, starts from a trained source net": ("adda", "shot"),
    "partial": ("pada", "iwan"),
    "open set, one more output": ("osbp",),
    "universal": ("ovanet",),
    "several sources": ("m3sda", "mfsan"),
    "semi-supervised, the labelled shots as second source": ("mme",),
    "domain generalisation, several sources": ("irm", "vrex", "groupdro", "mixstyle", "coral_dg"),
    "regression": ("rsd", "dare_gram", "dd"),
}
"""What a method needs and is for; every name of :data:`METHODS` stands in one setting."""


def setting_of(name: str) -> str:
    """The setting of a method of the table; a method of another package is a closed-set one."""
    return next((setting for setting, names in SETTINGS.items() if name in names), "closed set")


TEST_TIME: dict[str, Callable[..., TestTime]] = {
    "bn_norm": bn_norm,
    "tent": tent,
    "sar": sar,
}
"""Test-time methods by name; called with ``apply`` (:func:`dalib.train.make_apply`) and their hyper-parameters."""
