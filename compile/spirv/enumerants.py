"""The numbers of SPIR-V that this generator writes, by their names in the specification.

Source: SPIR-V Specification, section 3; SPV_KHR_integer_dot_product, SPV_KHR_cooperative_matrix;
GLSL.std.450 extended instructions.
"""

from __future__ import annotations

from enum import IntEnum

MAGIC = 0x07230203
SPIRV_1_5 = 0x00010500
SPIRV_1_6 = 0x00010600


class Op(IntEnum):
    """Instructions."""

    EXTENSION = 10
    EXT_INST_IMPORT = 11
    EXT_INST = 12
    NAME = 5
    MEMORY_MODEL = 14
    ENTRY_POINT = 15
    EXECUTION_MODE = 16
    CAPABILITY = 17
    TYPE_VOID = 19
    TYPE_BOOL = 20
    TYPE_INT = 21
    TYPE_FLOAT = 22
    TYPE_VECTOR = 23
    TYPE_ARRAY = 28
    TYPE_STRUCT = 30
    TYPE_POINTER = 32
    TYPE_FUNCTION = 33
    CONSTANT_TRUE = 41
    CONSTANT_FALSE = 42
    CONSTANT = 43
    CONSTANT_COMPOSITE = 44
    FUNCTION = 54
    FUNCTION_END = 56
    VARIABLE = 59
    LOAD = 61
    STORE = 62
    ACCESS_CHAIN = 65
    DECORATE = 71
    MEMBER_DECORATE = 72
    VECTOR_SHUFFLE = 79
    COMPOSITE_CONSTRUCT = 80
    COMPOSITE_EXTRACT = 81
    CONVERT_F_TO_U = 109
    CONVERT_F_TO_S = 110
    CONVERT_S_TO_F = 111
    CONVERT_U_TO_F = 112
    U_CONVERT = 113
    S_CONVERT = 114
    F_CONVERT = 115
    CONVERT_U_TO_PTR = 120
    BITCAST = 124
    S_NEGATE = 126
    F_NEGATE = 127
    I_ADD = 128
    F_ADD = 129
    I_SUB = 130
    F_SUB = 131
    I_MUL = 132
    F_MUL = 133
    U_DIV = 134
    S_DIV = 135
    F_DIV = 136
    U_MOD = 137
    IS_NAN = 156
    IS_INF = 157
    LOGICAL_EQUAL = 164
    LOGICAL_NOT_EQUAL = 165
    LOGICAL_OR = 166
    LOGICAL_AND = 167
    LOGICAL_NOT = 168
    SELECT = 169
    I_EQUAL = 170
    I_NOT_EQUAL = 171
    U_GREATER_THAN = 172
    S_GREATER_THAN = 173
    U_GREATER_THAN_EQUAL = 174
    S_GREATER_THAN_EQUAL = 175
    U_LESS_THAN = 176
    S_LESS_THAN = 177
    U_LESS_THAN_EQUAL = 178
    S_LESS_THAN_EQUAL = 179
    F_ORD_EQUAL = 180
    F_UNORD_NOT_EQUAL = 183
    F_ORD_LESS_THAN = 184
    F_ORD_GREATER_THAN = 186
    F_ORD_LESS_THAN_EQUAL = 188
    F_ORD_GREATER_THAN_EQUAL = 190
    SHIFT_RIGHT_LOGICAL = 194
    SHIFT_RIGHT_ARITHMETIC = 195
    SHIFT_LEFT_LOGICAL = 196
    BITWISE_OR = 197
    BITWISE_XOR = 198
    BITWISE_AND = 199
    NOT = 200
    BIT_FIELD_INSERT = 201
    BIT_FIELD_S_EXTRACT = 202
    BIT_FIELD_U_EXTRACT = 203
    BIT_COUNT = 205
    CONTROL_BARRIER = 224
    MEMORY_BARRIER = 225
    ATOMIC_COMPARE_EXCHANGE = 230
    ATOMIC_I_ADD = 234
    ATOMIC_AND = 240
    ATOMIC_OR = 241
    PHI = 245
    LOOP_MERGE = 246
    SELECTION_MERGE = 247
    LABEL = 248
    BRANCH = 249
    BRANCH_CONDITIONAL = 250
    RETURN = 253
    UNREACHABLE = 255
    GROUP_NON_UNIFORM_BROADCAST = 337
    GROUP_NON_UNIFORM_BALLOT = 339
    GROUP_NON_UNIFORM_SHUFFLE = 345
    GROUP_NON_UNIFORM_SHUFFLE_XOR = 346
    GROUP_NON_UNIFORM_I_ADD = 349
    GROUP_NON_UNIFORM_F_ADD = 350
    GROUP_NON_UNIFORM_S_MAX = 356
    GROUP_NON_UNIFORM_U_MAX = 357
    GROUP_NON_UNIFORM_F_MAX = 358
    S_DOT = 4450
    U_DOT = 4451
    SU_DOT = 4452
    TYPE_COOPERATIVE_MATRIX = 4456
    COOPERATIVE_MATRIX_LOAD = 4457
    COOPERATIVE_MATRIX_STORE = 4458
    COOPERATIVE_MATRIX_MUL_ADD = 4459


