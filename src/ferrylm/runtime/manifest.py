"""The types of an artifact's manifest; `artifact.py` reads, checks and writes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

FORMAT_NAME = "ferrylm-artifact"
FORMAT_VERSION = 2
MANIFEST_NAME = "manifest.json"
LATER = {"later": True}  # marks a field that older artifacts lack; left out at its default
KINDS = ("cpu", "vulkan", "cuda", "rocm")  # of devices


@dataclass(frozen=True)
class FileEntry:
    """One published file; `path` is a plain file name that carries a prefix of `sha256`."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class TensorEntry:
    """One canonical weight tensor.

    `file` indexes `Weights.files`, or is None when the weights are random and made at load.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: int | None


@dataclass(frozen=True)
class Weights:
    """The canonical weights, shared by all libraries; see docs/quantization.md for the layout."""

    mode: str  # "stored" or "random"
    seed: int | None  # of random weights
    files: tuple[FileEntry, ...]
    tensors: tuple[TensorEntry, ...]


@dataclass(frozen=True)
class RopeConfig:
    """Rotary position embedding; `kind` is default, linear, llama3 or yarn.

    `parameters` holds the scaling's own numbers under their Hugging Face names.
    """

    kind: str
    theta: float
    parameters: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AttentionVariant:
    """How a layer's attention differs from plain causal attention; the defaults are that.

    A query at position p sees the tokens t <= p, with a window those with p - t < window_tokens.
    Its scores are score_scale * q . k, then soft_cap * tanh(score / soft_cap) (Gemma 2, arXiv
    2408.00118), then with `alibi` a slope of the head * (t - p) more (Press et al., arXiv
    2108.12409). With `sinks` the layer has a learned number for each head, which counts as one
    more score in the softmax whose value is zero (gpt-oss).
    """

    window_tokens: int | None = field(default=None, metadata=LATER)
    soft_cap: float | None = field(default=None, metadata=LATER)
    alibi: bool = field(default=False, metadata=LATER)
    sinks: bool = field(default=False, metadata=LATER)
    score_scale: float | None = field(default=None, metadata=LATER)  # None: 1 / sqrt(head_dim)
    local_rope: bool = field(default=False, metadata=LATER)  # rotates by the model's second RoPE

    def scale(self, head_dim: int) -> float:
        """Return what scores are multiplied by."""
        return 1.0 / math.sqrt(head_dim) if self.score_scale is None else self.score_scale


PLAIN_ATTENTION = AttentionVariant()


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model, independent of quantization and target."""

    family: str  # Hugging Face model_type
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    context_length: int
    norm_eps: float
    tied_embedding: bool
    rope: RopeConfig
    # of each layer; empty where all are plain
    attention: tuple[AttentionVariant, ...] = field(default=(), metadata=LATER)
    qkv_bias: bool = field(default=False, metadata=LATER)  # added to queries, keys and values
    head_norm: bool = field(default=False, metadata=LATER)  # of query and key heads, before RoPE
    post_norms: bool = field(default=False, metadata=LATER)  # of what is added to the residual
    activation: str = field(default="swiglu", metadata=LATER)  # or geglu, in the feed-forward part
    logit_cap: float | None = field(default=None, metadata=LATER)  # cap * tanh(logit / cap)
    local_rope: RopeConfig | None = field(default=None, metadata=LATER)  # of layers that say so

    @property
    def ropes(self) -> tuple[RopeConfig, ...]:
        """Return the rotary embeddings whose tables lie side by side."""
        return (self.rope,) if self.local_rope is None else (self.rope, self.local_rope)

    @property
    def rope_width(self) -> int:
        """Return the columns of the tables of cosines, and of sines."""
        return len(self.ropes) * (self.head_dim // 2)

    def rope_of(self, variant: AttentionVariant) -> RopeConfig:
        """Return by which rotary embedding a layer of a variant rotates."""
        return self.ropes[int(variant.local_rope)]

    @property
    def query_width(self) -> int:
        """Return the numbers of a token's queries."""
        return self.num_heads * self.head_dim

    @property
    def qkv_width(self) -> int:
        """Return the numbers of a token's queries, keys and values."""
        return (self.num_heads + 2 * self.num_kv_heads) * self.head_dim

    def layer_attention(self, layer: int) -> AttentionVariant:
        """Return how a layer attends."""
        return self.attention[layer] if self.attention else PLAIN_ATTENTION


@dataclass(frozen=True)
class Quantization:
    """How the canonical weights are stored: q4f16, q8f16, q0f16 or q0f32."""

    body: str
    head: str  # embedding and output head
    group_size: int
    bits_per_weight: float  # all stored tensors, scales and norms counted


@dataclass(frozen=True)
class Tokenizer:
    """Tokenizer file and what its user must know of it."""

    file: FileEntry  # Hugging Face tokenizer.json
    chat_template: FileEntry | None  # Jinja text
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]  # generation stops at any of them
    add_bos: bool  # whether encoding a plain prompt begins with bos
    special_tokens: dict[str, str]  # "bos_token" -> its text, ...: what templates are given
    probe_sha256: str  # of the ids of the probe text, little-endian int32


