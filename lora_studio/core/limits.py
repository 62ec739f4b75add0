"""Every bound on what this program reads from files and servers that somebody else controls.

`LIMITS` lists them with their units and reasons; `packaging/reference.py` writes it as a page of the
documentation. A bound is generous for real data, and small enough that reading needs less than 1 GB of
memory and responds to a cancel within two seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

Unit = Literal["bytes", "characters", "items", "levels", "seconds", "times"]
_Value = TypeVar("_Value", int, float)


@dataclass(frozen=True)
class InputLimit:
    """One bound: on what, its value, and why it isn't smaller or larger."""

    group: str
    subject: str
    value: float
    unit: Unit
    reason: str


LIMITS: list[InputLimit] = []

_FILES, _DATA = "Files", "Datasets"
_MODELS, _TEMPLATES = "Models and adapters", "Chat templates and TEMPLATEs"
_PROJECTS, _PROCESSES = "Projects", "Processes"


def _limit(group: str, subject: str, value: _Value, unit: Unit, reason: str) -> _Value:
    """Add a bound to the table and return its value."""
    LIMITS.append(InputLimit(group, subject, value, unit, reason))
    return value


# --- any file -------------------------------------------------------------------------------------

SMALL_FILE = _limit(
    _FILES, "A file of settings, a record of a run, or a model card", 16_000_000, "bytes",
    "The largest known have 1 MB.",
)  # fmt: skip
LARGE_FILE = _limit(
    _FILES, "A tokenizer, an index of weights, or a list of answers", 256_000_000, "bytes",
    "The largest tokenizers have 35 MB.",
)  # fmt: skip
JSON_VALUES = _limit(
    _FILES, "Values in a JSON file", 8_000_000, "items",
    "A tokenizer with 260,000 tokens has 2 million. Each takes about 70 bytes of memory.",
)  # fmt: skip

RECORD_LINE = _limit(
    _FILES, "One line of a list of events or answers", 16_000_000, "bytes",
    "Most have a few hundred bytes. A longer line is skipped.",
)  # fmt: skip

# --- evaluations ----------------------------------------------------------------------------------

PATTERN_SECONDS = _limit(
    _DATA, "A regular expression on one answer", 0.5, "seconds",
    "Some expressions take exponential time; useful ones take milliseconds.",
)  # fmt: skip

EVALUATION_BYTES = _limit(
    _DATA, "The items, the answers, or the comparisons of an evaluation", 512_000_000, "bytes",
    "Ten columns of 10,000 long answers have 200 MB.",
)  # fmt: skip
EVALUATION_LINES = _limit(
    _DATA, "Items, answers, or comparisons of an evaluation", 500_000, "items",
    "Ten columns of 10,000 items have 100,000 answers. Each takes about 1 kB of memory.",
)  # fmt: skip

REPLY_BYTES = _limit(
    _DATA, "What a Python function of a reward returns for one answer", 1_000_000, "bytes",
    "It is a number, or an error with up to 300 characters.",
)  # fmt: skip

# --- datasets -------------------------------------------------------------------------------------

