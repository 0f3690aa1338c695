"""From a probability map to separated particles: area opening, distance-transform watershed, labels.

Label images are int32, 0 for background, particles numbered from 1 in raster
order of their first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from skimage.morphology import local_maxima, local_minima, reconstruction
from skimage.segmentation import watershed

_STRUCTURES = {4: ndimage.generate_binary_structure(2, 1), 8: ndimage.generate_binary_structure(2, 2)}


def area_opening(mask, area: float, *, connectivity: int = 4) -> np.ndarray:
    """Remove the connected parts of a mask that have fewer than `area` pixels.

    Parameters
    ----------
    mask : numpy.ndarray
        bool (H, W).
    area : float
        px; parts of exactly this area stay.
    connectivity : 4 or 8

    Returns
    -------
    numpy.ndarray
        bool (H, W).
    """
    labels, count = ndimage.label(mask, _STRUCTURES[connectivity])
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= area
    keep[0] = False
    return keep[labels]


def raster_order(labels) -> np.ndarray:
    """Number labels from 1 in the order in which their first pixels come, rows from the top; int32."""
    flat = np.ravel(labels)
    where = np.flatnonzero(flat)[::-1]
    first = np.full(int(flat.max(initial=0)) + 1, -1)
    first[flat[where]] = where  # of several values for one index the last stays, here the first pixel
    present = np.flatnonzero(first >= 0)
    table = np.zeros(first.size, dtype=np.int32)
    table[present[np.argsort(first[present])]] = np.arange(1, present.size + 1, dtype=np.int32)
    return table[labels]


def chamfer_distance(mask, weights=(3, 4)) -> np.ndarray:
    """Chamfer distance of each mask pixel to the background (Borgefors 1986), not normalised.

    What lies outside the image counts as neither particle nor background.

    Parameters
    ----------
    mask : numpy.ndarray
        bool (H, W); at least one pixel must be background.
    weights : tuple of int
        Of a step along an axis, along a diagonal and, if there are three, of a
        knight's move.

    Returns
    -------
    numpy.ndarray
        int32 (H, W).
    """
    mask = np.asarray(mask, dtype=bool)
    height, width = mask.shape
    straight, diagonal = weights[:2]
    steps = [(1, 0, straight), (1, -1, diagonal), (1, 1, diagonal)]  # rows back, columns aside, weight
    if len(weights) == 3:
        steps += [(1, -2, weights[2]), (1, 2, weights[2]), (2, -1, weights[2]), (2, 1, weights[2])]
    far = np.int32(2**30)
    padded = np.full((height + 2, width + 4), far, dtype=np.int32)
    padded[2:, 2:-2] = np.where(mask, far, 0)
    run = straight * np.arange(width, dtype=np.int32)

    def sweep(distance):
        # Two rows above and two columns aside are padding. Along the row, min over k <= x of
        # d[k] + straight (x - k) is a running minimum of d[k] - straight k.
        for y in range(2, height + 2):
            row = distance[y, 2:-2]
            for back, aside, weight in steps:
                np.minimum(row, distance[y - back, 2 + aside : 2 + aside + width] + np.int32(weight), out=row)
            np.minimum(row, np.minimum.accumulate(row - run) + run, out=row)

    sweep(padded)
    turned = np.full_like(padded, far)
    turned[2:, 2:-2] = padded[:1:-1, -3:1:-1]
    sweep(turned)
    return turned[:1:-1, -3:1:-1].copy()


def distance_transform_watershed(mask, *, weights=(3, 4), normalize=True, dynamic=1, connectivity=4, mode="fast") -> np.ndarray:
    """Split the touching particles of a mask at their necks.

    Parameters
    ----------
    mask : numpy.ndarray
        (H, W); particle where not 0.
    weights : tuple of int
        Chamfer weights, (3, 4) or (5, 7, 11).
    normalize : bool
        Divide distances by the first weight, so that they are pixels.
    dynamic : float
        Two peaks of the distance map are two particles if the lower one rises
        above the saddle between them by more than this; in units of the map, so
        pixels if normalised and 1/3 px otherwise at weights (3, 4). The
        "morpholibj" mode cuts it to a whole number, as the program's dialog does.
    connectivity : 4 or 8
    mode : "fast" or "morpholibj"
        "fast" finds the same particles, labels every mask pixel, and keeps
        particles smaller than the dynamic. "morpholibj" gives what MorphoLibJ 1.4's command "Distance
        Transform Watershed" (Legland, Arganda-Carreras, Andrey 2016) gives, pixel
        for pixel: one-pixel dams between particles, particles whose largest
        distance is not above the dynamic deleted (all made one if none is above
        it), and here and there a labelled pixel just outside the mask.

    Returns
    -------
    numpy.ndarray
        int32 (H, W).
    """
    mask = np.asarray(mask, dtype=bool)
    if mode not in ("fast", "morpholibj"):
        raise ValueError(f"mode {mode!r} is neither 'fast' nor 'morpholibj'")
    if mask.all() or not mask.any():  # no finite distance, or none at all
        return mask.astype(np.int32)
    distance = chamfer_distance(mask, weights)
    if normalize:
        distance = distance.astype(np.float32) / np.float32(weights[0])
    if mode == "fast":
        return split(mask, distance, depth=dynamic, connectivity=connectivity)
    return _morpholibj(mask, distance.astype(np.float32), int(dynamic), connectivity)


def split(mask, distance, *, depth: float, share: float = 0.0, connectivity: int = 4) -> np.ndarray:
    """Split a mask into the basins of its distance map, shallow ones merged.

    Two peaks are one particle if the lower of them rises above the saddle
    between them by no more than `depth`, or than `share` of its own height: for
    two discs, if the neck is at least (1 - share) as wide as the smaller one.
    With share 0 the peaks that remain are those of the h-maxima transform.

    Parameters
    ----------
    mask : numpy.ndarray
        bool (H, W).
    distance : numpy.ndarray
        (H, W), the distance to the background, above 0 in the mask.
    depth : float
        In units of the distance map.
    share : float
        Between 0 and 1.

    Returns
    -------
    numpy.ndarray
        int32 (H, W), above 0 exactly in the mask.
    """
    # A constant image has no local maximum for scikit-image: a frame of background sees to it that none is constant.
    framed = np.pad(np.where(mask, distance, 0), 1)
    peaks, count = ndimage.label(
        local_maxima(framed, connectivity=1 if connectivity == 4 else 2)[1:-1, 1:-1] & mask, _STRUCTURES[connectivity]
    )
    if not count:
        return np.zeros(mask.shape, dtype=np.int32)
    basins = watershed(-distance, peaks, mask=mask, connectivity=1 if connectivity == 4 else 2)
    height = np.zeros(count + 1, dtype=np.float64)
    np.maximum.at(height, peaks[peaks > 0], distance[peaks > 0])
    return raster_order(_merged(basins, distance, height, depth, share, connectivity)[basins])


def _merged(basins, distance, height, depth, share, connectivity):
    """The table basin -> particle: basins are joined over their saddles, the highest saddle first."""
    # Compared as MorphoLibJ does, in single precision on the map turned upside down, so that ties are broken alike.
    top = np.float32(distance.max())
    lowest = (top - height.astype(np.float32)).tolist()  # the bottom of each basin
    saddles, ends = [], []
    shifts = [(0, 1), (1, 0)] + ([(1, 1), (1, -1)] if connectivity == 8 else [])
    for down, right in shifts:
        here = (slice(None, -down or None), slice(-min(right, 0), -max(right, 0) or None))
        there = (slice(down, None), slice(max(right, 0), min(right, 0) or None))
        a, b = basins[here], basins[there]
        meet = (a != b) & (a > 0) & (b > 0)
        saddles.append(np.minimum(distance[here][meet], distance[there][meet]))
        ends.append(np.sort(np.stack([a[meet], b[meet]]), axis=0))
    saddles, ends = np.concatenate(saddles), np.concatenate(ends, axis=1)
    order = np.lexsort((ends[1], ends[0], -saddles))
    pair = ends[0, order].astype(np.int64) * height.size + ends[1, order]
    order = order[np.sort(np.unique(pair, return_index=True)[1])]  # of each pair only its highest saddle
    parent = list(range(height.size))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for saddle, a, b in zip(saddles[order].tolist(), *ends[:, order].tolist()):
        a, b = root(a), root(b)
        low, high = (a, b) if (height[a], -a) < (height[b], -b) else (b, a)
        if low != high and np.float32(lowest[low] + max(depth, share * height[low])) >= top - np.float32(saddle):
            parent[low] = high
    return np.array([root(i) for i in range(height.size)], dtype=np.int32)


def _morpholibj(mask, distance, dynamic, connectivity):
    """Extended minima and flooding in MorphoLibJ's order; `distance` float32, finite, not 0 everywhere."""
    relief = distance.max() - distance
    lifted = relief + np.float32(dynamic)
    filled = reconstruction(lifted, relief, method="erosion", footprint=_STRUCTURES[connectivity]).astype(np.float32)
    if filled.min() == filled.max():
        return mask.astype(np.int32)
    minima = local_minima(filled, connectivity=1 if connectivity == 4 else 2)
    markers = raster_order(ndimage.label(minima, _STRUCTURES[connectivity])[0])
    return _flood(mask, relief, markers, connectivity)


