"""Every bound on what this program reads from files and servers that somebody else controls, with its reason.

A bound is generous for real data, and small enough that reading needs less than 1 GB of memory and responds to a
cancel within two seconds.
"""

from __future__ import annotations

# --- any file -------------------------------------------------------------------------------------

#: A file of settings, a record of a run, or a model card, in bytes. The largest known have 1 MB.
SMALL_FILE = 16_000_000
#: A tokenizer, an index of weights, or a list of answers, in bytes. The largest tokenizers have 35 MB.
LARGE_FILE = 256_000_000
#: Values in a JSON file. A tokenizer with 260,000 tokens has 2 million. Each takes about 70 bytes of memory.
JSON_VALUES = 8_000_000
#: One line of a list of events or answers, in bytes. Most have a few hundred bytes. A longer line is skipped.
RECORD_LINE = 16_000_000

# --- evaluations ----------------------------------------------------------------------------------

#: A regular expression on one answer, in seconds. Some expressions take exponential time; useful ones take
#: milliseconds.
PATTERN_SECONDS = 0.5
#: The items, the answers, or the comparisons of an evaluation, in bytes. Ten columns of 10,000 long answers have
#: 200 MB.
EVALUATION_BYTES = 512_000_000
#: Items, answers, or comparisons of an evaluation. Ten columns of 10,000 items have 100,000 answers. Each takes
#: about 1 kB of memory.
EVALUATION_LINES = 500_000
#: What a Python function of a reward returns for one answer, in bytes. It is a number, or an error with up to 300
#: characters.
REPLY_BYTES = 1_000_000

# --- datasets -------------------------------------------------------------------------------------

#: One row, in bytes. About two million tokens, which is more than models read at once.
ROW_BYTES = 8_000_000
#: Different labels of texts to classify. Most classifiers have fewer than 200. More labels are usually a column of
#: another kind.
LABELS = 1_000
#: Values in one row, nested ones included. A turn is three values.
ROW_VALUES = 200_000
#: Lists and objects inside each other in one row, in levels. Rows have up to ten, trees of replies a few dozen.
#: Python allows a thousand.
ROW_DEPTH = 100
#: Turns in one row. Long role plays have a thousand. The time for a chat template grows with the square.
ROW_TURNS = 10_000
#: Columns of one source. Tables of texts have up to a hundred.
COLUMNS = 10_000
#: The footer of a Parquet or Arrow file, in bytes. It is parsed at once, and takes up to 220 times its size of
#: memory. A million rows of ten columns in groups of a thousand have 2 MB.
TABLE_FOOTER = 12_000_000
#: Row groups, or columns inside columns, of a Parquet file. A file with a million rows has up to a thousand groups.
TABLE_PARTS = 100_000
#: A list or object that a table's cell spells out as text, in characters. Parsing a Python literal takes a hundred
#: times its size of memory.
LITERAL = 1_000_000
#: A JSON file of columns, which has to be read at once, in bytes. It is in memory twice.
DOCUMENT_BYTES = 128_000_000
#: Values in a JSON file of columns. Each takes about 70 bytes of memory. JSON lines and Parquet have no such limit.
DOCUMENT_VALUES = 2_000_000
#: A file that another program has exported, which has to be read at once, in bytes. It is in memory twice. Ten
#: years of chats have 100 MB.
EXPORT_BYTES = 160_000_000
#: Values in an exported JSON file. Each takes about 70 bytes of memory. A message has 15.
EXPORT_VALUES = 4_000_000
#: A web page, in bytes. It takes twenty times its size of memory. A record of 10,000 activities has 20 MB.
PAGE_BYTES = 32_000_000
#: Reading the notes of an Anki package, in seconds. The database can define what a query does. 100,000 notes take
#: ten seconds.
COLLECTION_SECONDS = 60.0
#: Rows in memory while the format is detected or the first rows are shown, in bytes. 500 rows are enough to detect
#: a format; most have a few thousand bytes.
SAMPLE_BYTES = 32_000_000
#: Files in a folder of data. A folder with more was probably chosen by mistake.
FOLDER_FILES = 100_000
#: Files in a ZIP or tar archive. Each is opened several times to see what it contains.
ARCHIVE_FILES = 20_000
#: The header of an entry in a tar archive, in bytes. It contains a path and a few attributes. Contents are read in
#: smaller pieces.
ARCHIVE_HEADER = 8_000_000
#: The list of the files in a ZIP archive, in bytes. It is parsed at once. A file takes about 100 bytes.
ZIP_LIST = 4_000_000
#: Content of a packed file, whatever the size of the file, in bytes. Small files may contain a few equal rows.
EXPANSION_FREE = 100_000_000
#: Content of a packed file, as a multiple of its size. Texts are packed to a third or a tenth of their size,
#: repetitive ones to a fiftieth.
EXPANSION = 100
#: Bytes of a packed file that unpack to nothing, in bytes. Empty parts take half a second per megabyte and more.
#: Blocks have up to 1 MB.
PACKED_SILENCE = 4_000_000
#: What a row counts toward the content, in addition to its own size, in bytes. Rows without any content take memory
#: and time, too.
ROW_COST = 200
#: Text in memory while rows are compared for near duplicates, in characters. Each character takes about 60 bytes
#: while it is hashed.
COMPARED_CHARACTERS = 4_000_000

