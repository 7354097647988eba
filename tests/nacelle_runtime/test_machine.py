"""Limits of control groups, read from trees as cgroup v1 and v2 lay them out."""

import os

import pytest

from nacelle_engine.errors import InvalidRequest, OutOfMemory
from nacelle_runtime.kv_pool import KvBudget, size_pool
from nacelle_runtime.machine import available_memory, usable_processors

GIB = 1 << 30
HERE = len(os.sched_getaffinity(0))


def tree(root, cgroup, **files):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {8 * GIB // 1024} kB\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("--", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "available"),
    [
        ("0::/\n", {}, 8 * GIB),
        ("0::/\n", {"memory--max": "max", "memory--current": "5"}, 8 * GIB),
        ("0::/\n", {"memory--max": f"{2 * GIB}", "memory--current": f"{GIB}"}, GIB),
        (
            "0::/\n",
            {
                "memory--max": f"{2 * GIB}",
                "memory--current": f"{GIB}",
                "memory--stat": "active_file 7\ninactive_file 100\n",
            },
            GIB + 100,
        ),
        ("0::/pod/c\n", {"pod__memory--max": f"{GIB}", "pod__c__memory--max": "max"}, GIB),
        (
            "4:memory:/pod\n0::/\n",
            {
                "memory__pod__memory--limit_in_bytes": f"{3 * GIB}",
                "memory__pod__memory--usage_in_bytes": f"{GIB}",
            },
            2 * GIB,
        ),
        ("4:memory:/x\n", {"memory__memory--limit_in_bytes": "9223372036854771712"}, 8 * GIB),
        ("4:memory:/\n", {"memory__memory--limit_in_bytes": f"{GIB}"}, GIB),
        ("0::/\n", {"memory--max": f"{GIB}", "memory--current": f"{2 * GIB}"}, 0),
    ],
)
def test_available_memory(tmp_path, cgroup, files, available):
    assert available_memory(tree(tmp_path, cgroup, **files)) == available


@pytest.mark.parametrize(
    ("cgroup", "files", "processors"),
    [
        ("0::/\n", {}, HERE),
        ("0::/\n", {"cpu--max": "max 100000"}, HERE),
        ("0::/\n", {"cpu--max": "50000 100000"}, 1),
        ("0::/\n", {"cpu--max": "100001 100000"}, min(2, HERE)),
        (
            "1:cpu,cpuacct:/p\n",
            {
                "cpu,cpuacct__p__cpu--cfs_quota_us": "100000",
                "cpu,cpuacct__p__cpu--cfs_period_us": "100000",
            },
            1,
        ),
        (
            "1:cpu:/\n",
            {"cpu__cpu--cfs_quota_us": "-1", "cpu__cpu--cfs_period_us": "100000"},
            HERE,
        ),
    ],
)
def test_usable_processors(tmp_path, cgroup, files, processors):
    assert usable_processors(tree(tmp_path, cgroup, **files)) == processors


def budget(available):
    return KvBudget(available, 50, 100, 32, requests=4, sequence_len=100)


def test_the_pool_is_bounded_by_memory_and_by_use():
    assert size_pool(budget(1000)) == 5
    assert size_pool(budget(1_000_000)) == 4 * 4 + 1
    assert size_pool(budget(0), blocks=7) == 7
    assert size_pool(budget(0), blocks=1000) == 17


def test_no_room_for_a_block_says_so():
    with pytest.raises(OutOfMemory, match="50 % of 399 free bytes hold no block"):
        size_pool(budget(399))
    with pytest.raises(InvalidRequest, match="--kv-cache-blocks 1"):
        size_pool(budget(399), blocks=1)
