"""The hot loop is the innermost loop that loads most, and all of its body is counted."""

from __future__ import annotations

import pytest

from ferrylm.compile.isa.assembly import HotLoop, hot_loop

ONE_LOOP = """BB0:
	v_mov_b32_e32 v1, 0                       ; 7e020280
BB1:
	v_cmpx_le_i32_e32 s8, v0                  ; 7d260008
BB2:
	s_andn2_b32 s1, s1, exec_lo               ; 8a017e01
	s_cbranch_scc0 BB10                       ; bf840100
BB9:
	global_load_dwordx4 v[4:7], v[6:7], off   ; dc388000 047d0006
	v_fmac_f32_e32 v1, v4, v5                 ; 5602050c
	s_branch BB1                              ; bf82fefc
BB10:
	global_store_dword v1, v0, s[4:5]         ; dc708000 00040001
	s_endpgm                                  ; bf810000
"""


def test_a_loop_is_all_that_lies_between_its_header_and_the_branch_back() -> None:
    assert hot_loop(ONE_LOOP) == HotLoop(
        label="BB1", instructions=6, vector_instructions=3, loaded_bytes=16, loops_around=0
    )


def test_blocks_behind_the_exit_are_no_part_of_the_loop_wherever_they_are_listed() -> None:
    listing = """BB0:
	s_mov_b32 s0, 0
BB1:
	s_cbranch_scc0 BB3
BB2:
	s_cbranch_scc1 BB4
	global_load_dword v1, v0, off
	s_branch BB1
BB3:
	v_nop
	v_nop
	s_endpgm
BB4:
	global_load_dword v2, v0, off
	s_branch BB1
"""
    found = hot_loop(listing)
    assert found is not None
    assert (found.instructions, found.loaded_bytes) == (6, 8)


def test_of_nested_loops_the_inner_one_counts_and_says_that_one_is_around_it() -> None:
    listing = """BB0:
	s_mov_b32 s0, 0
BB1:
	global_load_dwordx4 v[0:3], v[8:9], off
	global_load_dwordx4 v[4:7], v[8:9], off
BB2:
	global_load_dword v1, v0, off
	s_cbranch_scc1 BB2
BB3:
	s_cbranch_scc1 BB1
BB4:
	s_endpgm
"""
    found = hot_loop(listing)
    assert found is not None
    assert (found.label, found.instructions, found.loops_around) == ("BB2", 2, 1)


def test_of_two_loops_the_one_that_loads_more_is_hot_even_if_it_is_shorter() -> None:
    listing = """BB0:
	global_load_ubyte v1, v0, off
	v_nop
	v_nop
	s_cbranch_scc1 BB0
BB1:
	global_load_b128 v[0:3], v[8:9], off
	s_cbranch_scc1 BB1
BB2:
	s_endpgm
"""
    found = hot_loop(listing)
    assert found is not None
    assert found.label == "BB1"


@pytest.mark.parametrize(
    ("load", "size_bytes"),
    [
        ("global_load_dwordx3 v[0:2], v[8:9], off", 12),
        ("flat_load_dwordx2 v[0:1], v[8:9]", 8),
        ("buffer_load_dword v0, v1, s[0:3], 0 offen", 4),
        ("global_load_short_d16_hi v0, v[8:9], off", 2),
        ("global_load_d16_b16 v0, v[8:9], off", 2),
        ("global_load_sbyte v0, v[8:9], off", 1),
        ("global_load_u8 v0, v[8:9], off", 1),
        ("global_load_b64 v[0:1], v[8:9], off", 8),
    ],
)
def test_every_width_of_load_is_known(load: str, size_bytes: int) -> None:
    found = hot_loop(f"BB0:\n\t{load}\n\ts_cbranch_scc1 BB0\nBB1:\n\ts_endpgm\n")
    assert found is not None
    assert found.loaded_bytes == size_bytes


@pytest.mark.parametrize(
    "line",
    ["s_load_dwordx4 s[0:3], s[4:5], 0x0", "ds_read_b128 v[0:3], v4", "scratch_load_dword v0"],
)
def test_a_loop_without_loads_from_global_memory_is_not_hot(line: str) -> None:
    assert hot_loop(f"BB0:\n\t{line}\n\ts_cbranch_scc1 BB0\nBB1:\n\ts_endpgm\n") is None


def test_straight_code_and_an_empty_listing_have_no_hot_loop() -> None:
    assert hot_loop("BB0:\n\tglobal_load_dword v0, v[1:2], off\n\ts_endpgm\n") is None
    assert hot_loop("") is None