ROW_BYTES = _limit(
    _DATA, "One row", 8_000_000, "bytes",
    "About two million tokens, which is more than models read at once.",
)  # fmt: skip
LABELS = _limit(
    _DATA, "Different labels of texts to classify", 1_000, "items",
    "Most classifiers have fewer than 200. More labels are usually a column of another kind.",
)  # fmt: skip
ROW_VALUES = _limit(
    _DATA, "Values in one row, nested ones included", 200_000, "items",
    "A turn is three values.",
)  # fmt: skip
ROW_DEPTH = _limit(
    _DATA, "Lists and objects inside each other in one row", 100, "levels",
    "Rows have up to ten, trees of replies a few dozen. Python allows a thousand.",
)  # fmt: skip
ROW_TURNS = _limit(
    _DATA, "Turns in one row", 10_000, "items",
    "Long role plays have a thousand. The time for a chat template grows with the square.",
)  # fmt: skip
COLUMNS = _limit(
    _DATA, "Columns of one source", 10_000, "items",
    "Tables of texts have up to a hundred.",
)  # fmt: skip
TABLE_FOOTER = _limit(
    _DATA, "The footer of a Parquet or Arrow file", 12_000_000, "bytes",
    "It is parsed at once, and takes up to 220 times its size of memory. A million rows of ten columns in "
    "groups of a thousand have 2 MB.",
)  # fmt: skip
TABLE_PARTS = _limit(
    _DATA, "Row groups, or columns inside columns, of a Parquet file", 100_000, "items",
    "A file with a million rows has up to a thousand groups.",
)  # fmt: skip
LITERAL = _limit(
    _DATA, "A list or object that a table's cell spells out as text", 1_000_000, "characters",
    "Parsing a Python literal takes a hundred times its size of memory.",
)  # fmt: skip
DOCUMENT_BYTES = _limit(
    _DATA, "A JSON file of columns, which has to be read at once", 128_000_000, "bytes",
    "It is in memory twice.",
)  # fmt: skip
DOCUMENT_VALUES = _limit(
    _DATA, "Values in a JSON file of columns", 2_000_000, "items",
    "Each takes about 70 bytes of memory. JSON lines and Parquet have no such limit.",
)  # fmt: skip
EXPORT_BYTES = _limit(
    _DATA, "A file that another program has exported, which has to be read at once", 160_000_000, "bytes",
    "It is in memory twice. Ten years of chats have 100 MB.",
)  # fmt: skip
EXPORT_VALUES = _limit(
    _DATA, "Values in an exported JSON file", 4_000_000, "items",
    "Each takes about 70 bytes of memory. A message has 15.",
)  # fmt: skip
PAGE_BYTES = _limit(
    _DATA, "A web page", 32_000_000, "bytes",
    "It takes twenty times its size of memory. A record of 10,000 activities has 20 MB.",
)  # fmt: skip
COLLECTION_SECONDS = _limit(
    _DATA, "Reading the notes of an Anki package", 60.0, "seconds",
    "The database can define what a query does. 100,000 notes take ten seconds.",
)  # fmt: skip
SAMPLE_BYTES = _limit(
    _DATA, "Rows in memory while the format is detected or the first rows are shown", 32_000_000,
    "bytes", "500 rows are enough to detect a format; most have a few thousand bytes.",
)  # fmt: skip
FOLDER_FILES = _limit(
    _DATA, "Files in a folder of data", 100_000, "items",
    "A folder with more was probably chosen by mistake.",
)  # fmt: skip
ARCHIVE_FILES = _limit(
    _DATA, "Files in a ZIP or tar archive", 20_000, "items",
    "Each is opened several times to see what it contains.",
)  # fmt: skip
ARCHIVE_HEADER = _limit(
    _DATA, "The header of an entry in a tar archive", 8_000_000, "bytes",
    "It contains a path and a few attributes. Contents are read in smaller pieces.",
)  # fmt: skip
ZIP_LIST = _limit(
    _DATA, "The list of the files in a ZIP archive", 4_000_000, "bytes",
    "It is parsed at once. A file takes about 100 bytes.",
)  # fmt: skip
EXPANSION_FREE = _limit(
    _DATA, "Content of a packed file, whatever the size of the file", 100_000_000, "bytes",
    "Small files may contain a few equal rows.",
)  # fmt: skip
EXPANSION = _limit(
    _DATA, "Content of a packed file, as a multiple of its size", 100, "times",
    "Texts are packed to a third or a tenth of their size, repetitive ones to a fiftieth.",
)  # fmt: skip
PACKED_SILENCE = _limit(
    _DATA, "Bytes of a packed file that unpack to nothing", 4_000_000, "bytes",
    "Empty parts take half a second per megabyte and more. Blocks have up to 1 MB.",
)  # fmt: skip
ROW_COST = _limit(
    _DATA, "What a row counts toward the content, in addition to its own size", 200, "bytes",
    "Rows without any content take memory and time, too.",
)  # fmt: skip
COMPARED_CHARACTERS = _limit(
    _DATA, "Text in memory while rows are compared for near duplicates", 4_000_000, "characters",
    "Each character takes about 60 bytes while it is hashed.",
)  # fmt: skip