class Glsl(IntEnum):
    """Extended instructions of GLSL.std.450."""

    ROUND_EVEN = 2
    TRUNC = 3
    F_ABS = 4
    FLOOR = 8
    CEIL = 9
    TAN = 15
    ASIN = 16
    ACOS = 17
    ATAN = 18
    ATAN2 = 25
    EXP = 27
    LOG = 28
    EXP2 = 29
    LOG2 = 30
    SQRT = 31
    INVERSE_SQRT = 32
    U_MIN = 38
    S_MIN = 39
    U_MAX = 41
    S_MAX = 42
    FMA = 50
    PACK_HALF_2X16 = 58
    UNPACK_HALF_2X16 = 62
    FIND_U_MSB = 75
    N_MIN = 79
    N_MAX = 80


class Capability(IntEnum):
    """What a module declares that it uses."""

    SHADER = 1
    FLOAT16 = 9
    FLOAT64 = 10
    INT64 = 11
    INT64_ATOMICS = 12
    INT16 = 22
    INT8 = 39
    GROUP_NON_UNIFORM = 61
    GROUP_NON_UNIFORM_ARITHMETIC = 63
    GROUP_NON_UNIFORM_BALLOT = 64
    GROUP_NON_UNIFORM_SHUFFLE = 65
    GROUP_NON_UNIFORM_SHUFFLE_RELATIVE = 66
    GROUP_NON_UNIFORM_CLUSTERED = 67
    STORAGE_BUFFER_16BIT_ACCESS = 4433
    STORAGE_BUFFER_8BIT_ACCESS = 4448
    VULKAN_MEMORY_MODEL = 5345
    VULKAN_MEMORY_MODEL_DEVICE_SCOPE = 5346
    PHYSICAL_STORAGE_BUFFER_ADDRESSES = 5347
    DOT_PRODUCT_INPUT_4X8BIT_PACKED = 6018
    DOT_PRODUCT = 6019
    COOPERATIVE_MATRIX = 6022


class StorageClass(IntEnum):
    """Where a pointer points."""

    INPUT = 1
    WORKGROUP = 4
    FUNCTION = 7
    PUSH_CONSTANT = 9
    PHYSICAL_STORAGE_BUFFER = 5349


class Decoration(IntEnum):
    """What is said of an id."""

    BLOCK = 2
    BUILT_IN = 11
    NON_WRITABLE = 24
    OFFSET = 35
    NO_CONTRACTION = 42


class BuiltIn(IntEnum):
    """Inputs that the device provides."""

    WORKGROUP_ID = 26
    LOCAL_INVOCATION_ID = 27
    SUBGROUP_ID = 40
    SUBGROUP_LOCAL_INVOCATION_ID = 41


class Scope(IntEnum):
    """Which invocations take part."""

    DEVICE = 1
    WORKGROUP = 2
    SUBGROUP = 3


class Semantics(IntEnum):
    """Memory semantics masks."""

    RELAXED = 0
    ACQUIRE_RELEASE = 0x8
    UNIFORM_MEMORY = 0x40  # and buffers, also those that are addresses
    WORKGROUP_MEMORY = 0x100
    MAKE_AVAILABLE = 0x2000
    MAKE_VISIBLE = 0x4000


class MemoryAccess(IntEnum):
    """Memory operand masks of loads and stores."""

    ALIGNED = 0x2
    NON_PRIVATE = 0x20


class GroupOperation(IntEnum):
    """How a group operation combines values."""

    REDUCE = 0
    CLUSTERED_REDUCE = 3


class ExecutionMode(IntEnum):
    """Properties of the entry point."""

    LOCAL_SIZE = 17


class LoopControl(IntEnum):
    """Hints of a loop."""

    NONE = 0
    UNROLL = 1


# Addressing model, memory models, execution model, function control, packed vector format.
PHYSICAL_STORAGE_BUFFER_64 = 5348
MEMORY_MODEL_GLSL450 = 1
MEMORY_MODEL_VULKAN = 3
GL_COMPUTE = 5
PACKED_VECTOR_4X8BIT = 0