# --- models and adapters --------------------------------------------------------------------------

#: The header of a safetensors file, in bytes. It is parsed at once. An adapter for each expert of a model with a
#: trillion weights has 21 MB.
WEIGHTS_HEADER = 32_000_000
#: The index of a model in several safetensors files, in bytes. The largest known models have 20 MB.
WEIGHTS_INDEX = 64_000_000
#: Values in the header of a safetensors file, or in the index of several. A header has eight for each tensor, an
#: index one. The largest known models have 210,000 tensors in more than 60 files.
WEIGHTS_VALUES = 1_500_000
#: Dimensions of a tensor in a safetensors file. The limit of PyTorch. The product of many large lengths takes
#: minutes.
TENSOR_DIMENSIONS = 64
#: One text in the header of a GGUF file, in bytes. Chat templates have up to 100 kB. Unpacking a text takes 40
#: times its size of memory.
GGUF_TEXT = 2_000_000
#: Values in all lists in the header of a GGUF file that is unpacked. The largest known vocabulary has 1.3 million
#: with its scores, types, and merges. A text takes 25 microseconds and 1.2 kB of memory.
GGUF_ITEMS = 3_000_000
#: Lists inside lists in the header of a GGUF file, in levels. The format has none.
GGUF_DEPTH = 2
#: The front matter of a model card, in characters. The largest have a few ten thousand.
FRONT_MATTER = 1_000_000
#: A pattern of module names in an adapter, in characters. Patterns that list modules one by one have a few hundred.
PATTERN = 2000
#: Names, patterns, or numbers of modules in one setting of an adapter. One for each expert of a large model makes
#: 18,000. Each is matched against every module.
PATTERNS = 20_000
#: Ways in which a pattern of module names may match one name. Three unlimited repetitions in a long name, or four
#: before words.
PATTERN_WAYS = 1e7
#: The rank of an adapter. Ranks are at most the width of a layer.
ADAPTER_RANK = 1_000_000
#: The alpha of an adapter. It is up to a few times the rank.
ADAPTER_ALPHA = 1e9
#: Python files in the folder of a model that needs its own code. Models have up to thirty.
CODE_FILES = 500
#: Python code in the folder of a model, in bytes. Models have up to 1 MB.
CODE_BYTES = 20_000_000
#: Programs and libraries in a folder of llama.cpp. A checkout has about 300; builds add their libraries.
LLAMA_CPP_FILES = 5000
#: Layers of a model. The deepest known models have 160. Each is built to count its parameters.
MODEL_LAYERS = 1000
#: Experts in a layer of a model. Large models have 512, Doge has 16,384 small ones.
MODEL_EXPERTS = 65_536
#: The vocabulary and the widths of a model. The largest known vocabulary has 1.3 million tokens, the largest width
#: is 53,248.
MODEL_WIDTH = 10_000_000
#: Positions of a model that holds a mask of all positions (GPT-Neo, GPT-BigCode, GPT). StarCoder has 8192. The mask
#: of 16,384 takes up to 1 GB.
MODEL_MASK = 16_384
#: Labels of a model. Classifiers of ImageNet have 21,843. Each gets a name when the configuration is read.
MODEL_LABELS = 100_000
#: Characters that a tokenizer makes of one, or tokens that it adds to a text. Tokenizers replace spaces and accents
#: by a few characters.
TOKENIZER_GROWTH = 10_000
#: Tokens that a tokenizer adds to its vocabulary. Models of speech add up to 65,536. Each takes 50 microseconds and
#: more.
ADDED_TOKENS = 100_000
#: Tokens of a tokenizer that is converted when it is loaded (SentencePiece, tiktoken, GGUF). The largest known has
#: 900,000, which take 15 seconds and 500 MB.
VOCABULARY = 1_000_000
#: One token in the settings of a tokenizer, in characters. The longest known tokens have a few hundred. Loading and
#: searching for them takes many times their size.
TOKEN_LENGTH = 10_000
#: Processor time for loading a tokenizer and one text, in seconds. The largest known tokenizers take four seconds
#: on one slow core.
TOKENIZER_SECONDS = 30.0
#: Memory for loading a tokenizer and one text, in bytes. The largest known tokenizers take 500 MB.
TOKENIZER_MEMORY = 2 << 30
#: Folders inside each other in a folder of llama.cpp, in levels. More mean a link that leads back to a parent
#: folder.
LLAMA_CPP_DEPTH = 30