def _flood(mask, relief, markers, connectivity):
    """Flood from the markers, lowest relief first and first come first served, with dams where floods meet.

    As in MorphoLibJ, markers are visited column by column, and their direct
    neighbours are flooded even where they lie outside the mask.
    """
    height, width = mask.shape
    wide = width + 2  # flat arrays with a frame, so that every pixel has all its neighbours
    around = [-1, -wide, 1, wide] + ([-wide - 1, -wide + 1, wide - 1, wide + 1] if connectivity == 8 else [])
    levels, level = np.unique(relief, return_inverse=True)
    level = np.pad(level.reshape(mask.shape), 1).ravel().tolist()
    seeds = np.where(mask, markers, 0)
    label = np.pad(seeds, 1).ravel().tolist()
    # May a pixel still be queued: from a seed (anything in the image without a marker), from a flooded pixel (in the mask too).
    open_ = np.pad(markers == 0, 1).ravel().tolist()
    inside = np.pad(mask, 1).ravel().tolist()
    queues = [[] for _ in levels]
    columns, rows = np.nonzero(seeds.T)
    for p in ((rows + 1) * wide + columns + 1).tolist():
        for step in around:
            q = p + step
            if open_[q]:
                open_[q] = False
                queues[level[q]].append(q)
    lowest, heads = 0, [0] * len(queues)
    while lowest < len(queues):
        queue, head = queues[lowest], heads[lowest]
        if head == len(queue):
            lowest += 1
            continue
        p = queue[head]
        heads[lowest] = head + 1
        found = 0
        for step in around:
            other = label[p + step]
            if other and other != found:
                if found:
                    break  # two floods meet: a dam
                found = other
        else:
            label[p] = found
            for step in around:
                q = p + step
                if open_[q] and inside[q]:
                    open_[q] = False
                    at = level[q]
                    queues[at].append(q)
                    if at < lowest:
                        lowest = at
    return np.array(label, dtype=np.int32).reshape(height + 2, wide)[1:-1, 1:-1].copy()


