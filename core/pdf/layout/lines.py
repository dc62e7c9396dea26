"""Groups words into rows on one baseline, and cuts rows at wide gaps into segments."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import median

from core.pdf.layout.words import Piece

# All lengths are shares of the font's height, from ascender to descender (about 1.17 em).
_SAME_BASELINE = 0.25
SEGMENT_GAP = 0.85  # one em
_SMALL = 0.85
_ATTACHED_GAP = 0.35
_SHIFTED = 0.08
_MARK_CHARS = 2  # longest footnote mark that is printed as large as its note
_MAX_COMPARISONS = 100_000
_MIN_SHARED = 0.6  # share of a small word's height that is level with its neighbour


@dataclass(slots=True)
class Segment:
    """Words of one row with no wide gap between them, from left to right."""

    pieces: list[Piece]
    left: float
    right: float
    top: float
    bottom: float

    @property
    def baseline(self) -> float:
        return self.pieces[0].baseline

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def width(self) -> float:
        return self.right - self.left


@dataclass(slots=True)
class Row:
    """Segments on one baseline, from left to right."""

    segments: list[Segment]
    baseline: float
    height: float

    @property
    def left(self) -> float:
        return self.segments[0].left

    @property
    def right(self) -> float:
        if len(self.segments) == 1:
            return self.segments[0].right
        return max([segment.right for segment in self.segments])

    @property
    def top(self) -> float:
        return min(segment.top for segment in self.segments)

    @property
    def bottom(self) -> float:
        return max(segment.bottom for segment in self.segments)


def find_rows(pieces: Sequence[Piece]) -> list[Row]:
    """The rows of a page from top to bottom."""
    groups = _attach_small(_group_by_baseline(pieces))
    return [_make_row(group) for group in groups]


def make_segment(pieces: list[Piece]) -> Segment:
    """A segment of ordered pieces. Its height is the height of the pieces on the baseline."""
    if len(pieces) == 1:
        only = pieces[0]
        return Segment(pieces, only.left, only.right, only.top, only.bottom)
    level = [piece for piece in pieces if not piece.shift] or pieces
    return Segment(
        pieces,
        min([piece.left for piece in pieces]),
        max([piece.right for piece in pieces]),
        min([piece.top for piece in level]),
        max([piece.bottom for piece in level]),
    )


def make_row(segments: list[Segment]) -> Row:
    """A row of ordered segments."""
    tallest = segments[0]
    if len(segments) > 1:
        tallest = max(segments, key=attrgetter("height"))
    return Row(segments, tallest.baseline, tallest.height)


def _group_by_baseline(pieces: Sequence[Piece]) -> list[list[Piece]]:
    groups: list[list[Piece]] = []
    baseline = height = 0.0
    for piece in sorted(pieces, key=attrgetter("baseline")):
        smaller = height if height < piece.height else piece.height
        if groups and piece.baseline - baseline <= _SAME_BASELINE * smaller:
            groups[-1].append(piece)
        else:
            groups.append([piece])
            baseline, height = piece.baseline, piece.height
    return groups


def _attach_small(groups: list[list[Piece]]) -> list[list[Piece]]:
    """Move raised and lowered words into the row of the word to which they are attached."""
    heights = [median([piece.height for piece in group]) for group in groups]
    left_over: list[list[Piece]] = []
    for index, group in enumerate(groups):
        near = [
            other
            for other in range(max(0, index - 2), min(len(groups), index + 3))
            if other != index and _may_be_shifted(group, heights[index], heights[other])
        ]
        kept = group
        if near and len(group) * sum(len(groups[other]) for other in near) < _MAX_COMPARISONS:
            kept = [piece for piece in group if not _attach(piece, [groups[n] for n in near])]
        left_over.append(kept)
        groups[index] = kept
    return [group for group in left_over if group]


def _may_be_shifted(group: Sequence[Piece], height: float, other: float) -> bool:
    """Whether a row is so small or short that its words may be attached to those of another."""
    mark = len(group) == 1 and len(group[0].text) <= _MARK_CHARS and height <= other
    return height < _SMALL * other or mark


def _attach(piece: Piece, groups: Sequence[list[Piece]]) -> bool:
    """Add the piece to the group with the word to which it is attached, if there is one."""
    for group in groups:
        for host in group:
            limit = _ATTACHED_GAP * host.height
            touches = -limit <= piece.left - host.right <= limit or (
                -limit <= host.left - piece.right <= limit
            )
            if touches and not host.shift and _overlaps(piece, host, 1.01):
                piece.shift = 1 if piece.baseline < host.baseline else -1
                group.append(piece)
                return True
    return False


def _overlaps(piece: Piece, host: Piece, small: float = _SMALL) -> bool:
    if piece.height >= small * host.height:
        return False
    shared = min(piece.bottom, host.bottom) - max(piece.top, host.top)
    offset = abs(piece.baseline - host.baseline)
    return shared > _MIN_SHARED * piece.height and offset > _SHIFTED * host.height


def _make_row(pieces: list[Piece]) -> Row:
    pieces.sort(key=attrgetter("left"))
    _mark_shifts(pieces)
    segments: list[list[Piece]] = []
    reach = 0.0
    for piece in pieces:
        if segments and piece.left - reach <= SEGMENT_GAP * piece.height:
            segments[-1].append(piece)
            reach = piece.right if piece.right > reach else reach
        else:
            segments.append([piece])
            reach = piece.right
    return make_row([make_segment(part) for part in segments])


def _mark_shifts(pieces: Sequence[Piece]) -> None:
    """Mark small words beside a larger one that are a little above or below its baseline."""
    heights = [piece.height for piece in pieces]
    if min(heights) >= _SMALL * max(heights):
        return
    for index, piece in enumerate(pieces):
        if piece.shift:
            continue
        for host in (*pieces[max(0, index - 1) : index], *pieces[index + 1 : index + 2]):
            gap = max(piece.left - host.right, host.left - piece.right)
            if gap <= _ATTACHED_GAP * host.height and not host.shift and _overlaps(piece, host):
                piece.shift = 1 if piece.baseline < host.baseline else -1
                break