# --- templates ------------------------------------------------------------------------------------

#: A text or list that a chat template builds, in characters. The longest conversations have a million.
TEMPLATE_LENGTH = 16_000_000
#: All texts and lists that one rendering builds, in characters. Templates that append to one text build it again
#: with each turn.
TEMPLATE_TOTAL = 512_000_000
#: Loop rounds and calls of one rendering. A thousand turns with tools take a few ten thousand.
TEMPLATE_STEPS = 5_000_000
#: One rendering of a chat template, in seconds. Ordinary conversations take a millisecond.
TEMPLATE_SECONDS = 20.0
#: Indentation of JSON in a chat template, in characters. Templates use two or four.
TEMPLATE_INDENT = 64
#: Deriving a TEMPLATE from a chat template, in seconds. The largest known templates take ten seconds on one slow
#: core.
DERIVATION_SECONDS = 180.0
#: Rendering a TEMPLATE, in seconds. Most take a moment.
RENDERING_SECONDS = 30.0
#: Memory of the process that derives or renders a TEMPLATE, in bytes. The largest known templates take 150 MB.
TEMPLATE_MEMORY = 2 << 30
#: TEMPLATEs that call each other, in levels. The limit of Go, with which Ollama renders them.
GO_DEPTH = 100_000
#: One rendering of a TEMPLATE in a test of many, in seconds. Ordinary conversations take a few milliseconds.
GO_SECONDS = 20.0
#: What a TEMPLATE writes, in bytes. The longest conversations have a few million.
GO_OUTPUT = 64_000_000
#: A text that a TEMPLATE builds, in bytes. The longest conversations have a few million.
GO_TEXT = 16_000_000
#: A number that a loop of a TEMPLATE counts to. TEMPLATEs loop over messages and tools.
GO_COUNT = 100_000
#: Blocks inside each other in a TEMPLATE, in levels. The largest known templates have a dozen. Python allows a
#: thousand.
GO_NESTING = 200

# --- projects -------------------------------------------------------------------------------------

#: Entries of a list in a setting. The window shows each entry.
SETTING_ENTRIES = 1000
#: A path in a setting, in bytes. The limit of every supported file system.
PATH_BYTES = 4000
#: A file name in a setting, in bytes. The limit of every supported file system.
NAME_BYTES = 255
#: Projects that are remembered as known. The oldest are forgotten, and shown again before they open.
KNOWN_PROJECTS = 2000
#: Values in one message, nested ones included. Messages of old runs and of workers are data. Most have up to ten
#: values.
TEXT_FIELDS = 1000
#: One message, in characters. Most have a few hundred.
TEXT_LENGTH = 1_000_000
#: One name or reason in a message, in characters. Names come from foreign files. The rest is cut off.
TEXT_VALUE = 5000
#: The record of contacted hosts of one process, in bytes. A host takes about 200 bytes.
NETWORK_RECORD = 1_000_000

# --- processes ------------------------------------------------------------------------------------

#: Memory that the first reading of a dataset may add to a worker, in addition to the size of its files, in bytes. A
#: scan needs a few blocks of rows, and an index of the rows.
SCAN_MEMORY = 900_000_000
#: Memory that reading foreign files may add to a worker, in bytes. Reading needs less than 1 GB within the other
#: limits, comparing two million rows as much again. On a computer with less than 8 GB, it is half of the memory.
READER_MEMORY = 4_000_000_000
#: Time in which a worker that only reads, or queries a server, responds to a cancel before it is ended, in seconds.
#: It has nothing to save.
READER_CANCEL = 2.0
#: Time in which any other worker responds to a cancel before it is ended, in seconds. Trainings end after the
#: current micro-batch.
CANCEL_SECONDS = 10.0
