from __future__ import annotations

from cost_model import ProgramGraph, features
from cost_model.analytical.regions import Joint, LayoutRegions
from cost_model.analytical.tensors import GraphTensors
from tests.cost_model.graphs import Node, make_graph

ROW_MAJOR, COLUMN_MAJOR = (1, 0), (0, 1)


def _regions(*nodes: Node) -> LayoutRegions:
    return LayoutRegions(GraphTensors(make_graph(*nodes)))


def _members(regions: LayoutRegions) -> list[list[int]]:
    return [sorted(member.node for member in members) for members in regions.members if members]


def _joint(regions: LayoutRegions, node: int, place: int) -> Joint:
    (joint,) = [each for each in regions.joints if (each.node, each.place) == (node, place)]
    return joint


def transpose(sources: tuple[int, ...]) -> dict[int, float]:
    return {features.DIMENSIONS.start + place: float(source) for place, source in enumerate(sources)}


def test_elementwise_neighbours_are_one_region() -> None:
    regions = _regions(
        Node("parameter", (16, 128), order=ROW_MAJOR),
        Node("tanh", (16, 128), (0,), order=ROW_MAJOR),
        Node("broadcast", (16, 128), (), order=ROW_MAJOR),
        Node("add", (16, 128), (1, 2), order=ROW_MAJOR),
        Node("reduce", (16,), (3,), order=(0,), root=True),
    )
    assert _members(regions) == [[1, 2, 3], [4]]
    assert regions.region(0) == -1
    assert [[member.node for member in borders] for borders in regions.borders] == [[0], [4]]  # argument and result
    assert regions.joints == []


def test_products_part_regions_and_joints_see_both_sides() -> None:
    regions = _regions(
        Node("parameter", (16, 64), order=ROW_MAJOR),
        Node("tanh", (16, 64), (0,), order=ROW_MAJOR),
        Node("parameter", (64, 32), order=ROW_MAJOR),
        Node("dot", (16, 32), (1, 2), order=ROW_MAJOR),
        Node("negate", (16, 32), (3,), order=ROW_MAJOR, root=True),
    )
    assert _members(regions) == [[1], [4]]
    assert [(joint.node, joint.place) for joint in regions.joints] == [(3, 1), (3, 2), (3, 0)]
    first, second, output = regions.joints
    assert first.before is not None
    assert first.before.region == regions.region(1)
    assert (first.behind, second.before, output.before) == ([], None, None)
    assert [side.region for side in output.behind] == [regions.region(4)]


def test_a_region_goes_through_transposes() -> None:
    regions = _regions(
        Node("parameter", (2, 3, 4), order=(2, 1, 0)),
        Node("tanh", (2, 3, 4), (0,), order=(2, 1, 0)),
        Node("transpose", (4, 2, 3), (1,), order=(0, 2, 1), columns=transpose((2, 0, 1))),
        Node("negate", (4, 2, 3), (2,), order=(0, 2, 1), root=True),
    )
    assert _members(regions) == [[1, 2, 3]]
    axes = {member.node: member.axes for member in regions.members[0]}
    assert axes == {1: (0, 1, 2), 2: (2, 0, 1), 3: (2, 0, 1)}
    assert regions.default(0) == (2, 1, 0)


def test_neighbours_that_differ_by_default_are_two_regions() -> None:
    regions = _regions(
        Node("broadcast", (16, 128), (), order=ROW_MAJOR),
        Node("negate", (16, 128), (0,), order=COLUMN_MAJOR, root=True),
    )
    assert _members(regions) == [[0], [1]]
    (seam,) = regions.seams
    assert (seam.node, seam.producer) == (1, 0)
    assert seam.before is not None
    assert seam.enter(seam.before, ROW_MAJOR) is None  # nothing passes
    assert seam.leave(seam.behind[0], COLUMN_MAJOR) == COLUMN_MAJOR


def _reshape(order: tuple[int, ...]) -> ProgramGraph:
    return make_graph(
        Node("broadcast", (4, 6), (), order=ROW_MAJOR),
        Node("reshape", (4, 2, 3), (0,), order=order),
        Node("negate", (4, 2, 3), (1,), order=order, root=True),
    )


def test_a_reshape_passes_orders_on_where_it_moves_nothing() -> None:
    regions = LayoutRegions(GraphTensors(_reshape((2, 1, 0))))
    joint = _joint(regions, 1, 1)
    (side,) = joint.behind
    assert joint.enter(side, COLUMN_MAJOR) == (0, 2, 1)
    assert joint.leave(side, (0, 2, 1)) == COLUMN_MAJOR
    assert joint.leave(side, (1, 2, 0)) is None
    output = _joint(regions, 1, 0)
    assert output.before == side.__class__(regions.region(1), (0, 1, 2))
    assert [each.region for each in output.behind] == [regions.region(2)]


def test_a_reshape_that_moves_data_by_default_passes_nothing_on() -> None:
    regions = LayoutRegions(GraphTensors(_reshape((1, 2, 0))))
    joint = _joint(regions, 1, 1)
    assert not joint.behind[0].follows
    assert joint.enter(joint.behind[0], COLUMN_MAJOR) is None


def test_between_two_joints_of_a_tensor_there_is_a_region_of_its_own() -> None:
    regions = _regions(
        Node("parameter", (16, 64), order=ROW_MAJOR),
        Node("parameter", (64, 32), order=ROW_MAJOR),
        Node("dot", (16, 32), (0, 1), order=ROW_MAJOR),
        Node("reshape", (512,), (2,), order=(0,), root=True),
    )
    output, following = _joint(regions, 2, 0), _joint(regions, 3, 1)
    assert following.before is not None
    assert [side.region for side in output.behind] == [following.before.region]
    assert regions.members[following.before.region] == []
    assert regions.default(following.before.region) == ()


def test_vectors_have_no_joint() -> None:
    regions = _regions(Node("parameter", (8,)), Node("reshape", (2, 4), (0,), order=ROW_MAJOR, root=True))
    assert [(joint.node, joint.place) for joint in regions.joints] == [(1, 0)]
