"""The subgraph blueprint: one node with four inputs, and inside the graph of the workflow that it shortens."""

import json
import uuid
from typing import Any

import pytest
from cinemo_pack.tests.workflows import EXTRA, ROOT, SOCKETS, VIRTUAL, pack_inputs, read_workflow, widget_order

NAME = "Animate an image (Cinemo)"
WORKFLOW = "image_to_video"
OUTSIDE = {"LoadImage", "SaveVideo", *VIRTUAL}  # of the workflow: what a person puts before and after the blueprint
INPUT, OUTPUT = -10, -20  # the subgraph's own inputs and outputs, as ends of links
# What a person sets, and the node and input inside that it goes to.
EXPOSED = {
    "image": ("CinemoMotionConditioning", "image"),
    "prompt": ("CLIPTextEncode", "text"),
    "motion": ("CinemoMotionConditioning", "motion_bucket"),
    "length": ("CinemoMotionConditioning", "frames"),
}
TYPES = {"image": "IMAGE", "prompt": "STRING", "motion": "INT", "length": "INT"}


@pytest.fixture(scope="module")
def blueprint() -> dict[str, Any]:
    """The file, which the frontend lists under the file's own name."""
    return json.loads((ROOT / "subgraphs" / f"{NAME}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def inside(blueprint) -> dict[str, Any]:
    (subgraph,) = blueprint["definitions"]["subgraphs"]
    return subgraph


def real_nodes(graph: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in graph["nodes"] if node["type"] not in VIRTUAL]


def by_title(nodes: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {node.get("title", node["type"]): node for node in nodes}


def values(node: dict[str, Any]) -> dict[str, Any]:
    """A node's widget values by name; what the frontend keeps next to a seed is under EXTRA."""
    return dict(zip(widget_order()[node["type"]], node.get("widgets_values", []), strict=True))


def test_the_pack_has_this_blueprint_alone():
    assert [path.name for path in (ROOT / "subgraphs").iterdir()] == [f"{NAME}.json"]


def test_the_root_is_one_node_that_shows_four_inputs_and_a_video(blueprint, inside):
    (host,) = blueprint["nodes"]
    assert blueprint["links"] == [] and host["type"] == inside["id"]
    assert str(uuid.UUID(inside["id"])) == inside["id"], "the frontend takes no other kind of id for a subgraph"
    assert host["title"] == inside["name"] == NAME
    for shown in (host, inside):
        assert {slot["name"]: slot["type"] for slot in shown["inputs"]} == TYPES
        assert [(slot["name"], slot["type"]) for slot in shown["outputs"]] == [("VIDEO", "VIDEO")]
    assert [slot["name"] for slot in host["inputs"] if "widget" in slot] == ["prompt", "motion", "length"]


def test_the_widgets_outside_begin_with_the_values_inside(blueprint, inside):
    nodes = by_title(real_nodes(inside))
    motion = values(nodes["CinemoMotionConditioning"])
    assert blueprint["nodes"][0]["widgets_values"] == [values(nodes["Prompt"])["text"], motion["motion_bucket"], motion["frames"]]


def test_each_input_reaches_its_place(inside):
    nodes = {node["id"]: node for node in inside["nodes"]}
    found = set()
    for link in inside["links"]:
        if link["origin_id"] == INPUT:
            target = nodes[link["target_id"]]
            found.add((inside["inputs"][link["origin_slot"]]["name"], target["type"], target["inputs"][link["target_slot"]]["name"]))
            assert target.get("title") != "Negative prompt"
    places = {(name, *place) for name, place in EXPOSED.items()}
    assert found == places | {("image", "CinemoDetailTransfer", "picture")}


def test_links_are_consistent(inside):
    nodes = {node["id"]: node for node in inside["nodes"]}
    outlets = {(node["id"], i): slot for node in nodes.values() for i, slot in enumerate(node["outputs"])}
    outlets |= {(INPUT, i): slot | {"links": slot["linkIds"]} for i, slot in enumerate(inside["inputs"])}
    inlets = {(node["id"], i): slot for node in nodes.values() for i, slot in enumerate(node["inputs"])}
    inlets |= {(OUTPUT, i): slot | {"link": slot["linkIds"][0]} for i, slot in enumerate(inside["outputs"])}
    for link in inside["links"]:
        source, target = outlets[link["origin_id"], link["origin_slot"]], inlets[link["target_id"], link["target_slot"]]
        assert link["id"] in source["links"] and link["id"] == target["link"]
        assert source["type"] == link["type"] == target["type"]
    ids = sorted(link["id"] for link in inside["links"])
    assert ids == sorted(link for slot in outlets.values() for link in slot["links"] or ())
    assert ids == sorted(slot["link"] for slot in inlets.values() if slot["link"] is not None)
    assert max(ids) == inside["state"]["lastLinkId"] and max(nodes) == inside["state"]["lastNodeId"]


def test_the_packs_nodes_have_the_inputs_of_their_schemas(inside):
    ours = pack_inputs()
    for node in real_nodes(inside):
        assert node["type"] in ours or not node["type"].startswith("Cinemo"), f"{node['type']} is not a node of the pack"
        if node["type"] in ours:
            sockets = [item.name for item in ours[node["type"]] if item.kind in SOCKETS]
            widgets = [item.name for item in ours[node["type"]] if item.kind not in SOCKETS]
            assert [slot["name"] for slot in node["inputs"]] == sockets + widgets, node["type"]
            assert [slot["name"] for slot in node["inputs"] if "widget" in slot] == widgets, node["type"]
        assert node["properties"]["cnr_id"] == ("cinemo" if node["type"] in ours else "comfy-core")


def test_inside_is_the_workflow(inside):
    """Same nodes, same values, same links: what is learnt in one is true in the other."""
    workflow = read_workflow(WORKFLOW)
    theirs = by_title([node for node in workflow["nodes"] if node["type"] not in OUTSIDE])
    ours = by_title(real_nodes(inside))
    assert ours.keys() == theirs.keys()
    for title, node in theirs.items():
        assert values(ours[title]) == values(node), title
        assert ours[title]["properties"] == node["properties"], title
    assert values(ours["CinemoDCTInitNoise"])[EXTRA] == "randomize", "another clip each time"

    def ends(nodes, links):
        names = {node["id"]: title for title, node in nodes.items()}
        slots = {(names[s], o, names[t], nodes[names[t]]["inputs"][i]["name"]) for s, o, t, i in links if s in names and t in names}
        return sorted(slots)

    fields = ("origin_id", "origin_slot", "target_id", "target_slot")
    assert ends(ours, [[link[f] for f in fields] for link in inside["links"]]) == ends(theirs, [link[1:5] for link in workflow["links"]])


def test_people_find_it_and_learn_what_it_needs(blueprint, inside):
    assert inside["category"] == "Cinemo"
    description = blueprint["extra"]["BlueprintDescription"]
    assert inside["description"] == description and len(description) < 300
    assert all(name in description for name in ("motion", "length", "models/diffusers/Cinemo"))
    assert {"image to video", "i2v", "animate"} <= set(blueprint["extra"]["BlueprintSearchAliases"])
    (note,) = (node["widgets_values"][0] for node in inside["nodes"] if node["type"] in VIRTUAL)
    assert all(name in note for name in ("python -m cinemo_core.download", "Cinemo Bundle Loader", "Cinemo DCTInit Noise"))
