"""Domains, image transforms, the paired training stream and evaluation passes.

Importing this package loads neither grain nor tensorflow-datasets nor an imaging library; the functions that need one
import it.
"""

from dalib.data.digits import DIGIT_DOMAINS as DIGIT_DOMAINS
from dalib.data.digits import mnist as mnist
from dalib.data.digits import mnist_m as mnist_m
from dalib.data.digits import optdigits as optdigits
from dalib.data.domain import UNLABELLED as UNLABELLED
from dalib.data.domain import Domain as Domain
from dalib.data.domain import Split as Split
from dalib.data.evaluation import EvaluationBatch as EvaluationBatch
from dalib.data.evaluation import UnlabelledBatch as UnlabelledBatch
from dalib.data.evaluation import evaluation_batches as evaluation_batches
from dalib.data.evaluation import unlabelled_batches as unlabelled_batches
from dalib.data.matching import check_distinct as check_distinct
from dalib.data.matching import match_classes as match_classes
from dalib.data.readers.arrays import from_arrays as from_arrays
from dalib.data.readers.folders import from_folder as from_folder
from dalib.data.readers.folders import from_list_file as from_list_file
from dalib.data.readers.tfds import from_tfds as from_tfds
from dalib.data.stream import PairedStream as PairedStream
from dalib.data.stream import RowStream as RowStream
from dalib.data.stream import paired_stream as paired_stream
from dalib.data.stream import stream_rows as stream_rows
from dalib.data.text import IGNORED_LABEL as IGNORED_LABEL
from dalib.data.text import EncodedWords as EncodedWords
from dalib.data.text import Tokenizer as Tokenizer
from dalib.data.text import encode as encode
from dalib.data.text import encode_words as encode_words
from dalib.data.text import load_tokenizer as load_tokenizer
from dalib.data.text import pad_waveforms as pad_waveforms