# --- models and adapters --------------------------------------------------------------------------

WEIGHTS_HEADER = _limit(
    _MODELS, "The header of a safetensors file", 32_000_000, "bytes",
    "It is parsed at once. An adapter for each expert of a model with a trillion weights has 21 MB.",
)  # fmt: skip
WEIGHTS_INDEX = _limit(
    _MODELS, "The index of a model in several safetensors files", 64_000_000, "bytes",
    "The largest known models have 20 MB.",
)  # fmt: skip
WEIGHTS_VALUES = _limit(
    _MODELS, "Values in the header of a safetensors file, or in the index of several", 1_500_000, "items",
    "A header has eight for each tensor, an index one. The largest known models have 210,000 tensors in "
    "more than 60 files.",
)  # fmt: skip
TENSOR_DIMENSIONS = _limit(
    _MODELS, "Dimensions of a tensor in a safetensors file", 64, "items",
    "The limit of PyTorch. The product of many large lengths takes minutes.",
)  # fmt: skip
GGUF_TEXT = _limit(
    _MODELS, "One text in the header of a GGUF file", 2_000_000, "bytes",
    "Chat templates have up to 100 kB. Unpacking a text takes 40 times its size of memory.",
)  # fmt: skip
GGUF_ITEMS = _limit(
    _MODELS, "Values in all lists in the header of a GGUF file that is unpacked", 3_000_000, "items",
    "The largest known vocabulary has 1.3 million with its scores, types, and merges. A text takes "
    "25 microseconds and 1.2 kB of memory.",
)  # fmt: skip
GGUF_DEPTH = _limit(
    _MODELS, "Lists inside lists in the header of a GGUF file", 2, "levels",
    "The format has none.",
)  # fmt: skip
FRONT_MATTER = _limit(
    _MODELS, "The front matter of a model card", 1_000_000, "characters",
    "The largest have a few ten thousand.",
)  # fmt: skip
PATTERN = _limit(
    _MODELS, "A pattern of module names in an adapter", 2000, "characters",
    "Patterns that list modules one by one have a few hundred.",
)  # fmt: skip
PATTERNS = _limit(
    _MODELS, "Names, patterns, or numbers of modules in one setting of an adapter", 20_000, "items",
    "One for each expert of a large model makes 18,000. Each is matched against every module.",
)  # fmt: skip
PATTERN_WAYS = _limit(
    _MODELS, "Ways in which a pattern of module names may match one name", 1e7, "items",
    "Three unlimited repetitions in a long name, or four before words.",
)  # fmt: skip
ADAPTER_RANK = _limit(
    _MODELS, "The rank of an adapter", 1_000_000, "items",
    "Ranks are at most the width of a layer.",
)  # fmt: skip
ADAPTER_ALPHA = _limit(
    _MODELS, "The alpha of an adapter", 1e9, "items",
    "It is up to a few times the rank.",
)  # fmt: skip
CODE_FILES = _limit(
    _MODELS, "Python files in the folder of a model that needs its own code", 500, "items",
    "Models have up to thirty.",
)  # fmt: skip
CODE_BYTES = _limit(
    _MODELS, "Python code in the folder of a model", 20_000_000, "bytes",
    "Models have up to 1 MB.",
)  # fmt: skip
LLAMA_CPP_FILES = _limit(
    _MODELS, "Programs and libraries in a folder of llama.cpp", 5000, "items",
    "A checkout has about 300; builds add their libraries.",
)  # fmt: skip
MODEL_LAYERS = _limit(
    _MODELS, "Layers of a model", 1000, "items",
    "The deepest known models have 160. Each is built to count its parameters.",
)  # fmt: skip
MODEL_EXPERTS = _limit(
    _MODELS, "Experts in a layer of a model", 65_536, "items",
    "Large models have 512, Doge has 16,384 small ones.",
)  # fmt: skip
MODEL_WIDTH = _limit(
    _MODELS, "The vocabulary and the widths of a model", 10_000_000, "items",
    "The largest known vocabulary has 1.3 million tokens, the largest width is 53,248.",
)  # fmt: skip
MODEL_MASK = _limit(
    _MODELS, "Positions of a model that holds a mask of all positions (GPT-Neo, GPT-BigCode, GPT)", 16_384, "items",
    "StarCoder has 8192. The mask of 16,384 takes up to 1 GB.",
)  # fmt: skip
MODEL_LABELS = _limit(
    _MODELS, "Labels of a model", 100_000, "items",
    "Classifiers of ImageNet have 21,843. Each gets a name when the configuration is read.",
)  # fmt: skip
TOKENIZER_GROWTH = _limit(
    _MODELS, "Characters that a tokenizer makes of one, or tokens that it adds to a text", 10_000, "times",
    "Tokenizers replace spaces and accents by a few characters.",
)  # fmt: skip
ADDED_TOKENS = _limit(
    _MODELS, "Tokens that a tokenizer adds to its vocabulary", 100_000, "items",
    "Models of speech add up to 65,536. Each takes 50 microseconds and more.",
)  # fmt: skip
VOCABULARY = _limit(
    _MODELS, "Tokens of a tokenizer that is converted when it is loaded (SentencePiece, tiktoken, GGUF)", 1_000_000,
    "items", "The largest known has 900,000, which take 15 seconds and 500 MB.",
)  # fmt: skip
TOKEN_LENGTH = _limit(
    _MODELS, "One token in the settings of a tokenizer", 10_000, "characters",
    "The longest known tokens have a few hundred. Loading and searching for them takes many times their size.",
)  # fmt: skip
TOKENIZER_SECONDS = _limit(
    _MODELS, "Processor time for loading a tokenizer and one text", 30.0, "seconds",
    "The largest known tokenizers take four seconds on one slow core.",
)  # fmt: skip
TOKENIZER_MEMORY = _limit(
    _MODELS, "Memory for loading a tokenizer and one text", 2 << 30, "bytes",
    "The largest known tokenizers take 500 MB.",
)  # fmt: skip
LLAMA_CPP_DEPTH = _limit(
    _MODELS, "Folders inside each other in a folder of llama.cpp", 30, "levels",
    "More mean a link that leads back to a parent folder.",
)  # fmt: skip