@dataclass(frozen=True)
class PaperChoice:
    """Post-processing as stated in Section 4 of Mill et al. 2021, for pixels of about 1 nm.

    Attributes
    ----------
    area : float
        Of the area opening, in nm2.
    dynamic : float
        Of the watershed with weights (3, 4) and connectivity 4; in nm if `normalize`, else in 1/3 nm.
    normalize : bool
    """

    area: float
    dynamic: float
    normalize: bool


PAPER = {
    "sio2": PaperChoice(400, 4, True),
    "tio2": PaperChoice(600, 20, False),
    "tio2-normalized": PaperChoice(600, 20, True),
}
"""The paper says 'default settings with a dynamic of 20' for TiO2 and 'a normalized output combined with a
dynamic of four' for SiO2. That can mean 20 units of the distance map that is not normalised (6.7 px), or, as
normalised output is the program's default, 20 px. The first is called "tio2" here: a dynamic of 20 px would
join all particles whose necks are less than 20 px narrower than they are, and delete those thinner than 40 px."""


def separate_as_paper(probability, choice: str, *, threshold=0.51, nm_per_px=None, mode="fast") -> np.ndarray:
    """Threshold, area opening and distance-transform watershed as in Section 4 of Mill et al. 2021.

    Parameters
    ----------
    probability : numpy.ndarray
        float (H, W) in [0, 1].
    choice : str
        Key of `PAPER`.
    threshold : float
        Foreground is above it.
    nm_per_px : float, optional
        Turns the paper's numbers, which hold for about 1 nm per pixel, into
        pixels of this image. Without it they are taken as pixels.
    mode : "fast" or "morpholibj"
        As in `distance_transform_watershed`. "morpholibj" rounds the dynamic to
        a whole number of at least 1, and deletes particles that are not deeper.

    Returns
    -------
    numpy.ndarray
        int32 (H, W).
    """
    known = PAPER[choice]
    scale = 1.0 if nm_per_px is None else float(nm_per_px)
    dynamic = known.dynamic / scale
    mask = area_opening(np.asarray(probability) > threshold, known.area / scale**2)
    return distance_transform_watershed(
        mask, normalize=known.normalize, dynamic=dynamic if mode == "fast" else max(1, round(dynamic)), mode=mode
    )