@dataclass(frozen=True)
class GenerationDefaults:
    """The model maker's sampling settings; None where he says nothing."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


@dataclass(frozen=True)
class Parameter:
    """One device tensor of a library: `transform(*sources)` of canonical tensors.

    `transform` names a destination-passing function of the library, whose arguments lie on the
    device. None takes the bytes of the one source as they are, maybe as another dtype and shape.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    transform: str | None


@dataclass(frozen=True)
class VulkanNeeds:
    """What a Vulkan device must have, in Vulkan's own names."""

    api_version: str  # 1.2
    features: tuple[str, ...]  # members of VkPhysicalDevice*Features, and subgroupArithmetic, ...
    subgroup_sizes: tuple[int, ...]  # kernels are compiled for these; the device must offer each
    limits: dict[str, int]  # members of VkPhysicalDeviceLimits and the least value of each


@dataclass(frozen=True)
class CudaNeeds:
    """What an NVIDIA GPU and its driver must be."""

    architectures: tuple[str, ...]  # with machine code: sm_80, sm_90a
    ptx: tuple[str, ...]  # compute_75: compiled by the driver for a newer chip
    driver: str  # the least CUDA version of the driver: 13.0


@dataclass(frozen=True)
class RocmNeeds:
    """What an AMD GPU must be."""

    architectures: tuple[str, ...]  # with machine code: gfx942, gfx10-3-generic


@dataclass(frozen=True)
class Requirements:
    """What a machine must have before a library may be opened.

    `machine` and `cpu_features` are about the host's part of the code, the one of the others
    that the library's kind names about the device.
    """

    machine: str  # platform.machine(): x86_64, aarch64
    cpu_features: tuple[str, ...]  # names of /proc/cpuinfo flags
    vulkan: VulkanNeeds | None = None
    cuda: CudaNeeds | None = None
    rocm: RocmNeeds | None = None


@dataclass(frozen=True)
class Library:
    """One shared library: code for one target."""

    target: str  # KIND-TIER: cpu-x86-64-v3, vulkan-subgroup32-dot, ...
    kind: str  # of the device: cpu, vulkan, cuda, rocm
    tier: str  # which class of devices of that kind
    preference: int  # the runnable library with the highest one is taken
    arithmetic: str  # how activations are rounded: int8, int16, or f32, not at all
    file: FileEntry
    requires: Requirements
    kernels: int  # functions of the device; 0 on a CPU
    device_code_bytes: int  # of those kernels: SPIR-V, cubins, code objects; 0 on a CPU
    parameters: tuple[Parameter, ...]
    decode_batches: tuple[int, ...]  # batch sizes with a decode function of their own
    prefill_chunk: int  # tokens at most in one prefill call
    row_tile: int  # a prefill call takes a multiple of so many rows, some of them padding
    kv_dtype: str
    kv_layout: str  # see kv_layout.py
    kv_page_multiple: int  # the page size must be a multiple of this many tokens
    workspace_bytes: int  # activations at the largest step
    # whether it has generate_B beside each decode_B, which draws tokens (draw_layout.py)
    draws: bool = field(default=False, metadata=LATER)


@dataclass(frozen=True)
class Versions:
    """The producers of an artifact."""

    ferrylm: str
    tvm: str
    tvm_ffi: str


@dataclass(frozen=True)
class Manifest:
    """A whole artifact. `artifact_id` is the SHA-256 of the canonical JSON of all the rest."""

    name: str
    versions: Versions
    model: ModelConfig
    quantization: Quantization
    weights: Weights
    tokenizer: Tokenizer | None  # None for a bare config.json
    generation: GenerationDefaults
    libraries: tuple[Library, ...]
    golden: FileEntry | None
    artifact_id: str


def manifest_files(manifest: Manifest) -> tuple[FileEntry, ...]:
    """List every file an artifact is made of, its manifest aside; a file may come twice."""
    files = list(manifest.weights.files)
    if manifest.tokenizer is not None:
        files.append(manifest.tokenizer.file)
        if manifest.tokenizer.chat_template is not None:
            files.append(manifest.tokenizer.chat_template)
    files.extend(library.file for library in manifest.libraries)
    if manifest.golden is not None:
        files.append(manifest.golden)
    return tuple(files)