# --- templates ------------------------------------------------------------------------------------

TEMPLATE_LENGTH = _limit(
    _TEMPLATES, "A text or list that a chat template builds", 16_000_000, "characters",
    "The longest conversations have a million.",
)  # fmt: skip
TEMPLATE_TOTAL = _limit(
    _TEMPLATES, "All texts and lists that one rendering builds", 512_000_000, "characters",
    "Templates that append to one text build it again with each turn.",
)  # fmt: skip
TEMPLATE_STEPS = _limit(
    _TEMPLATES, "Loop rounds and calls of one rendering", 5_000_000, "items",
    "A thousand turns with tools take a few ten thousand.",
)  # fmt: skip
TEMPLATE_SECONDS = _limit(
    _TEMPLATES, "One rendering of a chat template", 20.0, "seconds",
    "Ordinary conversations take a millisecond.",
)  # fmt: skip
TEMPLATE_INDENT = _limit(
    _TEMPLATES, "Indentation of JSON in a chat template", 64, "characters",
    "Templates use two or four.",
)  # fmt: skip
DERIVATION_SECONDS = _limit(
    _TEMPLATES, "Deriving a TEMPLATE from a chat template", 180.0, "seconds",
    "The largest known templates take ten seconds on one slow core.",
)  # fmt: skip
RENDERING_SECONDS = _limit(
    _TEMPLATES, "Rendering a TEMPLATE", 30.0, "seconds",
    "Most take a moment.",
)  # fmt: skip
TEMPLATE_MEMORY = _limit(
    _TEMPLATES, "Memory of the process that derives or renders a TEMPLATE", 2 << 30, "bytes",
    "The largest known templates take 150 MB.",
)  # fmt: skip
GO_DEPTH = _limit(
    _TEMPLATES, "TEMPLATEs that call each other", 100_000, "levels",
    "The limit of Go, with which Ollama renders them.",
)  # fmt: skip
GO_SECONDS = _limit(
    _TEMPLATES, "One rendering of a TEMPLATE in a test of many", 20.0, "seconds",
    "Ordinary conversations take a few milliseconds.",
)  # fmt: skip
GO_OUTPUT = _limit(
    _TEMPLATES, "What a TEMPLATE writes", 64_000_000, "bytes",
    "The longest conversations have a few million.",
)  # fmt: skip
GO_TEXT = _limit(
    _TEMPLATES, "A text that a TEMPLATE builds", 16_000_000, "bytes",
    "The longest conversations have a few million.",
)  # fmt: skip
GO_COUNT = _limit(
    _TEMPLATES, "A number that a loop of a TEMPLATE counts to", 100_000, "items",
    "TEMPLATEs loop over messages and tools.",
)  # fmt: skip
GO_NESTING = _limit(
    _TEMPLATES, "Blocks inside each other in a TEMPLATE", 200, "levels",
    "The largest known templates have a dozen. Python allows a thousand.",
)  # fmt: skip