def separate(
    probability,
    *,
    threshold=0.51,
    min_area_px=0.0,
    dynamic_px=1.0,
    dynamic_share=0.1,
    join=1.0,
    max_hole_px=None,
    grow_px=0.0,
    outline=None,
    confidence=0.0,
) -> np.ndarray:
    """From the network's output to one label for each particle.

    Threshold, fill small holes, area opening, Euclidean distance, watershed with
    shallow basins merged and those without a visible border joined, growth into
    the gaps between particles and out to a lower probability.

    Parameters
    ----------
    probability : numpy.ndarray
        float (H, W) in [0, 1].
    threshold : float
        Foreground is above it.
    min_area_px : float
        Connected parts of the foreground with fewer pixels are dropped.
    dynamic_px, dynamic_share : float
        Two peaks of the distance map are one particle if the lower rises above
        the saddle between them by no more than `dynamic_px`, or than
        `dynamic_share` of its own height. The second means the same at every
        particle size.
    join : float
        Neighbours are one particle if the mean probability along their common border is
        above it; see `joined`. 1: never.
    max_hole_px : float, optional
        Holes of at most so many pixels are filled before the watershed
        (`min_area_px` by default). Larger ones are left open if several
        particles surround them, and filled at the end if one does.
    grow_px : float
        The radius by which the training label opens the border between touching
        particles. So much of a gap between two instances is given back to the
        nearer one; free edges stay where they are.
    outline : float, optional
        Particles grow at last into what is around them down to this probability
        (a second, lower threshold; `threshold` by default). A network that was trained
        to keep touching particles apart is too careful at their outlines.
    confidence : float
        Particles whose mean probability is below it are dropped at last.

    Returns
    -------
    numpy.ndarray
        int32 (H, W).
    """
    mask = np.asarray(probability) > threshold
    mask = ~area_opening(~mask, (min_area_px if max_hole_px is None else max_hole_px) + 1, connectivity=8) if mask.any() else mask
    mask = area_opening(mask, min_area_px)
    if mask.all() or not mask.any():
        return mask.astype(np.int32)
    distance = ndimage.distance_transform_edt(mask).astype(np.float32)
    labels = split(mask, distance, depth=dynamic_px, share=dynamic_share)
    if join < 1:
        labels = joined(labels, np.asarray(probability), join)
    if grow_px > 0:
        labels = _close_gaps(labels, grow_px)
    if outline is not None and outline < threshold:
        probability = np.asarray(probability)
        labels = watershed(-probability, labels, mask=(probability > outline) | (labels > 0))
    labels = _fill_enclosed(labels)
    if confidence > 0:
        total = np.bincount(labels.ravel(), np.ravel(probability))
        labels = np.where((total >= confidence * np.bincount(labels.ravel()))[labels], labels, 0)
    return raster_order(labels)


