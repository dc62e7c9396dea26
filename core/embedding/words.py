"""Looks up the model's word embeddings, in place of the runtime.

The runtime unpacks the table into full precision, 47 MB in each process and again in
each compiled model. Here a row is unpacked when it is needed, and the table stays in
the file that the processes of a machine map and share.
"""

from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13

from core.embedding.word_table import WordEmbeddings


def split(model: ov.Model) -> tuple[WordEmbeddings, ov.Model]:
    """Split `model` in two: its word embeddings, and the rest, which has them as input `words`.

    `model` has inputs `input_ids` and `attention_mask` of shape (batch, length). It is
    not changed. The rest has `words` of shape (batch, length, width) instead of `input_ids`.
    Raises ValueError if the model has another structure.
    """
    encoder = model.clone()
    ids, mask = (encoder.input(name) for name in ("input_ids", "attention_mask"))
    readers = {target.get_node().get_type_name(): target for target in ids.get_target_inputs()}
    if readers.keys() != {"Gather", "ShapeOf"}:
        raise ValueError(f"input_ids is read by {sorted(readers)}")
    gather = readers["Gather"].get_node()
    embeddings = _read_table(gather.input_value(0).get_node())
    words = opset13.parameter(gather.get_output_partial_shape(0), np.float32)
    readers["ShapeOf"].replace_source_output(mask)  # a text's mask is as long as its ids
    gather.output(0).replace(words.output(0))
    words.output(0).set_names({"words"})
    encoder.add_parameters([words])
    encoder.remove_parameter(ids.get_node())
    encoder.validate_nodes_and_infer_types()
    return embeddings, encoder


def _read_table(node: Any) -> WordEmbeddings:
    """The table in the file's own format: numbers, or int8 codes with a scale for each row."""
    if node.get_type_name() != "Multiply":
        return WordEmbeddings(_constant(node), None)
    codes, scales = (node.input_value(place).get_node() for place in (0, 1))
    return WordEmbeddings(_constant(codes), _constant(scales).astype(np.float32))


def _constant(node: Any) -> NDArray[Any]:
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant":
        raise ValueError(f"the table of word embeddings is made by a {node.get_type_name()}")
    data: NDArray[Any] = node.data
    return data