# --- projects -------------------------------------------------------------------------------------

SETTING_ENTRIES = _limit(
    _PROJECTS, "Entries of a list in a setting", 1000, "items",
    "The window shows each entry.",
)  # fmt: skip
PATH_BYTES = _limit(
    _PROJECTS, "A path in a setting", 4000, "bytes",
    "The limit of every supported file system.",
)  # fmt: skip
NAME_BYTES = _limit(
    _PROJECTS, "A file name in a setting", 255, "bytes",
    "The limit of every supported file system.",
)  # fmt: skip

KNOWN_PROJECTS = _limit(
    _PROJECTS, "Projects that are remembered as known", 2000, "items",
    "The oldest are forgotten, and shown again before they open.",
)  # fmt: skip
TEXT_FIELDS = _limit(
    _PROJECTS, "Values in one message, nested ones included", 1000, "items",
    "Messages of old runs and of workers are data. Most have up to ten values.",
)  # fmt: skip
TEXT_LENGTH = _limit(
    _PROJECTS, "One message", 1_000_000, "characters",
    "Most have a few hundred.",
)  # fmt: skip
TEXT_VALUE = _limit(
    _PROJECTS, "One name or reason in a message", 5000, "characters",
    "Names come from foreign files. The rest is cut off.",
)  # fmt: skip
NETWORK_RECORD = _limit(
    _PROJECTS, "The record of contacted hosts of one process", 1_000_000, "bytes",
    "A host takes about 200 bytes.",
)  # fmt: skip

# --- processes ------------------------------------------------------------------------------------

SCAN_MEMORY = _limit(
    _PROCESSES, "Memory that the first reading of a dataset may add to a worker, in addition to the size "
    "of its files", 900_000_000, "bytes",
    "A scan needs a few blocks of rows, and an index of the rows.",
)  # fmt: skip
READER_MEMORY = _limit(
    _PROCESSES, "Memory that reading foreign files may add to a worker", 4_000_000_000,
    "bytes",
    "Reading needs less than 1 GB within the other limits, comparing two million rows as much again. "
    "On a computer with less than 8 GB, it is half of the memory.",
)  # fmt: skip
READER_CANCEL = _limit(
    _PROCESSES, "Time in which a worker that only reads, or queries a server, responds to a cancel before it is ended", 2.0,
    "seconds", "It has nothing to save.",
)  # fmt: skip
CANCEL_SECONDS = _limit(
    _PROCESSES, "Time in which any other worker responds to a cancel before it is ended", 10.0,
    "seconds", "Trainings end after the current micro-batch.",
)  # fmt: skip