def joined(labels, probability, above: float) -> np.ndarray:
    """Join neighbours between which the network sees no border.

    A watershed splits at every neck. A network that has learned to leave a gap
    between touching particles is less sure at the neck of two, and as sure as anywhere
    at that of one, such as of a rod that is not equally thick.

    Parameters
    ----------
    labels : numpy.ndarray
        int (H, W), 0 background.
    probability : numpy.ndarray
        float (H, W).
    above : float
        Mean probability along the common border (of each pair of pixels the lower one) above which two are one.

    Returns
    -------
    numpy.ndarray
        int32 (H, W).
    """
    count = int(labels.max(initial=0)) + 1
    pairs, lower = [], []
    for here, there in (((slice(None, -1),), (slice(1, None),)), ((slice(None), slice(None, -1)), (slice(None), slice(1, None)))):
        a, b = labels[here], labels[there]
        meet = (a != b) & (a > 0) & (b > 0)
        pairs.append(np.minimum(a, b)[meet].astype(np.int64) * count + np.maximum(a, b)[meet])
        lower.append(np.minimum(probability[here], probability[there])[meet])
    pair, which = np.unique(np.concatenate(pairs), return_inverse=True)
    mean = np.bincount(which, np.concatenate(lower), len(pair)) / np.bincount(which, minlength=len(pair))
    one, other = np.divmod(pair[mean > above], count)
    _, part = connected_components(coo_array((np.ones(len(one), bool), (one, other)), (count, count)), directed=False)
    return raster_order(np.where(labels > 0, part[labels], 0))  # the background is the first part: no pair names it


def _close_gaps(labels, radius):
    """Give the background pixels between two instances, at most `radius` from one and twice that from another, to the nearest."""
    reach = int(np.ceil(2 * radius)) * 2 + 1
    highest = ndimage.maximum_filter(labels, reach)
    lowest = ndimage.minimum_filter(np.where(labels > 0, labels, np.iinfo(np.int32).max), reach)
    gap = np.argwhere((labels == 0) & (highest > 0) & (lowest != highest))
    if not len(gap):
        return labels
    edge = np.argwhere((labels > 0) & (ndimage.minimum_filter(labels, 3) == 0))
    distance, nearest = cKDTree(edge).query(gap, distance_upper_bound=radius + 0.75)
    near = np.isfinite(distance)
    grown = labels.copy()
    given = gap[near]
    grown[tuple(given.T)] = labels[tuple(edge[nearest[near]].T)]
    # In the wedges beside a contact the gap ends in frayed lines: what most of its surroundings do not belong to is taken back.
    around = np.stack(np.meshgrid(*2 * [np.arange(-2, 3)], indexing="ij"), -1).reshape(-1, 2)
    limit = np.array(labels.shape) - 1
    for _ in range(3):
        places = np.clip(given[:, None] + around, 0, limit)
        own = grown[tuple(given.T)]
        frayed = (grown[places[..., 0], places[..., 1]] == own[:, None]).sum(1) <= len(around) // 2
        grown[tuple(given[frayed].T)] = 0
        given = given[~frayed]
    return grown


def _fill_enclosed(labels):
    """Fill the holes that touch one instance only and not the image border."""
    holes, count = ndimage.label(labels == 0, _STRUCTURES[8])
    touching = np.zeros(count + 1, dtype=bool)
    for side in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        touching[side] = True
    touching[0] = True
    if touching.all():
        return labels
    highest = ndimage.maximum_filter(labels, footprint=_STRUCTURES[4])
    lowest = ndimage.minimum_filter(np.where(labels > 0, labels, np.iinfo(np.int32).max), footprint=_STRUCTURES[4])
    rim = (labels == 0) & (highest > 0) & ~touching[holes]
    top = ndimage.maximum(highest[rim], holes[rim], np.arange(count + 1)) if rim.any() else np.zeros(count + 1)
    low = ndimage.minimum(lowest[rim], holes[rim], np.arange(count + 1)) if rim.any() else top
    owner = np.where((top == low) & ~touching, top, 0).astype(np.int32)
    return np.where(labels > 0, labels, owner[holes])
