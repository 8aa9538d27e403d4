"""Connected components of a triangle mesh, on the CPU or the GPU."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csgraph, csr_matrix


def connected_components(count: int, faces: torch.Tensor) -> tuple[int, torch.Tensor]:
    """Return the number of components and the component i8[count] of each point.

    faces: i8[M,3]; each of the `count` points lies in at least one face.
    """
    if faces.device.type == "cpu":
        # Each face is a node of the graph too, linked to its points: the matrix's rows then need no sorting.
        ends = np.minimum(np.arange(0, 3 * (len(faces) + count) + 1, 3), 3 * len(faces)).astype(np.int32)
        links = (faces.reshape(-1).int() + len(faces)).numpy()
        graph = csr_matrix((np.ones(len(links)), links, ends), (len(faces) + count,) * 2)
        number, component = csgraph.connected_components(graph, directed=False)
        return number, torch.as_tensor(component[len(faces) :]).long()
    lowest = lowest_connected_point(count, faces)
    is_root = lowest == torch.arange(count, device=faces.device)
    return int(is_root.sum()), (is_root.cumsum(0) - 1)[lowest]


def lowest_connected_point(count: int, faces: torch.Tensor) -> torch.Tensor:
    """Return i8[count]: for each point the lowest point number in its component, for faces i8[M,3].

    Hooking and pointer jumping on all points at once (Zhang, Azad and Buluç 2020, FastSV).
    """
    parent = torch.arange(count, device=faces.device)
    ends = faces[:, :2].reshape(-1), faces[:, 1:].reshape(-1)
    while True:
        grandparent = parent[parent]
        low = torch.minimum(grandparent[ends[0]], grandparent[ends[1]])
        updated = grandparent.clone()
        for end in ends:
            updated.scatter_reduce_(0, parent[end], low, "amin")
            updated.scatter_reduce_(0, end, low, "amin")
        if torch.equal(updated, parent):
            return parent
        parent = updated
