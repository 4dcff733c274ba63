"""The faults of plant_faults.py are of today's code and name tests of today; planting them takes long, this doesn't."""

import runpy

from conftest import ROOT


def test_every_fault_can_be_planted_and_has_its_tests():
    planting = runpy.run_path(str(ROOT / "tests" / "plant_faults.py"))
    faults = planting["FAULTS"]
    assert planting["problems"](faults) == []
    assert all(fault.tests and fault.old != fault.new for fault in faults)
    assert len({(fault.file, fault.old, fault.new) for fault in faults}) == len(faults) >= planting["MIN_NOTICED"]
